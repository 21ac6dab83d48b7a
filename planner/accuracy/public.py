"""Public starts with enough settings to be asked about, each row beside the planner's own budget; it fits nothing.

Some rows set a bound or a value of one term; that term is then not judged by them (`plan.fitted` of the row).
"""

from __future__ import annotations

from hw_specs import get_gpu
from hw_specs.spec import GpuSet
from hw_specs.units import GIB, gib
from planner.accuracy.data import Startup, asked, sibling
from planner.accuracy.evaluate import (
    COMPONENTS,
    Comparison,
    Group,
    budgets,
    make_group,
    pool_gib,
    smallest,
    term_gib,
    weights_gib,
)
from planner.accuracy.rows import PublicStart, models, public_starts
from planner.memory.activation import first_start_excess_bytes
from planner.memory.budget import RankBudget
from planner.settings import Settings


def public_rows() -> list[PublicStart]:
    """The starts that say enough to be planned."""
    return [row for row in public_starts() if row.plan is not None]


def public_groups() -> tuple[Group, ...]:
    """Return the errors by component of the starts whose component nothing was read from, then of those that it was."""
    seen: dict[str, list[Comparison]] = {"unseen": [], "read from": []}
    for row in public_rows():
        fitted = row.plan.fitted if row.plan is not None else ()
        for one in public_comparisons(row):
            # The pool holds whatever was read from the row.
            known = one.component in fitted or (one.component == "kv_pool" and fitted)
            seen["read from" if known else "unseen"].append(one)
    names = {"unseen": "public starts: nothing read from them", "read from": "public starts that set a term"}
    return tuple(
        make_group(names[key], component, members)
        for key, found in seen.items()
        for component in COMPONENTS
        if (members := [one for one in found if one.component == component])
    )


def public_comparisons(row: PublicStart) -> list[Comparison]:
    """Weights, KV pool with the measured weights given where they were printed, and captured graphs of one start.

    A start that does not say whether it compiled is compared as a first one, which is what a plan answers for.
    """
    kv = row.kv
    assert kv is not None, "a row that can be planned has it"
    startup = public_startup(row)
    ranks = budgets(startup)
    rank = ranks[0]
    later = row.compile.partition(":")[0] == "cached"
    pool = smallest([_pool(one, row.load, later=later) for one in ranks])
    found = [Comparison.of(startup, "kv_pool", pool, kv)]
    if row.load is not None:
        found.append(Comparison.of(startup, "weights", weights_gib(rank), row.load))
    if row.graph_actual:
        found.append(Comparison.of(startup, "graphs", term_gib(rank.outside_budget["graphs"]), row.graph_actual))
    return found


def _pool(rank: RankBudget, load_gib: float | None, *, later: bool) -> tuple[float, float, float]:
    """The pool of one rank, expected, low and high in GiB; a later start finds its compilation done."""
    expected, low, high = pool_gib(rank, weights_gib(rank)[0] if load_gib is None else load_gib)
    return expected + (first_start_excess_bytes(rank.shape) / GIB if later else 0), low, high


def public_startup(row: PublicStart) -> Startup:
    """The row as a start-up that the planner can be asked about."""
    said = row.plan
    assert said is not None and row.gpus is not None
    model = sibling(said.model, said.online_quantization)
    return Startup(
        model=model,
        base=models()[said.model].base,
        quantised_on_load=bool(said.online_quantization),
        relative=False,
        gpus=GpuSet(
            spec=get_gpu(said.gpu),
            count=row.gpus,
            memory_override_bytes=None if row.total is None else gib(row.total),
        ),
        vllm_version=said.vllm_version,
        settings=asked(
            Settings, said, tensor_parallel_size=row.tp, pipeline_parallel_size=row.pp, replicas=1,
            max_num_seqs=row.S, max_num_batched_tokens=row.T, gpu_memory_utilization=row.util,
            enforce_eager=row.eager, num_speculative_tokens=0,
            load_format="mistral" if model.native_format else "hf",
        ),
        measured={},
        source=row.id,
    )  # fmt: skip
