"""The public measurements and what the model says of them; it never fits and never leaves one out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache

from hw_specs import get_gpu
from planner.facts.release import parse_version
from planner.facts.speed import speed_facts
from planner.memory.graph_sizes import captured_tokens
from planner.speed.drafting import acceptance_length
from planner.speed.hardware import Hardware, hardware_of
from planner.speed.limits import EngineLimits
from planner.speed.measurement import Measurement, measured_model, measured_speed
from planner.speed.profile import EngineProfile, engine_profile
from planner.speed.simulation import simulate
from planner.speed.step import Batch, StepModel
from planner.speed.trace import Trace, mean, percentile
from planner.speed.work import rank_work

_KV_SHARE_OF_MEMORY = 0.9
_BLOCK = 16
_LARGEST_GRAPH = 512
"""Tokens that every release captured up to on every GPU that was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One figure of one measurement against the model."""

    measurement: Measurement
    figure: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Signed relative error of the prediction."""
        return self.predicted / self.measured - 1


def measurements() -> tuple[Measurement, ...]:
    """Return every record of the data file, in file order."""
    return measured_speed().records


def is_older(record: Measurement) -> bool:
    """Whether a run's release is older than those that the numbers of its build are for."""
    release = re.match(r"\d+\.\d+\.\d+", record.engine_version)
    since = speed_facts().profile[record.profile].since
    return release is not None and parse_version(release[0]) < parse_version(since)


def taught(record: Measurement) -> tuple[str, ...]:
    """The figures that a fit may see."""
    return tuple(record.result) if record.fit_figures is None else record.fit_figures


def teaches(record: Measurement, profile: str) -> bool:
    """Whether the fit of `profile` may see it; a reading can say something of two builds."""
    return record.role == "fit" and profile in (record.profile, *record.also_fits)


@cache
def measured_hardware(gpu_id: str) -> tuple[Hardware, int]:
    """Return the speeds and the memory, bytes, of a GPU that was measured, in the catalogue or not."""
    extra = measured_speed().gpus.get(gpu_id)
    if extra is None:
        gpu = get_gpu(gpu_id)
        return hardware_of(gpu), gpu.engine_memory_bytes
    hardware = Hardware(
        name=extra.name, vendor=extra.vendor, bandwidth_bytes_per_s=extra.bandwidth_bytes_per_s,
        flops_per_s={"bf16": extra.bf16_flops_per_s, "fp8": extra.fp8_flops_per_s, "fp4": extra.fp4_flops_per_s},
        link_bytes_per_s=extra.link_bytes_per_s, pair_bytes_per_s=extra.pair_bytes_per_s,
    )  # fmt: skip
    return hardware, extra.memory_bytes


def step_model(measurement: Measurement, profile: EngineProfile) -> StepModel:
    """Return the step model of one measured set-up."""
    tp = measurement.tensor_parallel_size
    hardware, _ = measured_hardware(measurement.gpu)
    return StepModel(
        work=rank_work(
            measured_model(measurement.model), tensor_parallel_size=tp, kv_cache_dtype=measurement.kv_cache_dtype,
            language_model_only=True, with_draft=measurement.speculative_tokens > 0,
        ),
        hardware=hardware, profile=profile, tensor_parallel_size=tp,
        num_speculative_tokens=measurement.speculative_tokens,
        pipeline_parallel_size=measurement.pipeline_parallel_size,
        enforce_eager=measurement.enforce_eager,
        graph_tokens=captured_tokens(
            _LARGEST_GRAPH, measurement.max_num_seqs, 1 + measurement.speculative_tokens
        ),
    )  # fmt: skip


def replay(measurement: Measurement, profile: EngineProfile) -> Trace:
    """Simulate one measured run.

    Raises:
        ValueError: when the measurement is excluded.
    """
    if measurement.workload is None:
        raise ValueError(f"{measurement.id} cannot be replayed: {measurement.reason}")
    if measurement.kind != "serve":
        # Offline runs have no front end: everything is queued before the clock starts.
        profile = replace(profile, frontend_s=0.0, first_token_s=0.0, streaming_s=0.0)
    model = step_model(measurement, profile)
    _, memory_bytes = measured_hardware(measurement.gpu)
    weight_bytes = sum(linear.weight_bytes for linear in model.work.linears) + 2 * model.work.head_bytes
    stages = model.pipeline_parallel_size
    room = (_KV_SHARE_OF_MEMORY * memory_bytes * stages - weight_bytes) / model.work.kv_bytes_per_token
    longest = measurement.workload.prompt_tokens + measurement.workload.output_tokens
    # One block of the engine's count is the null block.
    blocks = (measurement.num_gpu_blocks or 1 + max(int(room) // _BLOCK, -(-longest // _BLOCK))) - 1
    return simulate(
        model,
        EngineLimits(
            max_num_seqs=measurement.max_num_seqs,
            max_num_batched_tokens=measurement.max_num_batched_tokens,
            num_blocks=blocks,
            tokens_per_step=acceptance_length(model.num_speculative_tokens, measurement.acceptance_rate),
        ),
        measurement.workload,
        cached_requests=measurement.cached_requests,
    )


def figures(measurement: Measurement, profile: EngineProfile) -> dict[str, float]:
    """Return the model's value of every figure that the measurement reports."""
    if measurement.kind == "line":
        return _line(measurement, profile)
    trace = replay(measurement, profile)
    known = {
        "output_tokens_per_s": trace.output_tokens_per_s,
        "total_tokens_per_s": trace.total_tokens_per_s,
        "ttft_ms": mean(trace.ttft_s) * 1e3,
        "ttft_p50_ms": percentile(trace.ttft_s, 50) * 1e3,
        "ttft_p99_ms": percentile(trace.ttft_s, 99) * 1e3,
        "tpot_ms": mean(trace.tpot_s) * 1e3,
        "itl_ms": trace.gaps.mean_s * 1e3,
        "itl_p50_ms": trace.gaps.percentile_s(50) * 1e3,
        "latency_s": trace.duration_s,
    }
    return {name: known[name] for name in measurement.result}


def _line(measurement: Measurement, profile: EngineProfile) -> dict[str, float]:
    """Intercept and slope of the decode time of one sequence over its context."""
    model = step_model(measurement, profile)
    near, far = 1000, 21000
    low, high = (
        model.seconds(Batch(decode_sequences=1, decode_context_tokens=context, sampled_rows=1))
        for context in (near, far)
    )
    slope = (high - low) / (far - near)
    return {"itl_intercept_ms": (low - slope * near) * 1e3, "itl_slope_ms_per_token": slope * 1e3}


def compare(measurement: Measurement, profile: EngineProfile | None = None) -> tuple[Comparison, ...]:
    """Return measured against predicted for every figure; empty for an excluded measurement."""
    if measurement.workload is None:
        return ()
    predicted = figures(measurement, profile or engine_profile(measurement.profile))
    return tuple(
        Comparison(measurement=measurement, figure=name, measured=value, predicted=predicted[name])
        for name, value in measurement.result.items()
    )
