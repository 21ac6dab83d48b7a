"""A running server over the last minutes: looks in, one sample and its remarks out. It sends no request.

Percentiles are those of the requests of the window, by the rule of Prometheus' ``histogram_quantile``: a share of the
bucket that holds them. Metric names are vLLM's, as in :mod:`planner.serve.verification.live_metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hw_specs.detect.activity import GpuActivity
from hw_specs.units import format_gib, format_tokens
from planner.facts.policy import policy
from planner.planning.answer import Plan
from planner.rendering.envelope import document
from planner.serve.prometheus import number, samples
from planner.serve.verification.live_metrics import (
    TTFT,
    Counters,
    LiveMetrics,
    acceptance_length,
    live_metrics,
    read_counters,
)
from planner.speed.answer import SpeedForecast
from planner.speed.drafting import tokens_per_step
from planner.speed.workload import Workload

ITL = ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")
"""The name of today, and that of releases before it."""
PROMPT, ANSWER = "vllm:request_prompt_tokens", "vllm:request_generation_tokens"
WINDOW_S = 600.0
MOST_LOOKS = 2000
"""Looks that are kept: an hour of one every two seconds, and a little more."""
ENOUGH = 5
"""Requests from which a mean says something of the load."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of a Prometheus histogram, summed over the engines of a server."""

    buckets: tuple[tuple[float, float], ...] = ()
    """Upper bound and how many stay below it, bounds rising."""
    total: float = 0.0
    """Sum of the values."""

    @property
    def count(self) -> float:
        """How many values there are."""
        return self.buckets[-1][1] if self.buckets else 0.0

    def since(self, before: Histogram) -> Histogram:
        """What came after `before`; everything where the server was started anew or has other buckets."""
        old = dict(before.buckets)
        if before.count > self.count or any(bound not in old for bound, _ in self.buckets):
            return self
        buckets = tuple((bound, count - old[bound]) for bound, count in self.buckets)
        return Histogram(buckets, self.total - before.total)

    def quantile(self, share: float) -> float | None:
        """The value below which `share` of the values lie; None without values.

        >>> Histogram(((1.0, 0.0), (2.0, 10.0), (float("inf"), 10.0))).quantile(0.5)
        1.5
        """
        wanted = share * self.count
        if not wanted:
            return None
        low, below = 0.0, 0.0
        for bound, count in self.buckets:
            if count >= wanted:
                if bound == float("inf"):
                    return low
                return low + (bound - low) * (wanted - below) / (count - below) if count > below else bound
            low, below = bound, count
        return low

    @property
    def mean(self) -> float | None:
        """The mean of the values; None without values."""
        return self.total / self.count if self.count else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at ``/metrics`` and at the GPUs."""

    counters: Counters
    ttft: Histogram
    itl: Histogram
    prompt: Histogram
    answer: Histogram
    gpus: tuple[GpuActivity, ...] = ()
    live: LiveMetrics | None = None
    """The state since the look before; None until the look is in a window."""


def read_look(text: str, *, at_s: float, gpus: tuple[GpuActivity, ...] = ()) -> Look:
    """Return what a page of ``/metrics`` says."""
    buckets: dict[str, dict[float, float]] = {}
    sums: dict[str, float] = {}
    for sample in samples(text):
        name, _, part = sample.name.rpartition("_")
        bound = number(sample.labels.get("le", "")) if part == "bucket" else None
        if bound is not None:
            bounds = buckets.setdefault(name, {})
            bounds[bound] = bounds.get(bound, 0.0) + sample.value
        elif part == "sum":
            sums[name] = sums.get(name, 0.0) + sample.value

    def histogram(*names: str) -> Histogram:
        name = next((one for one in names if one in buckets), names[0])
        return Histogram(tuple(sorted(buckets.get(name, {}).items())), sums.get(name, 0.0))

    return Look(
        counters=read_counters(text, at_s=at_s),
        ttft=histogram(TTFT),
        itl=histogram(*ITL),
        prompt=histogram(PROMPT),
        answer=histogram(ANSWER),
        gpus=gpus,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something that is not as planned, and what to change."""

    code: str
    message: str
    cure: str


@document("watch", "2.1")
@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A server at one moment, with percentiles over the window before it; None is what is not known."""

    at_s: float
    """Seconds since the epoch."""
    window_s: float
    """How much of the past the percentiles are of."""
    running: int | None
    waiting: int | None
    kv_cache_use: float | None
    """Of the fullest engine."""
    output_tokens_per_s: float | None
    """Since the look before."""
    prompt_tokens_per_s: float | None
    ttft_ms: float | None
    """Mean of the window."""
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    itl_ms: float | None
    itl_p50_ms: float | None
    itl_p99_ms: float | None
    finished: int | None
    """Requests since the server started."""
    preemptions: int | None
    """Times in the window."""
    gpus: tuple[GpuActivity, ...]
    acceptance_length: float | None = None
    """Mean tokens of a drafted step in the window; None where too little was drafted to tell."""
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The looks of the last minutes."""

    span_s: float = WINDOW_S
    looks: tuple[Look, ...] = field(default=())
    """Oldest first."""

    def add(self, look: Look) -> Window:
        """Return the window after one more look; what is too old goes."""
        begin_s = look.counters.at_s - self.span_s
        kept = tuple(one for one in self.looks[1 - MOST_LOOKS :] if one.counters.at_s >= begin_s)
        live = live_metrics(look.counters, self.looks[-1].counters if self.looks else None)
        return replace(self, looks=(*kept, replace(look, live=live)))

    def last(self, span_s: float) -> Window:
        """Return the newest part of the window, `span_s` seconds of it."""
        if not self.looks:
            return Window(span_s=span_s)
        begin_s = self.looks[-1].counters.at_s - span_s
        return Window(span_s=span_s, looks=tuple(one for one in self.looks if one.counters.at_s >= begin_s))

    def sample(self) -> Sample | None:
        """Return what the newest look says, with percentiles over the window; None before the first one."""
        if not self.looks:
            return None
        now, first = self.looks[-1], self.looks[0]
        live = self.rates()[-1]
        ttft, itl = now.ttft.since(first.ttft), now.itl.since(first.itl)
        old, new = live_metrics(first.counters, None).preemptions, live.preemptions
        return Sample(
            at_s=now.counters.at_s,
            window_s=now.counters.at_s - first.counters.at_s,
            running=live.running,
            waiting=live.waiting,
            kv_cache_use=live.kv_cache_use,
            output_tokens_per_s=live.output_tokens_per_s,
            prompt_tokens_per_s=live.prompt_tokens_per_s,
            ttft_ms=_ms(ttft.mean),
            ttft_p50_ms=_ms(ttft.quantile(0.5)),
            ttft_p99_ms=_ms(ttft.quantile(0.99)),
            itl_ms=_ms(itl.mean),
            itl_p50_ms=_ms(itl.quantile(0.5)),
            itl_p99_ms=_ms(itl.quantile(0.99)),
            finished=live.finished,
            preemptions=None if new is None or old is None else new - old if new >= old else new,
            gpus=now.gpus,
            acceptance_length=acceptance_length(now.counters, first.counters),
        )

    def rates(self) -> tuple[LiveMetrics, ...]:
        """Return the state at every look, oldest first, for a picture of how it went."""
        return tuple(look.live for look in self.looks if look.live is not None)

    def load(self) -> Workload | None:
        """Return the load of the window in two digits; None where too few requests ended to know it."""
        if len(self.looks) < 2:
            return None
        now, first = self.looks[-1], self.looks[0]
        prompt, answer = now.prompt.since(first.prompt), now.answer.since(first.answer)
        # Latencies are of requests: what they shared the server with does not get less by the idle time around them.
        busy = [one.running + (one.waiting or 0) for one in self.rates() if one.running]
        drafted = acceptance_length(now.counters, first.counters)
        if answer.count < ENOUGH or not prompt.mean or not answer.mean or not busy:
            return None
        return Workload(
            prompt_tokens=_rounded(prompt.mean),
            output_tokens=_rounded(answer.mean),
            concurrency=_rounded(sum(busy) / len(busy)),
            acceptance_length=None if drafted is None else round(drafted, 1),
        )


def remarks(sample: Sample, *, plan: Plan | None, forecast: SpeedForecast | None) -> tuple[Remark, ...]:
    """Return what is not as planned, or as forecast for the load that is there, and what to change."""
    found = []
    use = sample.kv_cache_use
    full = policy().alerts.kv_cache_use.value
    if sample.preemptions:
        message = f"{_requests(sample.preemptions, 'was', 'were')} preempted: the KV cache does not hold what runs"
        cure = "lower --max-num-seqs, shorten --max-model-len, or add a server"
        found.append(Remark(code="preemptions", message=message, cure=cure))
    elif use is not None and use > full:
        planned = f"; {format_tokens(plan.kv_cache.tokens)} tokens were planned" if plan else ""
        cure = "requests are longer or more than planned: add a server, or --kv-cache-dtype fp8"
        found.append(Remark(code="kv-cache-full", message=f"the KV cache is {use:.0%} full{planned}", cure=cure))
    if sample.waiting and plan is not None:
        most, waiting = plan.settings.max_num_seqs, _requests(sample.waiting, "waits", "wait")
        if sample.running is not None and sample.running >= most:
            message = f"{waiting}: {most:,} run, the most it may"
            found.append(Remark(code="queue", message=message, cure="raise --max-num-seqs"))
        elif use is None or use > full or sample.preemptions:
            message = f"{waiting} for room in the KV cache"
            found.append(Remark(code="queue", message=message, cure="add a server"))
        # With room left a request waits for its turn in a step, and nothing is wrong.
    if plan is not None:
        found += [*_memory(sample, plan), *_accepted(sample, plan)]
    if forecast is not None:
        found += _slow(sample, forecast)
    return tuple(found)


def _requests(count: int, one: str, many: str) -> str:
    """Return so many requests with their verb.

    >>> _requests(1, "waits", "wait"), _requests(1000, "waits", "wait")
    ('1 request waits', '1,000 requests wait')
    """
    return f"{count:,} request {one}" if count == 1 else f"{count:,} requests {many}"


def _memory(sample: Sample, plan: Plan) -> list[Remark]:
    """GPUs that hold more than the plan's whole budget."""
    budget = plan.ledger.budget_bytes
    over = [gpu for gpu in sample.gpus if gpu.used_bytes is not None and gpu.used_bytes > max(budget, _most(plan))]
    if not over:
        return []
    worst = max(over, key=lambda gpu: gpu.used_bytes or 0)
    message = f"GPU {worst.index} holds {format_gib(worst.used_bytes or 0)} GiB, planned are {format_gib(budget)}"
    return [Remark(code="memory", message=message, cure="look who else is on it: `m35-plan detect`")]


def _accepted(sample: Sample, plan: Plan) -> list[Remark]:
    """A draft whose tokens are accepted less often than in any case that speed counts on."""
    settings, seen = plan.settings, sample.acceptance_length
    if seen is None or settings.spec_method is None:
        return []
    least = tokens_per_step(settings.num_speculative_tokens, "slow", method=settings.spec_method)
    if seen >= least:
        return []
    message = f"a drafted step gives {seen:.2f} tokens, at least {least:.2f} were expected"
    cure = "is it the draft of this very model? without it a step costs less"
    return [Remark(code="acceptance-below-forecast", message=message, cure=cure)]


def _most(plan: Plan) -> int:
    """What the plan takes when every uncertain term is at its worst."""
    return sum(line.high_bytes for line in plan.ledger.lines if line.name not in ("slack", "free"))


def _slow(sample: Sample, forecast: SpeedForecast) -> list[Remark]:
    load = forecast.workload
    words = f"{load.lengths_in_words}, {load.concurrency or 0:,} at once"
    found = []
    for code, measured, high, cure in (
        ("ttft", sample.ttft_ms, forecast.ttft_ms.high, "lower --max-num-batched-tokens, or add a server"),
        ("itl", sample.itl_ms, forecast.itl_ms.high, "fewer requests at once, or a larger tensor parallel size"),
    ):
        if measured is not None and measured > high:
            message = (
                f"mean {code.upper()} {measured:,.0f} ms is above the highest forecast for {words}, {high:,.0f} ms"
            )
            found.append(Remark(code=f"{code}-above-forecast", message=message, cure=cure))
    return found


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _rounded(value: float) -> int:
    """A count in two digits, so that a load that hardly changes is the same load."""
    whole = max(1, round(value))
    step: int = max(1, 10 ** (len(str(whole)) - 2))
    return max(1, round(whole / step) * step)
