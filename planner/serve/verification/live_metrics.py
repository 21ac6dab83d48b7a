"""What a running server is doing, from two looks at its ``/metrics``; it sends no request and draws nothing."""

from __future__ import annotations

from dataclasses import dataclass

from planner.facts.drafts import draft_facts
from planner.serve.prometheus import samples

RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
KV_USE = "vllm:kv_cache_usage_perc"
PROMPT_TOKENS = "vllm:prompt_tokens_total"
GENERATED_TOKENS = "vllm:generation_tokens_total"
PREEMPTIONS = "vllm:num_preemptions_total"
FINISHED = "vllm:request_success_total"
TTFT = "vllm:time_to_first_token_seconds"
DRAFTS = "vllm:spec_decode_num_drafts_total"
DRAFTED = "vllm:spec_decode_num_draft_tokens_total"
ACCEPTED = "vllm:spec_decode_num_accepted_tokens_total"
ENOUGH_STEPS = 100
"""Of fewer drafted steps the mean is chance: at one token in two it is off by a tenth of a token or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """One look: sums over all engines of the server."""

    at_s: float
    """The caller's clock."""
    values: tuple[tuple[str, float], ...]

    def get(self, name: str) -> float | None:
        """Return a value; None when the server does not report it."""
        return dict(self.values).get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveMetrics:
    """The state between two looks; None is what the server does not report, or not yet."""

    running: int | None
    waiting: int | None
    kv_cache_use: float | None
    """Of the fullest engine."""
    output_tokens_per_s: float | None
    prompt_tokens_per_s: float | None
    ttft_ms: float | None
    """Mean over the requests that got their first token since the last look."""
    finished: int | None
    """Requests since the server started."""
    preemptions: int | None


def read_counters(text: str, *, at_s: float) -> Counters:
    """Return the figures of a ``/metrics`` page.

    >>> page = 'vllm:num_requests_running{engine="0"} 2.0'
    >>> read_counters(page, at_s=0).get("vllm:num_requests_running")
    2.0
    """
    wanted = {RUNNING, WAITING, KV_USE, PROMPT_TOKENS, GENERATED_TOKENS, PREEMPTIONS, FINISHED, DRAFTS, ACCEPTED}
    wanted |= {f"{TTFT}_sum", f"{TTFT}_count"}
    found: dict[str, float] = {}
    for sample in samples(text):
        if sample.name == KV_USE:
            found[KV_USE] = max(found.get(KV_USE, 0.0), sample.value)
        elif sample.name in wanted:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return Counters(at_s=at_s, values=tuple(found.items()))


def live_metrics(now: Counters, before: Counters | None) -> LiveMetrics:
    """Return the state at `now`; rates need a look `before` of the same server."""
    first_tokens = _gain(now, before, f"{TTFT}_count")
    waited_s = _gain(now, before, f"{TTFT}_sum")
    return LiveMetrics(
        running=_whole(now.get(RUNNING)),
        waiting=_whole(now.get(WAITING)),
        kv_cache_use=now.get(KV_USE),
        output_tokens_per_s=_rate(now, before, GENERATED_TOKENS),
        prompt_tokens_per_s=_rate(now, before, PROMPT_TOKENS),
        ttft_ms=1000 * waited_s / first_tokens if first_tokens and waited_s is not None else None,
        finished=_whole(now.get(FINISHED)),
        preemptions=_whole(now.get(PREEMPTIONS)),
    )


def acceptance_length(now: Counters, before: Counters | None) -> float | None:
    """Return the mean tokens of a drafted step between two looks: the accepted ones, and the target's own.

    None where too little was drafted to tell, or more than any draft may propose. Source:
    vllm/v1/spec_decode/metrics.py.
    """
    drafts, accepted = _gain(now, before, DRAFTS), _gain(now, before, ACCEPTED)
    if drafts is None or drafts < ENOUGH_STEPS or accepted is None or accepted > drafts * draft_facts().most.value:
        return None
    return 1 + accepted / drafts


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _gain(now: Counters, before: Counters | None, name: str) -> float | None:
    old, new = before.get(name) if before else None, now.get(name)
    # A counter that fell belongs to a server that was started anew.
    return new - old if old is not None and new is not None and new >= old else None


def _rate(now: Counters, before: Counters | None, name: str) -> float | None:
    gain = _gain(now, before, name)
    if gain is None or before is None or now.at_s <= before.at_s:
        return None
    return gain / (now.at_s - before.at_s)
