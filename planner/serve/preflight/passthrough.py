"""What a user may add to a planned command: anything that the plan does not decide. It changes no word."""

from __future__ import annotations

from collections.abc import Sequence

from planner.errors import InvalidRequest
from planner.facts import load


def refuse_planned(words: Sequence[str]) -> None:
    """Raise when one of `words` sets what the plan sets, in full, abbreviated as the engine allows, or in short.

    Raises:
        InvalidRequest: with the option of ours that changes it.
    """
    facts = load("serve_flags.toml")
    for word in words:
        flag = _planned_flag(word.partition("=")[0])
        if flag is not None:
            field = flag.replace("-", "_")
            typed = word.partition("=")[0]
            short = "" if typed.replace("_", "-") == f"--{flag}" else f" (`{typed}`)"
            raise InvalidRequest(
                field,
                f"{field}{short} behind `--` would make the server differ from its plan",
                hint=f"give `{facts['planned'][flag]}` to m35-plan itself, before the `--`",
            )


def _planned_flag(key: str) -> str | None:
    """The flag of the plan that the engine would understand by `key`."""
    facts = load("serve_flags.toml")
    name = key.lstrip("-").partition(".")[0].replace("_", "-")
    if not name or not key.startswith("-"):
        return None
    if not key.startswith("--"):
        return str(facts["short"][name]) if name in facts["short"] else None
    if name.startswith("no-"):
        name = name.removeprefix("no-")
    if name in facts["planned"]:
        return name
    if name in (*facts["whole"]["names"], *facts["switches"], *facts["values"]):
        return None
    return next((flag for flag in facts["planned"] if flag.startswith(name)), None)
