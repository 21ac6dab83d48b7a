"""What the engine says about itself on ``/metrics``: KV blocks, cache data type, accepted draft tokens."""

from __future__ import annotations

import re
import time

from planner.serve.check import Doubtful, Failed, Skipped
from planner.serve.prometheus import Sample, samples
from planner.serve.verification.checks.probe import Probe
from planner.serve.verification.checks.server import brief
from planner.serve.verification.live_metrics import ACCEPTED, DRAFTED, DRAFTS
from planner.settings import DRAFT_MODELS
from planner.speed.drafting import tokens_per_step as tokens_of_step

CACHE = "vllm:cache_config_info"
PROSE = "Describe a harbour at dawn in four sentences."
"""Of a short answer a draft that fits may miss every step by chance: some dozen steps are needed."""
ENOUGH_DRAFTED = 12
"""Fewer tell nothing of a rate."""
COUNTERS_LAG_S = 5.0
"""How long counters may take to show a request that was answered."""

_COUNT = re.compile(r"[0-9]{1,15}")
_SAME_DTYPE = {"fp8_e4m3": "fp8", "auto": "bfloat16"}


def _metrics(probe: Probe) -> list[Sample]:
    reply = probe.server.get("/metrics")
    if reply.status == 404:
        raise Skipped("the server has no /metrics")
    if reply.status != 200:
        raise Failed(f"/metrics answered {reply.status}: {reply.error_message}")
    found = samples(reply.text)
    if not any(sample.name.startswith("vllm:") for sample in found):
        raise Skipped("/metrics holds none of vLLM's figures: `--disable-log-stats` takes them away")
    return found


def kv_cache(probe: Probe) -> str:
    """Blocks, block size and data type of the KV cache are the planned ones, in every engine of the server."""
    engines = [sample.labels for sample in _metrics(probe) if sample.name == CACHE]
    if not engines:
        raise Skipped(f"/metrics has no {CACHE}")
    return "; ".join(dict.fromkeys(_one_engine(probe, labels) for labels in engines))


def _one_engine(probe: Probe, labels: dict[str, str]) -> str:
    expect = probe.expect
    blocks, size, dtype = (labels.get(key, "") for key in ("num_gpu_blocks", "block_size", "cache_dtype"))
    if not _COUNT.fullmatch(blocks) or not _COUNT.fullmatch(size):
        raise Skipped(f"{CACHE} does not report blocks: {brief(str(labels), 80)}")
    seen = f"{int(blocks):,} blocks of {size} tokens, {brief(dtype, 20)}"
    if expect.kv_cache_dtype is not None and _dtype(expect.kv_cache_dtype) != _dtype(dtype):
        raise Failed(f"{seen}; expected {expect.kv_cache_dtype}")
    if expect.block_size is not None and expect.block_size != int(size):
        raise Failed(f"{seen}; expected blocks of {expect.block_size}")
    if expect.num_gpu_blocks is None:
        return seen
    low = expect.num_gpu_blocks if expect.num_gpu_blocks_low is None else expect.num_gpu_blocks_low
    high = expect.num_gpu_blocks if expect.num_gpu_blocks_high is None else expect.num_gpu_blocks_high
    off = (int(blocks) - expect.num_gpu_blocks) / max(1, expect.num_gpu_blocks)
    compared = f"{seen}; planned {expect.num_gpu_blocks:,} ({low:,} to {high:,}), {off:+.1%}"
    if not low <= int(blocks) <= high:
        raise Failed(compared, "the server's log shows which term differs: m35-plan diagnose, m35-plan calibrate")
    return compared


def _dtype(name: str) -> str:
    return _SAME_DTYPE.get(name, name)


def speculative(probe: Probe) -> str:
    """Where a draft is planned, tokens of it are accepted; where none is, nothing is drafted."""
    planned = probe.expect.num_speculative_tokens
    before = _drafts(probe)
    if before is None:
        if planned:
            raise Failed(
                f"no drafts in /metrics, expected {planned} tokens per step",
                "start the server with --speculative-config",
            )
        if planned == 0:
            return "no draft, as planned"
        raise Skipped("the server drafts nothing")
    if planned == 0:
        raise Failed("the server drafts, and no draft is planned")
    probe.chat(PROSE)
    deadline = time.monotonic() + COUNTERS_LAG_S
    while (after := _drafts(probe) or before) == before and time.monotonic() < deadline:
        time.sleep(0.1)
    drafted, accepted, steps = (new - old for new, old in zip(after, before, strict=True))
    method = probe.expect.spec_method
    if accepted > drafted:
        raise Failed(f"{accepted:.0f} draft tokens accepted of {drafted:.0f} drafted: more than there were")
    if accepted <= 0:
        _none_accepted(drafted, method)
        return f"none of {drafted:.0f} drafted tokens accepted: the answer repeats nothing"
    seen = f"{accepted:.0f} of {drafted:.0f} drafted tokens accepted, {accepted / drafted:.0%}"
    seen += f", {1 + accepted / steps:.2f} tokens a step" if steps > 0 else ""
    if method is None:
        return f"{seen}; how it drafts is not known, so no share is expected"
    least = _least_share(planned or 1, method)
    if drafted >= ENOUGH_DRAFTED and accepted / drafted < least:
        raise Doubtful(
            f"{seen}; at least {least:.0%} were expected", "is it the draft of this very model, in its revision?"
        )
    return seen


def _none_accepted(drafted: float, method: str | None) -> None:
    """Judge a draft of which nothing was taken: a model's draft is broken then, a search for repeated text need not be.

    Raises:
        Failed: for the draft of a model.
        Doubtful: where nothing says how it drafts.
    """
    seen, hint = f"0 of {drafted:.0f} drafted tokens accepted", "is it the draft of this very model?"
    if method in DRAFT_MODELS:
        raise Failed(seen, hint)
    if method is None:
        raise Doubtful(
            f"{seen}, and how it drafts is not known", f"{hint} `ngram` and `suffix` only find repeated text"
        )


def _least_share(tokens_per_step: int, method: str) -> float:
    """Share of drafted tokens that is accepted where each one is with the least likelihood that speed counts on."""
    return (tokens_of_step(tokens_per_step, "slow", method=method) - 1) / tokens_per_step


def _drafts(probe: Probe) -> tuple[float, float, float] | None:
    """Drafted and accepted tokens and drafted steps over all engines; None where nothing is drafted."""
    found = _metrics(probe)
    if not any(sample.name == DRAFTED for sample in found):
        return None

    def total(name: str) -> float:
        return sum(sample.value for sample in found if sample.name == name)

    return total(DRAFTED), total(ACCEPTED), total(DRAFTS)
