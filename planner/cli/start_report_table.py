"""A start report in words: measured against predicted, or the cause and its fixes."""

from __future__ import annotations

from collections.abc import Sequence

from hw_specs.errors import shown
from hw_specs.units import format_gib
from planner.cli.output import style, table
from planner.cli.page import paragraph
from planner.serve.log.comparison import Comparison, Difference
from planner.serve.log.verdict import Diagnosis, Failure, LogLine
from planner.serve.process.progress import TITLES

_TRACEBACK_LINES = 40
_MOST_CHARACTERS = 2_000
"""Of a line of the log; vLLM's own messages are shorter."""


def comparison_text(comparison: Comparison) -> str:
    """Return the table of predicted and measured components, GiB per GPU."""
    sizes = [item for item in comparison.differences if item.unit == "bytes"]
    counts = [item for item in comparison.differences if item.unit != "bytes"]
    parts = []
    if sizes:
        rows = [_row(item, comparison) for item in sizes]
        head = ("one GPU, GiB", "predicted", "low", "high", "measured", "off", "")
        parts.append(table(head, rows, ("<", ">", ">", ">", ">", ">", "<")))
    if counts:
        rows = [(item.title, f"{item.predicted:,}", f"{item.measured:,}", f"{item.difference:+,}") for item in counts]
        parts.append(table(("", "predicted", "measured", "off"), rows, ("<", ">", ">", ">")))
    return "\n\n".join([*parts, paragraph(comparison.summary, indent="")])


def _row(item: Difference, comparison: Comparison) -> tuple[str, ...]:
    mark = "outside" if item.name in comparison.wrong or item.outside(2 * comparison.tolerance_bytes) else ""
    title = {
        "consumed": "weights, buffers, other",
        "outside_torch": "outside torch",
        "activations+graphs": "activation + graphs",
        "graphs": "graphs, estimate",
    }.get(item.name, item.title)
    values = (item.predicted, item.low, item.high, item.measured)
    sign = "+" if item.difference >= 0 else ""
    return (title, *(format_gib(value) for value in values), f"{sign}{format_gib(item.difference)}", mark)


def diagnosis_text(diagnosis: Diagnosis) -> str:
    """Return cause, evidence, ledger term and cures, and what each log says alone."""
    nothing = diagnosis.code == "none" and not diagnosis.unfinished
    return "\n".join([_nothing_text(diagnosis) if nothing else failure_text(diagnosis), *_each_alone(diagnosis)])


def _nothing_text(diagnosis: Diagnosis) -> str:
    return "\n".join([*_title(diagnosis), *(part for item in diagnosis.evidence for part in ("", _log_line(item)))])


def _title(failure: Failure) -> list[str]:
    return [style(line, "1") for line in paragraph(f"{failure.code}: {failure.title}", indent="").split("\n")]


def failure_text(failure: Failure) -> str:
    """Return cause, evidence, ledger term and cures."""
    lines = _title(failure)
    during = f"during: {TITLES.get(failure.phase, failure.phase) or 'the log does not say'}"
    lines.append(f"{during} (ledger line `{failure.term}`)" if failure.term else during)
    if failure.evidence:
        lines.append("")
        lines += _log_lines(failure.evidence)
    if failure.traceback:
        lines.append("")
        block = failure.traceback
        if len(block) > _TRACEBACK_LINES:
            half = _TRACEBACK_LINES // 2
            block = (*block[:half], LogLine(number=0, text="…", source=block[0].source), *block[-half:])
        lines += _log_lines(block, folded=False)
    if failure.cures:
        lines += ["", "what cures it"]  # programs read the text from here: the heading keeps its words
        lines += [paragraph(cure, indent="  * ", rest="    ") for cure in failure.cures]
    if failure.note:
        lines += ["", paragraph(failure.note, indent="")]
    if failure.also:
        lines += ["", paragraph(f"the log also names: {', '.join(failure.also)}", indent="")]
    return "\n".join(lines)


def _each_alone(diagnosis: Diagnosis) -> list[str]:
    """What each of several logs says by itself."""
    if not diagnosis.sources:
        return []
    rows = [(shown(item.source, characters=120), item.code) for item in diagnosis.sources]
    return ["", table(("each log alone", ""), rows, ("<", "<"))]


def _log_lines(items: Sequence[LogLine], *, folded: bool = True) -> list[str]:
    """Lines of a log by number; of several logs, under the name of theirs."""
    lines, source = [], ""
    for item in items:
        if item.source != source:
            source = item.source
            lines.append(f"in {shown(source, characters=120)}")
        lines.append(_log_line(item) if folded else f"{item.number or '':>6}  {item.text}")
    return lines


def _log_line(item: LogLine) -> str:
    number = f"{item.number or '':>6}  "
    text = item.text if len(item.text) <= _MOST_CHARACTERS else item.text[:_MOST_CHARACTERS] + " …"
    return paragraph(text, indent=number, rest=" " * len(number))
