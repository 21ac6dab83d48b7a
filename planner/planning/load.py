"""A load as people describe it, and what it must reach: one description per option, from words to values.

It never forecasts and knows no GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from planner.errors import InvalidRequest
from planner.planning.setting import Setting

if TYPE_CHECKING:
    from planner.speed.answer import SpeedSection, Targets
    from planner.speed.workload import Workload

TYPICAL = {"prompt_tokens": 1024, "output_tokens": 1024, "concurrency": 32}
"""What is assumed of a load that is only partly described: the public benchmark of this model."""

LOAD: Mapping[str, Setting] = {
    "prompt_tokens": Setting(
        help="mean prompt length (1024 if only other load options are given)", kind="count", label="prompt, tokens",
        placeholder="no load", least=1,
    ),
    "output_tokens": Setting(
        help="mean output length (1024 if only other load options are given)", kind="count", label="answer, tokens",
        placeholder="no load", least=1,
    ),
    "turns": Setting(
        help="turns of a chat or agent session; each sends its whole history, and --prompt-tokens are the new ones",
        kind="count", label="turns of a chat", placeholder="1", least=1,
    ),
    "system_tokens": Setting(
        help="tokens at the head of every prompt, the same for all: instructions, tools", kind="count",
        label="shared by all prompts", placeholder="0",
    ),
    "pause_s": Setting(
        help="seconds between an answer and the next turn", kind="fraction", metavar="S",
    ),
    "request_rate": Setting(
        help="requests per second, Poisson arrivals; --concurrency caps those in flight", kind="fraction",
        label="requests per second",
        placeholder="no rate",
    ),
    "length_range_ratio": Setting(
        help="lengths vary by R of their mean, both ways, as in vllm bench serve", kind="fraction", metavar="R"
    ),
    "length_distribution": Setting(
        help="how lengths vary; exponential is about as wide as chats are", kind="text",
        choices=("uniform", "exponential"),
    ),
    "num_requests": Setting(help="requests in the simulated run", kind="integer"),
    "prefix_cache_hit_rate": Setting(
        help="share of each prompt found in the prefix cache", kind="fraction", metavar="R"
    ),
    "acceptance_length": Setting(
        help="mean tokens per step with the draft, as bench or the server's metrics report it", kind="fraction",
        metavar="N",
    ),
    "images_per_request": Setting(help="images of the largest size in each prompt", kind="integer"),
    "ttft_ms": Setting(
        help="target for the mean time to first token (TTFT)", kind="fraction", metavar="MS", label="TTFT at most, ms",
        placeholder="no target",
    ),
    "tpot_ms": Setting(
        help="target for the mean time per output token (TPOT)", kind="fraction", metavar="MS",
        label="TPOT at most, ms",
        placeholder="no target",
    ),
    "tokens_per_s": Setting(
        help="target for output tokens per second, all replicas together", kind="fraction", label="tokens/s at least",
        placeholder="no target",
    ),
    "objective": Setting(
        help="what decides among the layouts that meet the targets", kind="text", label="prefer",
        choices=("balanced", "latency", "throughput", "context"),
    ),
    "price_per_gpu_hour": Setting(
        help="price of one GPU; adds the cost per million tokens", kind="fraction", metavar="PRICE",
        label="price, GPU hour", placeholder="no cost",
    ),
    "price_per_kwh": Setting(
        help="price of a kilowatt-hour; adds what the GPUs' electricity costs per million tokens", kind="fraction",
        metavar="PRICE",
    ),
}  # fmt: skip
"""Name → description; any of them asks for a forecast."""

TARGETS = ("ttft_ms", "tpot_ms", "tokens_per_s")
WORKLOAD = ("prompt_tokens", "output_tokens", "turns", "system_tokens", "pause_s", "request_rate",
            "length_range_ratio", "length_distribution", "num_requests", "prefix_cache_hit_rate",
            "acceptance_length", "images_per_request")  # fmt: skip


def workload_of(load: Mapping[str, Any], *, concurrency: int | None) -> Workload:
    """Return the load that options describe; what is left out is the public benchmark of this model.

    Raises:
        InvalidRequest: naming the option that is out of range.
    """
    from planner.speed.workload import Workload

    given = {name: load[name] for name in WORKLOAD if load.get(name) is not None}
    if concurrency is None and "request_rate" not in given:
        concurrency = TYPICAL["concurrency"]
    lengths = {name: TYPICAL[name] for name in ("prompt_tokens", "output_tokens")}
    return Workload(**(lengths | given), concurrency=concurrency)


def targets_of(load: Mapping[str, Any]) -> Targets:
    """Return the targets among the options.

    Raises:
        InvalidRequest: for a target that is not positive.
    """
    from planner.speed.answer import Targets

    values = {name: load[name] for name in TARGETS if load.get(name) is not None}
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise InvalidRequest(name, f"{name} must be above 0, not `{value}`")
    return Targets(**values)


def load_of(section: SpeedSection) -> tuple[tuple[str, Any], ...]:
    """Return the options that ask for a forecast again; those that say what is assumed anyway are left out."""
    from planner.speed.workload import Workload

    assumed = Workload()
    given = {name: getattr(section.forecast.workload, name) for name in WORKLOAD}
    said = {name: value for name, value in given.items() if value != getattr(assumed, name)}
    said["prompt_tokens"], said["output_tokens"] = given["prompt_tokens"], given["output_tokens"]
    said |= {name: getattr(section.targets, name) for name in TARGETS}
    said["objective"] = None if section.objective == LOAD["objective"].choices[0] else section.objective
    said["price_per_gpu_hour"] = section.cost.price_per_gpu_hour if section.cost else None
    said["price_per_kwh"] = section.energy.price_per_kwh if section.energy else None
    return tuple((name, said[name]) for name in LOAD if said.get(name) is not None)
