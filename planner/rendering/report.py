"""A plan in words and rows for people: what the table, the wizard and the docs show. It never colours or prints."""

from __future__ import annotations

from hw_specs.frozen import dataclass
from hw_specs.units import GIB, counted, format_gib, format_tokens
from planner.memory.term import Term
from planner.planning.answer import Alternative, Plan, Rejected
from planner.settings import Layout

LABELS = {
    "weights.text": "weights, text",
    "weights.vision": "weights, vision and projector",
    "weights.draft": "weights, draft",
    "rope_cache": "RoPE table",
    "weights.rounding": "scales and rounding",
    "weights.lora": "weights, LoRA adapters",
    "buffers": "buffers",
    "segments": "rests of torch's segments",
    "activations": "activations",
    "outside_torch": "outside torch: modules",
    "fused_all_reduce": "fused all-reduce workspace",
    "graphs": "graphs",
    "kv_cache": "KV cache",
    "free": "free",
    "slack": "slack above the budget",
}
"""Ledger name → what people read."""

BASES = {
    "exact": "exact: the same on every machine",
    "derived": "derived: follows from the engine's own code",
    "measured": "measured: an engine printed it",
    "assumed": "assumed: bounds from measurements of other models or GPUs",
}
"""How far a line is to be trusted, in words."""


def fills(plan: Plan) -> dict[str, tuple[int, int]]:
    """What one GPU holds at the end of a phase of the start: phase → low and high bytes.

    Activations are in the high bound only: the engine gives them back after the profiling run, and the allocator may
    keep them.
    """
    lines = {line.name: line for line in plan.ledger.lines}
    found, low, high = dict[str, tuple[int, int]](), 0, 0
    for phase, names in _FILLS.items():
        for line in (lines[name] for name in lines if name.startswith(names)):
            low += line.low_bytes
            high += line.high_bytes
        if phase == "load":
            high += lines["activations"].high_bytes
        found[phase] = (low, high)
    return found


_FILLS = {
    "load": ("weights", "rope_cache", "buffers", "segments", "outside_torch"),
    "kv": ("kv_cache",),
    "capture": ("graphs", "fused_all_reduce"),
}
"""Phase of a start → beginnings of the ledger lines that it adds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One line of the ledger, formatted."""

    name: str
    label: str
    gib: str
    low: str
    high: str
    basis: str


def ledger_rows(plan: Plan) -> tuple[LedgerRow, ...]:
    """The lines worth showing, in ledger order; empty ones are left out."""
    return tuple(_row(line) for line in plan.ledger.lines if line.bytes or line.name == "kv_cache")


def explanation(plan: Plan, name: str) -> tuple[tuple[str, str], ...]:
    """One ledger line in full: label and text of its size, formula, bounds and source.

    Raises:
        KeyError: when the ledger has no such line.
    """
    line = plan.ledger.line(name)
    size = f"{format_gib(line.bytes)} GiB, {line.bytes:,} bytes"
    if (line.low_bytes, line.high_bytes) != (line.bytes, line.bytes):
        size += f" ({format_gib(line.low_bytes)} to {format_gib(line.high_bytes)} GiB)"
    rows = (
        ("size", size),
        ("basis", BASES[line.basis]),
        ("formula", line.formula),
        ("bounds", line.bounds),
        ("source", line.source),
    )
    return tuple((label, text) for label, text in rows if text)


def _row(line: Term) -> LedgerRow:
    spread = (line.low_bytes, line.high_bytes) != (line.bytes, line.bytes)
    return LedgerRow(
        name=line.name,
        label=LABELS[line.name],
        gib=format_gib(line.bytes),
        low=format_gib(line.low_bytes) if spread else "",
        high=format_gib(line.high_bytes) if spread else "",
        basis=line.basis,
    )


def choice(plan: Plan) -> tuple[tuple[str, str], ...]:
    """The chosen settings as name and value."""
    settings = plan.settings
    rows = [("tensor-parallel-size", str(settings.tensor_parallel_size))]
    if settings.pipeline_parallel_size > 1:
        rows.append(("pipeline-parallel-size", str(settings.pipeline_parallel_size)))
    if settings.replicas > 1:
        rows.append(("replicas", str(settings.replicas)))
    rows.append(("max-model-len", str(settings.max_model_len)))
    rows.append(("max-num-seqs", str(settings.max_num_seqs)))
    rows.append(("max-num-batched-tokens", str(settings.max_num_batched_tokens)))
    return tuple(rows)


def choice_line(plan: Plan) -> str:
    """The chosen settings in one line."""
    settings = plan.settings
    step = (
        f"{counted(settings.max_num_seqs, 'sequence')} and {counted(settings.max_num_batched_tokens, 'token')} a step"
    )
    return f"{settings.layout}, {counted(settings.max_model_len, 'token')}, {step}"


SEVERAL = 2.0
"""From this factor on, another layout of the same GPUs is worth a word."""


def remarks(plan: Plan) -> tuple[str, ...]:
    """What another layout of the same GPUs would hold, with what it costs: several times more, or on GPUs left idle."""
    settings = plan.settings
    here = plan.kv_cache.max_concurrency * settings.replicas * settings.max_model_len
    if not plan.feasible or not _another_may_hold_more(plan, here):
        return ()
    best = max(plan.alternatives, key=_tokens_held, default=None)
    if best is None:
        return ()
    several = _tokens_held(best) >= SEVERAL * here or best.max_model_len >= SEVERAL * settings.max_model_len
    idle = settings.layout.total_gpus < plan.gpus.total_gpus == best.layout.total_gpus and _tokens_held(best) > here
    if not several and not idle:
        return ()
    if best.layout.pipeline_parallel_size > settings.pipeline_parallel_size:
        cost = "slower single requests"
    else:
        cost = best.reason
    requests = best.max_concurrency * best.layout.replicas
    return (f"{best.layout} would hold {requests:.1f} x {format_tokens(best.max_model_len)} tokens: {cost}",)


def _another_may_hold_more(plan: Plan, here_tokens: float) -> bool:
    """Whether GPUs are idle or cut the context, or twice the tokens of `here_tokens` would fill less than all GPUs.

    A token takes no less on all GPUs of another layout, and no layout has more than every byte of them: where that is
    too little, the others need not be planned.
    """
    settings, kv = plan.settings, plan.kv_cache
    ranks = settings.layout.gpus_per_replica
    if settings.layout.total_gpus < plan.gpus.total_gpus or settings.pipeline_parallel_size > 1:
        return True
    if SEVERAL * settings.max_model_len <= plan.model.max_position_embeddings:
        return True
    room_bytes = plan.gpus.total_gpus * plan.ledger.total_bytes - sum(plan.weights_bytes_per_gpu)
    shared = max(1, settings.tensor_parallel_size // plan.model.num_key_value_heads)  # copies of one KV head
    return room_bytes >= SEVERAL * here_tokens * kv.bytes_per_token_per_gpu * ranks / shared


def _tokens_held(one: Alternative) -> float:
    return one.max_concurrency * one.layout.replicas * one.max_model_len


def holds(plan: Plan) -> str:
    """What the pool holds, with bounds and the length each count was computed at."""
    kv, settings = plan.kv_cache, plan.settings
    per_token = kv.bytes_per_token_per_gpu
    low, high = (max(0, size // per_token) for size in (kv.available_low_bytes, kv.available_high_bytes))
    spread = f" ({_span(low, high)})" if low != high else ""
    short = f", {plan.kv_cache.tokens / 4096:,.0f} of 4,096" if settings.max_model_len > 4096 else ""
    each = "each " if settings.replicas > 1 else ""
    return (
        f"{each}{format_tokens(kv.num_gpu_blocks * kv.block_size)} tokens{spread}: {kv.max_concurrency:,.1f} full "
        f"requests{short}"
    )


def _span(low: int, high: int) -> str:
    """Bounds with the unit once where both have the same: ``2.56 to 2.60 M``."""
    first, last = format_thousands(low), format_thousands(high)
    number, _, unit = first.partition(" ")
    return f"{number if last.endswith(unit) and unit else first} to {last}"


def format_thousands(tokens: int) -> str:
    """Return a token count in thousands or millions, for bounds.

    >>> format_thousands(2_542_000)
    '2.54 M'
    """
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:.2f} M"
    return f"{tokens / 1_000:.0f} k" if tokens >= 10_000 else str(tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverRow:
    """One lever, formatted."""

    mark: str
    """``✓`` where this change alone makes the plan fit, or meet its targets."""
    flag: str
    gib: str
    tokens: str
    note: str


def lever_rows(plan: Plan, *, most: int) -> tuple[LeverRow, ...]:
    """The best levers; a full stop of gains is said in words."""
    return tuple(
        LeverRow(
            mark="✓" if lever.meets_targets or (lever.fits and plan.verdict != "fits") else "",
            flag=lever.flag,
            gib=f"{lever.gain_bytes / GIB:+.1f}" if lever.gain_bytes else "",
            tokens=f"{lever.gain_tokens:+,}" if lever.gain_tokens else "",
            note=lever.note,
        )
        for lever in plan.levers[:most]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutRow:
    """One layout of the same GPUs, formatted."""

    layout: str
    context: str
    requests: str
    note: str


def layout_rows(plan: Plan) -> tuple[LayoutRow, ...]:
    """The other layouts: those that fit with their numbers, the others with their reason."""
    rows = [
        LayoutRow(
            layout=str(alt.layout),
            context=format_tokens(alt.max_model_len),
            requests=_requests(alt.layout.replicas, alt.max_concurrency),
            note=alt.reason if alt.verdict == "fits" else f"tight; {alt.reason}",
        )
        for alt in plan.alternatives
    ]
    rows += [LayoutRow(layout=str(no.layout), context="no", requests="", note=no.reason) for no in plan.rejected]
    return tuple(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutChoice:
    """One layout to pick: how to ask for it, and its row."""

    layout: Layout
    verdict: str
    """As in a plan."""
    chosen: bool
    row: LayoutRow


def layout_choices(plan: Plan) -> tuple[LayoutChoice, ...]:
    """Every layout of these GPUs with the chosen one among them, in an order that does not depend on the choice."""
    settings, kv = plan.settings, plan.kv_cache
    here = LayoutChoice(
        layout=settings.layout,
        verdict=plan.verdict,
        chosen=True,
        row=LayoutRow(
            layout=str(settings.layout),
            context=format_tokens(settings.max_model_len) if plan.feasible else "no",
            requests=_requests(settings.replicas, kv.max_concurrency) if plan.feasible else "",
            note=plan.reasons[0] if plan.reasons else "",
        ),
    )
    every: tuple[Alternative | Rejected, ...] = (*plan.alternatives, *plan.rejected)
    verdicts = (one.verdict if isinstance(one, Alternative) else "does-not-fit" for one in every)
    others = [
        LayoutChoice(layout=one.layout, verdict=verdict, chosen=False, row=row)
        for one, verdict, row in zip(every, verdicts, layout_rows(plan), strict=True)
    ]

    def place(one: LayoutChoice) -> tuple[int, int, int]:
        return one.layout.pipeline_parallel_size, -one.layout.tensor_parallel_size, one.layout.replicas

    return tuple(sorted([here, *others], key=place))


def _requests(replicas: int, concurrency: float) -> str:
    return (f"{replicas} x " if replicas > 1 else "") + f"{concurrency:.1f}"
