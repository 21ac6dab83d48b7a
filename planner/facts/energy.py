"""What GPUs draw: ``energy.toml``."""

from collections.abc import Mapping

from planner.facts.record import Record, door


class PowerShare(Record):
    """A share of the board's limit, with bounds."""

    value: float
    low: float
    high: float
    basis: str
    source: str


class Boards(Record):
    """Limits of whole boards."""

    watts: Mapping[str, int]
    """By catalogue id; a GPU that is not listed has no energy figures."""
    basis: str
    source: str


class EnergyFacts(Record):
    """The whole file."""

    share: Mapping[str, PowerShare]
    """``idle``, ``decode``, ``prefill``."""
    board: Boards


energy_facts = door("energy.toml", EnergyFacts)
"""What is known of power."""
