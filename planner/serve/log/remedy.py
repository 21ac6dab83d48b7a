"""Numbers for the cures: what the log measured is put into the plan and the levers are planned again.

Where the log does not say which term was wrong, the whole difference is booked as memory outside torch, and said to be.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from hw_specs.units import GIB, format_gib, format_tokens
from planner.errors import PlannerError, UnknownVersion
from planner.facts.log_lines import failures
from planner.facts.preflight import preflight_facts
from planner.facts.release import parse_version, resolve_release
from planner.facts.vllm import vllm_facts
from planner.memory.layouts import legal_tensor_parallel_sizes
from planner.memory.rank import Calibration
from planner.planning.answer import Lever, Plan
from planner.planning.choose import make_plan
from planner.serve.log.events import FailureSeen
from planner.serve.log.measured import Measured
from planner.serve.log.refused_flags import refused_flags

_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Replan:
    """The same request, planned with what this start measured."""

    plan: Plan
    note: str
    """How the measurement entered."""

    @property
    def levers(self) -> tuple[Lever, ...]:
        """What would make it fit, those that suffice alone first."""
        return self.plan.levers


def calibration_record(plan: Plan, *, terms: Mapping[str, int], run: str) -> Calibration:
    """Return `terms` filed under the settings of `plan`, of today."""
    settings = plan.settings
    return Calibration(
        model=plan.model.name,
        gpu=plan.gpus.spec.id,
        vllm_version=plan.vllm_version,
        tensor_parallel_size=settings.tensor_parallel_size,
        pipeline_parallel_size=settings.pipeline_parallel_size,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
        language_model_only=settings.language_model_only,
        enforce_eager=settings.enforce_eager,
        num_speculative_tokens=settings.num_speculative_tokens,
        spec_method=settings.spec_method,
        lora=settings.lora,
        cudagraph_mode=settings.cudagraph_mode,
        cudagraph_capture_sizes=settings.cudagraph_capture_sizes,
        max_cudagraph_capture_size=settings.max_cudagraph_capture_size,
        terms=terms,
        run=run,
        measured_on=time.strftime("%Y-%m-%d"),
    )


def replan(plan: Plan, measured: Measured) -> Replan | None:
    """Return `plan` again with the available KV memory that the engine found; None when the log does not say it."""
    if measured.kv_available_bytes is None:
        return None
    missing = plan.kv_cache.available_bytes - measured.kv_available_bytes
    outside = plan.ledger.line("outside_torch").bytes
    record = calibration_record(plan, terms={"outside_torch": outside + missing}, run="the failed start")
    again = _again(plan, {"calibrations": (*plan.request.calibrations, record)})
    if again is None:
        return None
    way = "less" if missing > 0 else "more"
    note = (
        f"planned again with the {format_gib(measured.kv_available_bytes)} GiB for KV cache that the engine found, "
        f"{format_gib(abs(missing))} GiB {way} than planned; the difference is booked as memory outside torch"
    )
    return Replan(plan=again, note=note)


def peak_cures(plan: Plan) -> list[str]:
    """Return what makes the profile run's peak smaller, each planned again, largest gain first."""
    settings = plan.settings
    changes: list[tuple[str, dict[str, object]]] = [
        (f"--max-num-batched-tokens {half}", {"max_num_batched_tokens": half})
        for half in (settings.max_num_batched_tokens // 2,)
        if half >= settings.max_num_seqs
    ]
    fewer = settings.max_num_seqs // 4
    if fewer:
        changes.append((f"--max-num-seqs {fewer}", {"max_num_seqs": fewer}))
    if not settings.language_model_only and plan.model.vision is not None:
        changes.append(("--language-model-only", {"language_model_only": True}))
    found = []
    for flag, change in changes:
        again = _again(plan, change)
        gain = _peak(plan) - _peak(again) if again is not None else 0
        if gain > 0:
            found.append((gain, f"`{flag}`: {format_gib(gain)} GiB less per GPU"))
    return [text for _, text in sorted(found, reverse=True)]


def weight_cures(plan: Plan) -> list[str]:
    """Return the next larger tensor parallel sizes with what they leave of the weights per GPU."""
    settings = plan.settings
    found, sizes = [], _sizes(plan, 32)
    for size in [size for size in sizes if size > settings.tensor_parallel_size][:2]:
        gpus = plan.gpus if size <= plan.gpus.total_gpus else dataclasses.replace(plan.gpus, count=size, nodes=1)
        again = _again(plan, {"tensor_parallel_size": size, "replicas": 1, "gpus": gpus})
        if again is not None:
            flag = "" if size <= plan.gpus.total_gpus else f" on {size} GPUs"
            weights = format_gib(max(again.weights_bytes_per_gpu))
            found.append(f"`--tensor-parallel-size {size}`{flag}: {weights} GiB of weights per GPU")
    return found


def utilization_note(plan: Plan, utilization: float) -> str | None:
    """Return what a plan with `utilization` would still hold, as the end of a sentence."""
    again = _again(plan, {"gpu_memory_utilization": utilization, "max_model_len": None})
    if again is None:
        return None
    if not again.feasible:
        return "no useful length fits then"
    return f"{format_tokens(again.kv_cache.largest_max_model_len_low)} tokens fit at the low bound then"


def _again(plan: Plan, change: dict[str, object]) -> Plan | None:
    """The plan's own request with its settings pinned, and one change."""
    settings = plan.settings
    pinned: dict[str, object] = {
        "vllm_version": plan.vllm_version,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "pipeline_parallel_size": settings.pipeline_parallel_size,
        "replicas": settings.replicas,
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        "max_num_batched_tokens": settings.max_num_batched_tokens,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
    }
    try:
        return make_plan(dataclasses.replace(plan.request, **(pinned | change)))  # type: ignore[arg-type]
    except PlannerError:
        return None


def _sizes(plan: Plan, limit: int) -> tuple[int, ...]:
    """Tensor-parallel sizes up to `limit` that the plan's model allows on its GPUs."""
    return legal_tensor_parallel_sizes(
        plan.model,
        limit,
        text_only=plan.settings.language_model_only,
        gpu=plan.gpus.spec,
        release=resolve_release(plan.vllm_version),
    )


def _peak(plan: Plan) -> int:
    return sum(plan.ledger.line(name).bytes for name in ("activations", "buffers", "weights.vision"))


def cure_values(failure: FailureSeen, *, plan: Plan | None, measured: Measured) -> dict[str, str]:
    """Return every value that a cure may name and that is known."""
    seen = dict(failure.values)
    values = {name: str(value) for name, value in seen.items() if not name.endswith("_bytes")}
    total = _number(seen.get("total_bytes")) or _number(measured.total_bytes)
    free, requested = _number(seen.get("free_bytes")), _number(seen.get("requested_bytes"))
    if free is not None and requested is not None:
        values["missing_gib"] = format_gib(max(0, round(requested - free)))
    if free is not None:
        values["free_host_gib"] = format_gib(round(free))
    if free is not None and total:
        share = math.floor(free / total * 100) / 100
        if _can_hold(share, plan):
            values["utilization"] = f"{share:g}"
    utilization = measured.gpu_memory_utilization or (plan.settings.gpu_memory_utilization if plan else None)
    tried = _parse_size(str(seen.get("tried", "")))
    if tried and total and utilization:
        lower = math.floor((utilization - tried / total) * 100) / 100
        if 0 < lower < utilization:
            values["utilization_less_tried"] = f"{lower:g}"
    less = values.get("utilization_less_tried")
    values["lower_utilization"] = (
        f"`--gpu-memory-utilization {less}` leaves the {seen['tried']} that were missing"
        if less
        else "a lower `--gpu-memory-utilization`"
    )
    if elsewhere := _held_elsewhere(seen):
        values["held_elsewhere"] = elsewhere
    if flags := refused_flags(str(seen.get("message", ""))):
        values["refused_flags"] = flags
    values["mistral_common_good"] = vllm_facts().packages["mistral_common"].last_good.value
    version = measured.vllm_version or (plan.vllm_version if plan is not None else None)
    if version is not None and (pin := _mistral_common_pin(version)) is not None:
        values |= {"vllm_version": version, "mistral_common": pin}
    estimate = seen.get("estimated_max_model_len")
    if isinstance(estimate, int):
        values["longest"] = str(_safe_length(estimate, measured.vllm_version))
    if plan is not None:
        sizes = _sizes(plan, 32)
        values["sizes"] = ", ".join(map(str, sizes[:-1])) + f" or {sizes[-1]}" if len(sizes) > 1 else str(sizes[0])
        there = seen.get("available_gpus")
        if isinstance(there, int) and there > 0:
            values["largest_size"] = str(_sizes(plan, there)[-1])
    return values


def _held_elsewhere(seen: Mapping[str, int | float | str]) -> str:
    """What the figures of an out-of-memory line leave to other processes, in words; empty where that is none."""
    total, free = _number(seen.get("total_bytes")), _parse_size(str(seen.get("free", "")))
    known = failures("memory").free_memory
    if not total or free is None or known is None:
        return ""
    process, torch = (_parse_size(str(seen.get(name, ""))) for name in ("process", "torch"))
    if process is not None and process <= total:
        held, words = total - free - process, "other processes held {} GiB"
    elif torch is not None:
        held = total - free - torch - (_parse_size(str(seen.get("reserved", ""))) or 0)
        words = "{} GiB were in use that are not PyTorch's"
    else:
        return ""
    return words.format(format_gib(round(held))) if held > known.idle_gib * GIB else ""


def _mistral_common_pin(version: str) -> str | None:
    """What this release asks for of mistral_common, without the versions that are known to break it."""
    try:
        release = parse_version(version.partition("+")[0])
    except UnknownVersion:
        return None
    least = [need for since, need in preflight_facts().mistral_common.by_vllm if parse_version(since) <= release]
    bad = vllm_facts().packages["mistral_common"].first_bad
    if not least:
        return None
    below = f",<{bad.value}" if bad is not None and release >= parse_version(bad.from_vllm) else ""
    return f"mistral_common[image]>={least[-1]}{below}"


def _can_hold(utilization: float, plan: Plan | None) -> bool:
    """Whether a server with `utilization` could serve at all."""
    if plan is None:
        known = failures("memory").free_memory
        return known is not None and utilization >= known.least_share
    again = _again(plan, {"gpu_memory_utilization": utilization, "max_model_len": None}) if utilization > 0 else None
    return again is not None and again.feasible


def describe_lever(lever: Lever) -> str:
    """Return a lever as one sentence.

    >>> describe_lever(Lever(name="s", flag="--max-num-seqs 128", gain_bytes=2**31, gain_tokens=5900, fits=True))
    '`--max-num-seqs 128`: +5,900 tokens, +2.00 GiB; it fits then'
    """
    gains = [f"{lever.gain_tokens:+,} tokens"] if lever.gain_tokens else []
    if lever.gain_bytes:
        gains.append(f"{lever.gain_bytes / GIB:+.2f} GiB")
    text = f"`{lever.flag}`" + (f": {', '.join(gains)}" if gains else "")
    if lever.fits:
        text += "; it fits then" if gains else ": it fits then"
    return text + (f" ({lever.note})" if lever.note else "")


def _safe_length(estimate: int, version: str | None) -> int:
    """The engine's estimate, one block shorter where a request of just that length would wait forever."""
    from planner.serve.log.patterns import minor_release

    release = minor_release(version) if version else None
    return estimate if release is not None and release >= (0, 29) else max(16, (estimate - 16) // 16 * 16)


def _parse_size(text: str) -> int | None:
    number, _, unit = text.partition(" ")
    try:
        return round(float(number) * _UNITS[unit])
    except (ValueError, KeyError):
        return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
