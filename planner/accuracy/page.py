"""The accuracy page as Markdown, made from a report; it never computes a figure of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pkgutil import get_data

from planner.accuracy.data import left_out
from planner.accuracy.evaluate import Comparison, Group, Report
from planner.accuracy.own import own_groups
from planner.accuracy.public import public_comparisons, public_groups, public_rows
from planner.accuracy.rows import PublicStart, public_starts, published
from planner.facts.collectives import collective_facts
from planner.facts.graphs import graph_facts
from planner.facts.overheads import SizedRow, overhead_facts
from planner.rendering.sheet.markdown import table

NAMES = {
    "weights": "weights, from dimensions",
    "activations": "activations",
    "outside_torch": "outside torch",
    "graphs": "graph estimate",
    "buffers": "buffers",
    "kv_pool": "**KV pool**, measured weights given",
}
GOALS = (
    ("KV pool, mean absolute error", "in scope", "kv_pool", "mean_absolute_percent", 2.0, "at most"),
    ("the same at TP2 and TP4", "TP2, TP4", "kv_pool", "mean_absolute_percent", 3.0, "at most"),
    ("low bound not above the measured pool", "in scope", "kv_pool", "safe_percent", 95.0, "at least"),
    ("weights of siblings, worst error", "in scope", "weights", "worst_percent", 0.5, "at most"),
)
PLOT = "accuracy.svg"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return table(head, rows, right=range(1, len(head)))


def goals(report: Report) -> list[tuple[str, str, str, bool]]:
    """Return each goal: what, how much, reached value, whether it is reached."""
    found = []
    for what, name, component, figure, limit, side in GOALS:
        value = abs(getattr(report.group(name, component), figure))
        reached = value <= limit if side == "at most" else value >= limit
        found.append((what, f"{side} {limit:g} %", f"{value:.2f} %", reached))
    return found


def _tables(groups: Sequence[Group], head: Sequence[str], cells: Callable[[Group], list[str]]) -> str:
    """One table for each name of a group."""
    return "\n\n".join(
        f"### {name[0].upper()}{name[1:]}\n\n" + _table(head, [cells(one) for one in groups if one.name == name])
        for name in dict.fromkeys(group.name for group in groups)
    )


def _sizes(group: Group) -> list[str]:
    """How far a component was off, in the columns that every table has."""
    absolute = f"{group.mean_absolute_gib:.3f}", f"{group.mean_absolute_percent:.2f}"
    return [f"{group.mean_gib:+.3f}", *absolute, f"{group.worst_percent:+.2f}", f"{group.safe_percent:.0f}"]


def _groups(report: Report) -> str:
    def cells(group: Group) -> list[str]:
        *sizes, worst, safe = _sizes(group)
        count = f"{group.count} of {group.models}"
        return [NAMES[group.component], count, *sizes, f"{group.by_model_percent:.2f}", worst, safe]

    head = ["component", "start-ups of models", "mean GiB", "abs GiB", "abs %", "abs %, by model", "worst %", "safe %"]
    return _tables(report.groups, head, cells)


def _own(groups: Sequence[Group]) -> str:
    """Start-ups by group; GiB, because a percentage of 110 GiB flatters."""
    names = {**NAMES, "graphs": "graphs, captured"}
    head = ["component", "start-ups", "mean GiB", "abs GiB", "abs %", "worst %", "safe %"]
    return _tables(groups, head, lambda one: [names[one.component], str(one.count), *_sizes(one)])


def _startups(report: Report) -> str:
    """Every KV pool, equal lines once with their number."""
    rows: dict[tuple[str, ...], int] = {}
    for one in report.comparisons:
        if one.component == "kv_pool":
            key = (
                one.startup.label,
                f"{one.measured_gib:.2f}",
                f"{one.predicted_gib:.2f}",
                f"{one.low_gib:.2f}",
                f"{one.error_percent:+.2f}",
            )
            rows[key] = rows.get(key, 0) + 1
    return _table(
        ["start-up", "measured GiB", "predicted", "low bound", "error %", "times"],
        [[*key, str(times)] for key, times in sorted(rows.items())],
    )


def _readings(report: Report) -> str:
    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    return _table(
        ["model, cards, vLLM", "weights read", "predicted", "KV read", "its tokens take", "source"],
        [
            [
                f"{one.reading.model.partition('/')[2]}, {one.reading.gpus} TP{one.reading.tensor_parallel_size}"
                + (f" PP{one.reading.pipeline_parallel_size}" if one.reading.pipeline_parallel_size > 1 else "")
                + f", {one.reading.vllm_version or 'release not said'}",
                shown(one.reading.weights_gib),
                shown(one.weights_gib),
                shown(one.reading.kv_available_gib),
                shown(one.kv_gib),
                one.reading.source,
            ]
            for one in report.readings
        ],
    )


def _starts(report: Report) -> str:
    return _table(
        ["GPUs, vLLM", "length", "happened", "planner", "source"],
        [
            [
                f"{one.start.gpus}, {one.start.vllm_version} ({one.start.note})"
                + (", text only" if one.start.language_model_only else ""),
                f"{one.start.max_model_len:,}",
                "started" if one.start.started else "failed",
                one.verdict,
                one.start.source,
            ]
            for one in report.starts
        ],
    )


def _public() -> str:
    """Each public start that can be planned: pool and captured graphs, expected, bounds and measured."""

    def said(one: Comparison) -> str:
        return _bounded(one.predicted_gib, one.low_gib, one.high_gib)

    rows = []
    for row in public_rows():
        found = {one.component: one for one in public_comparisons(row)}
        assert row.plan is not None
        pool, graphs = found["kv_pool"], found.get("graphs")
        rows.append(
            [
                _start(row, (row.vllm or "").partition(" ")[0]),
                "not printed" if row.load is None else f"{row.load:.2f} · {found['weights'].predicted_gib:.2f}",
                f"{pool.measured_gib:.2f}",
                said(pool),
                f"{pool.error_percent:+.2f}",
                *(("", "") if graphs is None else (f"{graphs.measured_gib:.2f}", said(graphs))),
                ", ".join(row.plan.fitted).replace("_", " ") or "**nothing**",
            ]
        )
    head = ["start", "weights · said", "KV pool", "said", "error %", "graphs", "said", "read from it"]
    return _table(head, rows)


def _start(row: PublicStart, release: str | None) -> str:
    """Model, card, layout and release of a public start."""
    gpu = row.plan.gpu if row.plan is not None else row.gpu.partition(" (")[0]
    layout = f"PP{row.pp}" if row.pp > 1 else f"TP{row.tp}"
    return f"{row.model.rpartition('/')[2]}, {gpu} {layout}, {release}"


def _bounded(expected: float, low: float, high: float) -> str:
    return f"{expected:.2f} ({low:.2f} to {high:.2f})"


def _forecasts() -> str:
    """What was said of the starts that were found last, before anything was read from them."""
    rows, inside, below = [], 0, 0
    for row in public_rows():
        if row.plan is None or row.plan.forecast is None or row.kv is None:
            continue
        expected, low, high = row.plan.forecast.kv
        inside += low - 0.005 <= row.kv <= high + 0.005
        below += row.kv < low - 0.005
        compiled = "eager" if row.eager else row.compile.partition(":")[0] or "not said"
        off = f"{100 * (expected / row.kv - 1):+.1f}"
        rows.append([_start(row, row.vllm), compiled, f"{row.kv:.2f}", _bounded(expected, low, high), off])
    table = _table(["start", "compiled", "KV pool", "said", "error %"], rows)
    return f"{inside} of {len(rows)} pools lie between their bounds, {below} below. {_halves()}\n\n{table}"


def _halves() -> str:
    """How near the forecasts were by half, of the sources that were split before any forecast was looked at."""
    said = []
    for half, name in (("judge", "kept to judge"), ("build", "to build with")):
        rows = [(*row.plan.forecast.kv, row.kv) for row in public_rows()
                if row.plan and row.plan.forecast and row.kv and row.plan.split == half]  # fmt: skip
        error = sum(abs(expected / kv - 1) for expected, _, _, kv in rows) / len(rows)
        held = sum(kv >= low - 0.005 for _, low, _, kv in rows)
        said.append(
            f"{len(rows)} {name} were {100 * error:.2f} % off in the mean, the low bound held in {held} of them"
        )
    return "Of those split by source before: " + "; ".join(said) + "."


def _hip_graphs() -> str:
    """Public starts on AMD cards whose captured graphs are known, beside the form that five of them set."""
    facts = graph_facts().hip
    rows = []
    for one in public_starts():
        captured = one.graph_actual or (one.derived or {}).get("graph_estimate_from_util_gib")
        if one.vendor != "amd" or not isinstance(captured, float) or not one.layers:
            continue
        sizes = {"PIECEWISE": 51, "FULL": 51, **(one.captures or {})}
        mib = facts.per_piece_mib * sizes["PIECEWISE"] * (one.layers + 1) + facts.per_full_mib * sizes["FULL"]
        said = facts.constant_gib + mib / 1024
        start, error = _start(one, (one.vllm or "").partition(" ")[0]), f"{100 * (said / captured - 1):+.1f}"
        rows.append([start, one.kind, str(one.layers), f"{captured:.2f}", f"{said:.2f}", error])
    return _table(["start", "kind", "layers", "captured GiB", "the form says", "error %"], rows)


def _coverage() -> str:
    """Where each uncertain term is measured and where it is carried over, from the planner's own tables."""
    rows = []
    known = overhead_facts()
    for term, sized in {"outside_torch": known.outside_torch, "context": known.context}.items():
        for row in sized:
            link = {True: ["fast link"], False: ["no fast link"], None: []}[row.linked]
            figures = (f"{row.expected_gib:g}", row.low_gib, row.high_gib, row.basis)
            rows.append(_covered(term, [row.vendor, *row.architectures, *link], row.until, _span(row), *figures))
    for one in collective_facts().communicators:
        figures = (f"{one.each_gib:g}", one.low_gib, one.high_gib, one.basis)
        rows.append(_covered("communicators", [one.vendor, *one.architectures], "", "ranks 1+", *figures))
    return _table(["term", "cards", "vLLM", "ranks", "GiB", "bounds", "basis"], rows)


def _span(row: SizedRow) -> str:
    by_tp = row.max_tp is not None or row.min_tp > 1
    size, low, high = ("TP", row.min_tp, row.max_tp) if by_tp else ("ranks", row.min_world, row.max_world)
    if low == high:
        return f"{size} {low}"
    return f"{size} {low} to {high}" if high is not None and high < 64 else f"{size} {low}+"


def _covered(
    term: str, where: list[str], until: str, span: str, expected: str, low: float, high: float, basis: str
) -> list[str]:
    known = "**measured**" if basis == "measured" else "carried over or assumed"
    release = f"before {until}" if until else "any"
    return [f"`{term}`", ", ".join(where), release, span, expected, f"{low:g} … {high:g}", known]


def render_page(report: Report, by_family: Report) -> str:
    """Return the whole page; `by_family` is the same report with whole model families left out."""
    pool, strict = report.group("in scope", "kv_pool"), by_family.group("in scope", "kv_pool")
    reached = _table(
        ["goal", "wanted", "reached", ""],
        [[what, wanted, value, "yes" if good else "**no**"] for what, wanted, value, good in goals(report)],
    )
    unused = "\n".join(f"* {count} × {reason}" for reason, count in sorted(left_out().items(), key=lambda one: -one[1]))
    page = (get_data(__package__, "page.md") or b"").decode()
    return page.format(
        reached=reached,
        plot=PLOT,
        pool=pool,
        strict=strict,
        source=published().source,
        groups=_groups(report),
        own=_own(own_groups()),
        public=_public(),
        forecasts=_forecasts(),
        public_groups=_own(public_groups()),
        hip_graphs=_hip_graphs(),
        coverage=_coverage(),
        readings=_readings(report),
        starts=_starts(report),
        startups=_startups(report),
        unused=unused,
    )
