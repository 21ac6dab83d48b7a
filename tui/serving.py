"""What the Verify step shows of a running server, as a value: news in, the next state out. It asks no server."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hw_specs import M35Error
from planner import Plan
from planner.serve import CheckResult, Expectations, Run, SmokeReport, StartReport
from planner.serve.verification.chat import Turn
from planner.serve.verification.live_metrics import Counters, LiveMetrics, live_metrics, read_counters
from tui import news

HISTORY = 240
"""Looks at the server that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """One running server: its checks, its figures and the talk with it."""

    run: Run | None = None
    plan: Plan | None = None
    expected: Expectations | None = None
    model: str = ""
    """The name it is served under."""
    results: tuple[CheckResult, ...] = ()
    checking: str = ""
    """The check under way; empty when none is."""
    report: SmokeReport | None = None
    start_report: StartReport | None = None
    last_look: Counters | None = None
    history: tuple[LiveMetrics, ...] = ()
    """Newest last."""
    trouble: str = ""
    """Why the server cannot be reached."""
    turns: tuple[Turn, ...] = ()
    answer: str = ""
    """Of the chat, as far as it has come."""
    talking: bool = False


def take(serving: Serving, heard: news.News) -> Serving:
    """Return the state after one piece of news; news of another step changes nothing."""
    match heard:
        case news.RunKnown(run=run, plan=plan, expected=expected, model=model, start_report=start_report):
            return replace(serving, run=run, plan=plan, expected=expected, model=model, start_report=start_report)
        case news.VerifyBegun():
            return replace(serving, results=(), report=None, checking="…")
        case news.SmokeStarted(name=name):
            return replace(serving, checking=name)
        case news.SmokeDone(result=result):
            return replace(serving, results=(*serving.results, result), checking="…")
        case news.Verified(report=report):
            return replace(serving, checking="", report=report, model=report.model or serving.model)
        case news.StartReported(start_report=start_report):
            return replace(serving, start_report=start_report)
        case news.MetricsRead():
            return _looked(serving, heard)
        case news.Asked(text=text):
            turns = (*serving.turns, Turn(role="user", content=text))
            return replace(serving, turns=turns, answer="", talking=True)
        case news.Said(text=text, over=over):
            answer = serving.answer + text
            if not over:
                return replace(serving, answer=answer)
            turns = (*serving.turns, Turn(role="assistant", content=answer))
            return replace(serving, turns=turns, answer="", talking=False)
        case news.Stopped():
            return replace(serving, trouble="the server was stopped")
        case news.Refused(error=error):
            return replace(serving, checking="", trouble=str(error))
        case _:
            return serving


def _looked(serving: Serving, look: news.MetricsRead) -> Serving:
    if isinstance(look.page, M35Error):
        return replace(serving, trouble=str(look.page) if look.alive else "the server has ended")
    now = read_counters(look.page, at_s=look.at_s)
    seen = live_metrics(now, serving.last_look)
    return replace(serving, trouble="", history=(*serving.history[1 - HISTORY :], seen), last_look=now)
