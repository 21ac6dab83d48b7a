"""The ledger: where every byte of one GPU goes. It never chooses a setting."""

from __future__ import annotations

from dataclasses import dataclass

from hw_specs.spec import Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """One named share of one GPU's memory."""

    name: str
    """Stable key, ``weights.text`` … ``free``."""
    bytes: int
    """Expected size."""
    low_bytes: int
    """Smallest plausible size; equals `bytes` for exact lines."""
    high_bytes: int
    basis: Basis
    source: str
    """Where the number or its formula comes from."""
    formula: str = ""
    """The formula with its numbers put in."""
    bounds: str = ""
    """Where low and high come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Ordered lines that sum to `total_bytes` exactly."""

    total_bytes: int
    """Engine-visible memory of the GPU."""
    budget_bytes: int
    """What the engine may use: ``ceil(total * gpu_memory_utilization)``."""
    lines: tuple[LedgerLine, ...]

    def line(self, name: str) -> LedgerLine:
        """Return the line called `name`.

        Raises:
            KeyError: when there is none.
        """
        for line in self.lines:
            if line.name == name:
                return line
        raise KeyError(name)
