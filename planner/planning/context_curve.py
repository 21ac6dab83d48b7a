"""How the longest context falls as more sequences are held at once; it answers one layout and never compares."""

from __future__ import annotations

from dataclasses import dataclass

from planner.planning.answer import Plan
from planner.planning.question import Question
from planner.planning.solve import solve


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One number of sequences and the length each of them may have."""

    concurrency: int
    max_model_len: int
    """In round tokens, at the low bound; 0 where no length starts."""


MOST = 1024
"""Sequences at which a curve ends."""


def context_curve(plan: Plan) -> tuple[CurvePoint, ...]:
    """Return the longest safe length for 1, 2, 4 … sequences at once on the plan's layout, batch and flags.

    The curve ends at the plan's ``max_num_seqs`` or at :data:`MOST`; with a KV cache of a fixed size it is exact too.
    """
    settings = plan.settings
    question = Question.unchecked(plan.request).but(
        max_model_len=None,
        max_num_seqs=settings.max_num_seqs,
        max_num_batched_tokens=settings.max_num_batched_tokens,
    )
    points = []
    concurrency = 1
    while concurrency <= min(settings.max_num_seqs, MOST):
        outcome = solve(question.but(concurrency=concurrency), settings.layout)
        length = outcome.settings.max_model_len if outcome.verdict == "fits" else outcome.safe_length()
        points.append(CurvePoint(concurrency=concurrency, max_model_len=length))
        concurrency *= 2
    return tuple(points)
