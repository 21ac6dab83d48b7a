"""Helm values of two charts: llm-d's modelservice and vLLM's production stack."""

from __future__ import annotations

from dataclasses import replace

from planner.review.flags import flags_of
from planner.review.options import Option, read_options
from planner.review.readers import pod as pods
from planner.review.readers.image import read_image
from planner.review.readers.pod import Pod
from planner.review.readers.tree import Tree
from planner.review.server import Claim, Mount, Opening, Probe, Server, Variable
from planner.review.text import Text

_VALUES = {
    "tensorParallelSize": "tensor-parallel-size",
    "pipelineParallelSize": "pipeline-parallel-size",
    "maxModelLen": "max-model-len",
    "maxNumSeqs": "max-num-seqs",
    "gpuMemoryUtilization": "gpu-memory-utilization",
    "dtype": "dtype",
    "enablePrefixCaching": "enable-prefix-caching",
    "enableChunkedPrefill": "enable-chunked-prefill",
    "maxLoras": "max-loras",
    "enableLoRA": "enable-lora",
}
_SWITCHES = ("enable-prefix-caching", "enable-chunked-prefill", "enable-lora")
PRODUCTION_STACK_PATIENCE_S = 15 + 10 * 60
"""vllm-stack chart, helm/values.yaml: startupProbe of 15 s and 60 failures of 10 s each."""


def is_values(root: Tree) -> bool:
    """Whether a document holds values of one of the two charts."""
    return root.get("servingEngineSpec", "modelSpec") is not None or (
        root.get("modelArtifacts") is not None and (root.get("decode") is not None or root.get("prefill") is not None)
    )


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
    config = spec.get("vllmConfig")
    options: list[Option] = []
    words: list[Text] = []
    for key, value in config.items() if config is not None else ():
        if key.value == "extraArgs":
            words += [one.text for one in value.list() if one.kind == "scalar"]
        elif key.value in _VALUES and value.kind == "scalar" and value.value is not None:
            name = _VALUES[key.value]
            on = value.value not in ("false", "False")
            options.append(Option(name, "", key, None if name in _SWITCHES else value.text, on))
    more, _, _ = read_options(words, flags_of(None))
    given = root.get("servingEngineSpec")
    assert given is not None
    model = spec.get("modelURL")
    tag = spec.get("tag")
    repository = spec.get("repository")
    image = read_image(repository.text, tag.text if tag is not None else None) if repository is not None else None
    key_given = any(node.get("vllmApiKey") is not None for node in (spec, given, root))
    env = pods.environment(spec)
    for name, variable in (("hf_token", "HF_TOKEN"),):
        node = spec.get(name) or given.get(name)
        at = spec.key(name) or given.key(name)
        if node is not None and at is not None:
            env[variable] = Variable(name=at, value=node.text if node.kind == "scalar" else None)
    if key_given:
        env["VLLM_API_KEY"] = Variable(name=Text("", ()), value=None)
    mounts = [Mount(target="/data", source="pvcStorage", kind="volume")] if spec.get("pvcStorage") else []
    mounts += [one for one in pods.mounts(spec, spec) if one.kind == "volume" and spec.get("extraVolumes")]
    openings = []
    router = root.get("routerSpec")
    how = router.get("serviceType") if router is not None else None
    if how is not None and how.value in ("LoadBalancer", "NodePort"):
        openings.append(Opening(at=how.text, what=f"the router is a {how.value} service: it is open to the network"))
    return Server(
        kind="Helm values (production stack)",
        setting="helm",
        name=spec.string("name") or "",
        at=(spec.key("vllmConfig") or spec.key("name") or spec.text),
        options=(*options, *more),
        model=model.text if model is not None and model.kind == "scalar" else None,
        env=env,
        image=image,
        claim=_production_claim(spec),
        mounts=tuple(mounts),
        shared_memory="sized" if spec.get("shmSize") is not None else "given",
        privileged=pods.privileged(given, "containerSecurityContext", "securityContext"),
        openings=tuple(openings),
        probes=_chart_probe(given),
        probed_elsewhere=True,
        inner_port=True,
        replicas=spec.integer("replicaCount") or 1,
        spread=spec.get("raySpec") is not None,
        editable="keys",
        args_end=words[-1] if words else None,
    )


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


def _chart_probe(given: Tree) -> tuple[Probe, ...]:
    """The chart's start-up probe, where the values change it."""
    node, key = given.get("startupProbe"), given.key("startupProbe")
    if node is None or key is None or node.kind != "map":
        return ()
    return (
        Probe(
            kind="startup",
            at=key,
            initial_s=node.integer("initialDelaySeconds") or 15,
            period_s=node.integer("periodSeconds") or 10,
            failures=node.integer("failureThreshold") or 60,
        ),
    )


def _modelservice(part: Tree, role: str, root: Tree) -> list[Server]:
    uri = root.get("modelArtifacts", "uri")
    name = root.string("modelArtifacts", "name") or ""
    found = []
    for container in pods.containers(part):
        how = container.string("modelCommand")
        env = pods.environment(container)
        engine = pods.engine_of(container, part)
        words = engine.words if engine is not None else pods.words_of(container, env, "args")
        doubled = engine.doubled if engine is not None else None
        if engine is None and how not in ("vllmServe", "imageDefault") and not words:
            continue
        options, model, open_ended = read_options(words, flags_of(None))
        sizes = part.get("parallelism")
        extra = []
        for key, value in sizes.items() if sizes is not None else ():
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
        image = pods.image_of(container)
        weights = uri.text if uri is not None and uri.kind == "scalar" else None
        if weights is not None and weights.value.startswith("hf://"):
            weights = weights.cut(5)
        pod = Pod(spec=part, labels={})
        mounted = pods.mounts(container, pod.spec)
        asked = [] if doubled is None else [(doubled, "doubled")]
        multi = part.integer("parallelism", "workers") or 1
        found.append(
            Server(
                kind=f"Helm values (llm-d {role})",
                setting="helm",
                name=name,
                at=container.key("args") or container.key("modelCommand") or container.key("image") or container.text,
                options=(*options, *extra),
                model=weights or model,
                open_ended=open_ended,
                env=env,
                image=image,
                claim=replace(claim, nodes=multi),
                mounts=tuple(mounted),
                shared_memory="given",
                privileged=pods.privileged(container),
                probes=tuple(pods.probes(container)),
                probed_elsewhere=True,
                cached_elsewhere=uri is not None,
                inner_port=True,
                replicas=part.integer("replicas") or 1,
                asked=tuple(asked),
                editable="items",
                args_end=words[-1] if words else None,
            )
        )
    return found
