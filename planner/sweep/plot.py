"""A sweep as lines: in the terminal with plotext, in a file with matplotlib; both are optional. It never computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from hw_specs.errors import reason_of
from planner.errors import InvalidRequest, PlannerError
from planner.settings import Layout, draft_words

AXES = (
    "max_model_len", "concurrency", "gpu_memory_utilization", "tensor_parallel_size", "gpu_count", "max_num_seqs",
    "max_num_batched_tokens", "num_speculative_tokens", "gpus", "kv_cache_dtype", "spec_method",
)  # fmt: skip
MEASURES = (
    "total_kv_cache_tokens", "total_concurrency", "kv_cache_tokens", "max_concurrency", "num_gpu_blocks",
    "available_bytes", "output_tokens_per_s", "ttft_ms", "tpot_ms", "latency_ms",
)  # fmt: skip
MOST_LINES = 8
HEIGHT = 20
"""Lines of a plot in the terminal."""
MARKS = "ox+*#@%&"
"""One per line of a plot without colour."""
GLUE = "\N{NO-BREAK SPACE}"
_NUMBERS = AXES[:8]
_LABEL_ORDER = ("gpus", *(axis for axis in AXES if axis != "gpus"))
WORDS = {
    "max_model_len": "context length, tokens", "concurrency": "sequences at once", "gpu_count": "GPUs",
    "gpu_memory_utilization": "share of the GPU for the engine", "tensor_parallel_size": "tensor parallel size",
    "total_kv_cache_tokens": "KV cache of all servers, tokens",
    "total_concurrency": "sequences of full length, all servers",
    "kv_cache_tokens": "KV cache of one server, tokens", "max_concurrency": "sequences of full length, one server",
    "num_gpu_blocks": "KV blocks", "available_bytes": "KV cache of one GPU, bytes",
    "output_tokens_per_s": "answer tokens per second", "ttft_ms": "TTFT, ms", "tpot_ms": "TPOT, ms",
    "latency_ms": "end-to-end latency, ms",
}  # fmt: skip
"""Column → what stands at the axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """What is drawn: one line per combination of the other axes that vary."""

    x: str
    y: str
    lines: tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...]
    """Label, x values, y values."""
    left_out: int
    """Lines beyond :data:`MOST_LINES`."""


def lines_of(rows: Sequence[dict[str, Any]], *, x: str | None = None, y: str | None = None) -> Lines:
    """Group `rows` into lines of `y` over `x`; by default the longest numeric axis, and speed before memory.

    Raises:
        InvalidRequest: when a column does not exist or nothing is left to draw.
    """
    if not rows:
        raise InvalidRequest("plot", "nothing to plot: no configuration is left")
    y = y or ("output_tokens_per_s" if "output_tokens_per_s" in rows[0] else "total_kv_cache_tokens")
    varying = [axis for axis in _LABEL_ORDER if _varies(rows, axis)]
    x = x or max((axis for axis in _NUMBERS), key=lambda axis: len({row[axis] for row in rows}))
    for option, name, known in (("x", x, _NUMBERS), ("y", y, MEASURES)):
        there = [column for column in known if column in rows[0] and (column != x or rows[0][column] is not None)]
        if name not in there:
            raise InvalidRequest(option, f"there is no column `{name}` to plot", hint=f"there are: {', '.join(there)}")
    groups: dict[str, dict[float, float]] = {}
    others = [axis for axis in varying if axis not in (x, "gpu_count")]
    for row in rows:
        if row[y] is None or row["verdict"] == "does-not-fit":
            continue
        label = ", ".join(_label(axis, row) for axis in others) or y
        groups.setdefault(label, {})[float(row[x])] = float(row[y])
    if not groups:
        raise InvalidRequest("plot", "nothing to plot: no configuration fits")
    drawn = [
        (label, tuple(sorted(points)), tuple(points[value] for value in sorted(points)))
        for label, points in groups.items()
    ]
    return Lines(x=x, y=y, lines=tuple(drawn[:MOST_LINES]), left_out=max(0, len(drawn) - MOST_LINES))


def _varies(rows: Sequence[dict[str, Any]], axis: str) -> bool:
    """Whether an axis takes several values, beyond what the kind of GPU alone decides (its default batch)."""
    if axis == "gpus":
        return len({row[axis] for row in rows}) > 1
    seen: dict[str, Any] = {}
    return any(seen.setdefault(row["gpus"], row[axis]) != row[axis] for row in rows)


def _label(axis: str, row: dict[str, Any]) -> str:
    value = row[axis]
    short = {
        "tensor_parallel_size": str(Layout(tensor_parallel_size=row["tensor_parallel_size"], replicas=row["replicas"])),
        "gpus": str(value), "kv_cache_dtype": f"KV {value}", "spec_method": str(value),
        "num_speculative_tokens": draft_words(row["spec_method"] or None, value) or "no draft",
    }  # fmt: skip
    return short.get(axis, f"{axis} {value:,}" if isinstance(value, int) else f"{axis} {value}")


def _short_number(value: float) -> str:
    """Return `value` as an axis shows it.

    >>> _short_number(262144), _short_number(1536), _short_number(2_500_000), _short_number(0.92)
    ('262k', '1.5k', '2.5M', '0.92')
    """
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def terminal_plot(lines: Lines, *, title: str, width: int = 80, colour: bool = False) -> str:
    """Return the plot as text, the legend above it.

    Raises:
        PlannerError: when plotext is not installed.
    """
    try:
        import plotext
    except ImportError:
        raise _missing("plotext") from None
    figure = plotext.figure
    figure.clear()
    above = fill(f"{WORDS.get(lines.y, lines.y)}: {title}", width, break_on_hyphens=False)
    if len(lines.lines) > 1:
        above += "\n" + _legend(lines, width)
    figure.plot_size(width, HEIGHT)
    figure.theme("default" if colour else "colorless")
    # The lines are told apart by their marks, too; the legend stands above, where it covers none of them.
    for mark, (label, xs, ys) in zip(MARKS, lines.lines, strict=False):
        signal = figure.signal(list(xs), list(ys), marker=mark)
        figure.draw(signal.lines().label(label))
    figure.legend(False)
    for axis, values in (("x", [x for _, xs, _ in lines.lines for x in xs]), ("y", _scale(lines))):
        shown = sorted(set(values))
        figure.ruler(axis).ticks(shown, [_short_number(value) for value in shown])
    figure.label(WORDS.get(lines.x, lines.x))
    text = str(figure.build())
    if not colour:
        text = str(plotext.uncolorize(text))
    return "\n".join([*above.splitlines(), *(line.rstrip() for line in text.splitlines())])


def _legend(lines: Lines, width: int) -> str:
    """Mark and label of each line; the two stay together."""
    shown = zip(MARKS, lines.lines, strict=False)
    return fill("   ".join(f"{mark} {label}".replace(" ", GLUE) for mark, (label, _, _) in shown), width).replace(
        GLUE, " "
    )


def _scale(lines: Lines) -> list[float]:
    """Five marks for the height, from the lowest value to the highest."""
    values = [y for _, _, ys in lines.lines for y in ys]
    low, high = min(values), max(values)
    return [low + (high - low) * step / 4 for step in range(5)]


def file_plot(lines: Lines, path: Path, *, title: str) -> None:
    """Write the plot to `path`, SVG, PNG or PDF by its ending.

    Raises:
        PlannerError: when matplotlib is not installed or the file cannot be written.
    """
    if path.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise InvalidRequest(
            "plot", f"cannot plot to `{path.name}`", hint="name a file that ends in .svg, .png or .pdf"
        )
    try:
        import matplotlib
    except ImportError:
        raise _missing("matplotlib") from None
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "m35-plan"
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter

    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    axes.set_title(title, fontsize=10)
    for label, xs, ys in lines.lines:
        axes.plot(xs, ys, marker="o", markersize=3, linewidth=1.4, label=label)
    axes.set_xlabel(WORDS.get(lines.x, lines.x))
    axes.set_ylabel(WORDS.get(lines.y, lines.y))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    short = FuncFormatter(lambda value, _: _short_number(value))
    axes.xaxis.set_major_formatter(short)
    axes.yaxis.set_major_formatter(short)
    if len(lines.lines) > 1:
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    try:
        figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    except OSError as error:
        raise PlannerError(f"cannot write `{path}`: {reason_of(error)}") from error
    finally:
        pyplot.close(figure)


def _missing(package: str) -> PlannerError:
    return PlannerError(f"plots need {package}", hint="pip install matplotlib plotext")
