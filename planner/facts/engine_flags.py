"""Which flags each release of vLLM has, and what became of the others. Read from the engine's own parsers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from planner.facts.gone_flags import flag_table
from planner.facts.release import parse_version
from planner.facts.review import older_flags, options

_SWITCH_WORDS = ("enable-", "disable-", "use-", "worker-use-", "no-")


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
            together.update(flag_table(one))
        return Flags(None, together)
    number = parse_version(version)
    if number >= parse_version(full[0]):
        nearest = max((one for one in full if parse_version(one) <= number), key=parse_version)
        return Flags(version, flag_table(nearest))
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
