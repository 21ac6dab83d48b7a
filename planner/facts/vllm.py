"""What vLLM does beside its rules by release: ``vllm.toml``. The rules are resolved in :mod:`planner.facts.release`."""

from collections.abc import Mapping
from typing import Generic, TypeVar

from hw_specs.facts import Origin as Origin
from hw_specs.spec import Basis as Basis
from planner.facts.record import Record, door


class Required(Record):
    """The first release that loads something."""

    version: str
    source: str


class Requirements(Record):
    """First releases that load the checkpoint's two layouts and its draft."""

    mistral: Required
    hf: Required
    eagle: Required


class Rule(Record):
    """What changed from release to release."""

    values: tuple[tuple[str, object], ...]
    """First release and value, oldest first. Their type is that of the same name in a release."""
    basis: Basis
    source: str


T = TypeVar("T")


class Fact(Record, Generic[T]):
    """One figure or name with its source."""

    value: T
    basis: Basis
    source: str


class CacheDtype(Record):
    """How a ``--kv-cache-dtype`` stores one vector."""

    bits: int
    scale_bytes: int = 0
    scale_group: int = 0
    """Elements that share one scale; 0 is the whole vector."""
    refused_with_fp8_weights: bool = False
    architectures: tuple[str, ...] = ()
    """Prefixes of the compute capabilities that have a kernel; empty is every one."""


class KvCacheFacts(Record):
    """The KV cache's block and the types it can be stored in."""

    block_size: Fact[int]
    block_step: Fact[int]
    """Blocks are multiples of this many tokens."""
    dtypes: Mapping[str, CacheDtype]
    dtypes_fact: Origin


class Broken(Record):
    """Releases, both included, in which something of this model loads and then dies."""

    from_vllm: str
    to_vllm: str
    symptom: str
    basis: Basis
    source: str


class BrokenFacts(Record):
    """What is broken in some releases."""

    eagle: Broken


class LoadingFacts(Record):
    """What loading takes beside the weights."""

    requantise_bytes_per_element: Fact[int]


class BadPackage(Record):
    """The first release of a companion that breaks some releases of vLLM."""

    value: str
    from_vllm: str
    to_vllm: str
    basis: Basis
    source: str


class GoodPackage(Record):
    """The last release of a companion that works."""

    value: str
    basis: Basis
    source: str


class Companion(Record):
    """A package beside vLLM of which newer versions break it."""

    first_bad: BadPackage
    last_good: GoodPackage


class CommandFacts(Record):
    """What a serve command needs beyond the planned settings."""

    tool_call_parser: str
    reasoning_parser: str
    env: Mapping[str, Mapping[str, str]]
    """By vendor."""
    no_prefix_caching_vendors: tuple[str, ...]
    source: str


class MultiNode(Record):
    """Ports that every node must name alike."""

    master_port: int
    ray_port: int
    reason: str


class Images(Record):
    """Container images by vendor; ``{version}`` is the release."""

    templates: Mapping[str, str]
    source: str


class VllmFacts(Record):
    """The whole file."""

    newest: str
    oldest: str
    read: tuple[str, ...]
    requires: Requirements
    rules: Mapping[str, Rule]
    kv_cache: KvCacheFacts
    broken: BrokenFacts
    loading: LoadingFacts
    packages: Mapping[str, Companion]
    command: CommandFacts
    multi_node: MultiNode
    ledger_sources: Mapping[str, str]
    params_positions: Fact[int]
    images: Images


vllm_facts = door("vllm.toml", VllmFacts)
"""What ``vllm.toml`` says; the values of its rules are checked by :mod:`planner.facts.release`."""
