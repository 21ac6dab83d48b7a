"""How much of the hardware engines reach, and how far forecasts were off: ``speed.toml``."""

from collections.abc import Mapping

from planner.facts.record import Record, door
from planner.facts.vllm import Basis, Fact, Origin


class Fitted(Record):
    """One fitted or assumed number with its bounds."""

    value: float
    low: float
    high: float
    basis: Basis
    source: str
    fitted_on: tuple[str, ...] = ()
    """Sources of the measurements that it was fitted on."""


class RowExcess(Origin):
    """What FP8 products take above the rounded roofline, by rows."""

    rows: tuple[int, ...]
    shares: tuple[float, ...]


class Profile(Record):
    """One engine build on one vendor's GPUs."""

    vendor: str
    architecture: str | None = None
    """Compute capability that it is for; None is every GPU of the vendor."""
    arithmetic: str | None = None
    """Arithmetic of the linear layers that it is for; None is any."""
    since: str
    until: str
    """First and last release that the numbers were measured on."""
    async_scheduling: bool
    about: str
    row_excess: RowExcess | None = None
    values: Mapping[str, Fitted]
    """By the names of :class:`planner.speed.profile.EngineProfile`."""


class Prediction(Record):
    """A figure as a fit predicted it that had not seen it."""

    id: str
    without: str = ""
    """What that fit had not seen beside the run itself."""
    figure: str
    measured: float
    predicted: float


class Spread(Record):
    """How far measurements lay from forecasts that had not seen them, as factors on the forecast, both at least 1."""

    below: float
    above: float
    source: str


class Reach(Record):
    """Beyond what loads nothing is near."""

    in_flight: Fact[int]
    prompt_tokens: Fact[int]


class Span(Record):
    """The lowest and the highest value that a table speaks for."""

    low: float
    high: float
    source: str


class MeasuredLoad(Record):
    """The loads inside which a table of the 128B model speaks."""

    about: str
    records: tuple[str, ...]
    prompt_tokens: Span
    output_tokens: Span
    concurrency: Span


class Borrowed(Origin):
    """A GPU without an all-reduce table of its own."""

    lender: str
    """Catalogue id of the GPU whose table it takes."""


class LastCache(Origin):
    """The cache in front of some GPUs' memory."""

    bytes: int
    gpus: tuple[str, ...]
    """Catalogue ids."""


class SpeedFacts(Record):
    """The whole file."""

    profile: Mapping[str, Profile]
    held_out: tuple[Prediction, ...]
    left_out: tuple[Prediction, ...]
    territory: Mapping[str, Mapping[str, Spread]]
    near: Reach
    measured_workload: Mapping[str, MeasuredLoad]
    last_cache: Mapping[str, LastCache]
    borrowed_allreduce: Mapping[str, Borrowed]


speed_facts = door("speed.toml", SpeedFacts)
