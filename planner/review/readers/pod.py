"""The pod of a Kubernetes workload: its containers, volumes and what it asks of the node."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from hw_specs.facts import resource_facts
from hw_specs.units import quantity
from planner.facts.review import ProbeDefaults, review_facts
from planner.review.machine import product_of
from planner.review.readers.docker import Engine, engine_in, engine_part, known
from planner.review.readers.image import holds_engine, read_image
from planner.review.readers.launch import SHELLS, launches, shell_call
from planner.review.readers.shell import Scope
from planner.review.readers.tree import Tree
from planner.review.server import Claim, HealthProbe, Image, Limit, Mount, Opening, Variable
from planner.review.text import Text, substituted

_REFERENCE = re.compile(r"\$\(([A-Za-z_][\w.-]*)\)")
GPU_RESOURCES = {"nvidia.com/gpu": "nvidia", "amd.com/gpu": "amd"}
_PRODUCT_LABEL = re.compile(r"gpu|accelerator|instance-type|node-type|product|machine", re.IGNORECASE)
_LONGEST_SCRIPT = 1 << 14
MIG_RESOURCE = "nvidia.com/mig-"


Maps = Mapping[str, Mapping[str, tuple[Text, Text]]]
"""The data of each ConfigMap of the file, by name: key → the key itself and its value."""
NO_MAPS: Maps = {}


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod specification and what stands around it."""

    spec: Tree
    labels: Mapping[str, str]
    role: str = ""
    """``leader``, ``worker`` … where a workload has several kinds of pods."""


def containers(spec: Tree, key: str = "containers") -> Iterator[Tree]:
    """The containers of a pod."""
    found = spec.get(key)
    if found is not None:
        yield from found.list()


def words_of(container: Tree, env: Mapping[str, Variable], key: str) -> tuple[Text, ...]:
    """A container's ``command`` or ``args``, with ``$(NAME)`` put in."""
    return tuple(_expanded(one.text, env) for one in container.one_or_more(key) if one.value is not None)


def _expanded(text: Text, env: Mapping[str, Variable]) -> Text:
    def value(match: re.Match[str], whole: Text) -> Text:
        variable = env.get(match[1])
        if variable is not None and variable.value is not None and variable.value.known:
            return replace(variable.value, unknown=(), verbatim=False)
        return replace(whole, unknown=(match[1],))

    return substituted(text, _REFERENCE, value) if "$(" in text.value else text


def environment(container: Tree, maps: Maps = NO_MAPS) -> dict[str, Variable]:
    """A container's variables; those from secrets, fields and other files have no value."""
    found: dict[str, Variable] = {}
    for one in container.each("envFrom"):
        held = maps.get(one.string("configMapRef", "name") or "")
        prefix = one.string("prefix") or ""
        for key, (at, given) in held.items() if held is not None else ():
            found[prefix + key] = Variable(name=at, value=given)
    for one in container.each("env"):
        name, value, source = one.get("name"), one.get("value"), one.get("valueFrom", "configMapKeyRef")
        if name is None or name.kind != "scalar":
            continue
        text = value.text if value is not None and value.kind == "scalar" else None
        if value is None and source is not None:
            _, text = maps.get(source.string("name") or "", {}).get(source.string("key") or "", (None, None))
        found[name.text.value] = Variable(name=name.text, value=text)
    return found


def hides_variables(container: Tree, maps: Maps) -> bool:
    """Whether some of its variables come from what the file does not hold."""
    return any((one.string("configMapRef", "name") or "") not in maps for one in container.each("envFrom"))


def files(container: Tree, spec: Tree, maps: Maps) -> dict[str, Text]:
    """Files in a container that the file's own ConfigMaps hold, by their path there."""
    held: dict[str, dict[str, Text]] = {}
    for volume in spec.each("volumes"):
        data = maps.get(volume.string("configMap", "name") or "")
        if data is None:
            continue
        texts = {key: value for key, (_, value) in data.items()}
        items = volume.get("configMap", "items")
        if items is not None:
            pairs = [(one.string("key") or "", one.string("path") or "") for one in items.list()]
            texts = {path: texts[key] for key, path in pairs if key in texts}
        held[volume.string("name") or ""] = texts
    found: dict[str, Text] = {}
    for mount in container.each("volumeMounts"):
        target, part = (mount.string("mountPath") or "").rstrip("/"), mount.string("subPath")
        for path, text in held.get(mount.string("name") or "", {}).items():
            if part is None:
                found[f"{target}/{path}"] = text
            elif part == path:
                found[target] = text
    return found


def image_of(container: Tree) -> Image | None:
    """A container's image."""
    name = container.scalar("image")
    return read_image(name) if name is not None and name.value else None


def named(address: Text) -> Text:
    """A model's address without its scheme, where the scheme is the hub's."""
    scheme = next((one for one in ("hf://", "oci+hf://") if address.value.startswith(one)), "")
    return address.cut(len(scheme))


def engine_of(container: Tree, spec: Tree, maps: Maps = NO_MAPS) -> Engine | None:
    """The engine in a container; None where it runs something else."""
    env = environment(container, maps)
    image = image_of(container) or read_image(Text("built", (container.start,) * 5))
    command, args = words_of(container, env, "command"), words_of(container, env, "args")
    if not command and not args and not holds_engine(image):
        return None
    full = (*command, *args)
    script = _script(full, files(container, spec, maps)) if shell_call(full) is None else None
    if script is not None:
        text, positional = script
        return engine_in(text, Scope(outside=known(env), positional=positional))
    entry = command[0] if command else None
    return engine_part((*command[1:], *args), image, entry, known(env), parenthesised=True)


def _script(words: Sequence[Text], held: Mapping[str, Text]) -> tuple[Text, tuple[Text, ...]] | None:
    """The script that a command runs, where the file holds it, and what it is called with."""
    start = 1 if words and words[0].value.rpartition("/")[2] in SHELLS else 0
    while start and start < len(words) and words[start].value.startswith("-"):
        start += 1
    script = held.get(words[start].value) if start < len(words) else None
    if script is None or len(script.value) > _LONGEST_SCRIPT or not _starts(script):
        return None
    return script, tuple(words[start + 1 :])


@lru_cache(maxsize=64)
def _starts(script: Text) -> bool:
    """Whether a script starts a server at all; many containers may run the same one."""
    return any(not one.container for one in launches(script, Scope()))


def mounts(container: Tree, spec: Tree) -> list[Mount]:
    """What is mounted into a container, by the kind of its volume."""
    kinds: dict[str, tuple[str, str | None]] = {}
    for volume in spec.each("volumes"):
        name = volume.string("name") or ""
        empty = volume.get("emptyDir")
        if empty is not None:
            memory = empty.string("medium") == "Memory"
            kinds[name] = ("memory" if memory else "empty", empty.string("sizeLimit"))
        elif any(volume.get(key) is not None for key in ("configMap", "secret", "downwardAPI", "projected")):
            kinds[name] = ("config", None)
        else:
            kinds[name] = ("volume", None)
    found = []
    for mount in container.each("volumeMounts"):
        name = mount.string("name") or ""
        kind, limit = kinds.get(name, ("volume", None))
        found.append(Mount(target=(mount.string("mountPath") or "").rstrip("/"), source=limit or name, kind=kind))
    return found


def one_node(holder: Tree, *path: str) -> Text | None:
    """Where access modes are written that leave a volume to one node; None where none are, or others too."""
    modes = holder.get(*path)
    names = [one.value for one in modes.list()] if modes is not None else []
    return modes.text if modes is not None and names and set(names) <= {"ReadWriteOnce", "ReadWriteOncePod"} else None


def gpu_claim(container: Tree, spec: Tree) -> Claim:
    """The GPUs a container asks for, and what the pod says of the node."""
    vendor, count, at = None, None, None
    resources = container.get("resources")
    other = part_of = None
    for part in ("limits", "requests"):
        for key, value in container.entries("resources", part):
            if key.value in GPU_RESOURCES and count is None:
                vendor, at = GPU_RESOURCES[key.value], key
                number = value.value or ""
                count = int(number) if number.isdecimal() and len(number) < 6 else None
            elif key.value.startswith(MIG_RESOURCE) and value.value not in ("0", None):
                part_of = key
            elif key.value.startswith(resource_facts().others):
                other = key
    claims = spec.get("resourceClaims") is not None or (resources is not None and resources.get("claims") is not None)
    product = node_product(spec)
    if at is None and other is not None:
        return Claim(vendor="other", at=other, product=product)
    if at is None and part_of is not None:
        return slice_claim(part_of, product)
    # What a template puts in its place may well ask for some.
    filled_in = resources is not None and resources.kind == "scalar" and not resources.text.known
    zero = count == 0
    place = at or (container.key("resources") or container.key("image") or container.key("name"))
    return Claim(
        count=None if zero else count,
        vendor=vendor,
        product=product,
        at=place,
        missing=(at is None or zero) and not claims and not filled_in,
    )


def slice_claim(resource: Text, product: str | None) -> Claim:
    """A MIG slice: a process sees one, however many are asked for; which card it is of, only a label says."""
    profile = resource.value.removeprefix("nvidia.com/")
    whole = product_of(product)
    return Claim(count=1, vendor="nvidia", at=resource, product=f"{whole}-{profile}" if whole else profile)


def node_product(spec: Tree) -> str | None:
    """The label of the node selector or of a required affinity that names a GPU or a machine."""
    values = [(key.value, value.value or "") for key, value in spec.entries("nodeSelector")]
    required = spec.get(
        "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"
    )
    return named_product([*values, *required_labels(required)])


def required_labels(terms: Tree | None) -> list[tuple[str, str]]:
    """Labels and values of node selector terms, any of which may hold."""
    values: list[tuple[str, str]] = []
    for term in terms.list() if terms is not None else ():
        for one in term.each("matchExpressions"):
            named = [value.value or "" for value in (one.get("values") or one).list()]
            if one.string("operator") == "In":
                values += [(one.string("key") or "", text) for text in named]
    return values


def named_product(values: Sequence[tuple[str, str]]) -> str | None:
    """The one GPU or machine that labels name; None for none, and for a choice that is still open."""
    named_here: list[str] = []
    for label, text in values:
        if _PRODUCT_LABEL.search(label) and text not in ("true", "false", "present", ""):
            named_here.append(text)
    # Several names may be one product's.
    products = {found for text in named_here if (found := product_of(text)) is not None}
    if len(products) == 1:
        return next(text for text in named_here if product_of(text) is not None)
    return named_here[0] if named_here and not products else None


def privileged(holder: Tree, *names: str) -> Text | None:
    """Where a container is made privileged, by its ``securityContext`` or what a chart calls it."""
    for name in names or ("securityContext",):
        security = holder.get(name)
        if security is not None and security.string("privileged") == "true":
            return security.key("privileged")
    return None


def runs_as(container: Tree, spec: Tree) -> Text | None:
    """The number of the user that a container runs as: its own, else the pod's."""
    for holder in (container, spec):
        user = holder.scalar("securityContext", "runAsUser")
        if user is not None:
            return user if user.known and user.value.isdecimal() else None
    return None


def read_only(container: Tree) -> Text | None:
    """Where a container's root file system is made read-only."""
    security = container.get("securityContext")
    if security is None or security.string("readOnlyRootFilesystem") != "true":
        return None
    return security.key("readOnlyRootFilesystem")


def probes(container: Tree) -> list[HealthProbe]:
    """A container's probes, with the defaults of Kubernetes."""
    facts = review_facts().probes["kubernetes"]
    found = (probe(container, kind, facts) for kind in ("startup", "liveness", "readiness"))
    return [one for one in found if one is not None]


def probe(holder: Tree, kind: str, otherwise: ProbeDefaults) -> HealthProbe | None:
    """One probe; `otherwise` has what it does not say."""
    node, key = holder.get(kind + "Probe"), holder.key(kind + "Probe")
    if node is None or key is None or node.kind != "map":
        return None
    given = (node.integer(name) for name in ("initialDelaySeconds", "periodSeconds", "failureThreshold"))
    usual = (otherwise.initial_s, otherwise.period_s, otherwise.failures)
    initial, period, failures = (own if one is None else one for one, own in zip(given, usual, strict=True))
    port = node.scalar("tcpSocket", "port") or node.scalar("httpGet", "port")
    return HealthProbe(kind=kind, at=key, initial_s=initial, period_s=period, failures=failures, port=port)


def openings(container: Tree, spec: Tree) -> list[Opening]:
    """Ways past the cluster's own network."""
    found = []
    if spec.string("hostNetwork") == "true":
        key = spec.key("hostNetwork")
        assert key is not None
        found.append(Opening(at=key, what="the pod uses the node's own network: it is reachable on all its interfaces"))
    for port in container.each("ports"):
        host = port.get("hostPort")
        if host is not None:
            found.append(
                Opening(
                    at=port.key("hostPort") or host.text,
                    port=port.integer("containerPort"),
                    what=f"port {host.value} of the node is published on all interfaces",
                )
            )
    return found


def numbers(holder: Tree, *keys: str) -> list[Text]:
    """The number that each of its ports has under the first of `keys` that it has; none for a name or a template."""
    found = []
    for port in holder.each("ports"):
        given = next((one for key in keys if (one := port.get(key)) is not None), None)
        if given is not None and given.kind == "scalar" and given.text.known and given.text.value.isdecimal():
            found.append(given.text)
    return found


def memory_limit(container: Tree) -> Limit | None:
    """What a container may take of the node's memory."""
    value = container.get("resources", "limits", "memory")
    size = quantity(value.value) if value is not None and value.text.known else None
    return Limit(bytes=size, at=value.text) if value is not None and size is not None else None


def side_images(container: Tree, spec: Tree) -> tuple[Image, ...]:
    """Images of the other containers of a pod."""
    others = [*containers(spec, "initContainers"), *containers(spec)]
    found = [image_of(one) for one in others if one.start != container.start]
    return tuple(one for one in found if one is not None)
