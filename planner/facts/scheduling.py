"""Which steps are scheduled while the one before runs, and what the others take: ``scheduling.toml``."""

from planner.facts.record import Record, door
from planner.facts.speed import Fitted
from planner.facts.vllm import Origin


class Ahead(Origin):
    """Where a step is scheduled before the tokens of the one before are known."""

    with_ngrams_since: str
    """First release that does so with drafts from n-grams."""


class Synchronous(Record):
    """Host time of a step that is scheduled after the one before."""

    step_s: Fitted
    sequence_s: Fitted


class SchedulingFacts(Record):
    """The whole file."""

    ahead: Ahead
    synchronous: Synchronous


scheduling_facts = door("scheduling.toml", SchedulingFacts)
