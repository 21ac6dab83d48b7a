"""A shared plan as one HTML file: no network, no script, light and dark, printable. It computes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pkgutil import get_data

from planner.rendering.sheet.content import Sheet
from planner.rendering.sheet.drawing import Line, curve_picture, gpu_picture


def html(sheet: Sheet) -> str:
    """Return the page, whole and self-contained."""
    plan = sheet.plan
    verdict = f'<strong class="{plan.verdict}">{_text(sheet.verdict)}</strong>'
    parts = [f'<p class="verdict">{verdict}: {_text(sheet.headline)}</p>']
    if sheet.summary:
        parts.append(f"<p>{_text(sheet.summary)}</p>")
    parts += ["<h2>One GPU, GiB</h2>", gpu_picture(plan), _memory(sheet)]
    if sheet.holds:
        parts.append(f"<p>KV cache: {_text(sheet.holds)}.</p>")
    parts.append("<h2>Settings</h2>")
    parts.append(_table(("setting", "value"), [(f"<code>{_text(a)}</code>", _text(b)) for a, b in sheet.settings]))
    parts.append(_list(sheet.reasons))
    if sheet.command:
        parts.append(f'<h2>Command</h2><pre tabindex="0"><code>{_text(sheet.command)}</code></pre>')
    if sheet.warnings:
        parts.append(f"<h2>Warnings</h2>{_list(sheet.warnings)}")
    parts += _curves(sheet)
    if sheet.levers:
        rows = [(f"<code>{_text(row.flag)}</code>", row.gib, row.tokens, _text(row.note)) for row in sheet.levers]
        parts.append("<h2>Levers</h2>" + _table(("change", "GiB", "tokens", "note"), rows, right=(1, 2)))
    if sheet.layouts:
        rows = [(_text(row.layout), row.context, row.requests, _text(row.note)) for row in sheet.layouts]
        parts.append("<h2>Other layouts</h2>" + _table(("layout", "context", "requests", "note"), rows, right=(1, 2)))
    if sheet.acceptance is not None:
        told = sheet.acceptance
        parts.append(f"<h2>Measured</h2><p>Run <code>{_text(told.run)}</code>: {_text(told.verdict)}.</p>")
        checks = [
            (_text(check.name), f'<span class="{_text(check.status)}">{_text(check.status)}</span>', _text(check.seen))
            for check in told.checks
        ]
        if checks:
            parts.append(_table(("check", "status", "seen"), checks))
    parts.append("<h2>Formulas and sources</h2>" + "".join(_formula(sheet)))
    facts = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in sheet.facts)
    parts.append(f"<h2>Versions</h2><dl>{facts}</dl>")
    body = "\n".join(part for part in parts if part)
    style = (get_data(__package__, "page.css") or b"").decode()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(sheet.title)}: {_text(sheet.verdict)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{_text(sheet.title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _memory(sheet: Sheet) -> str:
    measured = any(row.measured for row in sheet.memory)
    head = ["line", "GiB", "low", "high", *(["measured"] if measured else []), "basis"]
    rows = [
        (_text(row.label), row.gib, row.low, row.high, *([row.measured] if measured else []), row.basis)
        for row in sheet.memory
    ]
    return _table(head, rows, right=range(1, len(head) - 1))


def _curves(sheet: Sheet) -> list[str]:
    pictures = []
    held = [(float(point.concurrency), float(point.max_model_len)) for point in sheet.curve if point.max_model_len]
    if len(held) > 1:
        title = "Context that every request may have"
        line = Line(name="context", points=tuple(held))
        pictures.append(curve_picture(title, [line], across="requests at once", up="tokens"))
    if len(sheet.speeds) > 1:
        for title, up, name in (
            ("Throughput", "output tokens/s", "output_tokens_per_s"),
            ("Time to first token", "TTFT, ms", "ttft_ms"),
        ):
            found = [(float(count), getattr(forecast, name)) for count, forecast in sheet.speeds]
            line = Line(
                name=name,
                points=tuple((count, figure.expected) for count, figure in found),
                low=tuple(figure.low for _, figure in found),
                high=tuple(figure.high for _, figure in found),
            )
            pictures.append(curve_picture(title, [line], across="requests in flight", up=up))
        load = sheet.speeds[0][1].workload
        pictures.append(f'<p class="quiet">Forecasts for {_text(load.lengths_in_words)}; the shade is low to high.</p>')
    return ["<h2>Load</h2>", *pictures] if pictures else []


def _formula(sheet: Sheet) -> Iterable[str]:
    for row in sheet.memory:
        lines = [("formula", row.formula), ("bounds", row.bounds), ("source", row.source)]
        told = "".join(f"<dt>{name}</dt><dd>{_text(words)}</dd>" for name, words in lines if words)
        yield (f"<details><summary>{_text(row.label)}: {row.gib} GiB, {row.basis}</summary><dl>{told}</dl></details>")


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_text(item)}</li>" for item in items) + "</ul>" if items else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> str:
    sides = dict.fromkeys(right, ' class="right"')
    top = "".join(f'<th scope="col"{sides.get(i, "")}>{cell}</th>' for i, cell in enumerate(head))
    lines = "".join(
        "<tr>" + "".join(f"<td{sides.get(i, '')}>{cell}</td>" for i, cell in enumerate(row)) + "</tr>" for row in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(head[0], quote=True)}"><table>'
        f"<thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _text(words: str) -> str:
    return escape(words)
