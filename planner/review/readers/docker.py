"""``docker run``, ``podman run`` and ``nerdctl run``: from their flags to a server."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from planner.facts.review import review_facts
from planner.review.options import Arguments, read_arguments
from planner.review.readers.env_file import variables_of
from planner.review.readers.image import holds_engine, read_image, serves, vendor_of
from planner.review.readers.launch import Launch, engine_words, launches, shell_call
from planner.review.readers.shell import Scope
from planner.review.server import Claim, HostPort, Image, Limit, Mount, Opening, Server, Variable
from planner.review.text import Text

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
"""Docker and systemd count in steps of 1024, whatever the unit is called."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of ``docker run``."""

    name: str
    at: Text
    value: Text | None


@dataclass
class Container:
    """What the flags of one ``docker run`` add up to."""

    flags: list[Flag] = field(default_factory=list)
    image: Text | None = None
    words: tuple[Text, ...] = ()

    def values(self, *names: str) -> list[Text]:
        """Values of the flags of these names."""
        return [flag.value for flag in self.flags if flag.name in names and flag.value is not None]

    def at(self, *names: str) -> Text | None:
        """Where one of these flags stands."""
        return next((flag.at for flag in self.flags if flag.name in names), None)


def read_flags(words: Sequence[Text]) -> Container:
    """Return flags, image and the words behind it."""
    found, facts = Container(), review_facts().docker
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if not word.value.startswith("-"):
            found.image, found.words = word, tuple(words[index:])
            break
        if word.value.startswith("--"):
            typed, value = word.partition("=")
            name = typed.value
        else:
            name, value = facts.short.get(word.value[:2], word.value[:2]), None
            rest = word.cut(2)
            if name in facts.switches:
                for letter in word.value[1:]:
                    found.flags.append(Flag(facts.short.get("-" + letter, "-" + letter), word, None))
                # `-itp 80:80`: the last letter may take a value.
                last = facts.short.get("-" + word.value[-1], "")
                if last and last not in facts.switches and index < len(words):
                    found.flags.append(Flag(last, word, words[index]))
                    index += 1
                continue
            if rest.value:
                value = rest.cut(1) if rest.value.startswith("=") else rest
        if value is None and name not in facts.switches and index < len(words):
            value = words[index]
            index += 1
        found.flags.append(Flag(name, word, value))
    return found


def server_of(launch: Launch) -> Server | None:
    """Return the server that a ``docker run`` starts; None where it starts something else."""
    container = read_flags(launch.words)
    return of_container(container, kind=launch.container, at=launch.at, outside=launch.env, beside=launch.beside)


def of_container(
    container: Container,
    *,
    kind: str,
    at: Text,
    outside: Mapping[str, Text],
    beside: Callable[[str], str | None] | None = None,
) -> Server | None:
    """Return the server of one container; None where it is something else."""
    if container.image is None:
        return None
    image = read_image(container.image)
    files = [(file, beside(file.value) if beside is not None else None) for file in container.values("--env-file")]
    env = {}
    for file, content in files:
        env.update(variables_of(content, file.start) if content is not None else {})
    env.update(_environment(container, outside))
    entry = next(iter(container.values("--entrypoint")), None)
    engine = engine_part(container.words, image, entry, known(env))
    if engine is None:
        return None
    host_network = any(value.value == "host" for value in container.values("--network", "--net"))
    return Server(
        kind=kind,
        platform="docker",
        name=next((value.value for value in container.values("--name")), ""),
        at=at,
        arguments=engine.arguments(behind=container.image),
        env=env,
        image=image,
        claim=_claim(container, image, env),
        mounts=tuple(_mounts(container)),
        shared_memory=_shared_memory(container),
        host_memory=next((size_limit(text) for text in container.values("--memory")), None),
        privileged=_privileged(container),
        user=next((user_number(text) for text in container.values("--user")), None),
        read_only=_read_only(container, podman=kind.startswith("podman")),
        openings=tuple(_openings(container)),
        host_ports=tuple(one for text in container.values("--publish") if (one := host_port(text)) is not None),
        stays=container.at("--detach") is not None,
        inner_port=not host_network,
        hidden_variables=any(content is None for _, content in files),
    )


def _read_only(container: Container, *, podman: bool) -> Text | None:
    """Where the root is made read-only; podman then puts memory at /tmp of itself, unless it is told not to."""
    spared = podman and not any(
        value.value.strip().lower() == "false" for value in container.values("--read-only-tmpfs")
    )
    return None if spared else container.at("--read-only")


@dataclass(frozen=True, slots=True)
class Engine:
    """What a container gives the engine."""

    words: tuple[Text, ...]
    doubled: Text | None = None
    """What repeats the image's entry point."""
    exported: Mapping[str, Text] = field(default_factory=dict)
    """Variables that the script in front of it sets."""

    def arguments(self, *, behind: Text | None = None) -> Arguments:
        """What its words say, which stand behind `behind`."""
        return read_arguments(self.words, doubled=self.doubled, behind=behind)


def known(env: Mapping[str, Variable]) -> dict[str, Text]:
    """The variables that have a value."""
    return {name: one.value for name, one in env.items() if one.value is not None}


def engine_part(
    words: Sequence[Text], image: Image, entry: Text | None, env: Mapping[str, Text], *, parenthesised: bool = False
) -> Engine | None:
    """The engine in a container's command; None where that starts something else."""
    full = ([entry] if entry is not None and entry.value else []) + list(words)
    call = shell_call(full)
    if call is not None:
        script, positional = call
        return engine_in(script, Scope(outside=env, positional=positional, parenthesised=parenthesised))
    located = engine_words(full)
    if located is not None:
        start, at = located
        doubled = full[at] if entry is None and serves(image) and at == 0 else None
        return Engine(tuple(full[start:]), doubled)
    if entry is not None and entry.value.rpartition("/")[2] == "vllm" and words and words[0].value == "serve":
        return Engine(tuple(words[1:]))
    if entry is None and serves(image):
        if words and words[0].value == "serve":
            return Engine(tuple(words[1:]), words[0])
        return Engine(tuple(words))
    if entry is None and holds_engine(image) and words and words[0].value.startswith("--"):
        return Engine(tuple(words))
    return None


def engine_in(script: Text, scope: Scope) -> Engine | None:
    """The engine that a script starts; None where it starts something else."""
    found = next((one for one in launches(script, scope) if not one.container), None)
    return Engine(found.words, exported=found.env) if found is not None else None


def _environment(container: Container, outside: Mapping[str, Text]) -> dict[str, Variable]:
    found: dict[str, Variable] = {}
    for word in container.values("--env"):
        name, value = word.partition("=")
        if value is None:
            value = outside.get(name.value)
        found[name.value] = Variable(name=name, value=value)
    return found


def _claim(container: Container, image: Image, env: Mapping[str, Variable]) -> Claim:
    vendor = vendor_of(image)
    devices = container.values("--device")
    for text in container.values("--gpus"):
        return Claim(count=gpus_count(text.value), vendor="nvidia", at=text, devices=device_ids(text.value))
    cdi = [one for one in devices if one.value.startswith(("nvidia.com/gpu", "amd.com/gpu"))]
    if cdi:
        every = any(one.value.endswith("=all") for one in cdi)
        return Claim(count=None if every else len(cdi), vendor=cdi[0].value.partition(".")[0], at=cdi[0])
    if any(one.value.startswith("/dev/kfd") for one in devices):
        return Claim(vendor="amd", at=devices[0])
    if any(one.value.startswith("/dev/nvidia") for one in devices):
        return Claim(vendor="nvidia", at=devices[0])
    runtime = next((one for one in container.values("--runtime")), None)
    if runtime is not None and "nvidia" in runtime.value:
        return Claim(count=visible_count(env, "NVIDIA_VISIBLE_DEVICES"), vendor="nvidia", at=runtime)
    if _privileged(container) is not None and vendor == "amd":
        return Claim(vendor="amd")
    return Claim(at=container.image, missing=vendor in ("nvidia", "amd"))


def gpus_count(text: str) -> int | None:
    """GPUs that ``--gpus`` names; None for all.

    >>> gpus_count('"device=0,1"'), gpus_count("all"), gpus_count("4")
    (2, None, 4)
    """
    text = text.strip().strip("'\"")
    if text.isdecimal():
        return int(text)
    if text.startswith("device="):
        return len(device_ids(text))
    match = re.search(r"count=(\d+)", text)
    return int(match[1]) if match else None


def device_ids(text: str) -> tuple[str, ...]:
    """The GPUs that docker's ``--gpus`` names one by one; none where it counts them, or says all.

    >>> device_ids('"device=0,1"'), device_ids("all")
    (('0', '1'), ())
    """
    text = text.strip().strip("'\"")
    return listed(text.removeprefix("device=")) if text.startswith("device=") else ()


def listed(text: str) -> tuple[str, ...]:
    """The parts of a list with commas."""
    return tuple(one.strip() for one in text.split(",") if one.strip())


def visible(env: Mapping[str, Variable], name: str) -> tuple[str, ...] | None:
    """The GPUs that a variable such as ``CUDA_VISIBLE_DEVICES`` leaves; None where it does not say."""
    variable = env.get(name)
    if variable is None or variable.value is None or not variable.value.known:
        return None
    text = variable.value.value.strip()
    return None if not text or text in ("all", "none", "void") else listed(text)


def visible_count(env: Mapping[str, Variable], name: str) -> int | None:
    """How many GPUs a variable leaves; None where it does not say."""
    found = visible(env, name)
    return len(found) if found is not None else None


def _mounts(container: Container) -> list[Mount]:
    found = []
    for text in container.values("--volume"):
        parts = text.value.split(":")
        if len(parts) >= 2:
            found.append(Mount(target=parts[1], source=parts[0], kind="volume"))
    for text in container.values("--mount"):
        pairs = dict(part.partition("=")[::2] for part in text.value.split(","))
        target = pairs.get("target") or pairs.get("dst") or pairs.get("destination") or ""
        kind = "memory" if pairs.get("type") == "tmpfs" else "volume"
        found.append(Mount(target=target, source=pairs.get("source") or pairs.get("src") or "", kind=kind))
    found += [
        Mount(target=text.value.partition(":")[0], source="", kind="memory") for text in container.values("--tmpfs")
    ]
    return found


def _shared_memory(container: Container) -> str:
    if any(value.value == "host" for value in container.values("--ipc")):
        return "host"
    if container.values("--shm-size"):
        return "sized"
    return "mounted" if any(mount.target == "/dev/shm" for mount in _mounts(container)) else "none"


def size_limit(text: Text) -> Limit | None:
    """The limit in a size such as ``8g`` or ``512MiB``, as docker and systemd read it; None where it is none.

    >>> from planner.review.text import plain
    >>> limits = [size_limit(plain(size, 0)) for size in ("8g", "infinity", "50%")]
    >>> [limit and limit.bytes for limit in limits]
    [8589934592, None, None]
    """
    match = _SIZE.fullmatch(text.value.strip())
    if match is None or not text.known:
        return None
    size = int(float(match[1][:15]) * 1024 ** "bkmgt".index(match[2].lower() or "b"))
    # Docker takes a zero for no limit.
    return Limit(bytes=size, at=text) if size else None


def _privileged(container: Container) -> Text | None:
    for flag in container.flags:
        if flag.name == "--privileged" and (flag.value is None or flag.value.value != "false"):
            return flag.at
    return None


def _openings(container: Container) -> list[Opening]:
    found = [one for text in container.values("--publish") if (one := published(text)) is not None]
    at = container.at("--publish-all")
    if at is not None:
        found.append(Opening(at=at, what="every port of the image is published on all interfaces", exact=False))
    return found


def host_port(text: Text) -> HostPort | None:
    """The address and the port of the machine that ``-p 8000:8000`` takes; None where it is not one known number.

    >>> from planner.review.text import plain
    >>> found = host_port(plain("127.0.0.1:8001:8000", 0))
    >>> found.address, found.number, found.inner
    ('127.0.0.1', '8001', 8000)
    """
    head, _, inner = text.value.partition("/")[0].rpartition(":")
    address, _, outer = head.rpartition(":")
    if not text.known or not outer.isdecimal():
        return None
    address = "" if address in ("0.0.0.0", "[::]") else address
    return HostPort(address=address, number=outer, inner=port_number(inner), at=text)


def port_number(text: str) -> int | None:
    """The one port that `text` names; None for a range, a variable, or none."""
    return int(text) if text.isdecimal() and len(text) < 6 else None


def user_number(text: Text) -> Text | None:
    """The number in ``--user 1000:1000``; None for a name or a variable."""
    number = text.partition(":")[0]
    return number if number.known and number.value.isdecimal() else None


def published(text: Text) -> Opening | None:
    """What ``-p 8000:8000`` opens; None where it is bound to one address.

    >>> from planner.review.text import plain
    >>> published(plain("127.0.0.1:8000:8000", 0)) is None
    True
    """
    value = text.value.partition("/")[0]
    head, _, inner = value.rpartition(":")
    port = port_number(inner)
    address, colon, outer = head.rpartition(":")
    if not colon:
        outer = head
    if colon and address not in ("0.0.0.0", "[::]", "") and text.known:
        return None
    shown = outer or inner
    return Opening(at=text, what=f"port {shown} is published on all interfaces", port=port, exact=port is not None)
