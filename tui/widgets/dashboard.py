"""A running server at a glance: requests, KV use, tokens per second; it draws `LiveMetrics`."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from planner.serve.verification.live_metrics import LiveMetrics
from tui.widgets.plan_panel import blocks

_STEPS = "▁▂▃▄▅▆▇█"


def spark(values: Sequence[float | None], *, width: int) -> str:
    """Return the newest values as a line of small bars, the largest as high as a cell.

    >>> spark([0, 1, None, 2], width=8)
    '▁▄ █'
    """
    shown = values[-width:]
    most = max((value for value in shown if value is not None), default=0) or 1
    return "".join(" " if value is None else _STEPS[min(7, round(value / most * 7))] for value in shown)


def dashboard_lines(history: Sequence[LiveMetrics], *, width: int) -> list[Content]:
    """Return the newest state and how tokens per second went."""
    if not history:
        return [Content.styled("asking /metrics …", "$secondary")]
    now = history[-1]
    room = max(20, min(width, 100) - 34)
    use = now.kv_use_fraction
    return [
        _line("running", _number(now.running), "requests"),
        _line("waiting", _number(now.waiting), "requests"),
        _line("finished", _number(now.finished), "requests since its start"),
        _line("preempted", _number(now.preemptions), "times"),
        Content(""),
        Content.assemble(
            _line("KV cache in use", "?" if use is None else f"{use * 100:.1f}", "%   "),
            (blocks((use or 0.0) * room), "$accent"),
            ("·" * (room - len(blocks((use or 0.0) * room))), "$secondary"),
        ),
        Content(""),
        _rate("tokens out", now.generated_tokens_per_s, [one.generated_tokens_per_s for one in history], room),
        _rate("tokens in", now.prompt_tokens_per_s, [one.prompt_tokens_per_s for one in history], room),
        Content(""),
        _line("first token after", "–" if now.ttft_ms is None else f"{now.ttft_ms:,.0f}", "ms, newest requests"),
    ]


def _line(label: str, number: str, unit: str) -> Content:
    return Content.assemble((f"{label:<18}", "$secondary"), (f"{number:>8}", "bold"), (f" {unit}", "$secondary"))


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _rate(label: str, now: float | None, history: Sequence[float | None], room: int) -> Content:
    number = "–" if now is None else f"{now:,.0f}"
    return Content.assemble(_line(label, number, "/s  "), (spark(history, width=room), "$accent"))
