"""What others call the GPUs of the catalogue: ``clouds.toml``."""

from collections.abc import Mapping
from functools import cache

from planner.facts.record import Record, read


class Names(Record):
    """Catalogue id → another tool's name."""

    names: Mapping[str, str]
    source: str


class LlmD(Record):
    """The base that llm-d's guides put their overlays on."""

    base: str
    ref: str
    source: str


class CloudFacts(Record):
    """The whole file."""

    skypilot: Names
    dstack: Names
    llm_d: LlmD


@cache
def cloud_facts() -> CloudFacts:
    """Return what ``clouds.toml`` says.

    Raises:
        BadFacts: where the file has another shape.
    """
    return read("clouds.toml", CloudFacts)
