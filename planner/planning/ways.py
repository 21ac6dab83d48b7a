"""The ways a request leaves open, each planned in memory and forecast under a load. It never chooses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from planner.errors import InvalidRequest
from planner.facts.release import resolve_release
from planner.memory.layouts import layouts
from planner.planning.answer import Plan
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest
from planner.speed.answer import Figures, Targets
from planner.speed.workload import Workload

BATCHED_TOKENS = (2048, 8192, 16384)
"""Sizes of ``max_num_batched_tokens`` worth comparing: the engine's own defaults for its classes of GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to use the GPUs: a plan that fits and what it would do."""

    plan: Plan
    figures: Figures
    asked: bool
    """Whether the user asked for all that is special about it (the draft)."""
    default_batch: bool
    """Whether ``max_num_batched_tokens`` is the request's or the engine's own."""

    @property
    def name(self) -> str:
        """The layout, and the draft where there is one."""
        settings = self.plan.settings
        draft = f" with EAGLE {settings.num_speculative_tokens}" if settings.num_speculative_tokens else ""
        return f"{settings.layout}{draft}"

    def miss(self, targets: Targets) -> float:
        """How far the worst target is missed, as a factor above 1; 1 when all are met."""
        factors = [1.0]
        if targets.ttft_ms is not None:
            factors.append(self.figures.ttft_ms / targets.ttft_ms)
        if targets.tpot_ms is not None:
            factors.append(self.figures.tpot_ms / targets.tpot_ms)
        if targets.tokens_per_s is not None:
            factors.append(targets.tokens_per_s / self.figures.output_tokens_per_s)
        return max(factors)

    def reading(self) -> tuple[str, ...]:
        """The layout and its figures as people would see them; equal ones are shown once."""
        return (self.name, *(f"{value:.3g}" for value in self._vector()))

    def beats(self, other: Way) -> bool:
        """Whether it is at least as good in every figure and better in one."""
        mine, theirs = self._vector(), other._vector()
        return all(a >= b for a, b in zip(mine, theirs, strict=True)) and mine != theirs

    def _vector(self) -> tuple[float, ...]:
        figures = self.figures
        return (
            figures.output_tokens_per_s, -figures.ttft_ms, -figures.tpot_ms,
            float(self.plan.settings.max_model_len),
        )  # fmt: skip


def ways_of(
    request: PlanRequest, first: Plan, workload: Workload, progress: Callable[[int, int], None] | None
) -> list[Way]:
    """Plan and forecast every way that the request leaves open; the first that fails for want of cache raises."""
    found: list[Way] = []
    from planner.speed.predict import expected_figures

    refused: InvalidRequest | None = None
    variants = _variants(request, first)
    for number, variant in enumerate(variants):
        if progress is not None:
            progress(number, len(variants))
        try:
            answer = make_plan(variant)
            if not answer.feasible or (first.verdict == "fits" and answer.verdict != "fits"):
                continue
            figures = expected_figures(answer, workload)
        except InvalidRequest as error:
            refused = error
            continue
        asked = variant.num_speculative_tokens == request.num_speculative_tokens
        default = variant.max_num_batched_tokens == request.max_num_batched_tokens
        found.append(Way(plan=answer, figures=figures, asked=asked, default_batch=default))
    if not found:
        assert refused is not None
        raise refused
    return found


def _variants(request: PlanRequest, first: Plan) -> list[PlanRequest]:
    """The request with everything open filled in, every sensible way."""
    if request.layout_open:
        places = [
            layout
            for layout in layouts(
                first.model,
                request.gpus,
                text_only=first.settings.language_model_only,
                release=resolve_release(first.vllm_version),
            )
            if layout.pipeline_parallel_size == 1 or layout.gpus_per_replica > request.gpus.count
        ]
        if first.settings.layout not in places:
            places.append(first.settings.layout)
    else:
        places = [first.settings.layout]
    batched: list[int | None] = [request.max_num_batched_tokens]
    if request.max_num_batched_tokens is None:
        seats = request.max_num_seqs or first.settings.max_num_seqs
        default = first.settings.max_num_batched_tokens
        batched = [None, *(size for size in BATCHED_TOKENS if size != default and size >= seats)]
    drafted = [request.num_speculative_tokens]
    if not request.num_speculative_tokens and first.model.draft is not None:
        drafted.append(first.model.draft.card_num_speculative_tokens)
    variants = []
    for layout in places:
        for size in batched:
            for tokens in drafted:
                if tokens != request.num_speculative_tokens and size is not request.max_num_batched_tokens:
                    continue  # an unasked draft is shown once per layout
                variants.append(
                    dataclasses.replace(
                        request.with_layout(layout),
                        max_num_batched_tokens=size,
                        num_speculative_tokens=tokens,
                    )
                )
    return variants
