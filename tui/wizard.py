"""The steps and what was answered so far, as plain values; it never draws and never imports Textual."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from planner import Lever, PlanRequest
from planner.model import ModelSpec
from planner.rendering.argv import ReadCommand
from planner.settings import DEFAULT_PORT, Layout


class Step(StrEnum):
    """The six steps, in order."""

    GPUS = "gpus"
    WORKLOAD = "workload"
    PLAN = "plan"
    COMMAND = "command"
    LAUNCH = "launch"
    VERIFY = "verify"

    @property
    def label(self) -> str:
        """What people read."""
        return "GPUs" if self is Step.GPUS else self.value.capitalize()


FIRST = Step.GPUS
ORDER = tuple(Step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Everything the user decided; what is None is still open."""

    model: ModelSpec | None = None
    """What to plan for; None is this project's model."""
    request: PlanRequest | None = None
    """GPUs and workload."""
    gpus_from: str = ""
    """What ``--gpus`` says of these GPUs, where that is not their name: ``@host.json``."""
    load: tuple[tuple[str, Any], ...] = ()
    """Load and targets as option and value, as `planner.planning.load.LOAD` names them; empty asks for no forecast.
    With a load the request's ``concurrency`` counts its requests in flight, as on the command line."""
    batched_tokens: int | None = None
    """``max_num_batched_tokens`` that serves the load best, once it was taken over."""
    layout: Layout | None = None
    """One that was picked by hand."""
    levers: tuple[Lever, ...] = ()
    """Levers that are switched on, in that order."""
    edited: ReadCommand | None = None
    """A command that was edited by hand; it replaces layout and levers."""
    marked: PlanRequest | None = None
    """A question that was set aside, to compare others with."""
    port: int = DEFAULT_PORT
    """Where the server listens on this machine."""
    run_id: str | None = None
    """The server that was started, or found running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """How a screen ends: where to go, and the answers it leaves behind."""

    to: Literal["next", "back", "quit"] | Step
    answers: Answers


def advance(step: Step, move: Move) -> tuple[Answers, Step | None]:
    """Return the answers and the step that follow; None is the end.

    A step that lacks its answers cannot be entered: the nearest one before it that can is entered instead.
    """
    place = ORDER.index(step)
    if move.to == "quit":
        return move.answers, None
    if move.to == "next":
        wanted = ORDER[min(place + 1, len(ORDER) - 1)]
    elif move.to == "back":
        wanted = ORDER[max(place - 1, 0)]
    else:
        wanted = move.to
    while not reachable(wanted, move.answers):
        wanted = ORDER[ORDER.index(wanted) - 1]
    return move.answers, wanted


def reachable(step: Step, answers: Answers) -> bool:
    """Whether `step` has what it needs."""
    if step is Step.GPUS:
        return True
    if step is Step.VERIFY:
        return answers.run_id is not None
    if step is Step.LAUNCH:
        return answers.request is not None or answers.run_id is not None
    return answers.request is not None


def with_request(answers: Answers, request: PlanRequest) -> Answers:
    """Return the answers with another question; what no longer applies is dropped."""
    if request == answers.request:
        return answers
    same_gpus = answers.request is not None and request.gpus == answers.request.gpus
    return dataclasses.replace(
        answers,
        request=request,
        layout=answers.layout if same_gpus else None,
        levers=_lasting(answers.levers) if same_gpus else (),
        batched_tokens=None,
        edited=None,
    )


def with_load(answers: Answers, load: tuple[tuple[str, Any], ...]) -> Answers:
    """Return the answers with another load; what was best for the old one is dropped."""
    if load == answers.load:
        return answers
    return dataclasses.replace(answers, load=load, batched_tokens=None, levers=_lasting(answers.levers))


def _lasting(levers: tuple[Lever, ...]) -> tuple[Lever, ...]:
    """Those that another question leaves as they are; what met the targets of one load says nothing of another."""
    return tuple(lever for lever in levers if not lever.meets_targets)


def with_layout(answers: Answers, layout: Layout | None) -> Answers:
    """Return the answers with another layout."""
    return dataclasses.replace(answers, layout=layout, edited=None)


def with_lever(answers: Answers, lever: Lever) -> Answers:
    """Return the answers with one lever switched over; one of the same name gives way.

    Other GPUs have other layouts, and what meets the targets does so on the layout that then serves the load best.
    """
    kept = tuple(one for one in answers.levers if one.name != lever.name)
    on = lever in answers.levers
    anew = lever.name == "gpus" or lever.meets_targets
    return dataclasses.replace(
        answers,
        levers=kept if on else (*kept, lever),
        layout=None if anew else answers.layout,
        batched_tokens=None if anew else answers.batched_tokens,
        edited=None,
    )


def effective_load(answers: Answers) -> tuple[dict[str, Any], int | None]:
    """Return load and requests in flight as they stand: as answered, then as the levers have it."""
    load = {**dict(answers.load), "concurrency": answers.request.concurrency if answers.request else None}
    for lever in answers.levers:
        load |= lever.load
    return load, load.pop("concurrency")


def effective_request(answers: Answers) -> PlanRequest:
    """Return the question as it stands: workload, then layout, then levers; or the edited command's.

    Raises:
        ValueError: before any GPUs were chosen.
    """
    if answers.request is None:
        raise ValueError("no GPUs are chosen yet")
    if answers.edited is not None:
        return answers.edited.request
    request = answers.request
    if answers.load:
        request = dataclasses.replace(request, concurrency=None)
    if answers.batched_tokens is not None:
        request = dataclasses.replace(request, max_num_batched_tokens=answers.batched_tokens)
    if answers.layout is not None:
        request = request.with_layout(answers.layout)
    for lever in answers.levers:
        request = lever.apply(request)
    return request


def offered_levers(answers: Answers, offered: tuple[Lever, ...]) -> tuple[Lever, ...]:
    """Return the levers to show: those that are on where they were, and what is offered beyond them."""
    on = {lever.name for lever in answers.levers}
    return (*answers.levers, *(lever for lever in offered if lever.name not in on))
