"""Ray Serve's LLM applications inside a RayService: engine arguments as a YAML text, GPUs in the worker groups."""

from __future__ import annotations

from dataclasses import replace

from planner.facts.review import review_facts
from planner.review.options import Arguments, Option
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
        for application in document.each("applications"):
            found += _by_variables(application, whole, claim, image, root)
            found += [_server(one, whole, claim, image, root) for one in _configurations(application)]
    return found


def _configurations(application: Tree) -> list[Tree]:
    return [one for one in application.each("args", "llm_configs") if one.kind == "map"]


def applications(root: Tree) -> list[Server]:
    """Return the servers of a configuration for ``serve deploy``, which stands alone."""
    found = []
    for application in root.each("applications"):
        for one in _configurations(application):
            claim = Claim(product=one.string("accelerator_type"), at=one.key("accelerator_type"))
            server = _server(one, None, claim, None, root)
            found.append(replace(server, kind="Ray Serve application", platform="cloud"))
    return found


def _server(one: Tree, whole: Text | None, claim: Claim, image: Text | None, root: Tree) -> Server:
    options = []
    for key, value in one.entries("engine_kwargs"):
        if value.kind == "scalar":
            off = value.value in ("false", "False")
            options.append(
                Option(key.value.replace("_", "-"), "", _outer(key, whole), _outer(value.text, whole), not off)
            )
    loading = one.get("model_loading_config")
    model = one.scalar("model_loading_config", "model_source") or one.scalar("model_loading_config", "model_id")
    at = _outer(Text("", ((loading or one).start,)), whole)
    arguments = Arguments(options=tuple(options), model=_outer(model, whole) if model is not None else None)
    return replace(_service(root, at, arguments, claim, image), spread=True, editable="keys")


def _service(root: Tree, at: Text, arguments: Arguments, claim: Claim, image: Text | None) -> Server:
    return Server(
        kind="RayService",
        platform="kubernetes",
        name=root.string("metadata", "name") or "",
        at=at,
        arguments=arguments,
        image=read_image(image) if image is not None else None,
        claim=claim,
        shared_memory="given",
        probed_elsewhere=True,
        cached_elsewhere=True,
        inner_port=True,
        editable="none",
    )


def _by_variables(one: Tree, whole: Text, claim: Claim, image: Text | None, root: Tree) -> list[Server]:
    """The server of KubeRay's own sample, which is told everything by variables."""
    model = one.scalar("runtime_env", "env_vars", "MODEL_ID")
    if model is None:
        return []
    variables = review_facts().kuberay.settings
    options = [
        Option(variables[key.value], "", _outer(key, whole), _outer(value.text, whole))
        for key, value in one.entries("runtime_env", "env_vars")
        if key.value in variables and value.kind == "scalar"
    ]
    pins = [item.text for item in one.each("runtime_env", "pip") if (item.value or "").startswith("vllm==")]
    at = _outer(model, whole)
    server = _service(root, at, Arguments(options=tuple(options), model=at), claim, image)
    return [replace(server, version=_outer(pins[0].cut(len("vllm==")), whole) if pins else None)]


def _outer(text: Text, whole: Text | None) -> Text:
    """Places inside the scalar as places in the file; None where there is no scalar around it."""
    return text if whole is None else text.within(whole)


def _workers(root: Tree) -> tuple[Claim, Text | None]:
    """GPUs and image of the first worker group that has GPUs."""
    groups = root.get("spec", "rayClusterConfig", "workerGroupSpecs")
    heads = root.get("spec", "rayClusterConfig", "headGroupSpec")
    for group in [*root.each("spec", "rayClusterConfig", "workerGroupSpecs"), *([heads] if heads is not None else [])]:
        spec = group.get("template", "spec")
        for container in pods.containers(spec) if spec is not None else ():
            assert spec is not None
            claim = pods.gpu_claim(container, spec)
            if not claim.missing:
                nodes = (group.integer("replicas") or 1) * (group.integer("numOfHosts") or 1)
                return replace(claim, nodes=nodes), container.scalar("image")
    return Claim(at=root.text, missing=groups is not None), None
