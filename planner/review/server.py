"""One server as an artefact describes it, each part with its place; it never judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from hw_specs.errors import M35Error
from hw_specs.units import parse_count
from planner.review.options import Arguments, Option
from planner.review.text import Text

Platform = Literal[
    "shell", "docker", "image", "compose", "kubernetes", "kserve", "helm", "cloud", "systemd", "python", "config"
]  # fmt: skip
"""What starts the server; it decides which surroundings a rule may expect."""

_LONGEST_NUMBER = 12
"""Characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One environment variable of a server."""

    name: Text
    value: Text | None
    """None where it comes from elsewhere: a secret, the caller's environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What an artefact says about the GPUs of one server."""

    count: int | None = None
    """GPUs of one node; None where it does not say, or says all of them."""
    nodes: int = 1
    product: str | None = None
    """As the artefact has it: a node label, an instance type, an accelerator's name."""
    vendor: str | None = None
    at: Text | None = None
    choice: bool = False
    """Whether it names several kinds of machines to choose from."""
    missing: bool = False
    """Whether a container must ask for GPUs and does not."""
    devices: tuple[str, ...] = ()
    """The GPUs themselves, as the machine numbers or names them, where it says them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder of a container that outlives it, or memory."""

    target: str
    source: str
    kind: str
    """``volume``, ``memory``, ``empty``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A way in from other machines."""

    at: Text
    what: str
    """A phrase: ``port 8000 is published on all interfaces``."""
    port: int | None = None
    """Port of the container behind it."""
    exact: bool = True
    """Whether `port` must be the server's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPort:
    """A port of the machine that leads to one of the container."""

    address: str
    """Empty for every one."""
    number: str
    inner: int | None
    """Port of the container; None where it is not known."""
    at: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthProbe:
    """How long an orchestrator waits."""

    kind: str
    """``startup``, ``liveness`` or ``readiness``."""
    at: Text
    initial_s: int
    period_s: int
    failures: int
    port: Text | None = None

    @property
    def patience_s(self) -> int:
        """Seconds from the start until it gives up."""
        return self.initial_s + self.period_s * self.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The most that a server may take of something."""

    bytes: int
    at: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A container image."""

    name: Text
    """Repository and tag in one text, or the repository alone where the tag stands apart."""
    repository: str
    tag: str
    """Empty where none is given."""
    tag_at: Text
    digest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One vLLM server."""

    kind: str
    """In words for people: ``docker run``, ``Deployment``."""
    platform: Platform
    name: str
    at: Text
    """Where its command begins."""
    arguments: Arguments
    entry: Literal["serve", "llm"] = "serve"
    env: Mapping[str, Variable] = field(default_factory=dict)
    image: Image | None = None
    side_images: tuple[Image, ...] = ()
    """Images of the containers beside it."""
    version: Text | None = None
    """A release that a package manager pins."""
    claim: Claim = Claim()
    mounts: tuple[Mount, ...] = ()
    shared_memory: str = "none"
    """``host``, ``mounted``, ``sized``, ``none``, or ``given`` where the platform sees to it."""
    shared_memory_bytes: int | None = None
    one_node: Text | None = None
    """Where it says that a volume of its own is for the pods of one node alone."""
    unread: tuple[tuple[Text, str], ...] = ()
    """Keys that nothing reads where they stand: the key, and where it is read."""
    host_memory: Limit | None = None
    """What it may take of the host's memory; None where nothing limits it, or the limit is not known."""
    privileged: Text | None = None
    user: Text | None = None
    """The number of the user that it runs as, where the artefact has one."""
    read_only: Text | None = None
    """Where its root file system is made read-only."""
    openings: tuple[Opening, ...] = ()
    inner_port: bool = False
    """Whether only what `openings` names leads to its port."""
    host_ports: tuple[HostPort, ...] = ()
    """Ports of the machine that lead to it."""
    stays: bool = False
    """Whether what stands behind it in the file starts while it runs."""
    declared_ports: tuple[Text, ...] = ()
    """Ports that its own container declares."""
    front_ports: tuple[Text, ...] = ()
    """Ports of its pod that services of the same file lead to."""
    probes: tuple[HealthProbe, ...] = ()
    probed_elsewhere: bool = False
    """Whether the platform brings probes of its own."""
    cached_elsewhere: bool = False
    """Whether the platform keeps the weights."""
    services: tuple[Text, ...] = ()
    """Names of services whose addresses the cluster puts into its environment."""
    links: bool = True
    """Whether it does so at all."""
    containers_at: Text | None = None
    """The pod's ``containers`` key."""
    replicas: int = 1
    files: Mapping[str, Callable[[], Text | None]] = field(default_factory=dict)
    """Files in its container that the artefact or its folder holds, by path."""
    asked: tuple[tuple[Text, str], ...] = ()
    """What cannot be known from the artefact: where, and what."""
    hidden_variables: bool = False
    """Whether variables come from a place that is not at hand."""
    spread: bool = False
    """Whether it is one of several processes of one server (a worker, a rank)."""
    editable: str = "words"
    """How its arguments are written: ``words`` (a command line), ``items`` (a YAML list), ``keys``, ``none``."""

    @property
    def options(self) -> tuple[Option, ...]:
        """Its options as they were written, in order."""
        return self.arguments.options

    @property
    def model(self) -> Text | None:
        """What names its model."""
        return self.arguments.model

    def option(self, name: str) -> Option | None:
        """The last option of that name, which is the one that counts."""
        return next((one for one in reversed(self.options) if one.name == name and not one.key), None)

    def said(self, name: str) -> Option | None:
        """The last option of that name, or of one key of it, as ``--NAME.key``."""
        return next((one for one in reversed(self.options) if one.name == name), None)

    def text(self, name: str) -> str | None:
        """The known value of an option."""
        found = self.option(name)
        return found.value.value if found is not None and found.value is not None and found.value.known else None

    def number(self, name: str) -> int | None:
        """The known value of an option as a whole number."""
        text = self.text(name)
        if text is None or not text.strip()[:1].isdecimal() or len(text) > _LONGEST_NUMBER:
            return None
        try:
            return parse_count(text)
        except M35Error:
            return None

    def on(self, name: str) -> bool:
        """Whether a switch is on."""
        found = self.option(name)
        return found is not None and found.on

    def variable(self, name: str) -> Variable | None:
        """One environment variable."""
        return self.env.get(name)

    @property
    def container(self) -> bool:
        """Whether it runs in a container whose surroundings the artefact describes."""
        return self.platform in ("docker", "compose", "kubernetes", "kserve", "helm")
