"""The ways a request leaves open, each planned in memory and forecast under any load. It never chooses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from planner.errors import InvalidRequest
from planner.facts.policy import policy
from planner.facts.release import resolve_release
from planner.planning.answer import Plan
from planner.planning.choose import make_plan
from planner.planning.question import Question
from planner.planning.request import PlanRequest
from planner.settings import Layout
from planner.speed.answer import Figures, SpeedCalibration, Targets
from planner.speed.workload import Workload


class PlayedEnough(Exception):
    """A search has played as many requests as it may."""


@dataclass(slots=True)
class Allowance:
    """Requests that may still be played; a preempted one counts again. None is without end."""

    requests: int | None = None

    def check(self) -> None:
        """Stop the search when nothing is left.

        Raises:
            PlayedEnough: nothing is left.
        """
        if self.requests is not None and self.requests <= 0:
            raise PlayedEnough

    def take(self, played: int) -> None:
        """Count what was played."""
        if self.requests is not None:
            self.requests -= played


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to use the GPUs that fits, before any load."""

    plan: Plan
    asked: bool
    """Whether the user asked for all that is special about it (the draft)."""
    default_batch: bool
    """Whether ``max_num_batched_tokens`` is the request's or the engine's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to use the GPUs: a plan that fits and what it would do."""

    plan: Plan
    figures: Figures
    asked: bool
    default_batch: bool

    @property
    def name(self) -> str:
        """The layout, and the draft where there is one."""
        settings = self.plan.settings
        return " with ".join(filter(None, (str(settings.layout), settings.draft_words)))

    def miss(self, targets: Targets) -> float:
        """How far the worst target is missed, as a factor above 1; 1 when all are met."""
        return miss(self.figures, targets)

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


def miss(figures: Figures, targets: Targets) -> float:
    """Return how far `figures` miss the worst target, as a factor above 1; 1 when all are met."""
    return max(misses(figures, targets), default=1.0)


def misses(figures: Figures, targets: Targets) -> list[float]:
    """Return how far `figures` miss each target, as factors; 1 for one that is met."""
    factors = []
    if targets.ttft_ms is not None:
        factors.append(figures.ttft_ms / targets.ttft_ms)
    if targets.tpot_ms is not None:
        factors.append(figures.tpot_ms / targets.tpot_ms)
    if targets.tokens_per_s is not None:
        factors.append(targets.tokens_per_s / figures.output_tokens_per_s)
    return [max(1.0, factor) for factor in factors]


def in_time(figures: Figures, targets: Targets) -> bool:
    """Whether the targets on time are met; tokens per second are not looked at."""
    return miss(figures, dataclasses.replace(targets, tokens_per_s=None)) <= 1


@dataclass(slots=True)
class Comparison:
    """Every way of one request, under one load or many: each plan is made once, each load played once on it."""

    request: PlanRequest
    calibrations: tuple[SpeedCalibration, ...] = ()
    allowance: Allowance = field(default_factory=Allowance)
    _first: dict[int | None, Plan] = field(default_factory=dict)
    _found: dict[tuple[int | None, tuple[int, ...]], list[Candidate]] = field(default_factory=dict)
    """By ``max_num_seqs``, all that a load changes about a plan."""
    _played: dict[tuple[int, Workload], Figures | InvalidRequest] = field(default_factory=dict)

    def first(self, workload: Workload) -> Plan:
        """The plan that does not look at speed, without levers.

        Raises:
            InvalidRequest: when the engine would refuse the settings.
        """
        request = sized(self.request, workload)
        if request.max_num_seqs not in self._first:
            self._first[request.max_num_seqs] = make_plan(request, with_levers=False)
        return self._first[request.max_num_seqs]

    def ways(
        self,
        workload: Workload,
        targets: Targets,
        *,
        unasked: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Way]:
        """Every way under `workload`; further batch sizes are tried where no asked one meets `targets` but one is near.

        Raises:
            InvalidRequest: when none of them can serve it; why the last one cannot.
        """
        limits = policy().compare
        usual = self.candidates(workload, limits.batched_tokens.value)
        candidates = [one for one in usual if unasked or one.asked]
        found = self.forecast(candidates, workload, progress)
        nearest = min((way.miss(targets) for way in found if way.asked), default=1.0)
        if 1 < nearest <= limits.within_reach.value:
            further = self.candidates(workload, limits.further_batched_tokens.value)
            found += self.forecast(further, workload, after(len(candidates), progress))
        if not found:
            raise self._refusal(candidates, workload)
        return found

    def asked(self, workload: Workload) -> list[Candidate]:
        """Every candidate for `workload` that holds nothing unasked, of all batch sizes."""
        limits = policy().compare
        sizes = (limits.batched_tokens.value, limits.further_batched_tokens.value)
        return [one for some in sizes for one in self.candidates(workload, some) if one.asked]

    def forecast(
        self,
        candidates: Sequence[Candidate],
        workload: Workload,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Way]:
        """The `candidates` that can serve `workload`, with what they would do."""
        found = []
        for number, one in enumerate(candidates):
            if progress is not None:
                progress(number, len(candidates))
            figures = self.figures(one, workload)
            if figures is not None:
                found.append(Way(plan=one.plan, figures=figures, asked=one.asked, default_batch=one.default_batch))
        return found

    def hopeless(self, candidate: Candidate, workload: Workload, targets: Targets) -> bool:
        """Whether a candidate misses a time with one request alone: it does under any load.

        Raises:
            PlayedEnough: when nothing more may be played.
        """
        figures = self.figures(candidate, alone(workload))
        return figures is None or not in_time(figures, targets)

    def figures(self, candidate: Candidate, workload: Workload) -> Figures | None:
        """What one candidate would do; None where it cannot hold a request of that load.

        Raises:
            PlayedEnough: when nothing more may be played.
        """
        from planner.speed.predict import calibrated, expected_figures

        key = id(candidate), workload
        known = self._played.get(key)
        if known is None:
            self.allowance.check()
            try:
                _check_length(candidate.plan, workload)
                known = expected_figures(candidate.plan, workload)
                self.allowance.take(workload.total_requests + known.preemptions)
                if (record := benchmark_for(self.calibrations, candidate.plan)) is not None:
                    known = calibrated(known, record)
            except InvalidRequest as error:
                known = error
            self._played[key] = known
        return None if isinstance(known, InvalidRequest) else known

    def candidates(self, workload: Workload, sizes: tuple[int, ...]) -> list[Candidate]:
        """The ways of the request that fit, with those batch sizes; the request's own among the first ones."""
        first = self.first(workload)
        request = sized(self.request, workload)
        key = request.max_num_seqs, sizes
        if key not in self._found:
            self._found[key] = _planned(request, first, sizes)
        return self._found[key]

    def _refusal(self, candidates: Sequence[Candidate], workload: Workload) -> InvalidRequest:
        # The way with the longest context refuses last: its figure is what surely fits.
        for one in sorted(candidates, key=lambda one: (one.asked, one.plan.settings.max_model_len), reverse=True):
            known = self._played.get((id(one), workload))
            if isinstance(known, InvalidRequest):
                return known
        return InvalidRequest("gpus", f"no layout of {self.request.gpus} can be planned for this load")


def after(done: int, progress: Callable[[int, int], None] | None) -> Callable[[int, int], None] | None:
    """What hears the progress of a second part, once `done` steps were made."""
    return progress and (lambda more, total: progress(done + more, done + total))


def alone(workload: Workload) -> Workload:
    """Return the load with one request at a time: nothing on the same GPUs is faster."""
    return dataclasses.replace(workload, concurrency=1, request_rate=None, num_requests=None)


def sized(request: PlanRequest, workload: Workload) -> PlanRequest:
    """Leave room for the load: enough sequences per step for all requests in flight on one server.

    The engine's largest default is larger than most loads, so it stays unless the load is larger still.
    """
    if request.max_num_seqs is not None or workload.concurrency is None:
        return request
    tiers = resolve_release(request.vllm_version).batch_tiers
    if workload.concurrency <= max(tier.max_num_seqs for tier in tiers):
        return request
    return dataclasses.replace(request, max_num_seqs=workload.concurrency)


def _check_length(answer: Plan, workload: Workload) -> None:
    """Refuse a load whose requests the engine would refuse for their length.

    Raises:
        InvalidRequest: one of them is longer than ``max_model_len``.
    """
    length, most = workload.longest_tokens, answer.settings.max_model_len
    if length <= most:
        return
    shorter = f"shorten the {'prompts' if workload.turns == 1 else 'chats'} or the answers"
    if workload.system_tokens:
        shorter += ", or what all prompts share"
    limit = answer.model.max_position_embeddings
    if most >= limit:
        bound, hint = f"the model's {limit:,}", shorter
    else:
        bound, hint = f"the {most:,} that surely fit", f"{shorter}, or plan more memory for the cache"
    raise InvalidRequest(workload.longest_part, f"a request of {length:,} tokens is longer than {bound}", hint=hint)


def benchmark_for(calibrations: tuple[SpeedCalibration, ...], answer: Plan) -> SpeedCalibration | None:
    """Return the newest benchmark of this model, release and layout on these GPUs."""
    settings = answer.settings
    for record in reversed(calibrations):
        if (
            record.gpu, record.model, record.vllm_version, record.tensor_parallel_size, record.pipeline_parallel_size
        ) == (
            answer.gpus.spec.id, answer.model.name, answer.vllm_version, settings.tensor_parallel_size,
            settings.pipeline_parallel_size,
        ):  # fmt: skip
            return record
    return None


def _planned(request: PlanRequest, first: Plan, sizes: tuple[int, ...]) -> list[Candidate]:
    found = []
    for variant in _variants(request, first, sizes):
        try:
            answer = make_plan(variant, with_levers=False)
        except InvalidRequest:
            continue
        if not answer.feasible or (first.verdict == "fits" and answer.verdict != "fits"):
            continue
        asked = variant.num_speculative_tokens == request.num_speculative_tokens
        default = variant.max_num_batched_tokens == request.max_num_batched_tokens
        found.append(Candidate(plan=answer, asked=asked, default_batch=default))
    return found


def places(request: PlanRequest, first: Plan) -> list[Layout]:
    """Return the layouts that are compared: stages only across nodes, or where the plan needs them to fit.

    How long a prompt takes through stages inside a node was measured on two pairs of cards only.
    """
    if not request.layout_open:
        return [first.settings.layout]
    found = [
        layout
        for layout in dataclasses.replace(Question.unchecked(request), gpus=first.gpus).layouts()
        if layout.pipeline_parallel_size == 1 or layout.gpus_per_replica > first.gpus.count
    ]
    return found if first.settings.layout in found else [*found, first.settings.layout]


def _variants(request: PlanRequest, first: Plan, sizes: tuple[int, ...]) -> list[PlanRequest]:
    """The request with everything open filled in, every sensible way; further sizes hold nothing unasked."""
    own = sizes == policy().compare.batched_tokens.value
    batched: list[int | None] = [request.max_num_batched_tokens] if own else []
    if request.max_num_batched_tokens is None:
        seats, default = request.max_num_seqs or 1, first.settings.max_num_batched_tokens
        batched += [size for size in sizes if size != default and size >= seats]
    drafted = [request.num_speculative_tokens]
    draft = first.model.draft
    if own and not request.num_speculative_tokens and draft is not None:
        drafted.append(draft.card_num_speculative_tokens)
    variants = []
    for layout in places(request, first):
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
