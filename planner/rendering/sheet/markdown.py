"""A shared plan as Markdown, for pull requests and runbooks; another form has other marks. It computes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from planner.rendering.sheet.content import Sheet

MARKS = "\\*_{}[]<>#|!"


def markdown(sheet: Sheet) -> str:
    """Return the page; it needs nothing but a Markdown renderer with tables."""
    return "\n\n".join([f"# {text(sheet.title)}", *Markdown().written(sheet)]) + "\n"


class Markdown:
    """What a sheet says, once for every form, and the marks of this one."""

    def written(self, sheet: Sheet) -> list[str]:
        """The blocks of the sheet, in order."""
        text, code = self.text, self.code
        parts = [self.verdict(sheet), *([self.paragraph(text(sheet.summary))] if sheet.summary else [])]
        measured = any(row.measured for row in sheet.memory)
        head = ["one GPU", "GiB", "low", "high", *(["measured"] if measured else []), "basis"]
        lines = [
            (text(row.label), row.gib, row.low, row.high, *([row.measured] if measured else []), row.basis)
            for row in sheet.memory
        ]
        parts += [self.drawn(sheet, "gpu"), self.table(head, lines, range(1, len(head) - 1))]
        if sheet.holds:
            parts.append(self.paragraph(f"KV cache: {text(sheet.holds)}."))
        settings = [(code(name), text(value)) for name, value in sheet.settings]
        parts += [self.heading("Settings"), self.table(("setting", "value"), settings), self.bullets(sheet.reasons)]
        if sheet.command:
            parts += [self.heading("Command"), self.command(sheet.command)]
        if sheet.warnings:
            parts += [self.heading("Warnings"), self.bullets(sheet.warnings)]
        parts.append(self.drawn(sheet, "load"))
        levers = [(code(row.flag), row.gib, row.tokens, text(row.note)) for row in sheet.levers]
        layouts = [(text(row.layout), row.context, row.requests, text(row.note)) for row in sheet.layouts]
        for title, head, rows in (
            ("Levers", ["change", "GiB", "tokens", "note"], levers),
            ("Other layouts", ["layout", "context", "requests", "note"], layouts),
        ):
            parts += [self.heading(title), self.table(head, rows, (1, 2))] if rows else []
        if (told := sheet.acceptance) is not None:
            parts += [self.heading("Measured"), self.paragraph(f"Run {code(told.run)}: {text(told.verdict)}.")]
            checks = [(text(check.name), self.status(check.status), text(check.seen)) for check in told.checks]
            parts.append(self.table(("check", "status", "seen"), checks) if checks else "")
        return [part for part in (*parts, self.drawn(sheet, "sources"), self.facts(sheet)) if part]

    def text(self, words: str) -> str:
        """Words as they are read."""
        return text(words)

    def code(self, words: str) -> str:
        """Words as they are typed."""
        return f"`{words}`"

    def verdict(self, sheet: Sheet) -> str:
        """The first line."""
        return f"**{text(sheet.verdict)}**: {text(sheet.headline)}"

    def status(self, status: str) -> str:
        """How a check ended."""
        return status

    def heading(self, words: str) -> str:
        """The title of what follows."""
        return f"## {words}"

    def paragraph(self, marked: str) -> str:
        """Words that are marked already."""
        return marked

    def bullets(self, items: Sequence[str]) -> str:
        """A list."""
        return "\n".join(f"- {text(item)}" for item in items)

    def command(self, shell: str) -> str:
        """What a shell runs."""
        return f"```sh\n{shell}\n```"

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
        """Rows of cells that are marked already."""
        return table(head, rows, right=right)

    def facts(self, sheet: Sheet) -> str:
        """What is planned for what, at the end."""
        return table(("", ""), [(name, text(value)) for name, value in sheet.facts])

    def drawn(self, sheet: Sheet, what: str) -> str:  # noqa: ARG002
        """What only a page has: the picture of a ``gpu``, the curves of the ``load``, the ``sources`` of each line."""
        return ""


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
