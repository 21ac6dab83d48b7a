"""The accuracy page as Markdown, made from a report; it never computes a figure of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from planner.accuracy.data import left_out
from planner.accuracy.evaluate import Group, Report
from planner.accuracy.own import own_groups
from planner.accuracy.public import public_comparisons, public_groups, public_rows
from planner.accuracy.rows import PublicStart, public_starts, published
from planner.facts.collectives import collective_facts
from planner.facts.graphs import graph_facts
from planner.facts.overheads import SizedRow, overhead_facts

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
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join("---:" if i else "---" for i in range(len(head))) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _group_row(group: Group) -> list[str]:
    return [
        NAMES[group.component],
        f"{group.count} of {group.models}",
        f"{group.mean_gib:+.3f}",
        f"{group.mean_absolute_gib:.3f}",
        f"{group.mean_absolute_percent:.2f}",
        f"{group.by_model_percent:.2f}",
        f"{group.worst_percent:+.2f}",
        f"{group.safe_percent:.0f}",
    ]


def goals(report: Report) -> list[tuple[str, str, str, bool]]:
    """Return each goal: what, how much, reached value, whether it is reached."""
    found = []
    for what, name, component, figure, limit, side in GOALS:
        value = abs(getattr(report.group(name, component), figure))
        reached = value <= limit if side == "at most" else value >= limit
        found.append((what, f"{side} {limit:g} %", f"{value:.2f} %", reached))
    return found


def _groups(report: Report) -> str:
    names = list(dict.fromkeys(group.name for group in report.groups))
    head = ["component", "start-ups of models", "mean GiB", "abs GiB", "abs %", "abs %, by model", "worst %", "safe %"]
    return "\n\n".join(
        f"### {name[0].upper()}{name[1:]}\n\n"
        + _table(head, [_group_row(group) for group in report.groups if group.name == name])
        for name in names
    )


def _own(groups: Sequence[Group]) -> str:
    """Start-ups by group; GiB, because a percentage of 110 GiB flatters."""
    names = {**NAMES, "graphs": "graphs, captured"}
    head = ["component", "start-ups", "mean GiB", "abs GiB", "abs %", "worst %", "safe %"]
    return "\n\n".join(
        f"### {name[0].upper()}{name[1:]}\n\n"
        + _table(
            head,
            [
                [
                    names[group.component],
                    str(group.count),
                    f"{group.mean_gib:+.3f}",
                    f"{group.mean_absolute_gib:.3f}",
                    f"{group.mean_absolute_percent:.2f}",
                    f"{group.worst_percent:+.2f}",
                    f"{group.safe_percent:.0f}",
                ]
                for group in groups
                if group.name == name
            ],
        )
        for name in dict.fromkeys(group.name for group in groups)
    )


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
    rows = []
    for row in public_rows():
        found = {one.component: one for one in public_comparisons(row)}
        assert row.plan is not None
        model, release = row.model.rpartition("/")[2], (row.vllm or "").partition(" ")[0]
        pool, graphs = found["kv_pool"], found.get("graphs")
        rows.append(
            [
                f"{model}, {row.plan.gpu} {_layout(row)}, {release}",
                "not printed" if row.load is None else f"{row.load:.2f} · {found['weights'].predicted_gib:.2f}",
                f"{pool.measured_gib:.2f}",
                f"{pool.predicted_gib:.2f} ({pool.low_gib:.2f} to {pool.high_gib:.2f})",
                f"{pool.error_percent:+.2f}",
                "" if graphs is None else f"{graphs.measured_gib:.2f}",
                "" if graphs is None else f"{graphs.predicted_gib:.2f} ({graphs.low_gib:.2f} to {graphs.high_gib:.2f})",
                ", ".join(row.plan.fitted).replace("_", " ") or "**nothing**",
            ]
        )
    head = ["start", "weights · said", "KV pool", "said", "error %", "graphs", "said", "read from it"]
    return _table(head, rows)


def _layout(row: PublicStart) -> str:
    """How a public start was spread."""
    return f"PP{row.pp}" if row.pp > 1 else f"TP{row.tp}"


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
        model = row.model.rpartition("/")[2]
        rows.append(
            [
                f"{model}, {row.plan.gpu} {_layout(row)}, {row.vllm}",
                compiled,
                f"{row.kv:.2f}",
                f"{expected:.2f} ({low:.2f} to {high:.2f})",
                f"{100 * (expected / row.kv - 1):+.1f}",
            ]
        )
    table = _table(["start", "compiled", "KV pool", "said", "error %"], rows)
    return f"{inside} of {len(rows)} pools lie between their bounds, {below} below.\n\n{table}"


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
        name = one.model.rpartition("/")[2]
        card, release = one.gpu.partition(" (")[0], (one.vllm or "").partition(" ")[0]
        error = f"{100 * (said / captured - 1):+.1f}"
        rows.append(
            [
                f"{name}, {card} TP{one.tp}, {release}",
                one.kind,
                str(one.layers),
                f"{captured:.2f}",
                f"{said:.2f}",
                error,
            ]
        )
    return _table(["start", "kind", "layers", "captured GiB", "the form says", "error %"], rows)


def _coverage() -> str:
    """Where each uncertain term is measured and where it is carried over, from the planner's own tables."""
    rows = []
    known = overhead_facts()
    tables = {"outside_torch": known.outside_torch, "context": known.context}
    for term, table in tables.items():
        for row in table:
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
    return f"""<!-- Made by `m35-plan accuracy --write docs/explanation`. Do not edit: a test compares it. -->

# How right the ledger is

Every figure here is computed from data files in the repository: start-ups that others measured and published,
set against what the planner says for the same settings, and our own further down. Each published model is predicted by
terms that were fitted **without it**, in all its copies and quantisations. Errors are shown per component, because two
errors that cancel are still two.

{reached}

![KV pool, predicted less measured]({PLOT})

With whole families left out instead of models (all Granite, all Llama …) the KV pool's mean absolute error is
{strict.mean_absolute_percent:.2f} %, and the low bound holds in {strict.safe_percent:.0f} % of the start-ups:
the Granite models alone take 0.2 GiB more outside torch than any other, and nothing else shows that this can happen.

## What is compared

{pool.count} start-ups of {pool.models} dense models on H100-80 with vLLM 0.19.0, T = 8192, S = 1024 and utilisation
0.95, from {published().source}. *Relatives* are models
outside the planner's scope whose dimensions still decide the terms beside weights and KV cache.

* **mean**: predicted less measured; positive is too much. **abs**: its size without sign. **by model**: every model
  counted once, however often it was started.
* **safe**: how often the careful bound held: the pool was at least the low bound, or a term at most its high bound.
* vLLM prints two decimals, so nothing below 0.005 GiB means anything.
* Release 0.19 prints the graph estimate and does not subtract it: these pools say nothing about graphs. The graph rows
  below are judged on their own.

{_groups(report)}

## This architecture on one to four GPUs

Our own start-ups of vLLM 0.26.0 and 0.33.0 with this model's own layers, 8 to all 88 of them, text only and with
images, eager and compiled, with a draft and with an FP8 cache, with tensor parallelism and pipeline stages; random
weights of the real sizes, figures in bytes ([what was run](ground-truth.md)). The facts of these cards and releases
were read from most of them, so most tables say how well formulas and bounds hold. What was read from what:

* Outside torch, communicators, context: the medians of all of them. The fused all-reduce: sizes from FlashInfer's
  source; one start of 0.26 gave what stands beside them.
* A first start's compilation: the form was fixed on starts with T 8192; T of 2048, 4096 and 16384 came after it.
* Graphs of 0.33: the coefficients come from text starts at 8 and 24 layers on one and two GPUs and from drafts;
  stages, images, FP8 cache and a model of another size came after them.

*Expected* is a first start, which compiles inside its profile run; later starts have more. Where the load
figure holds a draft's input tensor, a buffer of the plan, it is moved to the weights.

{_own(own_groups())}

## Public starts of other models, cards and releases

Starts that others published with enough settings to plan them, found after the formulas stood. The KV pool takes the
measured weights as given. Releases before 0.19 are asked as 0.19.0. What was read from a row afterwards stands in its
last column; the groups keep those apart. A start that says it found everything compiled is compared with a later one.

{_public()}

### Forecast before anything was read from them

The last of these starts were collected when the rest stood; this is what the planner at `9d1fcf6` said of each, a first
start where it compiles. They showed what an Ampere or Ada card takes: a tenth of a GiB outside torch, not the H200's
0.23, and a fifth of the graph estimate that two starts of 0.19 had left for runner V1. The table above has them after
that was corrected.

{_forecasts()}

{_own(public_groups())}

## HIP graphs

The form for AMD was read from the five Gemma starts of 0.31.1rc1 below; the others took no part. Sizes that a source
does not print are taken as 51 and 51. Models with latent attention, drafts or experts carry workspaces that a dense
model does not have.

{_hip_graphs()}

## What is formula and what is fit

* **Weights** follow from the dimensions, and from the rule by which torch's allocator keeps the rest of a 2-MiB segment
  with a large tensor. Nothing is fitted.
* **Activations** are closed forms of what the engine's code allocates, plus the GEMM library's workspace, which torch's
  source gives. Nothing is fitted. Where the sampler is the peak they are right to the printed digit. Where the compiled
  forward is the peak (CodeLlama, Granite-8B, pipeline stages) they are 5 to 9 % low; the high bound covers it. For
  this model they are held to the engine's own code, run on a device without data, within 2 MiB: vLLM 0.28, 0.31, 0.32
  and 0.33, CUDA and ROCm, TP 1 to 8, images and text, with and without a draft.
* **Outside torch** is fitted: the median over models per tensor-parallel size, with the range of readings and
  0.1 GiB either way.
* **Graph estimate** of runner V1 is fitted: a Theil-Sen line over the layers of a rank, bounded by the largest misses.
  Two start-ups of small models are estimated 0.9 GiB higher than their neighbours; nothing in the configuration tells
  them apart. Runner V2's is a closed form with coefficients from our own starts.
* The formulas were chosen with these data in view, so leaving a model out tests the fitted terms fully and the formulas
  only as far as they come from source. Of the single readings below, the L40S and RTX PRO 6000 ones set the term
  outside torch for cards without a fast link; their weights and bytes per token were used for nothing.

## Where it is measured, and where it is carried over

No start-up of this model with its real weights has been published with enough figures to test a whole ledger. On every
other card and release than those marked measured the terms are carried over, and their bounds are widened.

{_coverage()}

## Single readings

Weights and bytes per token against other cards and releases; the settings that decide the rest are not published.

{_readings(report)}

## Starts and failures of this model

{_starts(report)}

## Every start-up

{_startups(report)}

## Not used

{unused}
"""
