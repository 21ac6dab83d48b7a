"""How many drafted tokens are accepted: ``drafts.toml``, and what drafts on other models showed."""

from collections.abc import Mapping

from planner.facts.record import Record, door
from planner.facts.vllm import Fact


class DraftMethod(Record):
    """What one way of drafting is expected to get accepted, with bounds."""

    first: float
    """Chance that the first drafted token is accepted."""
    low: float
    high: float
    basis: str
    source: str


class MeasuredDraft(Record):
    """One public reading of an acceptance length."""

    method: str
    target: str
    tokens: int
    """Tokens drafted in a step."""
    length: float
    """Mean tokens of a step, the one that the target adds among them."""
    positions: tuple[float, ...] = ()
    """Chance that the token at each position is accepted, not given the ones before."""
    text: str
    source: str


class DraftFacts(Record):
    """The whole file."""

    decay: float
    """The chance of a further token over that of the one before it."""
    decay_basis: str
    decay_source: str
    most: Fact[int]
    """Tokens that any draft may propose in a step."""
    suffix_tree_depth: Fact[int]
    """Tokens that a suffix tree proposes at most where nobody says how many."""
    suffix_least_chance: Fact[float]
    """It proposes a token only while all up to it are together at least so likely."""
    methods: Mapping[str, DraftMethod]
    measured: tuple[MeasuredDraft, ...]


draft_facts = door("drafts.toml", DraftFacts)
"""What is known of drafts."""
