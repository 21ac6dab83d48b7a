"""Hold the review against artefacts whose findings somebody wrote down before.

python scripts/review_score.py [FOLDER]     # tests/review/cases by default; prints a table and the sums

Each case is a folder with one artefact and expected.json. A finding is met by the same line (or span) and, as the case
has it, by its code or by one of its keywords; `absent` and `must_not` are false alarms where they come true.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hw_specs import parse_gpus
from planner.review import review
from planner.review.findings import Finding, Review

CASES = Path(__file__).parents[1] / "tests" / "review" / "cases"
APART = {"expected.json", "SOURCE"}


@dataclass
class Score:
    """How one case went."""

    name: str
    wanted: int = 0
    met: int = 0
    alarms: list[str] = field(default_factory=list)
    alarms_possible: int = 0
    missed: list[str] = field(default_factory=list)
    severities: list[str] = field(default_factory=list)
    verdict: str = ""
    verdict_right: bool = False


def judged(folder: Path) -> tuple[dict[str, Any], Review]:
    """Return what is expected of a case and what the review says."""
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    (artefact,) = (path for path in folder.iterdir() if path.name not in APART)
    options = (
        dict(zip(expected["options"][::2], expected["options"][1::2], strict=True)) if "options" in expected else {}
    )
    gpus = parse_gpus(options["--gpus"]) if "--gpus" in options else None
    text = artefact.read_text(encoding="utf-8")
    return expected, review(text, name=artefact.name, gpus=gpus, vllm_version=options.get("--vllm-version"))


def score(folder: Path) -> Score:
    """Judge one case."""
    expected, answer = judged(folder)
    one = Score(name=folder.name)
    for wanted in expected["findings"]:
        found = next((found for found in answer.findings if meets(found, wanted)), None)
        if found is not None and found.severity != wanted["severity"]:
            one.severities.append(f"{wanted['line']}: {wanted['severity']}, said {found.severity}")
        if wanted.get("optional"):
            continue
        one.wanted += 1
        one.met += found is not None
        if found is None:
            one.missed.append(f"{wanted['line']}: {wanted.get('code') or wanted.get('about')}")
    said = "\n".join(f"{found.code} {found.message} {found.cure} {found.why}" for found in answer.findings)
    for code in expected.get("absent", []):
        one.alarms_possible += 1
        one.alarms += [f"{found.line}: {code}" for found in answer.findings if found.code == code][:1]
    for pattern in expected.get("must_not", []):
        one.alarms_possible += 1
        if match := re.search(pattern, said, re.IGNORECASE):
            one.alarms.append(match[0])
    verdicts = expected.get("verdict") or [expected["starts"], *expected.get("starts_also", [])]
    one.verdict = answer.servers[0].verdict if answer.servers else "unknown"
    one.verdict_right = one.verdict in verdicts or (one.verdict == "tight" and "fits" in verdicts)
    return one


def meets(found: Finding, wanted: dict[str, Any]) -> bool:
    """Whether a finding is the one that a case wants."""
    first, last = wanted.get("span", [wanted["line"], wanted["line"]])
    if not first <= found.line <= last:
        return False
    if "code" in wanted:
        return bool(found.code == wanted["code"])
    said = f"{found.code} {found.message} {found.cure} {found.why}"
    return any(re.search(pattern, said, re.IGNORECASE) for pattern in wanted["keywords"])


def main(root: Path) -> int:
    """Print the table; 1 when something is missed, raised for nothing, or judged wrongly."""
    scores = [score(folder) for folder in sorted(root.iterdir()) if (folder / "expected.json").exists()]
    width = max(len(one.name) for one in scores)
    for one in scores:
        marks = "".join(
            [
                *(f"\n    missed {text}" for text in one.missed),
                *(f"\n    false alarm {text}" for text in one.alarms),
                *(f"\n    severity {text}" for text in one.severities),
            ]
        )
        right = "" if one.verdict_right else "  WRONG"
        print(f"{one.name:<{width}}  {one.met}/{one.wanted}  {one.verdict}{right}{marks}")
    met, wanted = sum(one.met for one in scores), sum(one.wanted for one in scores)
    alarms, possible = sum(len(one.alarms) for one in scores), sum(one.alarms_possible for one in scores)
    right = sum(one.verdict_right for one in scores)
    print(f"\nfindings {met}/{wanted}, false alarms {alarms}/{possible}, verdicts {right}/{len(scores)}")
    return int(met < wanted or alarms > 0 or right < len(scores))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=CASES, help="where the cases are")
    raise SystemExit(main(parser.parse_args().folder))
