"""Public starts with enough settings to be asked about, each row beside the planner's own budget; it fits nothing.

Some rows set a bound or a value of one term; that term is then not judged by them (`plan.fitted` of the row).
"""

from __future__ import annotations

from typing import Any

from hw_specs import get_gpu
from hw_specs.spec import GpuSet
from hw_specs.units import GIB, gib
from planner.accuracy.data import Startup, sibling
from planner.accuracy.evaluate import COMPONENTS, Comparison, Group, budgets, make_group, term_gib, weights_gib
from planner.facts import load
from planner.memory.term import used
from planner.settings import Settings

PUBLIC = "measured/startups-public.json"

Row = dict[str, Any]


def public_rows() -> list[Row]:
    """The starts that say enough to be planned."""
    return [row for row in load(PUBLIC)["startups"] if "plan" in row]


def public_groups() -> tuple[Group, ...]:
    """Return the errors by component of the starts whose component nothing was read from, then of those that it was."""
    seen: dict[str, list[Comparison]] = {"unseen": [], "read from": []}
    for row in public_rows():
        fitted = row["plan"].get("fitted", ())
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


def public_comparisons(row: Row) -> list[Comparison]:
    """Weights, KV pool with the measured weights given, and captured graphs of one start."""
    startup = public_startup(row)
    rank = budgets(startup)[0]
    taken = used(term for name, term in rank.terms.items() if name != "weights.rounding")
    room = rank.requested_bytes / GIB - row["load"]
    pool = room - taken.expected / GIB, room - taken.worst / GIB, room - taken.best / GIB
    found = [
        Comparison.of(startup, "weights", weights_gib(rank), row["load"]),
        Comparison.of(startup, "kv_pool", pool, row["kv"]),
    ]
    if row.get("graph_actual"):
        found.append(Comparison.of(startup, "graphs", term_gib(rank.outside_budget["graphs"]), row["graph_actual"]))
    return found


def public_startup(row: Row) -> Startup:
    """The row as a start-up that the planner can be asked about."""
    plan, known = row["plan"], load("measured/models.json")["models"]
    model = sibling(plan["model"])
    return Startup(
        model=model,
        base=known[plan["model"]]["base"],
        quantised_on_load=False,
        relative=False,
        gpus=GpuSet(
            spec=get_gpu(plan["gpu"]),
            count=row["gpus"],
            memory_override_bytes=gib(row["total"]) if "total" in row else None,
        ),
        vllm_version=plan["vllm_version"],
        settings=Settings(
            tensor_parallel_size=row["tp"],
            pipeline_parallel_size=row["pp"],
            replicas=1,
            max_model_len=plan["max_model_len"],
            max_num_seqs=row["S"],
            max_num_batched_tokens=row["T"],
            gpu_memory_utilization=row["util"],
            kv_cache_dtype=plan["kv_cache_dtype"],
            language_model_only=plan["language_model_only"],
            enforce_eager=row["eager"],
            num_speculative_tokens=0,
            load_format="mistral" if model.native_format else "hf",
        ),
        measured={},
        source=row["id"],
    )
