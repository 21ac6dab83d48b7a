"""Which flags each release of vLLM has, and what became of the others. Read from the engine's own parsers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from planner.facts.release import parse_version
from planner.facts.review import Successor, older_flags, options, review_facts

_SWITCH_WORDS = ("enable-", "disable-", "use-", "worker-use-", "no-")


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


@dataclass(frozen=True)
class Flags:
    """The flags of one release, or of every known one."""

    version: str | None
    """None: of any release from the oldest one with a full table on."""
    options: Mapping[str, Mapping[str, Any]]

    def find(self, name: str) -> Mapping[str, Any] | None:
        """What the parser says of ``--name`` (or ``-x``); None where it has no such option."""
        found = self.options.get(name)
        if found is not None:
            if len(found) == 1 and "dest" in found:
                full = self.options.get("--" + str(found["dest"]).replace("_", "-"))
                return full or found
            return found
        if name.startswith("--no-"):
            positive = self.options.get("--" + name[5:])
            return positive if positive is not None and positive.get("type") in ("flag", None) else None
        return None

    def abbreviates(self, name: str) -> list[str]:
        """The options that begin with `name`: the parser takes it for one of them when there is just one."""
        found: dict[str, str] = {}
        for option, spec in self.options.items():
            if option.startswith(name) and len(name) > 3 and not option.startswith("--no-"):
                found.setdefault(str(spec.get("dest", option)), option)
        return sorted(found.values())


def takes_value(name: str, flags: Flags) -> str:
    """``none``, ``one``, ``many`` or ``perhaps`` words that follow ``--name``."""
    found = flags.find(name)
    if found is None and name.startswith("--"):
        return "none" if name[2:].startswith(_SWITCH_WORDS) else "perhaps"
    if found is None:
        return "perhaps"
    if found.get("nargs") in ("+", "*"):
        return "many"
    if found.get("nargs") == "?":
        return "perhaps"
    return "none" if found.get("type") == "flag" else "one"


@lru_cache(maxsize=32)
def flags_of(version: str | None) -> Flags:
    """Return the flags of `version`, as the nearest read release that is not newer has them; None: of any."""
    full = options().releases
    if version is None:
        together: dict[str, Mapping[str, Any]] = {}
        for one in full:
            together.update(_table(one))
        return Flags(None, together)
    number = parse_version(version)
    if number >= parse_version(full[0]):
        nearest = max((one for one in full if parse_version(one) <= number), key=parse_version)
        return Flags(version, _table(nearest))
    older = older_flags()
    known = [one for one in older if parse_version(one) <= number]
    if not known:
        return Flags(version, {})
    names = older[max(known, key=parse_version)].split()
    later = flags_of(None)
    return Flags(version, {name: later.options.get(name) or {"dest": name.lstrip("-")} for name in names})


def complete(version: str | None) -> bool:
    """Whether every flag of `version` is known, so that one that is missing does not exist."""
    return version is None or parse_version(version) >= parse_version(min(older_flags()))


@cache
def gone(name: str) -> Gone | None:
    """What became of ``--name``; None for a flag that no read release ever had, or that the newest has."""
    releases = {
        **{version: set(names.split()) for version, names in older_flags().items()},
        **{version: set(_table(version)) for version in options().releases},
    }
    ordered = sorted(releases, key=parse_version)
    having = [version for version in ordered if f"--{name}" in releases[version]]
    if not having or having[-1] == ordered[-1]:
        return None
    successor = review_facts().successors.get(name, Successor())
    after = ordered[ordered.index(having[-1]) + 1]
    return Gone(having[-1], after, successor.instead, successor.note)


@cache
def _table(version: str) -> dict[str, Mapping[str, Any]]:
    number = parse_version(version)
    found: dict[str, Mapping[str, Any]] = {}
    for name, rows in options().options.items():
        said = next((spec for since, spec in reversed(rows) if parse_version(since) <= number), None)
        if said is not None:
            found[name] = said
    return found
