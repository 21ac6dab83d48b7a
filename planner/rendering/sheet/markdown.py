"""A shared plan as Markdown: for pull requests, tickets and runbooks. It computes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from planner.rendering.sheet.content import Sheet

MARKS = "\\*_{}[]<>#|!"


def markdown(sheet: Sheet) -> str:
    """Return the page; it needs nothing but a Markdown renderer with tables."""
    parts = [f"# {text(sheet.title)}", f"**{text(sheet.verdict)}**: {text(sheet.headline)}"]
    if sheet.summary:
        parts.append(text(sheet.summary))
    parts.append(_memory(sheet))
    if sheet.holds:
        parts.append(f"KV cache: {text(sheet.holds)}.")
    parts.append("## Settings")
    parts.append(table(("setting", "value"), [(f"`{name}`", text(value)) for name, value in sheet.settings]))
    if sheet.reasons:
        parts.append("\n".join(f"- {text(reason)}" for reason in sheet.reasons))
    if sheet.command:
        parts += ["## Command", f"```sh\n{sheet.command}\n```"]
    if sheet.warnings:
        parts += ["## Warnings", "\n".join(f"- {text(warning)}" for warning in sheet.warnings)]
    if sheet.levers:
        rows = [(f"`{row.flag}`", row.gib, row.tokens, text(row.note)) for row in sheet.levers]
        parts += ["## Levers", table(("change", "GiB", "tokens", "note"), rows, right=(1, 2))]
    if sheet.layouts:
        rows = [(text(row.layout), row.context, row.requests, text(row.note)) for row in sheet.layouts]
        parts += ["## Other layouts", table(("layout", "context", "requests", "note"), rows, right=(1, 2))]
    if sheet.acceptance is not None:
        parts.append(f"## Measured\n\nRun `{sheet.acceptance.run}`: {text(sheet.acceptance.verdict)}.")
        checks = [(text(check.name), check.status, text(check.seen)) for check in sheet.acceptance.checks]
        if checks:
            parts.append(table(("check", "status", "seen"), checks))
    parts.append(table(("", ""), [(name, text(value)) for name, value in sheet.facts]))
    return "\n\n".join(parts) + "\n"


def _memory(sheet: Sheet) -> str:
    measured = any(row.measured for row in sheet.memory)
    head = ["one GPU", "GiB", "low", "high", *(["measured"] if measured else []), "basis"]
    rows = [
        (text(row.label), row.gib, row.low, row.high, *([row.measured] if measured else []), row.basis)
        for row in sheet.memory
    ]
    return table(head, rows, right=range(1, len(head) - 1))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> str:
    """Return a table; the columns in `right` are flush right."""
    sides = set(right)
    rule = ["---:" if index in sides else "---" for index in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rows])


def text(words: str) -> str:
    """Return `words` as they are read, whatever marks they hold.

    >>> text("a_b | <c>")
    'a\\\\_b \\\\| \\\\<c\\\\>'
    """
    return "".join(f"\\{mark}" if mark in MARKS else mark for mark in " ".join(words.split()))
