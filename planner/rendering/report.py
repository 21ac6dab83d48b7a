"""A plan in words and rows for people: what the table, the wizard and the docs show. It never colours or prints."""

from __future__ import annotations

from dataclasses import dataclass

from hw_specs.units import GIB, format_gib, format_tokens
from planner.memory.term import Term
from planner.planning.answer import Alternative, Plan, Rejected

LABELS = {
    "weights.text": "weights, text",
    "weights.vision": "weights, vision and projector",
    "weights.draft": "weights, EAGLE draft",
    "rope_cache": "RoPE table",
    "weights.rounding": "scales and rounding",
    "buffers": "buffers",
    "activations": "activations",
    "outside_torch": "outside torch: modules, NCCL",
    "graphs": "graphs",
    "kv_cache": "KV cache",
    "free": "free",
    "slack": "slack above the budget",
}
"""Ledger name → what people read."""

MARKS = {
    "weights.text": "█",
    "weights.vision": "█",
    "weights.draft": "█",
    "rope_cache": "█",
    "weights.rounding": "█",
    "buffers": "▓",
    "activations": "▓",
    "outside_torch": "▒",
    "graphs": "▒",
    "kv_cache": "░",
    "free": " ",
    "slack": "·",
    "missing": "!",
}
"""Ledger name → its mark in the bar."""

GROUPS = {
    "weights": ("weights.text", "weights.vision", "weights.draft", "rope_cache", "weights.rounding"),
    "activations": ("buffers", "activations"),
    "outside torch": ("outside_torch",),
    "graphs": ("graphs",),
    "KV cache": ("kv_cache",),
    "free": ("free",),
    "slack": ("slack",),
}
"""What a small picture shows in one row each."""

BASES = {
    "exact": "exact: the same on every machine",
    "derived": "derived: follows from the engine's own code",
    "measured": "measured: an engine printed it",
    "assumed": "assumed: bounds from measurements of other models or GPUs",
}
"""How far a line is to be trusted, in words."""

LEGEND = "█ weights  ▓ buffers, activations  ▒ modules, graphs  ░ KV cache  · slack"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRow:
    """Several lines of the ledger as one row of a small picture."""

    label: str
    mark: str
    bytes: int
    low_bytes: int
    high_bytes: int
    gib: str
    bounds: str
    """``4.5 to 8.9``; empty where the size is certain."""


def group_rows(plan: Plan) -> tuple[GroupRow, ...]:
    """The ledger in the rows of :data:`GROUPS`; empty ones are left out."""
    rows = []
    for label, names in GROUPS.items():
        lines = [plan.ledger.line(name) for name in names]
        size = sum(line.bytes for line in lines)
        low, high = sum(line.low_bytes for line in lines), sum(line.high_bytes for line in lines)
        if abs(size) < GIB // 200 and label != "KV cache":
            continue
        bounds = f"{format_gib(low, decimals=1)} to {format_gib(high, decimals=1)}"
        certain = format_gib(low, decimals=1) == format_gib(high, decimals=1)
        rows.append(
            GroupRow(
                label=label,
                mark=MARKS[names[0]],
                bytes=size,
                low_bytes=low,
                high_bytes=high,
                gib=format_gib(size, decimals=1),
                bounds="" if certain else bounds,
            )
        )
    return tuple(rows)


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
        basis="rest" if line.name == "kv_cache" else line.basis,
    )


def cells(plan: Plan, *, width: int) -> tuple[tuple[str, int], ...]:
    """One GPU's memory as `width` cells: ledger name and number of cells, in ledger order.

    Every line with bytes gets its share by the largest remainder, so the cells always add up. What is beyond the
    GPU is cut off, and the last cell is then called ``missing``.
    """
    total = plan.ledger.total_bytes
    lines = [line for line in plan.ledger.lines if line.bytes > 0]
    if sum(line.bytes for line in lines) > total:
        left, found = width - 1, []
        for line in lines:
            if line.name != "slack":
                found.append((line.name, min(left, round(line.bytes / total * width))))
                left -= found[-1][1]
        return (*found, ("free", left), ("missing", 1))
    shares = [line.bytes / total * width for line in lines]
    counts = [int(share) for share in shares]
    order = sorted(range(len(lines)), key=lambda i: shares[i] - counts[i], reverse=True)
    for index in order[: width - sum(counts)]:
        counts[index] += 1
    return tuple((line.name, count) for line, count in zip(lines, counts, strict=True))


def bar(plan: Plan, *, width: int) -> str:
    """One GPU's memory as `width` cells, marks as in :data:`MARKS`; what does not fit is cut off with ``!``."""
    return "".join(MARKS[name] * count for name, count in cells(plan, width=width))


def headline(plan: Plan) -> str:
    """Verdict, length and machine in one line."""
    settings, kv = plan.settings, plan.kv_cache
    where = f"{plan.gpus.nodes} x {plan.gpus.count} x {plan.gpus.spec.name}" if plan.gpus.nodes > 1 else ""
    where = where or f"{plan.gpus.count} x {plan.gpus.spec.name}"
    limit = plan.model.max_position_embeddings
    length = format_tokens(settings.max_model_len)
    of = f" of {format_tokens(limit)}" if settings.max_model_len < limit else ""
    sight = "" if plan.model.vision is None else (", text only" if settings.language_model_only else ", vision on")
    if not plan.feasible:
        asked = plan.request.max_model_len is not None
        if (plan.request.concurrency or 1) > 1:
            return f"{plan.request.concurrency} x {length} tokens on {where}{sight}, vLLM {plan.vllm_version}"
        best = kv.largest_max_model_len_low
        start = f"at most {format_tokens(best)} tokens would" if best else "no length would"
        what = f"{length} tokens" if asked else f"the model{f' ({start} start safely)' if best else ''}"
        return f"{what} on {where}{sight}, vLLM {plan.vllm_version}"
    return f"{length}{of} tokens on {where}{sight}, vLLM {plan.vllm_version}"


def summary(plan: Plan) -> str:
    """The second line: what is missing, or what a first lever would change."""
    if not plan.feasible:
        return f"{format_gib(plan.shortfall_bytes)} GiB per GPU are missing: {plan.reasons[0]}"
    if plan.verdict == "tight":
        low, length = plan.kv_cache.largest_max_model_len_low, format_tokens(plan.settings.max_model_len)
        return f"{length} fits if every uncertain term is as expected; {format_tokens(low)} is safe"
    return ""


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


def holds(plan: Plan) -> str:
    """What the pool holds, with bounds and the length each count was computed at."""
    kv, settings = plan.kv_cache, plan.settings
    per_token = kv.bytes_per_token_per_gpu
    low, high = (max(0, size // per_token) for size in (kv.available_low_bytes, kv.available_high_bytes))
    spread = f" ({format_thousands(low)} to {format_thousands(high)})" if low != high else ""
    short = f", {plan.kv_cache.tokens / 4096:,.0f} of 4,096" if settings.max_model_len > 4096 else ""
    return (
        f"{format_tokens(kv.num_gpu_blocks * kv.block_size)} tokens{spread}: {kv.max_concurrency:,.1f} requests of "
        f"{format_tokens(settings.max_model_len)}{short}"
    )


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

    flag: str
    gib: str
    tokens: str
    note: str


def lever_rows(plan: Plan, *, most: int) -> tuple[LeverRow, ...]:
    """The best levers; a full stop of gains is said in words."""
    rows = []
    for lever in plan.levers[:most]:
        fits = "fits" if lever.fits and lever.name != "gpus" and plan.verdict != "fits" else ""
        rows.append(
            LeverRow(
                flag=lever.flag,
                gib=f"{lever.gain_bytes / GIB:+.1f}" if lever.gain_bytes else "",
                tokens=f"{lever.gain_tokens:+,}" if lever.gain_tokens else "",
                note=", ".join(part for part in (fits, lever.note) if part),
            )
        )
    return tuple(rows)


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
            layout=layout_name(alt.tensor_parallel_size, alt.pipeline_parallel_size, alt.replicas),
            context=format_tokens(alt.max_model_len),
            requests=_requests(alt.replicas, alt.max_concurrency),
            note=alt.reason if alt.verdict == "fits" else f"tight; {alt.reason}",
        )
        for alt in plan.alternatives
    ]
    rows += [
        LayoutRow(
            layout=layout_name(no.tensor_parallel_size, no.pipeline_parallel_size, no.replicas),
            context="no",
            requests="",
            note=no.reason,
        )
        for no in plan.rejected
    ]
    return tuple(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutChoice:
    """One layout to pick: how to ask for it, and its row."""

    tensor_parallel_size: int
    pipeline_parallel_size: int
    replicas: int
    verdict: str
    """As in a plan."""
    chosen: bool
    row: LayoutRow


def layout_choices(plan: Plan) -> tuple[LayoutChoice, ...]:
    """Every layout of these GPUs with the chosen one among them, in an order that does not depend on the choice."""
    settings, kv = plan.settings, plan.kv_cache
    here = LayoutChoice(
        tensor_parallel_size=settings.tensor_parallel_size,
        pipeline_parallel_size=settings.pipeline_parallel_size,
        replicas=settings.replicas,
        verdict=plan.verdict,
        chosen=True,
        row=LayoutRow(
            layout=layout_name(settings.tensor_parallel_size, settings.pipeline_parallel_size, settings.replicas),
            context=format_tokens(settings.max_model_len) if plan.feasible else "no",
            requests=_requests(settings.replicas, kv.max_concurrency) if plan.feasible else "",
            note=plan.reasons[0] if plan.reasons else "",
        ),
    )
    every: tuple[Alternative | Rejected, ...] = (*plan.alternatives, *plan.rejected)
    others = [
        LayoutChoice(
            tensor_parallel_size=one.tensor_parallel_size,
            pipeline_parallel_size=one.pipeline_parallel_size,
            replicas=one.replicas,
            verdict=one.verdict if isinstance(one, Alternative) else "does-not-fit",
            chosen=False,
            row=row,
        )
        for one, row in zip(every, layout_rows(plan), strict=True)
    ]
    return tuple(
        sorted(
            [here, *others],
            key=lambda one: (one.pipeline_parallel_size, -one.tensor_parallel_size, one.replicas),
        )
    )


def _requests(replicas: int, concurrency: float) -> str:
    return (f"{replicas} x " if replicas > 1 else "") + f"{concurrency:.1f}"


def layout_name(tensor_parallel_size: int, pipeline_parallel_size: int, replicas: int) -> str:
    """``TP4 x 2``: four GPUs a server, two servers.

    >>> layout_name(2, 4, 1)
    'TP2 PP4'
    """
    stages = f" PP{pipeline_parallel_size}" if pipeline_parallel_size > 1 else ""
    copies = f" x {replicas}" if replicas > 1 else ""
    return f"TP{tensor_parallel_size}{stages}{copies}"
