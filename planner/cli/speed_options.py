"""Options that describe a load and what it must reach; shared by the commands that forecast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from planner.cli.options import HumanInt

F = TypeVar("F", bound=Callable[..., Any])

NAMES = (
    "prompt_tokens", "output_tokens", "request_rate", "length_range_ratio", "num_requests", "prefix_cache_hit_rate",
    "images_per_request", "ttft_ms", "tpot_ms", "tokens_per_s", "objective", "price_per_gpu_hour",
)  # fmt: skip
"""Parameters that these options add; any of them asks for a forecast."""

TYPICAL = {"prompt_tokens": 1024, "output_tokens": 1024, "concurrency": 32}
"""What is assumed of a load that is only partly described: the public benchmark of this model."""


def workload_options(command: F) -> F:
    """The load: lengths, arrivals, cache hits."""
    return _decorated(
        command,
        _option("--prompt-tokens", "mean length of a prompt (1024 where only other load is given)", HumanInt(), "N"),
        _option("--output-tokens", "mean length of an answer (1024 where only other load is given)", HumanInt(), "N"),
        _option("--request-rate", "requests per second, at random; --concurrency caps them", float, "N"),
        _option(
            "--length-range-ratio", "lengths vary by R of their mean, both ways, as in vllm bench serve", float, "R"
        ),
        _option("--num-requests", "requests in the simulated run", int, "N"),
        _option("--prefix-cache-hit-rate", "share of each prompt found in the prefix cache", float, "R"),
        _option("--images-per-request", "images of the largest size in each prompt", int, "N"),
    )


def target_options(command: F) -> F:
    """What the load must reach, what to prefer, what it costs."""
    objectives = click.Choice(["balanced", "latency", "throughput", "context"])
    return _decorated(
        command,
        _option("--ttft-ms", "mean time to first token to stay under", float, "MS"),
        _option("--tpot-ms", "mean time per further token to stay under", float, "MS"),
        _option("--tokens-per-s", "answer tokens per second to reach, all replicas", float, "N"),
        _option("--objective", "what decides among the layouts that meet the targets", objectives, None),
        _option("--price-per-gpu-hour", "price of one GPU; adds the cost per million tokens", float, "PRICE"),
    )


def _option(name: str, text: str, kind: Any, metavar: str | None) -> Callable[[F], F]:
    return click.option(name, type=kind, metavar=metavar, help=text)


def _decorated(command: F, *options: Callable[[F], F]) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def asks_for_speed(values: dict[str, Any]) -> bool:
    """Whether any option of a load or a target was given."""
    return any(values.get(name) is not None for name in NAMES)
