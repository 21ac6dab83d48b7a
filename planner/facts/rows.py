"""Rows that apply to some ranks: GPUs, releases and sizes; what is left out applies to all. It knows no size."""

from planner.errors import BadFacts
from planner.facts.record import Record
from planner.facts.release import parse_version
from planner.facts.vllm import Basis


class Row(Record):
    """To which architectures, releases and tensor parallel sizes something applies."""

    architectures: tuple[str, ...] = ()
    """Prefixes of compute capabilities."""
    since: str = ""
    """First release."""
    until: str = ""
    """First release to which it does not apply any more."""
    min_tp: int = 1
    max_tp: int | None = None

    def applies(self, *, architecture: str, version: str, tensor_parallel_size: int) -> bool:
        """Whether each key matches."""
        release = parse_version(version)
        return (
            (not self.architectures or architecture.startswith(self.architectures))
            and self.min_tp <= tensor_parallel_size
            and (self.max_tp is None or tensor_parallel_size <= self.max_tp)
            and (not self.since or release >= parse_version(self.since))
            and (not self.until or release < parse_version(self.until))
        )


class Bounded(Record):
    """Where figures and their bounds come from."""

    bounds: str
    basis: Basis
    source: str


def no_row(file: str, table: str, whom: str) -> BadFacts:
    """Return the error for a table without a row for `whom`."""
    return BadFacts(file, table, f"has no row for {whom}")
