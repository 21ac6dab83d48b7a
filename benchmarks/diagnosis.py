"""How many real failed starts `diagnose` names rightly, with a cure that fits; goals on the half that judges.

    python benchmarks/diagnosis.py [--misses]

The corpus is split by thread: the half of an entry follows from its address alone. Patterns are built on one half,
whose misses `--misses` shows; the other half is only counted. Good logs must name no cause.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

from planner.serve.log.diagnosis import diagnose

FIXTURES = Path(__file__).parents[1] / "tests" / "fixtures"
LEAST_RIGHT = 0.85
MOST_WRONG = 0.02


def half(url: str) -> str:
    """Which half the thread at `url` belongs to."""
    return "judging" if sha256(url.encode()).digest()[0] % 2 else "building"


def verdict(entry: dict[str, Any]) -> str:
    """``right``, ``cure`` for a right cause without its cure, ``wrong``, ``unnamed`` or ``no failure``."""
    found = diagnose(entry["log"].encode())
    if found.code == "none":
        return "no failure"
    if found.code == "unknown":
        return "unnamed"
    if found.code not in entry["causes"]:
        return "wrong"
    return "right" if re.search(entry["cure"], " ".join(found.cures)) else "cure"


def good_logs() -> list[Path]:
    """Logs of starts that went well, or were cut while they did."""
    logs = FIXTURES / "logs"
    bad = tomllib.loads((logs / "FAILED.toml").read_text())["files"]
    return [path for path in sorted(logs.rglob("*.log")) if path.name not in bad]


def score() -> tuple[dict[str, Counter[str]], list[str]]:
    """Return the verdicts by half, and the misses of the building half."""
    entries = tomllib.loads((FIXTURES / "failures" / "corpus.toml").read_text())["start"]
    counts: dict[str, Counter[str]] = {"building": Counter(), "judging": Counter()}
    misses = []
    for entry in entries:
        where, ended = half(entry["url"]), verdict(entry)
        counts[where][ended] += 1
        if where == "building" and ended != "right":
            misses.append(f"{ended:<10} {diagnose(entry['log'].encode()).code:<20} {entry['url']}")
    return counts, misses


def main(*, list_misses: bool) -> int:
    """Print the table; 1 where a goal is missed."""
    counts, misses = score()
    kinds = ("right", "cure", "wrong", "unnamed", "no failure")
    print(f"{'half':<10}{'starts':>8}" + "".join(f"{kind:>12}" for kind in kinds))
    for name, count in counts.items():
        print(f"{name:<10}{count.total():>8}" + "".join(f"{count[kind]:>12}" for kind in kinds))
    judged = counts["judging"]
    good = good_logs()
    blamed = [path.name for path in good if diagnose(path.read_bytes()).code != "none"]
    print(f"good logs {len(good):>8}; a cause is named in {len(blamed)}: {', '.join(blamed) or '-'}")
    if list_misses:
        print("\n".join(misses))
    right, wrong = judged["right"] / judged.total(), judged["wrong"] / judged.total()
    print(f"judging half: {right:.0%} right (goal {LEAST_RIGHT:.0%}), {wrong:.1%} wrong (goal {MOST_WRONG:.0%})")
    met = right >= LEAST_RIGHT and wrong <= MOST_WRONG and not judged["no failure"] and not blamed
    return 0 if met else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--misses", action="store_true", help="list what is missed")
    sys.exit(main(list_misses=parser.parse_args().misses))
