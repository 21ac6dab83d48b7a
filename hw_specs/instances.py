"""Which GPUs a cloud's instance type has, from one sourced table; it asks no cloud."""

from __future__ import annotations

from functools import cache

from hw_specs.facts import instance_facts
from hw_specs.frozen import dataclass
from hw_specs.spec import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance type, machine type or shape."""

    name: str
    """As its cloud writes it."""
    cloud: str
    count: int | None
    """Whole GPUs; None where it has a part of one."""
    gpu: str
    """Id of the card in the catalogue, or the cloud's name of one that the catalogue lacks."""
    fact: Fact


def find_instance(name: str) -> Instance | None:
    """Return the instance type that `name` stands for; None for anything else.

    Case does not matter, nor a path in front, ``ml.`` of a managed service, or Azure's ``Standard_``.

    >>> find_instance("ml.P5.48xlarge").gpu
    'h100-sxm'
    """
    key = name.strip().rpartition("/")[2].lower()
    table = _table()
    return table.get(key) or table.get(key.removeprefix("ml.")) or table.get(f"standard_{key}")


@cache
def _table() -> dict[str, Instance]:
    found: dict[str, Instance] = {}
    for cloud in instance_facts().cloud:
        fact = Fact(source=cloud.source, basis=cloud.basis)
        for name, gpus in cloud.types.items():
            number, _, gpu = gpus.partition("x") if gpus[0].isdigit() else ("", "", gpus)
            count = int(number) if number else None
            found[name.lower()] = Instance(
                name=name, cloud=cloud.name.partition(",")[0], count=count, gpu=gpu, fact=fact
            )
    return found
