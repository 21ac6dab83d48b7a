"""What others call the GPUs of the catalogue: ``clouds.toml``."""

from collections.abc import Mapping

from planner.facts.record import Record, door


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


cloud_facts = door("clouds.toml", CloudFacts)
