"""This project's own start-ups, judged like the published ones; it never changes a coefficient.

The facts for these cards and releases were read from most of them, so those show how well the formulas hold, not a
forecast. The ones that took no part in a coefficient are groups of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from hw_specs import get_gpu
from hw_specs.spec import GpuSet
from hw_specs.units import GIB
from planner.accuracy.data import Startup, asked
from planner.accuracy.evaluate import (
    COMPONENTS,
    Comparison,
    Group,
    budgets,
    make_group,
    pool_gib,
    term_gib,
    weights_gib,
)
from planner.accuracy.rows import FORECAST_BEFORE, NEWEST, OWN, SEVERAL, OwnStart, own_starts
from planner.checkpoint.preset import load_preset
from planner.memory.budget import RankBudget
from planner.memory.overheads import draft_embeddings_bytes
from planner.memory.term import used
from planner.settings import Settings

_COMPONENTS = {
    "activations": ("activation_peak_bytes", "torch_peak_increase_bytes"),
    "outside_torch": ("non_torch_bytes",),
    "graphs": ("graphs_actual_bytes",),
}
_FORECAST_METHODS = (None, "eagle")
"""Methods of a draft that plans knew when the starts were forecast; starts with another were forecast without it."""


def own_groups() -> tuple[Group, ...]:
    """Return the errors by component: of one GPU, of several, of the newest release, and of those that judge."""
    one = [(OWN, row) for row in own_starts(OWN).startups if row.model_runner == 2]
    several = [(SEVERAL, row) for row in own_starts(SEVERAL).startups]
    newest = [(name, row) for name in NEWEST for row in own_rows(name) if row.status == "ready"]
    before = [one for one in newest if one[0] in FORECAST_BEFORE and _method(one[1]) in _FORECAST_METHODS]
    unseen = [one for one in several + newest if not _fitted(*one)]
    groups: tuple[tuple[str, list[tuple[str, OwnStart]], Callable[[OwnStart], bool]], ...] = (
        ("one H200, 0.26: eager, or compiled before", one, lambda row: row.compile_cache != "cold"),
        ("one H200, 0.26: first compiled starts", one, lambda row: row.compile_cache == "cold"),
        ("one H200, 0.26: starts after the facts were set", one, lambda row: row.judges_facts),
        ("two and four H100, 0.26", several, lambda row: row.compile_cache != "warm"),
        ("H100 and H200, 0.33: first starts", newest, lambda row: row.compile_cache != "warm"),
        ("later starts, 0.26 and 0.33", several + newest, lambda row: row.compile_cache == "warm"),
        ("one to four H200, 0.33: forecast before they were made", before, lambda _: True),
        ("0.26 and 0.33: starts that no fit saw", unseen, lambda _: True),
    )
    found = []
    for name, rows, belongs in groups:
        comparisons = [one for source, row in rows if belongs(row) for one in own_comparisons(source, row)]
        for component in COMPONENTS:
            members = [one for one in comparisons if one.component == component]
            if members:
                found.append(make_group(name, component, members))
    return tuple(found)


def _fitted(source: str, row: OwnStart) -> bool:
    return own_starts(source).fitted if row.fitted is None else row.fitted


def own_rows(source: str) -> list[OwnStart]:
    """The starts of this architecture that a plan can say; other models in a file have dimensions of their own."""
    return [row for row in own_starts(source).startups if not row.model and not row.other_flags]


def _draft(row: OwnStart) -> Mapping[str, object]:
    """Method and tokens of a start's draft, the model's own three tokens where nothing else is said."""
    return row.speculation or ({"method": "eagle", "num_speculative_tokens": 3} if row.draft else {})


def _method(row: OwnStart) -> object:
    return _draft(row).get("method")


def own_startup(row: OwnStart, source: str = OWN, stage: int = 0) -> Startup:
    """Return one stage of one row of the data as a start-up; sizes in GiB."""
    whole, campaign = load_preset(), own_starts(source)
    sizes = {
        key: size
        for key, size in (row.stages[stage] if row.stages else row.measured or {}).items()
        if key.endswith("_bytes") and isinstance(size, int)
    }
    count = row.tensor_parallel_size * row.pipeline_parallel_size
    return Startup(
        model=replace(whole, layers=(replace(whole.layers[0], count=row.layers),)),
        base=f"{row.layers} layers",
        quantised_on_load=False,
        relative=False,
        gpus=GpuSet(spec=get_gpu(campaign.gpu), count=count, memory_override_bytes=sizes["total_bytes"]),
        vllm_version=campaign.vllm_version,
        settings=asked(
            Settings, row, replicas=1, num_speculative_tokens=_draft(row).get("num_speculative_tokens", 0),
            spec_method=_method(row), load_format="mistral",
            gpu_memory_utilization=row.gpu_memory_utilization or campaign.gpu_memory_utilization,
        ),
        measured={key.removesuffix("_bytes") + "_gib": size / GIB for key, size in sizes.items()},
        source=row.name,
    )  # fmt: skip


def own_comparisons(source: str, row: OwnStart) -> list[Comparison]:
    """Every component of one start of the data file `source`, each stage by itself."""
    stages = max(1, len(row.stages))
    return [one for stage in range(stages) for one in _compare_stage(own_startup(row, source, stage), row, stage)]


def _compare_stage(startup: Startup, row: OwnStart, stage: int) -> list[Comparison]:
    planned = budgets(startup)[-1 if stage else 0]
    shape = replace(planned.shape, fused_all_reduce=row.fused_all_reduce)
    rank = replace(planned, shape=shape)
    measured = startup.measured
    # A draft's input tensor, a buffer of the plan, is in the load figure.
    loaded = draft_embeddings_bytes(shape) / GIB if row.draft else 0.0
    expected, low, high = weights_gib(rank)
    weights = expected + loaded, low + loaded, high + loaded
    found = [Comparison.of(startup, "weights", weights, measured["model_gib"])]
    for component, keys in _COMPONENTS.items():
        name = next((key for key in (key.removesuffix("_bytes") + "_gib" for key in keys) if key in measured), None)
        if name is None:
            continue
        predicted = _predicted(rank, component, with_workspace=row.compile_cache != "warm" or row.draft)
        if predicted[0]:
            found.append(Comparison.of(startup, component, predicted, measured[name]))
    # A draft's input tensor is in the load figure: with a draft the two cannot be told apart.
    if "buffers_after_load_gib" in measured and rank.shape.tensor_parallel_size == 1 and not row.draft:
        held = measured["runner_buffers_gib"] + measured["buffers_after_load_gib"]
        buffers = rank.outside_budget["buffers"] if rank.outside_budget["buffers"].bytes else rank.terms["buffers"]
        found.append(Comparison.of(startup, "buffers", term_gib(buffers), held))
    if "kv_available_gib" in measured:
        pool = pool_gib(rank, measured["model_gib"] - loaded)
        found.append(Comparison.of(startup, "kv_pool", pool, measured["kv_available_gib"]))
    return found


def _predicted(rank: RankBudget, component: str, *, with_workspace: bool) -> tuple[float, float, float]:
    """What the engine's own figure of that name holds, in GiB.

    Outside torch is the workspace of the fused all-reduce too, unless the start finds its model compiled and has no
    draft: then it is made with the first graph.
    """
    if component == "graphs":
        return term_gib(rank.outside_budget["graphs"])
    if component != "outside_torch":
        return term_gib(rank.terms[component])
    workspace = (rank.terms["fused_all_reduce"],) if with_workspace else ()
    taken = used((rank.terms["outside_torch"], *workspace))
    return taken.expected / GIB, taken.best / GIB, taken.worst / GIB
