"""How long a start may take before it is worth a look: ``startup.toml``."""

from planner.facts.record import Record, door
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


class Quiet(Origin):
    """When a start that says nothing new is told of."""

    times_usual: float
    least_s: float
    share_of_limit: float


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
    quiet: Quiet
    health: Health
    history: History


startup_facts = door("startup.toml", StartupFacts)
