"""Docker Compose files: each service that serves the engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache, partial
from itertools import islice

from planner.facts.engine_flags import flags_of
from planner.facts.review import review_facts
from planner.rendering.secrets import is_secret_name
from planner.review.readers.docker import (
    engine_part,
    gpus_count,
    host_port,
    known,
    listed,
    published,
    size_limit,
    user_number,
    visible_count,
)
from planner.review.readers.env_file import assignments, variables_of
from planner.review.readers.image import read_image, vendor_of
from planner.review.readers.limits import Unreadable
from planner.review.readers.shell import Scope, commands
from planner.review.readers.tree import Elsewhere, Together, Tree, assigned, documents
from planner.review.server import Claim, HealthProbe, HostPort, Image, Limit, Mount, Opening, Server, Variable
from planner.review.text import Source, Text, made, substituted

_REFERENCE = re.compile(r"\$\$|\$\{([A-Za-z_]\w*)(?:(:?[-?+])([^{}]*))?\}|\$([A-Za-z_]\w*)")
_MOST_LAYERS = 8
"""Services that extend one another."""
_MOST_SERVICES = 100
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|m|s|ms)")


def is_compose(root: Tree) -> bool:
    """Whether a document looks like a Compose file."""
    services = root.get("services")
    return services is not None and services.kind == "map" and root.get("kind") is None


def servers_of(root: Tree, beside: Callable[[str], str | None]) -> list[Server]:
    """Return the servers of a Compose file; `beside` reads the files that it names, ``.env`` among them."""
    services = root.get("services")
    if services is None:
        return []
    beside = cache(beside)
    # A secret belongs there; in the text its reference stays as it is written.
    kept = assignments(beside(".env") or "")
    outside = {name: value for name, value in kept if value and not is_secret_name(name)}
    awaited = _awaited(services)
    found = []
    for name, service in islice(services.items(), _MOST_SERVICES):
        layers = _extended(service, services, beside)
        server = _server(name, Together(layers), outside, beside, awaited=name.value in awaited)
        if server is not None:
            found.append(server)
    return found


@lru_cache(maxsize=16)
def _services(content: str) -> Tree | None:
    """The services of another Compose file; None for what is not one."""
    try:
        roots = documents(Source(content))
    except Unreadable:
        return None
    return next((one.get("services") for one in roots if one.kind == "map"), None)


def _extended(service: Tree, services: Tree, beside: Callable[[str], str | None]) -> list[Tree]:
    """A service and what it extends, here or in another file, the nearest first."""
    layers, here = [service], services
    while len(layers) <= _MOST_LAYERS and (more := layers[-1].get("extends")) is not None:
        wanted, file = more.string("service") or more.value, more.get("file")
        if file is not None:
            content = beside(file.value or "")
            there = _services(content) if content is not None else None
            if there is None:
                break
            here = Elsewhere.of(there, file.start)
        base = here.get(wanted or "")
        if base is None or base.kind != "map":
            break
        layers.append(base)
    return layers


def interpolated(text: Text, outside: Mapping[str, str]) -> Text:
    """Return `text` with Compose's own variables put in; those without a value are named as unknown."""

    def value(match: re.Match[str], whole: Text) -> Text:
        name = match[1] or match[4]
        if name is None:
            return whole.cut(0, 1)
        given = outside.get(name)
        if given is not None and (given or not (match[2] or "").startswith(":")):
            return made(given, whole.start)
        if match[2] in (":-", "-"):
            return whole.cut(match.start(3) - match.start(), match.end(3) - match.start())
        return replace(whole, unknown=(name,))

    return substituted(text, _REFERENCE, value) if "$" in text.value else text


def _server(
    name: Text, service: Together, outside: Mapping[str, str], beside: Callable[[str], str | None], *, awaited: bool
) -> Server | None:
    image_at = service.scalar("image")
    image = read_image(interpolated(image_at, outside)) if image_at is not None else None
    entry = _words(service.get("entrypoint"), outside)
    words = _words(service.get("command"), outside)
    env, hidden = _variables(service, outside, beside)
    stand_in = image if image is not None else _built(service, words)
    first = entry[0] if entry else None
    engine = engine_part((*entry[1:], *words), stand_in, first, known(env))
    if engine is None:
        return None
    command_at = service.key("command") or service.key("entrypoint") or service.key("image") or name
    network = service.string("network_mode") or ""
    return Server(
        kind="Compose service",
        platform="compose",
        name=name.value,
        at=command_at,
        arguments=engine.arguments(),
        env=env,
        image=image,
        claim=_claim(service, image, env),
        mounts=tuple(_mounts(service, outside)),
        shared_memory=_shared_memory(service),
        host_memory=_memory_limit(service, outside),
        privileged=_privileged(service),
        user=_user(service, outside),
        read_only=service.key("read_only") if service.string("read_only") == "true" else None,
        openings=tuple(_openings(service, outside)),
        host_ports=tuple(_host_ports(service, outside)),
        stays=service.get("profiles") is None,
        inner_port=network != "host",
        hidden_variables=hidden or _missing_base(service),
        files=_files(service, outside, beside),
        probes=tuple(_probe(service)) if awaited else (),
        editable="items" if (service.get("command") or service).kind == "list" else "words",
    )


def _built(service: Tree, words: Sequence[Text]) -> Image:
    """What stands for an image that is built beside the file: the engine's, where the command is the engine's."""
    flags = [word for word in words if flags_of(None).find(word.value.partition("=")[0].replace("_", "-")) is not None]
    engine = len(flags) > 1 and any(word.value.partition("=")[0] in ("--model", "--config") for word in flags)
    name = "vllm" if engine else "built"
    return read_image(Text(name, (service.start,) * len(name)))


def _missing_base(service: Together) -> bool:
    """Whether what the service extends is not at hand."""
    return service.parts[-1].get("extends") is not None


def _variables(
    service: Together, outside: Mapping[str, str], beside: Callable[[str], str | None]
) -> tuple[dict[str, Variable], bool]:
    """The container's variables, and whether a file that holds more of them is not at hand."""
    found: dict[str, Variable] = {}
    hidden = False
    for part in reversed(service.parts):
        for file in part.one_or_more("env_file"):
            at = file.get("path") if file.kind == "map" else file
            content = beside(at.value or "") if at is not None else None
            if at is None or content is None:
                hidden = hidden or file.string("required") != "false"
                continue
            found.update(variables_of(content, at.start))
        found.update(_environment(part, outside))
    return found, hidden


def _files(
    service: Tree, outside: Mapping[str, str], beside: Callable[[str], str | None]
) -> dict[str, Callable[[], Text | None]]:
    """Files of the artefact's folder that are mounted into the container, by their place there."""
    found: dict[str, Callable[[], Text | None]] = {}
    for mount, at in zip(_mounts(service, outside), service.each("volumes"), strict=False):
        if mount.source.startswith("."):
            found[mount.target] = partial(_content, mount.source, at.start, beside)
    return found


def _content(path: str, place: int, beside: Callable[[str], str | None]) -> Text | None:
    content = beside(path)
    return None if content is None else made(content, place)


def _words(node: Tree | None, outside: Mapping[str, str]) -> tuple[Text, ...]:
    if node is None:
        return ()
    if node.kind == "list":
        return tuple(interpolated(one.text, outside) for one in node.list() if one.kind == "scalar")
    if node.kind != "scalar" or node.value is None:
        return ()
    text = interpolated(node.text, outside)
    # Compose splits a command as a shell would, and expands nothing in it any more.
    found: list[Text] = []
    for command in commands(text, Scope()):
        found += [made(f"{name}={value.value}", value.start) for name, value in command.assignments]
        found += command.words
    return tuple(found)


def _environment(part: Tree, outside: Mapping[str, str]) -> dict[str, Variable]:
    return {
        name: replace(one, value=interpolated(one.value, outside)) if one.value is not None else one
        for name, one in assigned(part, "environment").items()
    }


def _claim(service: Together, image: Image | None, env: Mapping[str, Variable]) -> Claim:
    vendor = vendor_of(image) if image is not None else None
    for device in service.each("deploy", "resources", "reservations", "devices"):
        ids = device.get("device_ids")
        count = device.integer("count")
        named = tuple(name for each in (ids.list() if ids is not None else ()) for name in listed(each.value or ""))
        if ids is not None:
            count = len(named)
        driver = device.string("driver")
        asks = [one.value for one in (device.get("capabilities") or device).list()]
        if "gpu" in asks or driver in ("nvidia", "amd", "cdi"):
            vendor = "amd" if driver == "amd" else "nvidia"
            return Claim(count=count, vendor=vendor, at=device.text, devices=named)
    gpus = service.get("gpus")
    if gpus is not None:
        return Claim(count=gpus_count(gpus.value or "all"), vendor="nvidia", at=service.key("gpus"))
    paths = [one.value or one.string("source") or "" for one in service.each("devices")]
    if any(path.startswith("/dev/kfd") for path in paths):
        count = visible_count(env, "HIP_VISIBLE_DEVICES") or visible_count(env, "ROCR_VISIBLE_DEVICES")
        return Claim(count=count, vendor="amd", at=service.key("devices"))
    if any(path.startswith(("/dev/nvidia", "nvidia.com/gpu")) for path in paths):
        return Claim(vendor="nvidia", at=service.key("devices"))
    if service.string("runtime") == "nvidia":
        return Claim(count=visible_count(env, "NVIDIA_VISIBLE_DEVICES"), vendor="nvidia", at=service.key("runtime"))
    return Claim(at=service.key("image"), missing=vendor in ("nvidia", "amd") and not _missing_base(service))


def _mounts(service: Tree, outside: Mapping[str, str]) -> list[Mount]:
    found = []
    for one in service.each("volumes"):
        if one.kind == "map":
            kind = "memory" if one.string("type") == "tmpfs" else "volume"
            found.append(Mount(target=one.string("target") or "", source=one.string("source") or "", kind=kind))
            continue
        parts = interpolated(one.text, outside).value.split(":")
        if len(parts) >= 2:
            found.append(Mount(target=parts[1], source=parts[0], kind="volume"))
    places = [one.value or "" for one in service.one_or_more("tmpfs")]
    return found + [Mount(target=place.partition(":")[0], source="", kind="memory") for place in places]


def _shared_memory(service: Tree) -> str:
    if service.string("ipc") == "host":
        return "host"
    if service.get("shm_size") is not None:
        return "sized"
    return "mounted" if any(one.target == "/dev/shm" for one in _mounts(service, {})) else "none"


def _memory_limit(service: Tree, outside: Mapping[str, str]) -> Limit | None:
    found = service.get("mem_limit") or service.get("deploy", "resources", "limits", "memory")
    return size_limit(interpolated(found.text, outside)) if found is not None else None


def _privileged(service: Tree) -> Text | None:
    return service.key("privileged") if service.string("privileged") == "true" else None


def _user(service: Tree, outside: Mapping[str, str]) -> Text | None:
    user = service.get("user")
    return user_number(interpolated(user.text, outside)) if user is not None and user.value is not None else None


def _openings(service: Tree, outside: Mapping[str, str]) -> list[Opening]:
    found: list[Opening] = []
    for one in service.each("ports"):
        if one.kind == "map":
            target = one.integer("target")
            host = one.string("host_ip")
            if host in (None, "0.0.0.0", "::"):
                at = (one.get("published") or one.get("target") or one).text
                what = f"port {one.string('published') or target} is published on all interfaces"
                found.append(Opening(at=at, what=what, port=target))
            continue
        opening = published(interpolated(one.text, outside))
        if opening is not None:
            found.append(opening)
    return found


def _host_ports(service: Tree, outside: Mapping[str, str]) -> Iterator[HostPort]:
    for one in service.each("ports"):
        if one.kind != "map":
            found = host_port(interpolated(one.text, outside))
            if found is not None:
                yield found
        elif (outer := one.get("published")) is not None and (outer.value or "").isdecimal():
            address = one.string("host_ip") or ""
            address = "" if address in ("0.0.0.0", "::") else address
            yield HostPort(address=address, number=outer.value or "", inner=one.integer("target"), at=outer.text)


def _awaited(services: Tree) -> set[str]:
    """Services whose health others wait for."""
    found: set[str] = set()
    for _, service in services.items():
        for name, condition in service.entries("depends_on"):
            if condition.string("condition") == "service_healthy":
                found.add(name.value)
    return found


def _probe(service: Tree) -> list[HealthProbe]:
    check = service.get("healthcheck")
    at = service.key("healthcheck")
    if check is None or at is None or check.string("disable") == "true":
        return []
    usual = review_facts().probes["compose"]
    initial = seconds(check.string("start_period"), usual.initial_s)
    period = seconds(check.string("interval"), usual.period_s)
    failures = check.integer("retries") or usual.failures
    return [HealthProbe(kind="health", at=at, initial_s=initial, period_s=period, failures=failures)]


def seconds(text: str | None, default: int) -> int:
    """Return a duration such as ``1m30s`` in seconds.

    >>> seconds("1m30s", 0), seconds(None, 30), seconds("45", 0)
    (90, 30, 45)
    """
    if not text:
        return default
    if text.isdecimal() and len(text) < 9:
        return int(text)
    scale = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    found = [float(number[:9]) * scale[unit] for number, unit in _DURATION.findall(text)]
    return int(sum(found)) if found else default
