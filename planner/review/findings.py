"""What a review says: findings with stable codes, and all of it together. Plain values; nothing is computed here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from hw_specs.errors import shown
from planner.facts.review import review_facts
from planner.planning.answer import Plan
from planner.review.text import HIDDEN, Text

_TEMPLATE = re.compile(f"{HIDDEN}+")
_LONGEST = 400
"""Characters of one sentence: foreign text in it may be of any length."""

Severity = Literal["error", "warn", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warn", "info")
"""From worst to mildest."""
Verdict = Literal["fits", "tight", "does-not-fit", "unknown"]
Stopper = Literal["memory", "setting"]
"""What keeps a server from starting: its GPUs' memory, or something that the engine or its container refuses."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the characters from `start` to `end` of the file."""

    start: int
    end: int
    replacement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

    code: str
    severity: Severity
    message: str
    """One sentence without a final period."""
    at: Text
    """The words it is about."""
    cure: str = ""
    """The change that cures it; empty where nothing is to be done."""
    why: str = ""
    source: str = ""
    stops: bool = False
    """Whether the engine surely does not start with it."""
    edits: tuple[Edit, ...] = ()
    """The cure as a change of the file; empty where only a person can make it."""
    line: int = 0
    column: int = 0
    end_line: int = 0
    server: str = ""


def finding(
    code: str,
    message: str,
    at: Text,
    *,
    cure: str = "",
    severity: Severity | None = None,
    stops: bool = False,
    edits: tuple[Edit, ...] = (),
) -> Finding:
    """Return a finding with the severity, the reason and the source that its code has."""
    facts = review_facts().codes[code]
    return Finding(
        code=code,
        severity=severity or facts.severity,
        message=shown(_TEMPLATE.sub("{{…}}", message), characters=_LONGEST),
        at=at,
        cure=shown(_TEMPLATE.sub("{{…}}", cure), characters=_LONGEST),
        why=facts.why,
        source=facts.source,
        stops=stops,
        edits=edits,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is said of one server."""

    kind: str
    name: str
    line: int
    verdict: Verdict
    """Whether it starts as it stands; ``does-not-fit`` also where the engine refuses a setting."""
    stopped_by: Stopper | None
    """What ``does-not-fit`` means of it; null for every other verdict."""
    reason: str
    """Why, in one sentence."""
    model: str | None
    vllm_version: str | None
    """The release; null where neither the artefact nor an option says it."""
    judged_as: str | None
    """The release whose rules were used."""
    gpus: str | None
    """``8xH200``, where known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReview(Judged):
    """One server, judged."""

    plan: Plan | None
    """The plan that is this server; None where something needed is not known."""
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """Everything a review of one text says."""

    name: str
    kind: str
    text: str = field(repr=False)
    servers: tuple[ServerReview, ...] = ()
    findings: tuple[Finding, ...] = ()
    """Of all servers and of the file, in the order of their places."""

    @property
    def worst(self) -> Severity | None:
        """The worst severity found."""
        return next((one for one in SEVERITIES if any(found.severity == one for found in self.findings)), None)

    @property
    def fits(self) -> bool:
        """Whether no server of it is known not to start."""
        return all(server.verdict != "does-not-fit" for server in self.servers)
