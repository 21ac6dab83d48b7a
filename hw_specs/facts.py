"""What the data files say that no single card does, each behind one typed door. It knows no card."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import TypeVar

from hw_specs.record import Record, read_value
from hw_specs.spec import Basis, Fact
from hw_specs.tables import read_toml

R = TypeVar("R")
FOLDER = "hw_specs/data"


def read(name: str, kind: type[R]) -> R:
    """Return the file ``hw_specs/data/<name>`` as a record or a dataclass of `kind`.

    Raises:
        BadFacts: for a key that `kind` does not have, one that it needs and a value of another type, with file and key.
    """
    found: R = read_value(read_toml(name), kind, name, folder=FOLDER)
    return found


def door(name: str, kind: type[R]) -> Callable[[], R]:
    """Return the function that reads a data file when it is asked first, and returns what it says; see :func:`read`."""
    return cache(partial(read, name, kind))


class Origin(Record):
    """Where a table comes from."""

    source: str
    basis: Basis


class Index(Record):
    """``names.toml``, an index over the cards' own files."""

    names: Mapping[str, str]
    """Every name, normalised, and the id of its card."""
    engine_memory_bytes: Mapping[str, int]
    """By the id of a card."""


class Label(Origin):
    """What the name of a MIG profile says of its memory."""

    rounding: float
    """How far it may be from a whole number of memory slices."""


class MigFacts(Record):
    """``mig.toml``: how cards are cut into slices."""

    slices: Mapping[str, int]
    """Compute slices of a whole card, by its id."""
    slices_fact: Fact
    memory_slices: Mapping[str, int]
    """Memory slices of a card, by its compute slices."""
    with_memory: Mapping[str, Mapping[str, tuple[int, ...]]]
    """Memory slices of a card → compute slices of a profile → memory slices that are offered with them."""
    label: Label
    memory_gib: Mapping[str, Mapping[str, float]]
    """By card and profile."""
    memory_fact: Fact


class VgpuFacts(Origin):
    """``vgpu.toml``: virtual GPUs of NVIDIA's."""

    cuda_series: tuple[str, ...]
    boards: Mapping[str, str]
    """Short name of a board → id of its card."""


class PartitionFacts(Origin):
    """``partitions.toml``: how AMD divides a card."""

    devices: Mapping[str, int]
    """Compute mode → devices that one card becomes."""
    devices_of: Mapping[str, Mapping[str, int]]
    """The same for cards that differ, by id."""


class NvidiaArchitectures(Origin):
    """What compute capabilities can do."""

    native_fp8_from: float
    weight_only_fp8_from: float
    cores_per_unit: int
    cores_per_unit_exceptions: Mapping[str, int]
    of_name: Mapping[str, str]
    """Compute capability of the architectures that have one only."""


class AmdArchitectures(Origin):
    """What gfx targets can do, by name or its beginning."""

    e4m3fnuz: tuple[str, ...]
    e4m3fn: tuple[str, ...]


class Architectures(Record):
    """``architectures.toml``."""

    nvidia: NvidiaArchitectures
    amd: AmdArchitectures


class Lookalike(Record):
    """Names of a card that is told from another one by nothing else."""

    names: tuple[str, ...]
    other: str
    source: str


class Lookalikes(Record):
    """``lookalikes.toml``."""

    lookalike: tuple[Lookalike, ...]


class Cloud(Origin):
    """One cloud's instance types."""

    name: str
    types: Mapping[str, str]
    """Name → GPUs, as in ``8xh200-sxm``."""


class Families(Origin):
    """How the clouds name families of instances that have accelerators."""

    pattern: str
    """A regular expression for the beginning of a type, whatever its case."""


class InstanceFacts(Record):
    """``instances.toml``."""

    accelerated: Families
    cloud: tuple[Cloud, ...]


class ResourceFacts(Origin):
    """``resources.toml``: names of Kubernetes' extended resources."""

    others: tuple[str, ...]
    """Beginnings of those of accelerators that are not described."""


index = door("names.toml", Index)
mig_facts = door("mig.toml", MigFacts)
vgpu_facts = door("vgpu.toml", VgpuFacts)
partition_facts = door("partitions.toml", PartitionFacts)
architectures = door("architectures.toml", Architectures)
lookalikes = door("lookalikes.toml", Lookalikes)
instance_facts = door("instances.toml", InstanceFacts)
resource_facts = door("resources.toml", ResourceFacts)
