"""When lines count as pieces of longer ones: ``wrapped.toml``."""

from planner.facts.record import Record, door
from planner.facts.vllm import Origin


class Screen(Origin):
    """What cuts lines."""

    narrowest: int
    widest: int
    """Columns."""
    most_bytes: int
    """A longer log was not copied from a screen."""


class Evidence(Origin):
    """What shows that it did."""

    fewest_cuts: int
    """Lines that were cut at one column."""
    fewest_at_blanks: int
    """Lines that were cut between words."""
    most_own_ends_share: float
    """Of the lines as wide as the screen, what may end there by chance."""
    long_word: int
    """Letters of a word for which there was no room in any case."""
    told_apart: int
    """Letters at the end of a line by which it is another one."""
    most_pieces: int
    """Of one message."""


class WrappedFacts(Record):
    """The whole file."""

    screen: Screen
    evidence: Evidence


wrapped_facts = door("wrapped.toml", WrappedFacts)
