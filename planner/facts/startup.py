"""How long a start may take before it is worth a look: ``startup.toml``."""

from functools import cache

from planner.facts.record import Record, read
from planner.facts.vllm import Origin


class StallLimits(Origin):
    """Seconds without any progress, by phase."""

    configure: float
    download: float
    load: float
    profile: float
    kv: float
    compile: float
    capture: float
    ready: float


class Health(Origin):
    """When a server whose log cannot be read counts as ready, and how long one request may take."""

    alone_s: float
    timeout_s: float


class History(Origin):
    """How many earlier starts the time left is estimated from."""

    starts: int


class StartupFacts(Record):
    """The whole file."""

    stall_limit_s: StallLimits
    health: Health
    history: History


@cache
def startup_facts() -> StartupFacts:
    """Return what ``startup.toml`` says.

    Raises:
        BadFacts: where the file has another shape.
    """
    return read("startup.toml", StartupFacts)
