"""The review as a JSON document: the contract with other programs. It never prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planner.memory.term import Term
from planner.rendering.envelope import document, entry
from planner.review.findings import Judged, Review, ServerReview, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingEntry:
    """One finding and its place."""

    code: str
    severity: Severity
    file: str
    line: int
    column: int
    end_line: int
    server: str
    """The server it is about; empty for the file as a whole."""
    message: str
    cure: str
    why: str
    source: str
    fixable: bool
    """Whether ``--fix`` makes the change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a server holds, where that is known."""

    max_model_len: int
    tokens: int
    """Of all requests together, as the engine prints it."""
    max_concurrency: float
    """Requests of full length at once."""
    max_num_seqs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEntry(Judged):
    """One server, judged."""

    room: Room | None
    ledger: tuple[Term, ...]
    """Of one GPU, as in a plan's document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One artefact."""

    name: str
    kind: str
    servers: tuple[ServerEntry, ...]
    findings: tuple[FindingEntry, ...]


@document("review", "1.2")
@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewDocument:
    """Every artefact that one call looked at."""

    ok: bool
    """Whether every server starts, as far as is known, and nothing reached the limit of the call."""
    files: tuple[FileEntry, ...]


def review_document(reviews: Sequence[Review], *, ok: bool) -> ReviewDocument:
    """Return the document of some reviews."""
    return ReviewDocument(ok=ok, files=tuple(_file(one) for one in reviews))


def _file(review: Review) -> FileEntry:
    return FileEntry(
        name=review.name,
        kind=review.kind,
        servers=tuple(_server(one) for one in review.servers),
        findings=tuple(entry(FindingEntry, one, file=review.name, fixable=bool(one.edits)) for one in review.findings),
    )


def _server(one: ServerReview) -> ServerEntry:
    plan, room = one.plan, None
    if plan is not None and one.verdict in ("fits", "tight"):
        room = Room(
            max_model_len=plan.settings.max_model_len,
            tokens=plan.kv_cache.tokens,
            max_concurrency=plan.kv_cache.max_concurrency,
            max_num_seqs=plan.settings.max_num_seqs,
        )
    return entry(ServerEntry, one, room=room, ledger=plan.ledger.lines if plan is not None else ())
