"""From a measured start-up to a `Calibration` that later plans use; it keeps what was measured and invents nothing.

A term is stored only when the log gives it: the graph *estimate* (that is what the budget loses), the peak
activation without it, and memory outside torch as consumed memory less the predicted weights and buffers.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from hw_specs.units import format_gib
from planner.answer import Plan
from planner.errors import LogNotUnderstood, PlannerError
from planner.overheads import Calibration
from planner.serve.measured import Measured
from planner.serve.remedy import calibration_record
from planner.store import append_records, calibrations_path, read_records

SCHEMA = 1
_CONSUMED = ("rope_cache", "buffers")


def calibration_of(plan: Plan, measured: Measured, *, run: str) -> Calibration:
    """Return what `measured` says about the uncertain terms of `plan`; `run` names the start-up for people.

    Raises:
        LogNotUnderstood: when the log lacks the closing line, or its settings are not those of the plan.
    """
    _same_settings(plan, measured)
    terms: dict[str, int] = {}
    if measured.graph_estimate_bytes is not None and plan.ledger.line("graphs").bytes:
        terms["graphs"] = max(0, measured.graph_estimate_bytes)
    if measured.peak_activation_bytes is not None:
        terms["activations"] = max(0, measured.peak_activation_bytes)
    outside = measured.non_torch_bytes
    if outside is None and measured.consumed_bytes is not None:
        known = [line.bytes for line in plan.ledger.lines if line.name in _CONSUMED or line.name.startswith("weights.")]
        outside = measured.consumed_bytes - sum(known)
    if outside is not None:
        terms["outside_torch"] = max(0, outside)
    if not terms:
        raise LogNotUnderstood(
            "the log holds none of the figures that a calibration needs",
            hint="it needs the line `Free memory on device … Actual usage is …`, which a start prints near its end",
        )
    return calibration_record(plan, terms=terms, run=run)


def keep(calibration: Calibration) -> None:
    """Append `calibration` to this machine's store."""
    record: dict[str, Any] = {"schema": SCHEMA, **dataclasses.asdict(calibration)}
    append_records(calibrations_path(), [record])


def calibrations() -> tuple[Calibration, ...]:
    """Return everything measured on this machine, oldest first; records of another schema are left out."""
    names = {field.name for field in dataclasses.fields(Calibration)}
    found = []
    for record in read_records(calibrations_path()):
        values = {name: value for name, value in record.items() if name in names}
        terms = values.get("terms")
        if record.get("schema") == SCHEMA and len(values) == len(names) and isinstance(terms, dict):
            found.append(Calibration(**{**values, "terms": {name: int(size) for name, size in terms.items()}}))
    return tuple(found)


def _same_settings(plan: Plan, measured: Measured) -> None:
    """Refuse a log of another configuration: its figures would be filed under the wrong key."""
    settings = plan.settings
    pairs: tuple[tuple[str, object, object], ...] = (
        ("vllm_version", plan.vllm_version, measured.vllm_version),
        ("tensor_parallel_size", settings.tensor_parallel_size, measured.tensor_parallel_size),
        ("pipeline_parallel_size", settings.pipeline_parallel_size, measured.pipeline_parallel_size),
        ("max_num_seqs", settings.max_num_seqs, measured.max_num_seqs),
        ("max_num_batched_tokens", settings.max_num_batched_tokens, measured.max_num_batched_tokens),
        ("enforce_eager", settings.enforce_eager, measured.enforce_eager),
        ("language_model_only", settings.language_model_only, measured.language_model_only),
    )
    for name, planned, seen in pairs:
        if seen is not None and seen != planned:
            raise LogNotUnderstood(
                f"the log is of a start with {name} {seen}, the plan says {planned}",
                hint=f"plan with the settings of the log, such as `--{name.replace('_', '-')} {seen}`",
            )
    total = measured.total_bytes
    if total is not None and abs(total - plan.gpus.memory_bytes) > plan.gpus.memory_bytes // 20:
        planned = plan.gpus.memory_bytes
        raise PlannerError(
            f"the log is of a GPU with {format_gib(total)} GiB, and {plan.gpus} has {format_gib(planned)} GiB each",
            hint="name the GPUs of that start with `--gpus`, and `--gpu-memory` if yours differ from the catalogue",
        )
