"""From one layout to settings that fit: lengths, sequences, batch. It never compares layouts."""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import Any

from hw_specs.frozen import dataclass
from planner.facts.policy import Batch, policy
from planner.facts.release import BatchTier
from planner.facts.vllm import vllm_facts
from planner.memory.budget import rank_budgets
from planner.memory.term import Bound
from planner.planning.answer import VERDICTS
from planner.planning.calibration import pick_calibration
from planner.planning.engine_limits import lora_of
from planner.planning.outcome import Outcome, room_tokens
from planner.planning.question import Question, resolved_method
from planner.settings import Layout, Settings, cut_to_length

_OUTSIDE = ("free", "physical")
"""What stops a start that a smaller share of the GPU would not."""


def solve(question: Question, layout: Layout) -> Outcome:
    """Return the settings for one layout: the user's where given, ours where they fit at the low bound.

    The engine's own defaults are kept when the requested length fits with them; a tight GPU gets a smaller batch from
    ``facts/policy.toml``: the first one with which it fits. The engine's share of the GPU is kept, too, unless so much
    of an idle GPU is not surely free: then it is what is.
    """
    trial = _Trial(question=question, layout=layout)
    lower, open_share = dataclasses.replace(trial, only_what_is_free=True), _share_is_open(question)
    if open_share and trial.outcome(trial.settings()).blocker(Bound.WORST) == "free":
        # No batch starts with that share.
        lowered = _with_some_batch(lower)
        if lowered.verdict == "fits":
            return lowered
    best = _with_some_batch(trial)
    if open_share and best.verdict != "fits":
        lowered = _with_some_batch(lower)
        best = lowered if best.blocker(Bound.EXPECTED) in _OUTSIDE or _better(lowered, best) else best
    return best


def may_hold(question: Question, layout: Layout, length_tokens: int) -> bool:
    """Whether the smallest batch surely holds so long a request in this layout; without it no settings of ours do."""
    trial = _Trial(question=question, layout=layout)
    found = trial.at(trial.settings(policy().batches[-1]), length_tokens)
    share = found.surely_free_share
    lowered = 0 < share < found.settings.gpu_memory_utilization and _share_is_open(question)
    if lowered and found.blocker(Bound.WORST) in _OUTSIDE:
        found = trial.at(dataclasses.replace(found.settings, gpu_memory_utilization=share), length_tokens)
    return found.verdict == "fits"


def _share_is_open(question: Question) -> bool:
    return question.request.gpu_memory_utilization is None and not question.gpus.held


def _with_some_batch(trial: _Trial) -> Outcome:
    question, settings = trial.question, trial.settings()
    first = trial.outcome(settings)
    if first.verdict == "fits" and first.settings.max_model_len == question.wanted_length:
        return first
    best = first
    hopeless = first.blocker(Bound.WORST) == "load"  # the weights alone: what is missing is said with the first batch
    for batch in policy().batches[: 1 if hopeless else None]:
        smaller = trial.settings(batch)
        if smaller != settings:
            outcome = trial.outcome(smaller)
            best = outcome if _better(outcome, best) else best
        if best.verdict == "fits":
            break
    return best


def batch_sizes(tier: BatchTier, batch: Batch | None, *, sequences: int) -> tuple[int, int]:
    """Return ``max_num_seqs`` and ``max_num_batched_tokens`` for so many sequences: the engine's, or smaller ones."""
    if batch is None:
        return max(tier.max_num_seqs, sequences), tier.max_num_batched_tokens
    seats = max(min(tier.max_num_seqs, batch.max_num_seqs), sequences)
    return seats, max(min(tier.max_num_batched_tokens, batch.max_num_batched_tokens), seats)


def engine_settings(question: Question, layout: Layout) -> Settings:
    """Return what the engine itself sets for what the request leaves open; nothing is made to fit."""
    return _Trial(question=question, layout=layout).settings()


def _better(new: Outcome, old: Outcome) -> bool:
    """Whether smaller settings earn their place: a better verdict, or more room at the same one."""

    def worth(outcome: Outcome) -> tuple[int, int, int]:
        verdict = VERDICTS.index(outcome.verdict)
        return verdict, outcome.settings.max_model_len, outcome.tightest.available.worst

    return worth(new) > worth(old)


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """The fixed part of one layout's search."""

    question: Question
    layout: Layout
    only_what_is_free: bool = False
    """Whether a share that is not surely free is lowered to what is."""
    known: dict[Settings, Outcome] = field(default_factory=dict, compare=False)
    """What was solved already."""

    def settings(self, batch: Batch | None = None) -> Settings:
        """Settings before the length is solved: the engine's batch sizes, or those of `batch` where smaller."""
        question, request, tier = self.question, self.question.request, self.question.batch_tier
        sequences, batched = batch_sizes(tier, batch, sequences=question.sequences)
        if request.max_num_seqs is not None:
            sequences = request.max_num_seqs
        if request.max_num_batched_tokens is not None:
            batched = request.max_num_batched_tokens
            if request.max_num_seqs is None:
                sequences = min(sequences, batched)
        elif request.max_num_seqs is not None:
            batched = max(batched, sequences)
        if request.max_num_batched_tokens is None:
            batched = min(batched, sequences * question.wanted_length)
        return Settings(
            tensor_parallel_size=self.layout.tensor_parallel_size,
            pipeline_parallel_size=self.layout.pipeline_parallel_size,
            replicas=self.layout.replicas,
            max_model_len=question.wanted_length,
            max_num_seqs=sequences,
            max_num_batched_tokens=batched,
            gpu_memory_utilization=request.gpu_memory_utilization or question.release.gpu_memory_utilization,
            kv_cache_dtype=request.kv_cache_dtype,
            language_model_only=question.text_only,
            enforce_eager=request.enforce_eager,
            num_speculative_tokens=request.num_speculative_tokens,
            spec_method=resolved_method(question.model, request.spec_method, request.num_speculative_tokens),
            speculative_max_model_len=request.speculative_max_model_len,
            kv_cache_memory_bytes=request.kv_cache_memory_bytes,
            long_prefill_token_threshold=request.long_prefill_token_threshold,
            block_size=request.block_size or vllm_facts().kv_cache.block_size.value,
            load_format=request.load_format,
            lora=lora_of(request),
            cudagraph_mode=request.cudagraph_mode,
            cudagraph_capture_sizes=request.cudagraph_capture_sizes,
            max_cudagraph_capture_size=request.max_cudagraph_capture_size,
            async_scheduling=request.async_scheduling,
            api_server_count=request.api_server_count,
        )

    def outcome(self, settings: Settings) -> Outcome:
        """Solve the length where the user left it open, and judge."""
        found = self.known.get(settings) or self._solved(settings)
        self.known[settings] = found
        if self.only_what_is_free and found.blocker(Bound.WORST) in _OUTSIDE:
            share = found.surely_free_share
            if 0 < share < settings.gpu_memory_utilization:
                return self._solved(dataclasses.replace(settings, gpu_memory_utilization=share))
        return found

    def _solved(self, settings: Settings) -> Outcome:
        if self.question.request.max_model_len is not None:
            return self.at(settings, self.question.wanted_length)
        wanted, context = self.question.wanted_length, policy().context
        full = self.at(settings, wanted)
        if full.verdict == "fits":
            return full
        step, least = context.round_tokens.value, min(context.shortest_unasked_tokens.value, wanted)
        guess = least if full.stopped_otherwise(Bound.WORST) else max(least, self._room(full) // step * step)
        best, longest = self.at(settings, guess), wanted
        if self._is_held(best):
            # Some terms shrink with the length (block tables, profiled images): there may be more room than at first.
            longest = self._room(best)
        elif guess > least:
            best, longest = self.at(settings, least), guess - 1
        if not self._is_held(best):
            return dataclasses.replace(best, too_short=True)  # a shorter length never hurts: there is none to look for
        low, high = best.settings.max_model_len // step, min(longest, wanted) // step
        while low < high:
            middle = (low + high + 1) // 2
            longer = self.at(settings, middle * step)
            low, high, best = (middle, high, longer) if self._is_held(longer) else (low, middle - 1, best)
        return best

    def _is_held(self, outcome: Outcome) -> bool:
        """Whether its length fits at the low bound with a block to spare."""
        return outcome.verdict == "fits" and outcome.settings.max_model_len <= self._room(outcome)

    def at(self, settings: Settings, length_tokens: int) -> Outcome:
        """Judge the settings at that length."""
        cut: dict[str, Any] = cut_to_length(settings, length_tokens)
        settings = dataclasses.replace(settings, max_model_len=length_tokens, **cut)
        question = self.question
        calibration = pick_calibration(question, settings)
        return Outcome(
            question=question,
            settings=settings,
            ranks=rank_budgets(question.model, question.gpus, settings, question.release, calibration),
        )

    def _room(self, outcome: Outcome) -> int:
        spare = policy().context.spare_blocks.value
        return min(
            room_tokens(rank.geometry, rank.available.worst, outcome.question.sequences, spare)
            for rank in outcome.ranks
        )
