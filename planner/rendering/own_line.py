"""A question as the words of our own command line: what a person types to ask it again. It never plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hw_specs.spec import GpuSet
from hw_specs.units import GIB
from planner.planning.request import SETTINGS, PlanRequest, option_for
from planner.planning.setting import words_of


def own_line(
    request: PlanRequest, *, verb: str = "plan", gpus: str = "", load: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Return the words of ``m35-plan`` that ask `request`; the shortest ones, what is left open is not said.

    Args:
        request: the question; what was measured on this machine is found again by itself.
        verb: the command; ``plan`` is the default one and need not be said.
        load: options of a load and its targets, as :data:`planner.planning.load.LOAD` names them.
        gpus: what ``--gpus`` says instead of the set's own name, such as ``@host.json``.

    >>> from hw_specs import parse_gpus
    >>> " ".join(own_line(PlanRequest(gpus=parse_gpus("8xH200"), max_model_len=65536, enforce_eager=True)))
    'm35-plan --gpus 8xH200 --max-model-len 65536 --enforce-eager'
    """
    words = ["m35-plan", *([] if verb == "plan" else [verb]), "--gpus", gpus or gpus_word(request.gpus)]
    override = request.gpus.memory_override_bytes
    if override is not None and request.gpus.origin == "catalogue":
        words += ["--gpu-memory", f"{override // GIB}GiB" if override % GIB == 0 else str(override)]
    if request.model is not None:
        words += ["--model", request.model.name]
    for name, setting in SETTINGS.items():
        value = getattr(request, name)
        if setting.kind == "gpus" or value == setting.default or value is None:
            continue
        words += words_of(option_for(name), value, setting)
    for name, value in (load or {}).items():
        words += [option_for(name), str(value)]
    return tuple(words)


def gpus_word(gpus: GpuSet) -> str:
    """Return what ``--gpus`` says of a set: its own name, or ``auto`` where a probe of this machine found it."""
    return "auto" if gpus.origin == "detected" else str(gpus).replace(" ", "-")
