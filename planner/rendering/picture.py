"""One GPU's memory as a bar and a few rows: shares in cells, marks and groups. It never colours or prints."""

from __future__ import annotations

from hw_specs.frozen import dataclass
from hw_specs.units import GIB, format_gib
from planner.planning.answer import Plan
from planner.rendering.headline import held_bytes

GROUPS = {
    "weights": ("weights.text", "weights.vision", "weights.draft", "rope_cache", "weights.rounding", "weights.lora"),
    "activations": ("buffers", "segments", "activations"),
    "outside torch": ("outside_torch", "fused_all_reduce"),
    "graphs": ("graphs",),
    "KV cache": ("kv_cache",),
    "free": ("free",),
    "slack": ("slack",),
}
"""What a small picture shows in one row each."""

MARKS = {
    "weights": "█",
    "activations": "▓",
    "outside torch": "▒",
    "graphs": "▒",
    "KV cache": "░",
    "free": " ",
    "held by others": "×",
    "slack": "·",
    "missing": "!",
}
"""Group → its mark in the bar."""

LEGEND = "█ weights  ▓ activations  ▒ modules, graphs  ░ KV cache  │ budget  · slack"


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
    held = held_bytes(plan)
    for label, names in GROUPS.items():
        lines = [line for line in plan.ledger.lines if line.name in names]
        size = sum(line.bytes for line in lines)
        low, high = sum(line.low_bytes for line in lines), sum(line.high_bytes for line in lines)
        if label == "free" and held:
            label, size, low, high = "held by others", held, held, held
        elif label == "free" and size < 0:
            label, size, low, high = "missing", -size, -size, -size
        if abs(size) < GIB // 20 and high < GIB // 20 and label != "KV cache":
            continue  # 0.0 on both sides
        bounds = f"{format_gib(low, decimals=1)} to {format_gib(high, decimals=1)}"
        certain = format_gib(low, decimals=1) == format_gib(high, decimals=1)
        rows.append(
            GroupRow(
                label=label,
                mark=MARKS[label],
                bytes=size,
                low_bytes=low,
                high_bytes=high,
                gib=format_gib(size, decimals=1),
                bounds="" if certain else bounds,
            )
        )
    return tuple(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One GPU's memory in cells."""

    cells: tuple[tuple[str, int], ...]
    """Group and number of cells, in ledger order; they add up to the width."""
    budget_at: int
    """The cell before which the budget ends."""

    def text(self) -> str:
        """The bar in marks, the budget's end as a line."""
        marks = "".join(MARKS[name] * count for name, count in self.cells)
        return marks[: self.budget_at] + "│" + marks[self.budget_at :]


def gpu_bar(plan: Plan, *, width: int) -> Bar:
    """One GPU's memory as a bar of `width` cells.

    Every group with bytes gets its share by the largest remainder. Where the shares need more than the GPU has, the
    bar is as long as what is needed, and what lies beyond the GPU is called ``missing``.
    """
    ledger = plan.ledger
    owner = {name: label for label, names in GROUPS.items() for name in names}
    sizes: dict[str, int] = {}
    for line in ledger.lines:
        if line.bytes > 0:
            sizes[owner[line.name]] = sizes.get(owner[line.name], 0) + line.bytes
    if held := held_bytes(plan):
        sizes["held by others"] = min(held, sizes.get("free", 0))
        sizes["free"] = sizes.get("free", 0) - sizes["held by others"]
    needed_bytes = sum(size for name, size in sizes.items() if name not in ("slack", "free"))
    if needed_bytes > ledger.budget_bytes:
        sizes = {name: size for name, size in sizes.items() if name not in ("slack", "free")}
        sizes = _cut(sizes, ledger.total_bytes)
    counts = _shares(sizes, width)
    whole_bytes = sum(sizes.values())
    budget_at = min(width, round(ledger.budget_bytes / whole_bytes * width))
    return Bar(cells=tuple(counts.items()), budget_at=budget_at)


def _cut(sizes: dict[str, int], total_bytes: int) -> dict[str, int]:
    """The same sizes with what lies beyond `total_bytes` called missing."""
    found: dict[str, int] = {}
    left = total_bytes
    for name, size in sizes.items():
        inside = min(size, left)
        left -= inside
        if inside:
            found[name] = inside
        if size > inside:
            found["missing"] = found.get("missing", 0) + size - inside
    if left:
        found["free"] = left
    return found


def _shares(sizes: dict[str, int], width: int) -> dict[str, int]:
    """Cells per name by the largest remainder."""
    whole = sum(sizes.values())
    exact = {name: size / whole * width for name, size in sizes.items()}
    counts = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda one: exact[one] - counts[one], reverse=True)[: width - sum(counts.values())]:
        counts[name] += 1
    return counts
