"""Kubernetes manifests: workloads that hold a pod, KServe's services; and the services in front of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from hw_specs.units import quantity
from planner.review.readers import kserve
from planner.review.readers import pod as pods
from planner.review.readers.command import variables
from planner.review.readers.pod import Pod
from planner.review.readers.tree import Tree
from planner.review.server import Opening, Platform, Server
from planner.review.text import Text

_RUNTIMES = ("InferenceService", "ServingRuntime", "ClusterServingRuntime")
_STARTED = ("Deployment", "StatefulSet", "Job", "Pod", "ReplicaSet", "DaemonSet")
"""Kinds that start a container with the image's own command; others bring one."""
_DEEPEST = 12
_MOST_SERVERS = 500
_MOST_KEYS = 1000
"""Of a ConfigMap."""
_RAY = re.compile(r"\bray\s+start\b|ray_cluster_size|multi-node-serving")


@dataclass(frozen=True, slots=True)
class Front:
    """A Kubernetes service."""

    name: Text
    selector: Mapping[str, str]
    opening: Opening | None
    targets: tuple[Text, ...] = ()
    """Ports of the pods that it leads to, by number."""


@dataclass(frozen=True, slots=True)
class Found:
    """A server and the labels of its pod."""

    server: Server
    labels: Mapping[str, str]


def is_manifest(root: Tree) -> bool:
    """Whether a document is one of Kubernetes' objects."""
    return root.string("kind") is not None and root.string("apiVersion") is not None


def servers_of(roots: Sequence[Tree]) -> list[Server]:
    """Return the servers of the documents of one file."""
    objects = [one for root in roots for one in _unpacked(root)]
    fronts = [front for one in objects if one.string("kind") == "Service" and (front := _front(one)) is not None]
    maps = {name: data for one in objects if (name := one.string("metadata", "name")) and (data := _data(one))}
    claims = {
        one.string("metadata", "name"): at
        for one in objects
        if one.string("kind") == "PersistentVolumeClaim" and (at := pods.one_node(one, "spec", "accessModes"))
    }
    found: list[Found] = []
    for one in objects:
        if len(found) >= _MOST_SERVERS:
            break
        kind = one.string("kind") or ""
        if kind == "RayService":
            from planner.review.readers.ray import servers_of as ray_servers

            found += [Found(server, {}) for server in ray_servers(one)]
        elif kind in ("LLMInferenceService", "LLMInferenceServiceConfig"):
            found += [Found(server, {}) for server in kserve.llm_servers(one)]
        elif kind not in ("Service", "ConfigMap", "Secret"):
            found += _workload(one, kind, maps, claims)
    return [_behind(one, fronts) for one in found]


def _data(root: Tree) -> dict[str, tuple[Text, Text]]:
    """What a ConfigMap holds; nothing for another object."""
    pairs = islice(root.entries("data"), _MOST_KEYS) if root.string("kind") == "ConfigMap" else ()
    return {key.value: (key, value.text) for key, value in pairs if value.kind == "scalar"}


def _unpacked(root: Tree) -> Iterator[Tree]:
    items = root.get("items")
    if (root.string("kind") or "").endswith("List") and items is not None:
        for item in items.list():
            yield from _unpacked(item)
    elif root.kind == "map":
        yield root


def _front(root: Tree) -> Front | None:
    name, spec = root.get("metadata", "name"), root.get("spec")
    if name is None or name.kind != "scalar" or spec is None:
        return None
    how, at = spec.string("type"), spec.key("type")
    opening = None
    internal = any(
        "internal" in key.value.lower() and (value.value or "").lower() in ("true", "internal")
        for key, value in root.entries("metadata", "annotations")
    )
    if how in ("LoadBalancer", "NodePort") and at is not None and not internal:
        opening = Opening(at=at, what=f"the {how} service `{name.value}` opens it to the network")
    return Front(
        name=name.text,
        selector={key.value: value.value or "" for key, value in spec.entries("selector")},
        opening=opening,
        targets=tuple(pods.numbers(spec, "targetPort", "port")),
    )


def _behind(found: Found, fronts: Sequence[Front]) -> Server:
    """The server with what the services of its file do to it."""
    openings, targets = list(found.server.openings), []
    declared = {one.value for one in found.server.declared_ports}
    for front in fronts:
        chosen = front.selector and all(found.labels.get(key) == value for key, value in front.selector.items())
        if front.opening is not None and chosen:
            openings.append(front.opening)
        if chosen:
            # Another container of the pod may listen on a port that this one does not declare.
            targets += [one for one in front.targets if one.value in declared or not found.server.side_images]
    return replace(
        found.server,
        openings=tuple(openings),
        front_ports=tuple(targets),
        services=tuple(front.name for front in fronts),
    )


def _pods(root: Tree) -> Iterator[Pod]:
    """Every pod specification in an object, wherever its kind keeps it."""
    waiting: list[tuple[Tree, str, Mapping[str, str], int]] = [(root, "", {}, 0)]
    while waiting:
        node, role, labels, depth = waiting.pop(0)
        if node.kind != "map" or depth > _DEEPEST:
            continue
        given = node.get("metadata", "labels")
        if given is not None and depth:
            labels = {key.value: value.value or "" for key, value in given.items()}
        held = node.get("containers")
        if held is not None and held.kind == "list":
            yield Pod(spec=node, labels=labels, role=role)
            continue
        for key, value in node.items():
            named = key.value if key.value.endswith(("Template", "predictor", "prefill", "worker")) else role
            if value.kind == "map":
                waiting.append((value, named, labels, depth + 1))
            for one in value.list():
                waiting.append((one, named, labels, depth + 1))


def _workload(root: Tree, kind: str, maps: pods.Maps, claims: Mapping[str | None, Text]) -> list[Found]:
    name = root.string("metadata", "name") or ""
    size = root.integer("spec", "leaderWorkerTemplate", "size")
    found = []
    platform: Platform = "kserve" if kind in _RUNTIMES else "kubernetes"
    for pod in _pods(root):
        if (
            kind == "LeaderWorkerSet"
            and pod.role == "workerTemplate"
            and root.get("spec", "leaderWorkerTemplate", "leaderTemplate")
        ):
            continue
        for container in islice(pods.containers(pod.spec), _MOST_SERVERS):
            server = server_of(container, pod, kind=kind, name=name, platform=platform, maps=maps)
            if server is None or (not server.options and server.model is None and kind not in _STARTED):
                continue
            nodes = size if kind == "LeaderWorkerSet" and size else 1
            replicas = root.integer("spec", "replicas")
            claim = replace(server.claim, nodes=nodes, missing=server.claim.missing and "Runtime" not in kind)
            server = replace(
                server,
                claim=claim,
                one_node=next((at for one in _claimed(pod.spec) if (at := claims.get(one)) is not None), None),
                # Where Ray is started beside it, the other ranks are other pods.
                spread=kind.startswith("Ray") or (nodes == 1 and _starts_ray(container)),
                replicas=1 if replicas is None else replicas,
            )
            found.append(Found(server, pod.labels))
    if kind == "InferenceService":
        found += [Found(server, {}) for server in kserve.predictors(root)]
    return found


def _claimed(spec: Tree) -> Iterator[str | None]:
    """The claims whose volumes a pod has."""
    for volume in spec.each("volumes"):
        yield volume.string("persistentVolumeClaim", "claimName")


def _starts_ray(container: Tree) -> bool:
    words = [*pods.words_of(container, {}, "command"), *pods.words_of(container, {}, "args")]
    return any(_RAY.search(word.value) for word in words)


def server_of(
    container: Tree, pod: Pod, *, kind: str, name: str, platform: Platform, maps: pods.Maps = pods.NO_MAPS
) -> Server | None:
    """Return the server in one container of a pod; None where it holds something else."""
    engine = pods.engine_of(container, pod.spec, maps)
    if engine is None:
        return None
    env = {**variables(engine.exported.items()), **pods.environment(container, maps)}
    mounted = pods.mounts(container, pod.spec)
    memory = next((one for one in mounted if one.target == "/dev/shm"), None)
    host = pod.spec.string("hostIPC") == "true"
    at = container.key("command") or container.key("args") or container.key("image") or container.text
    return Server(
        kind=kind,
        platform=platform,
        name=name,
        at=at,
        arguments=engine.arguments(),
        env=env,
        image=pods.image_of(container),
        side_images=pods.side_images(container, pod.spec),
        claim=pods.gpu_claim(container, pod.spec),
        mounts=tuple(mounted),
        shared_memory="host" if host else "mounted" if memory is not None else "none",
        shared_memory_bytes=quantity(memory.source) if memory is not None and memory.source else None,
        host_memory=pods.memory_limit(container),
        privileged=pods.privileged(container),
        user=pods.runs_as(container, pod.spec),
        read_only=pods.read_only(container),
        openings=tuple(pods.openings(container, pod.spec)),
        declared_ports=tuple(pods.numbers(container, "containerPort")),
        inner_port=True,
        probes=tuple(pods.probes(container)),
        probed_elsewhere=platform == "kserve",
        # A service with a container of its own gets no copy of the weights from KServe; a runtime is given one.
        cached_elsewhere=platform == "kserve" and kind != "InferenceService",
        hidden_variables=pods.hides_variables(container, maps),
        files={path: partial(_itself, text) for path, text in pods.files(container, pod.spec, maps).items()},
        containers_at=pod.spec.key("containers"),
        links=pod.spec.string("enableServiceLinks") != "false",
        editable="items",
    )


def _itself(text: Text) -> Text:
    return text
