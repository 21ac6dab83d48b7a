"""What one vLLM release does, resolved from the rules by version; it never guesses silently.

A release newer than every known one is planned with the newest known rules, and says so.
"""

import re
from functools import cache, lru_cache
from typing import Any, Literal

from planner.errors import BadFacts, UnknownVersion
from planner.facts.record import Record, keys, read_value
from planner.facts.vllm import vllm_facts

_VERSION = r"^v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?(?:[.\-+]?(?:rc|dev|post|a|b|[+])?[\w.+]*)?$"


class BatchTier(Record):
    """Defaults of ``max_num_batched_tokens`` and ``max_num_seqs`` for GPUs of one size class."""

    min_driver_gib: int
    not_names: tuple[str, ...]
    not_architectures: tuple[str, ...]
    max_num_batched_tokens: int
    max_num_seqs: int


class EarlyV2(Record):
    """Models that a release runs on V2 before it runs all dense models there."""

    architectures: tuple[str, ...]
    quantized: bool
    """Whether quantised checkpoints of them do."""


class V1Drafts(Record):
    """Ways of drafting that take a model back to runner V1 where the release runs it on V2."""

    methods: tuple[str, ...]
    graph_estimate_vendors: tuple[str, ...]
    """Vendors whose graph estimate V1 subtracts in that release."""


class Release(Record):
    """The rules of one release that memory and settings depend on."""

    version: str
    """As asked for."""
    rules_version: str
    """The newest known release not newer than `version`."""
    known: bool
    """False when `version` is newer than every known release."""
    gpu_memory_utilization: float
    yarn_limit: Literal["original", "max"]
    """``original`` (times the factor) or ``max``: which length YaRN allows in a Hugging Face configuration."""
    graph_estimate_vendors: tuple[str, ...]
    """Vendors whose graph estimate is subtracted from the KV budget."""
    vision_sharded: bool
    """Whether tensor parallelism shards the native vision tower."""
    vision_sharded_hf: bool
    """The same for the vision tower of the Hugging Face layout."""
    model_runner: Literal["v1", "v2"]
    early_v2: EarlyV2
    """What runs on V2 in a release whose runner is V1 otherwise."""
    v1_drafts: V1Drafts
    """What runs on V1 in a release whose runner is V2 otherwise."""
    dense_vision_mask: bool
    null_block_reserved: bool
    buffers_counted: bool
    """Whether the runner's own tensors are subtracted from the KV budget."""
    encoder_profiled: bool
    """Whether the profile run sends images through the vision encoder and holds what comes out."""
    profiled_sampling: Literal["full", "greedy", "greedy-float32"]
    """``full``, or what the profile run does instead: ``greedy``, ``greedy-float32``."""
    flashinfer_sampler: bool
    """Whether FlashInfer samples by default, where its kernels run."""
    eager_norm_kernel: bool
    """Whether ``--enforce-eager`` normalises in one kernel, or operation by operation as the compiled mode counts."""
    draft_takes_images: bool
    """Whether the draft's input embeddings, images merged in, are made beside it."""
    workspace_counted: bool
    """Whether the GEMM library's first workspace falls into the profile run."""
    load_counts_cached: bool
    """Whether the load figure on ROCm holds what torch has cached."""
    fused_all_reduce_backend: str
    """FlashInfer's backends behind the fused all-reduce, joined by ``+``."""
    multicast_rounding: tuple[str, ...]
    """Backends whose buffers are rounded to the multicast granularity."""
    workspace_communicator: bool
    """Whether those buffers are torch's symmetric memory."""
    fused_with_pipeline: bool
    """Whether all-reduces are fused beside pipeline stages too."""
    flashinfer_all_reduce: bool
    """Whether FlashInfer does all-reduces that are not fused."""
    kv_tokens: Literal["blocks", "concurrency"]
    """``blocks`` or ``concurrency``: which arithmetic the KV size line prints."""
    draft_limits_target: bool
    """Whether a shorter draft ``max_model_len`` shortens the served length."""
    graph_ceiling: tuple[tuple[str, int], ...]
    """Architecture prefix and largest captured batch, most specific first."""
    batch_tiers: tuple[BatchTier, ...]

    def for_model(self, architectures: tuple[str, ...], *, quantized: bool) -> "Release":
        """Return the rules for a model of these architectures, as the engine names them: its runner may be another."""
        early = bool(set(architectures) & set(self.early_v2.architectures))
        if not early or (quantized and not self.early_v2.quantized):
            return self
        return self._but(model_runner="v2", profiled_sampling="greedy-float32", graph_estimate_vendors=())

    def for_draft(self, method: str | None) -> "Release":
        """Return the rules where `method` drafts, after :meth:`for_model`: the whole model may be back on V1 for it."""
        if self.model_runner == "v1" or method not in self.v1_drafts.methods:
            return self
        return self._but(
            model_runner="v1",
            profiled_sampling="full",
            encoder_profiled=True,
            graph_estimate_vendors=self.v1_drafts.graph_estimate_vendors,
        )

    def largest_graph_tokens(self, architecture: str) -> int:
        """Return the tokens of the largest batch that the release captures at all on GPUs of this architecture."""
        return next(size for prefix, size in self.graph_ceiling if prefix == "*" or architecture.startswith(prefix))

    def for_layout(self, load_format: str) -> "Release":
        """Return the rules for a checkpoint layout: ``hf`` has a vision tower of its own class."""
        if load_format != "hf" or self.vision_sharded == self.vision_sharded_hf:
            return self
        return self._but(vision_sharded=self.vision_sharded_hf)

    def _but(self, **changes: Any) -> "Release":
        return Release(**{**self.__dict__, **changes})


@lru_cache(maxsize=256)
def parse_version(text: str) -> tuple[int, int, int]:
    """Return the numeric release of ``0.33.0``, ``v0.33`` or ``0.19.2rc1.dev134``.

    Raises:
        UnknownVersion: when `text` is not a version.

    >>> parse_version("0.19.2rc1.dev134")
    (0, 19, 2)
    """
    match = re.match(_VERSION, text.strip())
    if match is None:
        raise UnknownVersion(f"`{text}` is not a vLLM version", hint=f"write a release such as `{newest_version()}`")
    return int(match[1]), int(match[2]), int(match[3] or 0)


_NO_RULES = ("version", "rules_version", "known")


def newest_version() -> str:
    """The newest release whose rules are known."""
    return vllm_facts().newest


def known_versions() -> tuple[str, ...]:
    """The releases whose code was read, oldest first."""
    return vllm_facts().read


@cache
def resolve_release(version: str | None = None) -> Release:
    """Return the rules of `version`, of the newest known release by default.

    Raises:
        BadFacts: when ``vllm.toml`` has a rule too many, one too few or a value of another type.
        UnknownVersion: when the version is malformed or older than the oldest known rules.
    """
    facts, rules = vllm_facts(), _rules()
    asked = version or facts.newest
    number = parse_version(asked)
    if number < parse_version(facts.oldest):
        raise UnknownVersion(
            f"vLLM {asked} is older than {facts.oldest}, the oldest release whose rules are known",
            hint=f"this model needs {facts.requires.mistral.version} or newer",
        )
    known = number <= parse_version(facts.newest)
    return Release(
        version=asked.removeprefix("v"),
        rules_version=asked.removeprefix("v") if known else facts.newest,
        known=known,
        **{
            name: next(value for since, value in reversed(values) if parse_version(since) <= number)
            for name, values in rules.items()
        },
    )


@cache
def _rules() -> dict[str, tuple[tuple[str, Any], ...]]:
    """The rules with values of a release's own types."""
    rules, wanted = vllm_facts().rules, {name: kind for name, kind in keys(Release).items() if name not in _NO_RULES}
    for name in rules.keys() ^ wanted.keys():
        raise BadFacts("vllm.toml", f"rules.{name}", "is missing" if name in wanted else "is not a known key")
    return {
        name: tuple(
            (since, read_value(value, kind, "vllm.toml", f"rules.{name}.values.{since}"))
            for since, value in rules[name].values
        )
        for name, kind in wanted.items()
    }
