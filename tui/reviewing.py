"""What people already have: a text, what is found in it, and the answers it stands for. It draws nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from hw_specs import GpuSet, M35Error
from hw_specs.reading import expanded, read_text
from planner import Plan
from planner.calibrate import calibrations
from planner.rendering.argv import ReadCommand, read_command
from planner.review.findings import Finding, Review, ServerReview
from planner.review.fix import cured, repair
from tui import news
from tui.backend import Backend
from tui.wizard import Answers

MOST_BYTES = 1 << 20
ONE_LINE = "vllm serve line"
"""Kind of a text that is a command and nothing else: its other flags can be kept as they were typed."""


def read_artefact(path: Path) -> str:
    """Return the text of a file.

    Raises:
        M35Error: when it cannot be read, or is too large to be one.
    """
    return read_text(expanded(path), most_bytes=MOST_BYTES, errors="replace").replace("\r\n", "\n")


def judge(backend: Backend, text: str, name: str, gpus: GpuSet | None, *, post: Callable[[news.News], None]) -> None:
    """Review a text."""
    post(news.Reviewed(backend.review(text, name, gpus)))


def cure(
    backend: Backend, review: Review, one: Finding | None, gpus: GpuSet | None, *, post: Callable[[news.News], None]
) -> None:
    """Cure one finding, or every one where none is named; the text is judged again before the cure is believed."""

    def again(text: str) -> Review:
        return backend.review(text, review.name, gpus)

    if one is None:
        done = repair(review.text, again)
        post(news.Reviewed(done.after, cured=len(done.applied) or -1))
    else:
        after = cured(review, one, again)
        post(news.Reviewed(after or review, cured=1 if after else -1))


def answers_of_server(server: ServerReview, review: Review) -> Answers:
    """Return the answers that a reviewed server stands for.

    Raises:
        M35Error: where it cannot be planned.
    """
    plan = server.plan
    if plan is None:
        raise M35Error(f"this server cannot be planned: {server.reason}", hint="say what is not known, above the text")
    request = dataclasses.replace(plan.request, calibrations=calibrations())
    answers = Answers(request=request, model=request.model)
    return dataclasses.replace(answers, edited=_as_typed(plan, review)) if review.kind == ONE_LINE else answers


def _as_typed(plan: Plan, review: Review) -> ReadCommand | None:
    """The command with the flags that no plan decides; None where it cannot be read back."""
    try:
        return read_command(review.text, plan=plan)
    except M35Error:
        return None
