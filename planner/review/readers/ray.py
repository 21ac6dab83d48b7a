"""Ray Serve's LLM applications inside a RayService: engine arguments as a YAML text, GPUs in the worker groups."""

from __future__ import annotations

from dataclasses import replace

from planner.review.options import Option
from planner.review.readers import pod as pods
from planner.review.readers.image import read_image
from planner.review.readers.limits import Unreadable
from planner.review.readers.tree import Tree, documents
from planner.review.server import Claim, Server
from planner.review.text import Source, Text


def servers_of(root: Tree) -> list[Server]:
    """Return one server for each LLM configuration of the service."""
    text = root.get("spec", "serveConfigV2")
    if text is None or text.kind != "scalar":
        return []
    whole = text.text
    try:
        inner = documents(Source(whole.value))
    except Unreadable:
        return []
    claim, image = _workers(root)
    found = []
    for document in inner:
        applications = document.get("applications")
        for application in applications.list() if applications is not None else ():
            found += _by_variables(application, whole, claim, image, root)
            configurations = application.get("args", "llm_configs")
            for one in configurations.list() if configurations is not None else ():
                if one.kind == "map":
                    found.append(_server(one, whole, claim, image, root))
    return found


def applications(root: Tree) -> list[Server]:
    """Return the servers of a configuration for ``serve deploy``, which stands alone."""
    given = root.get("applications")
    found = []
    for application in given.list() if given is not None else ():
        configurations = application.get("args", "llm_configs")
        for one in configurations.list() if configurations is not None else ():
            if one.kind == "map":
                kind, at = one.get("accelerator_type"), one.key("accelerator_type")
                product = kind.value if kind is not None else None
                server = _server(one, None, Claim(product=product, at=at), None, root)
                found.append(replace(server, kind="Ray Serve application", setting="cloud"))
    return found


def _server(one: Tree, whole: Text | None, claim: Claim, image: Tree | None, root: Tree) -> Server:
    options = []
    arguments = one.get("engine_kwargs")
    for key, value in arguments.items() if arguments is not None else ():
        if value.kind == "scalar":
            off = value.value in ("false", "False")
            options.append(
                Option(key.value.replace("_", "-"), "", _outer(key, whole), _outer(value.text, whole), not off)
            )
    loading = one.get("model_loading_config")
    source = loading.get("model_source") or loading.get("model_id") if loading is not None else None
    at = loading.text if loading is not None else one.text
    return Server(
        kind="RayService",
        setting="kubernetes",
        name=root.string("metadata", "name") or "",
        at=_outer(Text("", (at.start,)), whole),
        options=tuple(options),
        model=_outer(source.text, whole) if source is not None and source.kind == "scalar" else None,
        image=read_image(image.text) if image is not None else None,
        claim=claim,
        shared_memory="given",
        probed_elsewhere=True,
        cached_elsewhere=True,
        inner_port=True,
        spread=True,
        editable="keys",
    )


_VARIABLES = {
    "TENSOR_PARALLELISM": "tensor-parallel-size",
    "PIPELINE_PARALLELISM": "pipeline-parallel-size",
    "MAX_MODEL_LEN": "max-model-len",
}
"""What KubeRay's sample application for vLLM reads from its environment."""


def _by_variables(one: Tree, whole: Text, claim: Claim, image: Tree | None, root: Tree) -> list[Server]:
    """The server of KubeRay's own sample, which is told everything by variables."""
    values = one.get("runtime_env", "env_vars")
    model = values.get("MODEL_ID") if values is not None else None
    if values is None or model is None or model.kind != "scalar":
        return []
    options = []
    for key, value in values.items():
        if key.value in _VARIABLES and value.kind == "scalar":
            options.append(Option(_VARIABLES[key.value], "", _outer(key, whole), _outer(value.text, whole)))
    packages = one.get("runtime_env", "pip")
    pins = [item.text for item in packages.list() if item.kind == "scalar"] if packages is not None else []
    pin = next((text.cut(len("vllm==")) for text in pins if text.value.startswith("vllm==")), None)
    return [
        Server(
            kind="RayService",
            setting="kubernetes",
            name=root.string("metadata", "name") or "",
            at=_outer(model.text, whole),
            options=tuple(options),
            model=_outer(model.text, whole),
            version=_outer(pin, whole) if pin is not None else None,
            image=read_image(image.text) if image is not None else None,
            claim=claim,
            shared_memory="given",
            probed_elsewhere=True,
            cached_elsewhere=True,
            inner_port=True,
            editable="none",
        )
    ]


def _outer(text: Text, whole: Text | None) -> Text:
    """Places inside the scalar as places in the file; None where there is no scalar around it."""
    if whole is None:
        return text
    last = len(whole.offsets) - 1
    offsets = tuple(whole.offsets[min(offset, last)] for offset in text.offsets) if whole.offsets else ()
    return Text(text.value, offsets, text.unknown, text.verbatim)


def _workers(root: Tree) -> tuple[Claim, Tree | None]:
    """GPUs and image of the first worker group that has GPUs."""
    groups = root.get("spec", "rayClusterConfig", "workerGroupSpecs")
    heads = root.get("spec", "rayClusterConfig", "headGroupSpec")
    for group in [*(groups.list() if groups is not None else ()), *([heads] if heads is not None else [])]:
        spec = group.get("template", "spec")
        for container in pods.containers(spec) if spec is not None else ():
            assert spec is not None
            claim = pods.gpu_claim(container, spec)
            if not claim.missing:
                nodes = (group.integer("replicas") or 1) * (group.integer("numOfHosts") or 1)
                return replace(claim, nodes=nodes), container.get("image")
    return Claim(at=root.text, missing=groups is not None), None
