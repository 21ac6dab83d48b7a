"""A review as SARIF 2.1.0, which code hosts and editors show beside the lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from planner.facts.review import review_facts
from planner.review.findings import Review

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"error": "error", "warn": "warning", "info": "note"}


def sarif(reviews: Sequence[Review]) -> dict[str, Any]:
    """Return the SARIF log of some reviews."""
    codes = sorted({found.code for one in reviews for found in one.findings})
    facts = review_facts().codes
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "m35-plan review",
                        "rules": [
                            {
                                "id": code,
                                "shortDescription": {"text": facts[code].title},
                                "fullDescription": {"text": facts[code].why},
                                "help": {"text": f"{facts[code].why}. Source: {facts[code].source}"},
                                "defaultConfiguration": {"level": _LEVELS[facts[code].severity]},
                            }
                            for code in codes
                        ],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [
                    {
                        "ruleId": found.code,
                        "ruleIndex": codes.index(found.code),
                        "level": _LEVELS[found.severity],
                        "message": {"text": found.message + (f". Cure: {found.cure}" if found.cure else "")},
                        "locations": [
                            {
                                "physicalLocation": {
                                    "artifactLocation": {"uri": _uri(one.name)},
                                    "region": {"startLine": found.line, "startColumn": found.column},
                                }
                            }
                        ],
                    }
                    for one in reviews
                    for found in one.findings
                ],
            }
        ],
    }


def _uri(name: str) -> str:
    from urllib.parse import quote

    return quote(name.replace("\\", "/")) if name else "command"
