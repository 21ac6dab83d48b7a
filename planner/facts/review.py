"""What a review of an artefact may find: ``review.toml``, with the flags and variables that releases dropped."""

from collections.abc import Mapping
from functools import cache
from typing import Literal

from planner.facts.record import Record, door, read
from planner.facts.release import parse_version
from planner.facts.vllm import Basis, Fact, Origin


class Code(Record):
    """One kind of finding."""

    severity: Literal["error", "warn", "info"]
    title: str
    why: str
    source: str


class Successor(Record):
    """What says today what a flag said."""

    instead: str = ""
    note: str = ""


class Unmodelled(Record):
    """Flags with which the verdict stays unknown."""

    names: tuple[str, ...]


class Names(Origin):
    """Names with one source."""

    names: tuple[str, ...]


class KnownModel(Record):
    """What the engine checks of a model that no plan describes."""

    name: str
    """A regular expression for its name."""
    max_position_embeddings: int | None = None
    num_attention_heads: int | None = None
    refused_dtypes: tuple[str, ...] = ()
    """Values of --dtype that the engine refuses for it."""
    basis: Basis | Literal["reported"]
    source: str


class ContainerUser(Origin):
    """Users that an image may not know."""

    least: int
    """Numbers below are the system's."""
    surely: int
    """From here on no image has a name."""
    named: tuple[int, ...]
    """Numbers that the images have names for."""
    names: tuple[str, ...]
    """Variables that stand for the name, or make it needless."""
    homes: tuple[str, ...]
    """Variables that say where a home is."""


class SlowTransport(Origin):
    """Ways between GPUs that are switched off."""

    off: Mapping[str, tuple[str, ...]]
    """By variable, the values that do."""


class Secrets(Record):
    """A regular expression for values that stand where a secret would, and are none."""

    placeholder: str


class HubToken(Record):
    """Variables that the hub's client reads, and that people take for them."""

    read: tuple[str, ...]
    mistaken: tuple[str, ...]
    endpoint: str
    """Where it asks by default."""
    offline: tuple[str, ...]
    """Variables that keep it from asking at all."""
    true: tuple[str, ...]
    """Values that switch them on, in capitals."""


class Shell(Origin):
    """Commands around an engine's."""

    talk: tuple[str, ...]
    """They may name an engine and start none."""
    wrappers: tuple[str, ...]
    """They start the command behind them."""


class Docker(Origin):
    """Flags of ``docker run`` and its relatives, with their dashes."""

    switches: tuple[str, ...]
    """Those without a value."""
    short: Mapping[str, str]


class ProbeDefaults(Origin):
    """What a probe is that does not say it."""

    initial_s: int
    period_s: int
    failures: int


class Spelled(Origin):
    """Settings of the engine under names of another's."""

    settings: Mapping[str, str]
    """Its name → the flag, without dashes."""
    switches: tuple[str, ...] = ()
    """Those of the flags that take no value."""
    beside: Mapping[str, str] = {}
    """Its names that stand one level above the others → the flag."""


class Quantization(Origin):
    """How a checkpoint calls itself that a method can load."""

    names: Mapping[str, str]
    """Value of ``--quantization`` → a regular expression for the checkpoint's name."""


class ReviewFacts(Record):
    """The whole file."""

    codes: Mapping[str, Code]
    successors: Mapping[str, Successor]
    renamed: Mapping[str, str]
    misread: Mapping[str, str]
    """Abbreviation → what the parser takes it for."""
    extensions: Names
    """Flags that another package brings along."""
    unmodelled: Unmodelled
    first_release: Mapping[str, Fact[str]]
    """By a part of the model's name, the first release that loads it."""
    known_models: tuple[KnownModel, ...]
    plugin_variables: Names
    """Beginnings of variables of engines that build on vLLM."""
    container_user: ContainerUser
    slow_transport: SlowTransport
    publishers: Names
    """Who marks a quantised copy in its name."""
    few_sequences_per_gpu: Fact[int]
    """At most this many sequences a GPU are few."""
    low_utilization: Fact[float]
    """Below it much of the GPU stays empty."""
    pairs_gone_since: Fact[str]
    """From this release on ``key=value`` stands for no object any more."""
    whole_gpu_refused_since: Fact[str]
    """From this release on the engine refuses to take all of a GPU."""
    least_prepare_s: Fact[int]
    """What every start takes beside loading."""
    secrets: Secrets
    hub_token: HubToken
    shell: Shell
    docker: Docker
    other_images: Names
    """Parts of the names of images for accelerators that are not described."""
    probes: Mapping[Literal["kubernetes", "compose", "production-stack"], ProbeDefaults]
    production_stack: Spelled
    """Helm values of vLLM's production stack, under ``vllmConfig``."""
    kserve_port: Fact[int]
    """Where KServe leads requests, and asks whether a container is ready, when that declares no port."""
    kuberay: Spelled
    """Variables that KubeRay's sample application for vLLM reads."""
    quantization: Quantization


class Provenance(Origin):
    """Where a table of releases comes from."""

    columns: str = ""


class Variables(Record):
    """Environment variables by release."""

    schema_version: int
    provenance: Provenance
    elsewhere: tuple[str, ...]
    """Names that other modules than ``envs.py`` read."""
    variables: Mapping[str, tuple[str, str | None, Literal["", "int", "float"]]]
    """Name → the first of the read releases that has it (empty: an older one), the first that does not any more,
    and what its text is converted to."""

    def gone_since(self, name: str, release: str | None) -> str | None:
        """The release from which on nothing reads `name`, where `release` (None: the newest) is not before it."""
        gone = self.variables[name][1] if name in self.variables else None
        return gone if gone is not None and (release is None or parse_version(release) >= parse_version(gone)) else None

    def unknown(self, name: str) -> bool:
        """Whether no read release, and no other engine that builds on it, has a variable of this name."""
        if not name.startswith("VLLM_") or name in self.variables or name in self.elsewhere:
            return False
        return not name.startswith(review_facts().plugin_variables.names)

    def nearest(self, name: str) -> str | None:
        """The variable that an unknown name is probably a slip of."""
        from difflib import get_close_matches

        living = [one for one, (_, gone, _kind) in self.variables.items() if gone is None]
        return next(iter(get_close_matches(name, living, n=1, cutoff=0.9)), None)

    def not_a_number(self, name: str, text: str) -> str | None:
        """What `text` should be for `name` and is not; None where it is right, or need not be a number."""
        kind = self.variables[name][2] if name in self.variables else ""
        if not kind:
            return None
        try:
            int(text) if kind == "int" else float(text)
        except ValueError:
            return "a whole number" if kind == "int" else "a number"
        return None


class OlderFlags(Record):
    """Flags of releases from before the read ones."""

    schema_version: int
    provenance: Provenance
    releases: Mapping[str, str]
    """Release → its flags, separated by spaces."""


class Options(Record):
    """Every option that the parser of a read release has or had."""

    schema_version: int
    provenance: Provenance
    releases: tuple[str, ...]
    options: Mapping[str, tuple[tuple[str, Mapping[str, object] | None], ...]]
    """Name → first release and what the parser says of it, oldest first; None from where it is gone."""


review_facts = door("review.toml", ReviewFacts)
variables = door("variables.json", Variables)
"""What ``variables.json`` says of the engine's environment variables."""


@cache
def older_flags() -> Mapping[str, str]:
    """Return the releases of ``older_flags.json``."""
    return read("older_flags.json", OlderFlags).releases


options = door("options.json", Options)
"""What ``options.json`` says, which ``python -m oracle --changes`` writes."""
