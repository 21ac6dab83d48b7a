"""From one layout to settings that fit: lengths, sequences, verdict. It never compares layouts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hw_specs.spec import GpuSet
from hw_specs.units import GIB
from planner.errors import InvalidRequest
from planner.facts import load
from planner.facts.release import BatchTier, Release
from planner.memory.kv_cache import KvGeometry
from planner.memory.ledger import RankBudget, rank_budgets
from planner.memory.rank import Calibration
from planner.memory.term import Bound
from planner.model import ModelSpec
from planner.planning.answer import KvCache, Verdict
from planner.planning.request import PlanRequest
from planner.settings import Layout, Settings


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One layout with all settings chosen, and how it fares on every rank."""

    settings: Settings
    ranks: tuple[RankBudget, ...]
    sequences: int
    """Sequences of full length that must fit at once."""
    length_asked: bool
    """Whether the user fixed the length."""
    wanted_length: int
    """The asked length, or the longest that model and draft allow."""
    too_short: bool = False
    """Whether no useful length fits at the low bound, so that a short one stands in to show what is missing."""

    @cached_property
    def tightest(self) -> RankBudget:
        """The rank with the fewest KV blocks at the expected bound."""
        return min(self.ranks, key=lambda rank: rank.available.expected // rank.geometry.block_bytes)

    @cached_property
    def verdict(self) -> Verdict:
        """``fits`` at the low bound, ``tight`` only at the expected one; never tight by our own choice."""
        if self.too_short:
            return "does-not-fit"
        if self._holds(Bound.WORST):
            return "fits"
        return "tight" if self._holds(Bound.EXPECTED) else "does-not-fit"

    def _holds(self, bound: Bound) -> bool:
        return self.blocker(bound) is None

    def blocker(self, bound: Bound) -> str | None:
        """The first thing that stops it at `bound`: ``free``, ``load``, ``kv`` or ``physical``; None if nothing."""
        for rank in self.ranks:
            fault = rank_fault(rank, self.settings.max_model_len, self.sequences, bound)
            if fault:
                return fault
        return None

    def stopped_otherwise(self, bound: Bound) -> bool:
        """Whether something else than the KV cache stops it at `bound`, whatever the length."""
        return any(
            max(rank.loading_peak_bytes, rank.requested_bytes) > rank.free_at_start[bound]
            or rank.outside_budget_bytes[bound] > rank.outside_budget_room_bytes
            for rank in self.ranks
        )

    @cached_property
    def shortfall_bytes(self) -> int:
        """Bytes missing on the worst rank: at the expected bound, or at the low one where only that fails."""
        if self.verdict != "does-not-fit":
            return 0
        bound = Bound.EXPECTED if self.blocker(Bound.EXPECTED) else Bound.WORST
        return max(1, *(self._missing_bytes(rank, bound) for rank in self.ranks))

    def _missing_bytes(self, rank: RankBudget, bound: Bound) -> int:
        geometry, free = rank.geometry, rank.free_at_start[bound]
        spare = geometry.block_bytes if geometry.null_block_reserved else 0
        needed = geometry.needed_bytes(self.settings.max_model_len, self.sequences) + spare
        return max(
            needed - rank.available[bound],
            rank.loading_peak_bytes - free,
            rank.requested_bytes - free,
            rank.outside_budget_bytes[bound] - rank.outside_budget_room_bytes,
        )

    def sequences_that_fit(self, length_tokens: int, bound: Bound) -> int:
        """Sequences of `length_tokens` that the pool holds at `bound`."""
        return min(
            max(0, rank.geometry.checkable_bytes(rank.available[bound])) // rank.geometry.needed_bytes(length_tokens)
            for rank in self.ranks
        )

    def length_per_sequence(self, bound: Bound) -> int:
        """Tokens that each of the wanted sequences may take at `bound`."""
        return min(_room_tokens(rank.geometry, rank.available[bound], self.sequences, 0) for rank in self.ranks)

    def _longest(self, bound: Bound) -> int:
        """Longest length of one sequence that would start at `bound`; 0 when something else stops it."""
        if any(rank_fault(rank, 1, 1, bound) for rank in self.ranks):
            return 0
        return min(rank.geometry.longest(rank.available[bound], self.length_limit) for rank in self.ranks)

    @cached_property
    def kv_cache(self) -> KvCache:
        """The pool as the engine computes it: the smallest number of blocks over the ranks."""
        rank = self.tightest
        geometry, length = rank.geometry, self.settings.max_model_len
        blocks = min(r.geometry.num_blocks(r.available.expected) for r in self.ranks)
        return KvCache(
            bytes_per_token_per_gpu=geometry.bytes_per_token,
            block_size=geometry.block_size,
            available_bytes=rank.available.expected,
            available_low_bytes=rank.available.worst,
            available_high_bytes=rank.available.best,
            num_gpu_blocks=blocks,
            tokens=geometry.tokens(blocks, length),
            max_concurrency=geometry.concurrency(blocks, length),
            largest_max_model_len=self._longest(Bound.EXPECTED),
            largest_max_model_len_low=self._longest(Bound.WORST),
        )

    @property
    def length_limit(self) -> int:
        """Longest length the model and the draft allow."""
        return self.ranks[0].model.max_position_embeddings

    @property
    def pool_tokens(self) -> int:
        """Tokens the pool holds, in whole blocks."""
        return self.kv_cache.num_gpu_blocks * self.kv_cache.block_size


def rank_fault(rank: RankBudget, length_tokens: int, sequences: int, bound: Bound) -> str | None:
    """Return what stops one rank at `bound`, or None.

    ``free``: the engine's own start-up check; ``load``: the weights do not load; ``kv``: the KV check fails or too
    few sequences fit; ``physical``: what lives outside the budget does not fit beside it.
    """
    free = rank.free_at_start[bound]
    if rank.loading_peak_bytes > free:
        return "load"
    if rank.requested_bytes > free:
        return "free"
    geometry, available = rank.geometry, rank.available[bound]
    if not geometry.starts(available, length_tokens):
        return "kv"
    if geometry.needed_bytes(length_tokens, sequences) > geometry.checkable_bytes(available):
        return "kv"
    return "physical" if rank.outside_budget_bytes[bound] > rank.outside_budget_room_bytes else None


def default_batch(gpus: GpuSet, release: Release) -> BatchTier:
    """The engine's default batch sizes for this GPU; it picks them by what the driver reports.

    Source: vLLM engine/arg_utils.py get_batch_defaults.
    """
    spec = gpus.spec
    for tier in release.batch_tiers:
        if spec.driver_memory_bytes < tier.min_driver_gib * GIB:
            continue
        if any(name in driver.lower() for name in tier.not_names for driver in (*spec.driver_names, spec.name)):
            continue
        if spec.architecture not in tier.not_architectures:
            return tier
    raise LookupError(f"no batch tier for {spec.id}")


def solve(request: PlanRequest, model: ModelSpec, gpus: GpuSet, release: Release, layout: Layout) -> Outcome:
    """Return the settings for one layout: the user's where given, ours where they fit at the low bound.

    The engine's own defaults are kept when the wanted length fits with them; a tight GPU gets a smaller batch from
    ``facts/policy.toml``.
    """
    trial = _Trial(request=request, model=model, gpus=gpus, release=release, layout=layout)
    settings = trial.settings()
    first = trial.outcome(settings)
    if first.verdict == "fits" and first.settings.max_model_len == trial.wanted_length:
        return first
    best = first
    for batch in load("policy.toml")["batches"][: None if request.max_model_len is not None else 1]:
        smaller = trial.settings(batch)
        if smaller != settings:
            outcome = trial.outcome(smaller)
            best = outcome if _better(outcome, best) else best
        if best.verdict == "fits":
            break
    return best


def engine_settings(request: PlanRequest, model: ModelSpec, gpus: GpuSet, release: Release, layout: Layout) -> Settings:
    """Return what the engine itself sets for what `request` leaves open; nothing is made to fit."""
    return _Trial(request=request, model=model, gpus=gpus, release=release, layout=layout).settings()


def _better(new: Outcome, old: Outcome) -> bool:
    """Whether the smaller batch earns its place: a better verdict, or more room at the same one."""
    rank = {"fits": 2, "tight": 1, "does-not-fit": 0}
    return (rank[new.verdict], new.settings.max_model_len, new.tightest.available.worst) > (
        rank[old.verdict],
        old.settings.max_model_len,
        old.tightest.available.worst,
    )


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """The fixed part of one layout's search."""

    request: PlanRequest
    model: ModelSpec
    gpus: GpuSet
    release: Release
    layout: Layout

    @cached_property
    def length_limit(self) -> int:
        limit = self.model.max_position_embeddings
        draft = self.request.speculative_max_model_len
        if self.request.num_speculative_tokens and draft and self.release.draft_limits_target:
            limit = min(limit, draft)
        return limit

    @cached_property
    def wanted_length(self) -> int:
        return min(self.request.max_model_len or self.length_limit, self.length_limit)

    def settings(self, batch: Mapping[str, Any] | None = None) -> Settings:
        """Settings before the length is solved: the engine's batch sizes, or those of `batch` where smaller."""
        request, tier = self.request, default_batch(self.gpus, self.release)
        sequences = max(tier.max_num_seqs, request.concurrency or 1)
        batched = tier.max_num_batched_tokens
        if batch is not None:
            sequences = max(min(sequences, batch["max_num_seqs"]), request.concurrency or 1)
            batched = max(min(batched, batch["max_num_batched_tokens"]), sequences)
        if request.max_num_seqs is not None:
            sequences = request.max_num_seqs
        if request.max_num_batched_tokens is not None:
            batched = request.max_num_batched_tokens
            if request.max_num_seqs is None:
                sequences = min(sequences, batched)
        elif request.max_num_seqs is not None:
            batched = max(batched, sequences)
        if request.max_num_batched_tokens is None:
            batched = min(batched, sequences * self.wanted_length)
        return Settings(
            tensor_parallel_size=self.layout.tensor_parallel_size,
            pipeline_parallel_size=self.layout.pipeline_parallel_size,
            replicas=self.layout.replicas,
            max_model_len=self.wanted_length,
            max_num_seqs=sequences,
            max_num_batched_tokens=batched,
            gpu_memory_utilization=request.gpu_memory_utilization or self.release.gpu_memory_utilization,
            kv_cache_dtype=request.kv_cache_dtype,
            language_model_only=request.language_model_only
            or request.limit_mm_per_prompt_image == 0
            or self.model.vision is None,
            enforce_eager=request.enforce_eager,
            num_speculative_tokens=request.num_speculative_tokens,
            speculative_max_model_len=request.speculative_max_model_len,
            kv_cache_memory_bytes=request.kv_cache_memory_bytes,
            block_size=request.block_size or load("vllm.toml")["kv_cache"]["block_size"]["value"],
            load_format=request.load_format,
        )

    def outcome(self, settings: Settings) -> Outcome:
        """Solve the length where the user left it open, and judge."""
        if self.request.max_model_len is not None:
            return self._at(settings, self.wanted_length)
        full = self._at(settings, self.wanted_length)
        if full.verdict == "fits":
            return full
        longest = self._longest(settings, full)
        policy = load("policy.toml")["context"]
        step = policy["round_tokens"]["value"]
        rounded = longest // step * step
        if rounded < policy["shortest_unasked_tokens"]["value"]:
            shortest = min(policy["shortest_unasked_tokens"]["value"], self.wanted_length)
            return dataclasses.replace(self._at(settings, shortest), too_short=True)
        return self._at(settings, rounded)

    def _at(self, settings: Settings, length_tokens: int) -> Outcome:
        settings = dataclasses.replace(settings, max_model_len=length_tokens)
        calibration = pick_calibration(self.request.calibrations, self.model, self.gpus, self.release, settings)
        return Outcome(
            settings=settings,
            ranks=rank_budgets(self.model, self.gpus, settings, self.release, calibration),
            sequences=self.request.concurrency or 1,
            length_asked=self.request.max_model_len is not None,
            wanted_length=self.wanted_length,
        )

    def _longest(self, settings: Settings, full: Outcome) -> int:
        """Longest length that fits at the low bound with a block to spare; 0 when none does."""
        guess = self._room(full)
        if guess <= 0:
            return 0
        # Some terms shrink with the length (block tables, profiled images): look once more from there.
        upper = self._room(self._at(settings, guess))
        return _bisect(
            guess, min(upper, self.wanted_length), lambda length: self._at(settings, length).verdict == "fits"
        )

    def _room(self, outcome: Outcome) -> int:
        spare = load("policy.toml")["context"]["spare_blocks"]["value"]
        return min(
            _room_tokens(rank.geometry, rank.available.worst, outcome.sequences, spare) for rank in outcome.ranks
        )


def _room_tokens(geometry: KvGeometry, available_bytes: int, sequences: int, spare_blocks: int) -> int:
    """Tokens each of `sequences` may take of `available_bytes`."""
    blocks = geometry.checkable_bytes(available_bytes) // geometry.block_bytes - spare_blocks
    return max(0, blocks // sequences * geometry.block_size)


def _bisect(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """Largest multiple of 16 in ``[low, high]`` for which `fits` holds; 0 when not even `low` does."""
    if not fits(low):
        return 0
    while high - low >= 16:
        middle = (low + high + 16) // 2 // 16 * 16
        if fits(middle):
            low = middle
        else:
            high = middle - 16
    return low


def pick_calibration(
    calibrations: tuple[Calibration, ...], model: ModelSpec, gpus: GpuSet, release: Release, settings: Settings
) -> Calibration | None:
    """Return the newest start-up that speaks for these settings, reduced to the terms it speaks for.

    All terms carry over when every setting that shapes them is equal; with other batch sizes only what lies outside
    torch does, and graphs where the captured sizes are the same.
    """
    picked = None
    for record in calibrations:
        if (record.model, record.gpu, record.vllm_version) != (model.name, gpus.spec.id, release.version):
            continue
        if (record.tensor_parallel_size, record.pipeline_parallel_size) != settings.layout.split:
            continue
        graphs_alike = (record.max_num_seqs, record.enforce_eager, record.num_speculative_tokens) == (
            settings.max_num_seqs,
            settings.enforce_eager,
            settings.num_speculative_tokens,
        )
        all_alike = graphs_alike and (record.max_num_batched_tokens, record.language_model_only) == (
            settings.max_num_batched_tokens,
            settings.language_model_only,
        )
        terms = {
            name: size
            for name, size in record.terms.items()
            if all_alike or name == "outside_torch" or (name == "graphs" and graphs_alike)
        }
        picked = dataclasses.replace(record, terms=terms)
    return picked


def check_request(request: PlanRequest, model: ModelSpec) -> None:
    """Refuse what the engine would refuse before it looks at memory.

    Raises:
        InvalidRequest: naming the field, the rule and what works.
    """
    limit = model.max_position_embeddings
    if request.max_model_len is not None and request.max_model_len > limit:
        raise InvalidRequest(
            "max_model_len",
            f"max_model_len {request.max_model_len:,} is beyond the model's {limit:,} tokens",
            hint=f"the largest is {limit}",
        )
    seqs, batched = request.max_num_seqs, request.max_num_batched_tokens
    if seqs is not None and batched is not None and batched < seqs:
        raise InvalidRequest(
            "max_num_batched_tokens",
            f"max_num_batched_tokens ({batched}) must be at least max_num_seqs ({seqs})",
            hint="each sequence needs one token of every step",
        )
    if request.concurrency is not None and seqs is not None and request.concurrency > seqs:
        raise InvalidRequest(
            "concurrency",
            f"concurrency {request.concurrency} needs max_num_seqs of at least that, not {seqs}",
            hint=f"raise max_num_seqs to {request.concurrency}",
        )
    dtype = load("vllm.toml")["kv_cache"]["dtypes"].get(request.kv_cache_dtype, {})
    fp8_weights = any(fmt.name.startswith("fp8") for group in model.layers for fmt in (group.attention, group.mlp))
    if dtype.get("refused_with_fp8_weights") and fp8_weights:
        raise InvalidRequest(
            "kv_cache_dtype",
            f"kv_cache_dtype `{request.kv_cache_dtype}` is not supported with FP8 checkpoints",
            hint="use `fp8`",
        )
    _check_draft(request, model)


def _check_draft(request: PlanRequest, model: ModelSpec) -> None:
    k, draft_length = request.num_speculative_tokens, request.speculative_max_model_len
    if not k:
        return
    if model.draft is None:
        raise InvalidRequest("num_speculative_tokens", f"no EAGLE draft is known for {model.name}")
    batched = request.max_num_batched_tokens
    if batched is not None and batched <= k:
        raise InvalidRequest(
            "max_num_batched_tokens", f"max_num_batched_tokens ({batched}) must exceed num_speculative_tokens ({k})"
        )
    target = request.max_model_len or model.max_position_embeddings
    if draft_length is not None and draft_length > target:
        raise InvalidRequest(
            "speculative_max_model_len",
            f"speculative_max_model_len={draft_length} cannot be larger than max_model_len={target}",
            hint="leave the draft's length out: it then follows the target's",
        )
