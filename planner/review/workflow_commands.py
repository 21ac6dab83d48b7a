"""A review as workflow commands of GitHub Actions: annotations beside the changed lines."""

from __future__ import annotations

from collections.abc import Sequence

from planner.review.findings import Review

_LEVELS = {"error": "error", "warn": "warning", "info": "notice"}


def workflow_commands(reviews: Sequence[Review]) -> str:
    """Return one workflow command for each finding; empty without findings."""
    lines = []
    for one in reviews:
        for found in one.findings:
            text = found.message + (f" - {found.cure}" if found.cure else "")
            where = f"file={_property(one.name)}," if one.name else ""
            lines.append(
                f"::{_LEVELS[found.severity]} {where}line={found.line},col={found.column},"
                f"title={_property(found.code)}::{_data(text)}"
            )
    return "\n".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
