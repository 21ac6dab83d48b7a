"""What to do with flags that the engine's parser does not recognise."""

from __future__ import annotations

from difflib import get_close_matches

from planner.facts.engine_flags import flags_of
from planner.facts.gone_flags import gone
from planner.facts.release import parse_version
from planner.facts.review import older_flags, options

UNKNOWN_FLAGS = "unrecognized arguments:"


def refused_flags(message: str) -> str:
    """Return what became of the flags that `message` does not recognise, or where they come from; empty without one.

    >>> refused_flags("unrecognized arguments: --max-num-seq 8")
    '`--max-num-seq` is not a flag of vLLM: write `--max-num-seqs` if that is meant'
    """
    _, _, words = message.partition(UNKNOWN_FLAGS)
    names = dict.fromkeys(word[2:].partition("=")[0] for word in words.split() if word.startswith("--"))
    return "; ".join(map(_refused, filter(None, names)))


def _refused(name: str) -> str:
    flag = f"--{name}"
    if (history := gone(name)) is not None:
        ways = [f"use `{history.instead}`"] if history.instead else []
        ways += [history.note] if history.note else []
        return "; ".join([f"`{flag}` is gone since vLLM {history.first_without}", *ways])
    if flags_of(None).find(flag) is not None:
        releases = sorted({*older_flags(), *options().releases}, key=parse_version)
        without = [one for one in releases if flags_of(one).find(flag) is None]
        if not without:
            return f"`{flag}` is a flag of `vllm serve` in all releases: another command does not take it"
        since = releases[releases.index(without[-1]) + 1]
        before = releases.index(without[0])
        too = f" (and up to {releases[before - 1]})" if before else ""
        return f"`{flag}` is known to vLLM {since} and newer{too}: take such a release, or leave it out"
    near = get_close_matches(flag, flags_of(None).options, n=1, cutoff=0.85)
    if near:
        return f"`{flag}` is not a flag of vLLM: write `{near[0]}` if that is meant"
    return (
        f"leave `{flag}` out: no release of vLLM that was read has it; what a plugin or a fork adds needs its package "
        "in this environment, in the version that belongs to this vLLM"
    )
