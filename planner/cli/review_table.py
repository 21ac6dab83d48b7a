"""A review as text on the page; it judges nothing."""

from __future__ import annotations

from collections.abc import Sequence

from hw_specs.units import format_tokens
from planner.cli.output import style
from planner.cli.page import fold
from planner.review.findings import SEVERITIES, Finding, Review, ServerReview

_STYLE = {"error": "31;1", "warn": "33;1", "info": "36"}
_VERDICT = {"fits": "32;1", "tight": "33;1", "does-not-fit": "31;1", "unknown": "36"}
_WORDS = {"memory": "does not fit", "setting": "does not start"}
"""What is said instead of ``does-not-fit``, which programs get for both."""


def review_text(reviews: Sequence[Review]) -> str:
    """Return every file with its servers and findings, and the sum at the end."""
    parts = [_file(one) for one in reviews]
    counts = {severity: sum(f.severity == severity for r in reviews for f in r.findings) for severity in SEVERITIES}
    words = {"error": ("error", "errors"), "warn": ("warning", "warnings"), "info": ("note", "notes")}
    said = ", ".join(f"{n} {words[s][0] if n == 1 else words[s][1]}" for s, n in counts.items() if n)
    return "\n\n".join([*parts, said or "nothing found"])


def without_verdict(reviews: Sequence[Review]) -> str:
    """What a call leaves undecided, in one line; empty where every server of every text has a verdict."""
    servers = [one for review in reviews for one in review.servers]
    unknown = [one for one in servers if one.verdict == "unknown"]
    if not servers:
        return "no server was judged: nothing here starts one"
    said = []
    if unknown:
        reasons = list(dict.fromkeys(one.reason for one in unknown))
        more = f", and {len(reasons) - 1} more reasons" if len(reasons) > 1 else ""
        of_all = f"{len(unknown)} of {len(servers)} servers" if len(servers) > 1 else "the server"
        said.append(f"{of_all} cannot be judged: {reasons[0]}{more}")
    empty = [one.name or "the command" for one in reviews if not one.servers]
    if empty:
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        said.append(f"no server was found in {empty[0]}{more}")
    return "; ".join(said)


def _file(review: Review) -> str:
    head = f"{review.name or 'command'}  {review.kind}"
    lines = [style(head, "1")]
    lines += [_server(one) for one in review.servers]
    lines += [_finding(one) for one in review.findings]
    return "\n".join(lines)


def _server(one: ServerReview) -> str:
    where = " ".join(part for part in (one.kind, one.name) if part)
    release = f"vLLM {one.vllm_version}" if one.vllm_version else "release not known"
    if one.vllm_version is None and one.judged_as:
        release += f", judged as {one.judged_as}"
    facts = [one.model or "model not known", one.gpus or "GPUs not known", release]
    verdict = _WORDS[one.stopped_by] if one.stopped_by is not None else one.verdict
    label = f"  {verdict:<15}"
    text = f"{where}, line {one.line}: {'; '.join(facts)}"
    if one.plan is not None and one.verdict in ("fits", "tight"):
        kv = one.plan.kv_cache
        text += f"; {format_tokens(one.plan.settings.max_model_len)} tokens, {kv.max_concurrency:.1f} requests of them"
    elif one.verdict == "unknown":
        text += f"; {one.reason}"
    folded = fold(label, text, column=len(label))
    return folded.replace(verdict, style(verdict, _VERDICT[one.verdict]), 1)


def _finding(one: Finding) -> str:
    label = f"  {one.severity:<6}{one.line}:{one.column:<5} "
    text = fold(label, f"{one.message} [{one.code}]", column=16)
    if one.cure:
        text += "\n" + fold("", ("cure: " if not one.edits else "fix: ") + one.cure, column=16)
    return text.replace(one.severity, style(one.severity, _STYLE[one.severity]), 1)
