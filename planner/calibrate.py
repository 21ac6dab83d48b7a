"""From a measured start-up to a `Calibration` that later plans use; it keeps what was measured and invents nothing.

A term is stored only when the log gives it: the graph *estimate* (that is what the budget loses), the peak
activation without it, and memory outside torch as consumed memory less the weights that were measured and the buffers.
The peak of a start that compiled inside its profile run is not stored: later starts, which load what it left, lack it.
A log whose model, weights or settings are not the plan's is refused: its figures would be filed under a wrong key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from hw_specs import get_gpu
from hw_specs.errors import M35Error, reason_of, shown
from hw_specs.units import format_gib
from planner.errors import LogNotUnderstood, PlannerError
from planner.memory.kv_cache import resolve_dtype
from planner.memory.rank import Calibration
from planner.planning.answer import Plan
from planner.planning.calibration import SHAPING
from planner.planning.request import SETTINGS, option_for
from planner.rendering.envelope import plain
from planner.serve.log.comparison import Predicted, compare, makes_workspace_with_graphs, outside_torch_bytes
from planner.serve.log.measured import Measured
from planner.serve.log.remedy import calibration_record
from planner.settings import Lora
from planner.state import append_records, calibrations_path, read_kept

HEAD = ("calibration", "3.0")
"""Of a kept start, see :mod:`planner.rendering.envelope`."""
_OLDER: Mapping[int, Mapping[str, Any]] = {2: dict.fromkeys(SHAPING)}
"""Numbered forms of before: adapters and graphs could not be asked for then, so these starts had neither."""
_OWN_DOORS = ("vllm_version", "kv_cache_dtype", "gpu_memory_utilization")
"""Settings of a log that are compared apart, or that no measured term depends on."""


def calibration_of(plan: Plan, measured: Measured, *, run: str) -> Calibration:
    """Return what `measured` says about the uncertain terms of `plan`; `run` names the start-up for people.

    Raises:
        LogNotUnderstood: when the log lacks the closing line, contradicts itself, or is of another model or other
            settings than the plan.
    """
    predicted = {line.name: line.bytes for line in plan.ledger.lines}
    graphs = measured.graph_estimate_bytes if predicted.get("graphs") else None
    if graphs is not None and makes_workspace_with_graphs(measured):
        graphs -= predicted.get("fused_all_reduce", 0)
    seen = {
        "graphs": graphs,
        "activations": None if compiled_while_profiling(plan, measured) else measured.peak_activation_bytes,
        "outside_torch": outside_torch_bytes(predicted, measured),
    }
    terms = {name: size for name, size in seen.items() if size is not None}
    if not terms:
        raise LogNotUnderstood(
            "the log holds none of the figures that a calibration needs",
            hint="it needs the line `Free memory on device … Actual usage is …`, which a start prints near its end",
        )
    _same_start(plan, measured)
    for name, size in terms.items():
        if size < -2 * measured.tolerance_bytes:
            raise LogNotUnderstood(
                f"the figures of the log leave {format_gib(size)} GiB for {name}: they cannot be of one start",
                hint="name the log of a single start",
            )
    return calibration_record(plan, terms={name: max(0, size) for name, size in terms.items()}, run=run)


def compiled_while_profiling(plan: Plan, measured: Measured) -> bool:
    """Whether the measured peak holds a compilation that later starts of `plan` will not repeat."""
    return measured.compiled_anew is True and any(warning.code == "cold-compile" for warning in plan.warnings)


def keep(calibration: Calibration) -> None:
    """Append `calibration` to this machine's store.

    Raises:
        PlannerError: when the store cannot be written.
    """
    record: dict[str, Any] = {"kind": HEAD[0], "schema_version": HEAD[1], **plain(calibration)}
    path = calibrations_path()
    try:
        append_records(path, [record])
    except OSError as error:
        raise PlannerError(
            f"cannot keep it in `{path}`: {reason_of(error)}",
            hint="make room, or set XDG_STATE_HOME to a folder you can write; nothing was kept",
        ) from error


def calibrations() -> tuple[Calibration, ...]:
    """Return everything measured on this machine, oldest first; what cannot be true is left out."""
    return read_calibrations()[0]


def read_calibrations() -> tuple[tuple[Calibration, ...], tuple[str, ...]]:
    """Return the kept calibrations, oldest first, and why others are left out; another version's are not listed."""
    return read_kept(calibrations_path(), _made, head=HEAD, fault=_fault, older=_OLDER)


def _made(record: dict[str, Any]) -> Calibration:
    """The calibration of a record without faults."""
    found = {one.name: record[one.name] for one in dataclasses.fields(Calibration)}
    sizes = found["cudagraph_capture_sizes"]
    return Calibration(**found | {
        "lora": _lora(record["lora"]), "cudagraph_capture_sizes": None if sizes is None else tuple(sizes),
    })  # fmt: skip


def _lora(said: dict[str, Any] | None) -> Lora | None:
    if said is None:
        return None
    modules = said.get("lora_target_modules")
    return Lora(**said | {"lora_target_modules": None if modules is None else tuple(modules)})


_TYPES: dict[str, type] = {"str": str, "int": int, "bool": bool}


def _fault(record: dict[str, Any]) -> str | None:
    """What is wrong with a kept record: a value of another type, or a size that no GPU of its kind can have had."""
    for field in dataclasses.fields(Calibration):
        # The annotations are text; `type` and not isinstance, because true is an int to Python.
        if field.name not in record:
            return f"it has no {field.name}"
        wanted = _TYPES.get(str(field.type))
        if wanted is not None and type(record[field.name]) is not wanted:
            return f"{field.name} is `{shown(str(record[field.name]))}`"
    if not isinstance(record["lora"], dict | None) or not isinstance(record["cudagraph_capture_sizes"], list | None):
        return f"lora is `{shown(str(record['lora']))}`, or the sizes of its graphs are not a list"
    try:
        _lora(record["lora"])
    except TypeError:
        return f"lora is `{shown(str(record['lora']))}`"
    terms = record["terms"]
    if not isinstance(terms, dict) or not terms:
        return f"terms is `{shown(str(terms))}`"
    for name, size in terms.items():
        if type(size) is not int or size < 0:
            return f"{shown(name)} is `{shown(str(size))}`, no size in bytes"
    try:
        memory_bytes = get_gpu(record["gpu"]).driver_memory_bytes
    except M35Error:
        return f"the GPU `{shown(record['gpu'])}` is not known"
    if memory_bytes and sum(terms.values()) > memory_bytes:
        return f"its terms are {format_gib(sum(terms.values()))} GiB, {record['gpu']} has {format_gib(memory_bytes)}"
    return None


def _same_start(plan: Plan, measured: Measured) -> None:
    """Refuse a log of another model or configuration."""
    _same_model(plan, measured)
    settings = plan.settings
    pairs: list[tuple[str, object, object]] = [("vllm_version", plan.vllm_version, measured.vllm_version)]
    pairs += [
        (name, getattr(settings, name), getattr(measured, name))
        for name, setting in SETTINGS.items()
        if setting.logged and name not in _OWN_DOORS
    ]
    if measured.kv_cache_dtype is not None:
        planned_dtype = resolve_dtype(plan.model, settings.kv_cache_dtype)
        pairs.append(("kv_cache_dtype", planned_dtype, resolve_dtype(plan.model, measured.kv_cache_dtype)))
    for name, planned, seen in pairs:
        if seen is not None and seen != planned:
            raise LogNotUnderstood(
                f"the log is of a start with {name} {seen}, the plan says {planned}", hint=_plan_with(name, seen)
            )
    total = measured.total_bytes
    if total is not None and abs(total - plan.gpus.memory_bytes) > plan.gpus.memory_bytes // 20:
        planned = plan.gpus.memory_bytes
        raise PlannerError(
            f"the log is of a GPU with {format_gib(total)} GiB, and {plan.gpus} has {format_gib(planned)} GiB each",
            hint="name the GPUs of that start with `--gpus`, and `--gpu-memory` if yours differ from the catalogue",
        )
    _same_weights(plan, measured)


def _plan_with(name: str, seen: object) -> str:
    option = option_for(name)
    if isinstance(seen, bool):
        return f"plan {'with' if seen else 'without'} `{option}`, as that start did"
    return f"plan with the settings of the log, such as `{option} {seen}`"


def _same_model(plan: Plan, measured: Measured) -> None:
    """Compare names where both are a hub's; a folder may hold any model, and its weights must tell."""
    seen = hub_name(measured.model)
    planned = hub_name(plan.model.name)
    if seen is not None and planned is not None and seen.lower() != planned.lower():
        raise LogNotUnderstood(
            f"the log is of the model `{shown(seen)}`, the plan is for `{shown(planned)}`",
            hint="name the log of a start of the planned model, or plan that one with `--model`",
        )
    if seen is None and measured.weights_bytes is None:
        raise LogNotUnderstood(
            "the log says neither which model it is of nor how large its weights are",
            hint="it needs the line `Model loading took …`, which every start prints",
        )


def _same_weights(plan: Plan, measured: Measured) -> None:
    found = next((item for item in compare(Predicted.of(plan), measured).differences if item.name == "weights"), None)
    if found is not None and found.outside(2 * measured.tolerance_bytes):
        raise LogNotUnderstood(
            f"the log is of {format_gib(found.measured)} GiB of weights per GPU, the plan expects "
            f"{format_gib(found.predicted)}: it is another model or another layout",
            hint="name the log of a start of the planned model with the planned settings",
        )


def hub_name(model: str | None) -> str | None:
    """Return the repository that `model`, as the engine got it, names; None for a folder that may hold any.

    >>> hub_name("/data/hub/models--org--some-model/snapshots/abc")
    'org/some-model'
    >>> hub_name("/data/some-model")
    """
    if not model:
        return None
    for part in model.split("/"):
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/", 1)
    return model if model.count("/") == 1 and model[0] not in "/.~" and not model.endswith("/") else None
