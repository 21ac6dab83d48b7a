"""The ledger: where every byte of one GPU goes. It never chooses a setting."""

from __future__ import annotations

from hw_specs.frozen import dataclass
from hw_specs.units import format_gib, format_tokens
from planner.facts.vllm import vllm_facts
from planner.memory.budget import RankBudget
from planner.memory.term import Term
from planner.memory.weights import describe_draft, describe_text, describe_vision


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Ordered lines that sum to `total_bytes` exactly."""

    total_bytes: int
    """Engine-visible memory of the GPU."""
    budget_bytes: int
    """What the engine may use: ``ceil(total * gpu_memory_utilization)``."""
    lines: tuple[Term, ...]
    outside_budget: tuple[Term, ...] = ()
    """What the engine takes outside its budget, from the slack; it does not count into the sum."""

    def line(self, name: str) -> Term:
        """Return the line called `name`.

        Raises:
            KeyError: when there is none.
        """
        for line in self.lines:
            if line.name == name:
                return line
        raise KeyError(name)


def ledger(rank: RankBudget, kv_bytes: int) -> Ledger:
    """Return the lines of one rank with `kv_bytes` of KV cache; ``free`` takes what is left of the budget.

    With ``--kv-cache-memory-bytes`` the engine measures nothing, so ``free`` may be negative without a refusal.
    """
    tp, stages = rank.settings.tensor_parallel_size, rank.settings.pipeline_parallel_size
    text = describe_text(rank.model, tensor_parallel_size=tp, rules=rank.rules)
    vision = describe_vision(rank.model, tensor_parallel_size=tp, rules=rank.rules)
    model = rank.model
    lines = [
        _exact(
            "weights.text",
            rank.weights.text_bytes,
            f"{text} B" if stages == 1 else f"this stage's share of {text} B",
        ),
        _exact(
            "weights.vision", rank.weights.vision_bytes, vision if rank.weights.vision_bytes else "not on this rank"
        ),
        _exact(
            "weights.draft",
            rank.weights.draft_bytes,
            describe_draft(model, tensor_parallel_size=tp)
            if model.draft and rank.weights.draft_bytes
            else "no draft on this rank",
        ),
        _exact(
            "rope_cache",
            rank.rope_bytes,
            f"{format_tokens(model.rope_cache_positions or model.max_position_embeddings)} positions x "
            f"{model.rotary_dim or model.head_dim} x 2 B",
        ),
    ]
    lines += rank.terms.values()
    expected, worst, best = rank.available
    geometry = rank.geometry
    if kv_bytes > expected:
        worst = best = expected  # what a length needs is exact; what is missing shows in `free`
    lines.append(
        Term(
            name="kv_cache",
            bytes=kv_bytes,
            low_bytes=max(0, min(kv_bytes, kv_bytes - (expected - worst))),
            high_bytes=max(kv_bytes, kv_bytes + (best - expected)),
            basis="derived",
            source=vllm_facts().ledger_sources["kv_cache"],
            formula=f"{kv_bytes // geometry.block_bytes:,} blocks of {geometry.block_size} tokens x "
            f"{geometry.bytes_per_token:,} B",
            bounds="what the other lines leave at their bounds",
        )
    )
    free = rank.budget_bytes - sum(line.bytes for line in lines)
    lines.append(
        Term.certain(
            "free",
            free,
            basis="derived",
            source="the budget less the lines above",
            formula=f"budget {format_gib(rank.budget_bytes)} GiB less the lines above",
        )
    )
    outside = tuple(term for term in rank.outside_budget.values() if term.high_bytes)
    inside = ", ".join(f"{term.name} {format_gib(term.low_bytes)} to {format_gib(term.high_bytes)}" for term in outside)
    lines.append(
        _exact(
            "slack",
            rank.total_bytes - rank.budget_bytes,
            f"total - ceil(total x {rank.settings.gpu_memory_utilization}); holds {inside} GiB",
        )
    )
    return Ledger(
        total_bytes=rank.total_bytes, budget_bytes=rank.budget_bytes, lines=tuple(lines), outside_budget=outside
    )


def _exact(name: str, size_bytes: int, formula: str) -> Term:
    sources = vllm_facts().ledger_sources
    bounds = sources["exact_bounds"] if name.startswith("weights") else "exact"
    return Term.certain(name, size_bytes, basis="exact", source=sources[name], formula=formula, bounds=bounds)
