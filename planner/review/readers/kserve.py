"""KServe's own kinds: a model of an InferenceService, and LLMInferenceService."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from planner.review.options import Option, read_arguments
from planner.review.readers import pod as pods
from planner.review.readers.shell import commands
from planner.review.readers.tree import Tree
from planner.review.server import Claim, Server
from planner.review.text import Text

_RUNTIME_FLAGS = ("model-name", "model-id", "model-dir", "backend")
"""Flags of KServe's own runtime."""
_SIZES = {"tensor": "tensor-parallel-size", "pipeline": "pipeline-parallel-size", "data": "data-parallel-size"}
"""Keys of ``parallelism``."""


def predictors(root: Tree) -> Iterator[Server]:
    """Yield the server of an InferenceService in KServe's own model form: arguments for a runtime in the cluster."""
    predictor, model = root.get("spec", "predictor"), root.get("spec", "predictor", "model")
    if predictor is None or model is None:
        return
    runtime = (model.string("runtime") or "") + (model.string("modelFormat", "name") or "")
    env = pods.environment(model)
    words = pods.words_of(model, env, "args")
    if not any(part in runtime.lower() for part in ("vllm", "huggingface")) and not any(
        word.value.startswith(("--tensor-parallel", "--max-model-len", "--gpu-memory")) for word in words
    ):
        return
    arguments = read_arguments(words)
    weights = arguments.model or model.scalar("storageUri")
    yield Server(
        kind="InferenceService",
        platform="kserve",
        name=root.string("metadata", "name") or "",
        at=model.key("args") or model.key("modelFormat") or model.text,
        arguments=replace(
            arguments,
            options=tuple(one for one in arguments.options if one.name not in _RUNTIME_FLAGS),
            model=pods.named(weights) if weights is not None else None,
            open_ended=(),
        ),
        env=env,
        image=pods.image_of(model),
        claim=pods.gpu_claim(model, predictor),
        mounts=tuple(pods.mounts(model, predictor)),
        shared_memory="given",
        probed_elsewhere=True,
        cached_elsewhere=True,
        inner_port=True,
        editable="items",
    )


def llm_servers(root: Tree) -> Iterator[Server]:
    """Yield the server for decoding of an LLMInferenceService, and the one for prefill where there is one."""
    for kind, *path in (("LLMInferenceService", "spec"), ("LLMInferenceService prefill", "spec", "prefill")):
        part = root.get(*path)
        if part is not None and (server := _llm_server(part, root, kind)) is not None:
            yield server


def _llm_server(part: Tree, root: Tree, kind: str) -> Server | None:
    template, size, uri = part.get("template"), part.get("parallelism"), root.get("spec", "model", "uri")
    container = next(pods.containers(template), None) if template is not None else None
    if container is None and uri is None:
        return None
    env = pods.environment(container) if container is not None else {}
    words: list[Text] = []
    if container is not None and template is not None:
        engine = pods.engine_of(container, template)
        words += engine.words if engine is not None else pods.words_of(container, env, "args")
    more = env.get("VLLM_ADDITIONAL_ARGS")
    if more is not None and more.value is not None:
        words += [word for command in commands(more.value) for word in command.words]
    arguments = read_arguments(words)
    sizes = [
        Option(_SIZES[key.value], "", key, value.text)
        for key, value in part.entries("parallelism")
        if key.value in _SIZES and value.kind == "scalar"
    ]
    claim = Claim(at=part.key("template") or part.key("parallelism"))
    if container is not None and template is not None:
        claim = pods.gpu_claim(container, template)
        if container.get("resources") is None:
            claim = replace(claim, missing=False)
    if size is not None and size.integer("data") and size.integer("dataLocal"):
        claim = replace(claim, nodes=max(1, (size.integer("data") or 1) // (size.integer("dataLocal") or 1)))
    elif part.get("worker") is not None and size is not None and size.integer("pipeline"):
        claim = replace(claim, nodes=size.integer("pipeline") or 1)
    at = uri.text if uri is not None else part.text
    if container is not None:
        at = container.key("command") or container.key("args") or container.key("name") or at
    return Server(
        kind=kind,
        platform="kserve",
        name=root.string("metadata", "name") or "",
        at=at,
        arguments=replace(
            arguments,
            options=(*arguments.options, *sizes),
            model=pods.named(uri.text) if uri is not None else arguments.model,
            open_ended=(),
        ),
        env=env,
        image=pods.image_of(container) if container is not None else None,
        side_images=pods.side_images(container, template) if container is not None and template is not None else (),
        claim=claim,
        shared_memory="given",
        probes=tuple(pods.probes(container)) if container is not None else (),
        probed_elsewhere=True,
        cached_elsewhere=True,
        inner_port=True,
        replicas=part.integer("replicas") or 1,
        editable="words" if more is not None else "items",
    )
