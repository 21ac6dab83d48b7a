"""Helm values of two charts: llm-d's modelservice and vLLM's production stack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from planner.facts.review import review_facts
from planner.review.options import Option, read_arguments
from planner.review.readers import pod as pods
from planner.review.readers.docker import Engine
from planner.review.readers.image import read_image
from planner.review.readers.tree import Elsewhere, Tree, documents
from planner.review.server import Claim, HealthProbe, Mount, Opening, Server, Variable
from planner.review.text import Source, Text


def is_values(root: Tree) -> bool:
    """Whether a document holds values of one of the two charts."""
    return root.get("servingEngineSpec", "modelSpec") is not None or (
        root.get("modelArtifacts") is not None and (root.get("decode") is not None or root.get("prefill") is not None)
    )


def released(root: Tree) -> Iterator[Tree]:
    """The values that a HelmRelease of Flux or an Application of Argo CD gives its chart."""
    if root.string("kind") == "HelmRelease":
        holders = [root.get("spec", "values")]
    elif root.string("kind") == "Application":
        sources = [root.get("spec", "source"), *root.each("spec", "sources")]
        holders = [one.get("helm", key) for one in sources if one is not None for key in ("valuesObject", "values")]
    else:
        return
    for values in holders:
        if values is not None and values.kind == "map":
            yield values
        elif values is not None and values.value:
            # A text in the text: what it says is found where it begins.
            yield from (Elsewhere.of(one, values.start) for one in documents(Source(values.value)) if one.kind == "map")


def servers_of(root: Tree) -> list[Server]:
    """Return the servers that the chart would make of these values."""
    specs = root.get("servingEngineSpec", "modelSpec")
    if specs is not None:
        return [_production(one, root) for one in specs.list() if one.kind == "map"]
    found = []
    for role in ("decode", "prefill"):
        part = root.get(role)
        if part is not None and part.kind == "map" and part.string("create") != "false":
            found += _modelservice(part, role, root)
    return found


def _production(spec: Tree, root: Tree) -> Server:
    chart = review_facts().production_stack
    options: list[Option] = []
    words: list[Text] = []
    for names, entries in ((chart.settings, spec.entries("vllmConfig")), (chart.beside, spec.items())):
        for key, value in entries:
            name = names.get(key.value)
            if key.value == "extraArgs" and names is chart.settings:
                words += [one.text for one in value.list() if one.kind == "scalar"]
            elif name is not None and value.kind == "scalar" and value.value is not None:
                on = value.value not in ("false", "False")
                options.append(Option(name, "", key, None if name in chart.switches else value.text, on))
    read = read_arguments(words)
    given = root.get("servingEngineSpec")
    assert given is not None
    repository = spec.scalar("repository")
    image = read_image(repository, spec.scalar("tag")) if repository is not None else None
    key_given = any(node.get("vllmApiKey") is not None for node in (spec, given, root))
    env = pods.environment(spec)
    at = spec.key("hf_token") or given.key("hf_token")
    if at is not None:
        env["HF_TOKEN"] = Variable(name=at, value=spec.scalar("hf_token") or given.scalar("hf_token"))
    if key_given:
        env["VLLM_API_KEY"] = Variable(name=Text("", ()), value=None)
    mounts = [Mount(target="/data", source="pvcStorage", kind="volume")] if spec.get("pvcStorage") else []
    mounts += [one for one in pods.mounts(spec, spec) if one.kind == "volume" and spec.get("extraVolumes")]
    openings = []
    how = root.get("routerSpec", "serviceType")
    if how is not None and how.value in ("LoadBalancer", "NodePort"):
        openings.append(Opening(at=how.text, what=f"the router is a {how.value} service: it is open to the network"))
    return Server(
        kind="Helm values (production stack)",
        platform="helm",
        name=spec.string("name") or "",
        at=(spec.key("vllmConfig") or spec.key("name") or spec.text),
        arguments=replace(read, options=(*options, *read.options), model=spec.scalar("modelURL")),
        env=env,
        image=image,
        claim=_production_claim(spec),
        mounts=tuple(mounts),
        one_node=_one_node(spec),
        unread=tuple(
            (key, "vllmConfig") for key, _ in spec.items() if key.value in chart.settings.keys() - chart.beside.keys()
        ),
        shared_memory="sized" if spec.get("shmSize") is not None else "given",
        privileged=pods.privileged(given, "containerSecurityContext", "securityContext"),
        openings=tuple(openings),
        probes=_chart_probe(given),
        probed_elsewhere=True,
        inner_port=True,
        replicas=spec.integer("replicaCount") or 1,
        spread=spec.get("raySpec") is not None,
        editable="keys",
    )


def _one_node(spec: Tree) -> Text | None:
    """Where the chart's volume is given to one node alone; all replicas have the same one."""
    return pods.one_node(spec, "pvcAccessMode") if spec.get("pvcStorage") is not None else None


def _production_claim(spec: Tree) -> Claim:
    count, kind = spec.integer("requestGPU"), spec.get("requestGPUType")
    if count and kind is not None and (kind.value or "").startswith(pods.MIG_RESOURCE):
        return pods.slice_claim(kind.text, _selected(spec))
    asked = spec.string("requestGPU")
    return Claim(
        # A share of a GPU is not a number of ranks, and neither is none at all.
        count=count or None,
        vendor=pods.GPU_RESOURCES.get((kind.value if kind is not None else None) or "nvidia.com/gpu"),
        product=_selected(spec),
        at=spec.key("requestGPU") or spec.key("name"),
        missing=asked is None or count == 0,
    )


def _selected(spec: Tree) -> str | None:
    """The GPU that the chart's own node selector terms name."""
    return pods.named_product(pods.required_labels(spec.get("nodeSelectorTerms"))) or pods.node_product(spec)


def _chart_probe(given: Tree) -> tuple[HealthProbe, ...]:
    """The chart's start-up probe, where the values change it."""
    found = pods.probe(given, "startup", review_facts().probes["production-stack"])
    return (found,) if found is not None else ()


def _modelservice(part: Tree, role: str, root: Tree) -> list[Server]:
    uri = root.scalar("modelArtifacts", "uri")
    name = root.string("modelArtifacts", "name") or ""
    found = []
    for container in pods.containers(part):
        how = container.string("modelCommand")
        env = pods.environment(container)
        engine = pods.engine_of(container, part)
        engine = engine or Engine(pods.words_of(container, env, "args"))
        if not engine.words and how not in ("vllmServe", "imageDefault"):
            continue
        arguments, extra = engine.arguments(), []
        for key, value in part.entries("parallelism"):
            flag = {"tensor": "tensor-parallel-size", "data": "data-parallel-size"}.get(key.value)
            if flag is not None and value.kind == "scalar":
                extra.append(Option(flag, "", key, value.text))
        claim = pods.gpu_claim(container, part)
        if claim.missing:
            # The chart asks for as many GPUs as the parallelism needs.
            needed = 1
            for one in extra:
                needed *= int(one.value.value) if one.value is not None and one.value.value.isdecimal() else 1
            kind = part.string("accelerator", "type") or root.string("accelerator", "type") or "nvidia"
            vendor = {"nvidia": "nvidia", "amd": "amd"}.get(kind, "other")
            claim = replace(claim, missing=False, count=needed, vendor=vendor)
        weights = pods.named(uri) if uri is not None else arguments.model
        found.append(
            Server(
                kind=f"Helm values (llm-d {role})",
                platform="helm",
                name=name,
                at=container.key("args") or container.key("modelCommand") or container.key("image") or container.text,
                arguments=replace(arguments, options=(*arguments.options, *extra), model=weights),
                env=env,
                image=pods.image_of(container),
                claim=replace(claim, nodes=part.integer("parallelism", "workers") or 1),
                mounts=tuple(pods.mounts(container, part)),
                shared_memory="given",
                privileged=pods.privileged(container),
                probes=tuple(pods.probes(container)),
                probed_elsewhere=True,
                cached_elsewhere=uri is not None,
                inner_port=True,
                replicas=part.integer("replicas") or 1,
                editable="items",
            )
        )
    return found
