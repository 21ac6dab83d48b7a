"""What to try after a failed start: levers of the re-planned request, another port, or once more as it was."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass

from hw_specs import M35Error
from hw_specs.units import GIB
from planner import Lever, Plan, PlanRequest
from planner.serve import Failure
from planner.serve.free_port import free_port_beside
from planner.serve.log.measured import Measured
from planner.serve.log.remedy import replan
from tui.wizard import Answers, effective_request, with_lever

MOST_LEVERS = 6
_LENGTH = re.compile(r"`--max-model-len ([0-9]+)`")
"""How a diagnosis tells what the engine itself proposes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cure:
    """One change and what it brings."""

    label: str
    gib: str = ""
    tokens: str = ""
    apply: Callable[[Answers], Answers]


def cures(
    failure: Failure,
    *,
    measured: Measured,
    plan: Plan | None,
    answers: Answers,
    levers: Callable[[PlanRequest], tuple[Lever, ...]],
) -> tuple[Cure, ...]:
    """Return what can be tried with one key, the best first; `levers` answers where the log has no figures."""
    found: list[Cure] = []
    if failure.code == "port-in-use":
        free = free_port_beside(answers.port)
        if free is not None:
            found.append(Cure(label=f"--port {free}", apply=_port(free)))
    if failure.term and plan is not None and answers.request is not None:
        again = replan(plan, measured)
        offered = again.levers if again is not None else ()
        calibrations = again.plan.request.calibrations if again is not None else answers.request.calibrations
        request = dataclasses.replace(answers.request, calibrations=calibrations)
        if again is not None and answers.request.max_model_len is None:
            found.append(
                Cure(
                    label="what fits with the measured memory",
                    apply=lambda old: dataclasses.replace(old, request=request, edited=None),
                )
            )
        told = next((match for text in failure.cures if (match := _LENGTH.search(text))), None)
        if told is not None:
            found.append(_shorter(int(told[1])))
        for lever in (offered or _offered(answers, levers))[:MOST_LEVERS]:
            if lever.name != "gpus":
                found.append(_cure(lever, Answers(request=request), measured_here=bool(offered)))
    return (*found, Cure(label="retry unchanged", apply=lambda old: old))


def _offered(answers: Answers, levers: Callable[[PlanRequest], tuple[Lever, ...]]) -> tuple[Lever, ...]:
    try:
        return levers(effective_request(answers))
    except M35Error:
        return ()


def _cure(lever: Lever, measured: Answers, *, measured_here: bool) -> Cure:
    fits = (" (would fit)" if measured_here else " (expected to fit)") if lever.fits else ""
    return Cure(
        label=f"{lever.flag}{fits}",
        gib=f"{lever.gain_bytes / GIB:+.1f}" if lever.gain_bytes else "",
        tokens=f"{lever.gain_tokens:+,}" if lever.gain_tokens else "",
        apply=lambda old: with_lever(dataclasses.replace(old, request=measured.request), lever),
    )


def _shorter(length: int) -> Cure:
    """The engine's own cure: the length that it says would fit."""

    def apply(old: Answers) -> Answers:
        assert old.request is not None, "a plan was started"
        return dataclasses.replace(old, request=dataclasses.replace(old.request, max_model_len=length), edited=None)

    return Cure(label=f"--max-model-len {length} (proposed by the engine)", apply=apply)


def _port(port: int) -> Callable[[Answers], Answers]:
    return lambda old: dataclasses.replace(old, port=port, edited=None)
