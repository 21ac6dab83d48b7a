"""The values of a forecast: figures with bounds, and how layouts compare. It never computes and loads nothing heavy."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from hw_specs.frozen import dataclass
from hw_specs.spec import Basis
from planner.settings import Layout, SpecMethod
from planner.speed.workload import Workload

Objective = Literal["balanced", "latency", "throughput", "context"]
"""What decides among the layouts that meet the targets."""
Territory = Literal["measured", "near", "far", "measured here"]
"""How close a forecast is to something measured: this very case, the same GPU, another GPU, or a benchmark here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its bounds."""

    expected: float
    low: float
    high: float
    basis: Basis

    def scaled(self, factor: float) -> Estimate:
        """Return the same figure in another unit or for another share."""
        return Estimate(
            expected=self.expected * factor, low=self.low * factor, high=self.high * factor, basis=self.basis
        )

    def inverse(self, factor: float) -> Estimate:
        """Return `factor` per this figure: what is good for one is bad for the other, so the bounds change places."""
        return Estimate(
            expected=factor / self.expected, low=factor / self.high, high=factor / self.low, basis=self.basis
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The expected values of a run, without bounds. Times in milliseconds; means where nothing else is said."""

    output_tokens_per_s: float
    total_tokens_per_s: float
    requests_per_s: float
    ttft_ms: float
    ttft_p99_ms: float
    tpot_ms: float
    tpot_p99_ms: float
    itl_ms: float
    itl_p99_ms: float
    latency_ms: float
    kv_cache_peak_use: float
    kv_cache_mean_use: float
    prefix_cache_hit_rate: float
    """Share of all prompt tokens that are found in the prefix cache."""
    preemptions: int
    busy_share: float
    """Share of the time in which a step runs."""
    prefill_share: float
    """Share of the time in which a step with prompt tokens runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedCalibration:
    """How a benchmark on this machine compared with the forecast for it: measured over forecast, by figure."""

    gpu: str
    """Catalogue id."""
    model: str
    vllm_version: str
    tensor_parallel_size: int
    pipeline_parallel_size: int
    ratios: dict[str, float] = field(hash=False)
    """``output_tokens_per_s``, ``ttft_ms``, ``tpot_ms``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedForecast:
    """What a server of these settings would show under this workload. Times in milliseconds."""

    workload: Workload
    output_tokens_per_s: Estimate
    """All replicas together, over the whole run with its ramp and tail."""
    total_tokens_per_s: Estimate
    """Prompt and answer tokens."""
    requests_per_s: Estimate
    output_tokens_per_s_per_gpu: Estimate
    output_tokens_per_s_per_replica: Estimate
    ttft_ms: Estimate
    """Mean over requests."""
    ttft_p99_ms: Estimate
    tpot_ms: Estimate
    """Mean over requests of the mean time per token after the first."""
    tpot_p99_ms: Estimate
    itl_ms: Estimate
    """Mean gap between two chunks of an answer."""
    itl_p99_ms: Estimate
    latency_ms: Estimate
    """Mean from sending a request to its last token."""
    kv_cache_peak_use: float
    """Largest share of the KV blocks in use, of the fullest replica."""
    kv_cache_mean_use: float
    prefix_cache_hit_rate: float = 0.0
    """Share of all prompt tokens that are found in the prefix cache, as the engine counts it."""
    preemptions: int
    busy_share: float
    """Share of the time in which a step runs."""
    prefill_share: float
    """Share of the time in which a step with prompt tokens runs."""
    acceptance_length: Estimate | None = None
    """Mean tokens of a step with the draft; None without one."""
    territory: Territory
    keeps_up: bool = True
    """Whether as many requests are served as arrive; False: the queue grows, and TTFT with it, as long as they do."""
    profile: str
    """The engine build whose measured efficiencies were used."""
    notes: tuple[str, ...]
    """Why the bounds are what they are, in sentences."""


ESTIMATED = tuple(name for name in Figures.__annotations__ if SpeedForecast.__annotations__.get(name) == "Estimate")
"""Figures that get bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What a deployment must reach; None: no target."""

    ttft_ms: float | None = None
    """Mean time to first token, at most."""
    tpot_ms: float | None = None
    """Mean time per further token, at most."""
    tokens_per_s: float | None = None
    """Answer tokens per second over all replicas, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutSpeed:
    """One way to use the GPUs and what it is forecast to do; expected values."""

    layout: Layout
    max_num_seqs: int
    max_num_batched_tokens: int
    num_speculative_tokens: int
    spec_method: SpecMethod | None = None
    """How they are drafted; None without a draft."""
    max_model_len: int
    output_tokens_per_s: float
    ttft_ms: float
    tpot_ms: float
    latency_ms: float
    kv_cache_peak_use: float
    meets_targets: bool
    on_front: bool
    """Whether no other way is at least as good in tokens per second, TTFT, TPOT and length."""
    chosen: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a million tokens cost at the price the user gave; the currency is the user's."""

    price_per_gpu_hour: float
    per_million_output_tokens: Estimate
    per_million_total_tokens: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What the GPUs' boards draw under the load; hosts, fans and cooling come on top."""

    gpu_watts: Estimate
    """All GPUs together, the mean over the run."""
    joules_per_output_token: Estimate
    joules_per_total_token: Estimate
    output_tokens_per_kwh: Estimate
    price_per_kwh: float | None = None
    """The currency is the user's."""
    per_million_output_tokens: Estimate | None = None
    """Price of the electricity; None without a price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedSection:
    """The ``speed`` part of a plan: what was asked of it, the forecast, and how the layouts compare."""

    objective: Objective
    targets: Targets
    meets_targets: bool
    forecast: SpeedForecast
    reasons: tuple[str, ...]
    layouts: tuple[LayoutSpeed, ...]
    cost: Cost | None = None
    energy: Energy | None = None
    """None where the GPU's power draw is not published."""
