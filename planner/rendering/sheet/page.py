"""A shared plan as one HTML file: no network, no script, light and dark, printable. It computes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pkgutil import get_data

from planner.rendering.sheet.content import Sheet
from planner.rendering.sheet.drawing import Line, curve_picture, gpu_picture
from planner.rendering.sheet.markdown import Markdown


def html(sheet: Sheet) -> str:
    """Return the page, whole and self-contained."""
    body = "\n".join(_Page().written(sheet))
    style = (get_data(__package__, "page.css") or b"").decode()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(sheet.title)}: {escape(sheet.verdict)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escape(sheet.title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


class _Page(Markdown):
    def text(self, words: str) -> str:
        return escape(words)

    def code(self, words: str) -> str:
        return f"<code>{escape(words)}</code>"

    def verdict(self, sheet: Sheet) -> str:
        told = f'<strong class="{sheet.plan.verdict}">{escape(sheet.verdict)}</strong>'
        return f'<p class="verdict">{told}: {escape(sheet.headline)}</p>'

    def status(self, status: str) -> str:
        return f'<span class="{escape(status)}">{escape(status)}</span>'

    def heading(self, words: str) -> str:
        return f"<h2>{words}</h2>"

    def paragraph(self, marked: str) -> str:
        return f"<p>{marked}</p>"

    def bullets(self, items: Sequence[str]) -> str:
        return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>" if items else ""

    def command(self, shell: str) -> str:
        return f'<pre tabindex="0"><code>{escape(shell)}</code></pre>'

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
        sides = dict.fromkeys(right, ' class="right"')
        top = "".join(f'<th scope="col"{sides.get(i, "")}>{cell}</th>' for i, cell in enumerate(head))
        lines = "".join(
            "<tr>" + "".join(f"<td{sides.get(i, '')}>{cell}</td>" for i, cell in enumerate(row)) + "</tr>"
            for row in rows
        )
        return (
            f'<div class="wide" tabindex="0" role="region" aria-label="{escape(head[0], quote=True)}"><table>'
            f"<thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"
        )

    def facts(self, sheet: Sheet) -> str:
        return f"{self.heading('Versions')}{_pairs(sheet.facts)}"

    def drawn(self, sheet: Sheet, what: str) -> str:
        if what == "gpu":
            return f"{self.heading('One GPU, GiB')}\n{gpu_picture(sheet.plan)}"
        return "\n".join(_curves(sheet)) if what == "load" else self.heading("Formulas and sources") + _sources(sheet)


def _sources(sheet: Sheet) -> str:
    return "".join(
        f"<details><summary>{escape(row.label)}: {row.gib} GiB, {row.basis}</summary>"
        + _pairs([("formula", row.formula), ("bounds", row.bounds), ("source", row.source)])
        + "</details>"
        for row in sheet.memory
    )


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
        pictures.append(
            f'<p class="quiet">Forecasts for {escape(load.lengths_in_words)}; the shade is low to high.</p>'
        )
    return ["<h2>Load</h2>", *pictures] if pictures else []


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in pairs if words)
    return f"<dl>{told}</dl>"
