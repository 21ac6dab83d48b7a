"""What became of flags that releases dropped, as their own parsers tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from planner.facts.release import parse_version
from planner.facts.review import Successor, older_flags, options, review_facts


@dataclass(frozen=True, slots=True)
class Gone:
    """A flag that some release had and later ones do not."""

    last: str
    """Newest read release that has it."""
    first_without: str
    """Oldest read release that does not."""
    instead: str
    """What says the same today; empty where nothing does."""
    note: str


@cache
def gone(name: str) -> Gone | None:
    """What became of ``--name``; None for a flag that no read release ever had, or that the newest has."""
    releases = {
        **{version: set(names.split()) for version, names in older_flags().items()},
        **{version: set(flag_table(version)) for version in options().releases},
    }
    ordered = sorted(releases, key=parse_version)
    having = [version for version in ordered if f"--{name}" in releases[version]]
    if not having or having[-1] == ordered[-1]:
        return None
    successor = review_facts().successors.get(name, Successor())
    after = ordered[ordered.index(having[-1]) + 1]
    return Gone(having[-1], after, successor.instead, successor.note)


@cache
def flag_table(version: str) -> dict[str, Mapping[str, Any]]:
    """Return what the parser of `version`, or of the nearest older read release, says of each flag."""
    number = parse_version(version)
    found: dict[str, Mapping[str, Any]] = {}
    for name, rows in options().options.items():
        said = next((spec for since, spec in reversed(rows) if parse_version(since) <= number), None)
        if said is not None:
            found[name] = said
    return found
