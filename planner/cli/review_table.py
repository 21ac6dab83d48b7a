"""A review as text on the page; it judges nothing."""

from __future__ import annotations

from collections.abc import Sequence

from hw_specs.units import format_tokens
from planner.cli.output import style
from planner.cli.page import fold
from planner.review.findings import SEVERITIES, Finding, Review, ServerReview

_STYLE = {"error": "31;1", "warn": "33;1", "info": "36"}
_VERDICT = {"fits": "32;1", "tight": "33;1", "does-not-fit": "31;1", "unknown": "36"}


def review_text(reviews: Sequence[Review]) -> str:
    """Return every file with its servers and findings, and the sum at the end."""
    parts = [_file(one) for one in reviews]
    counts = {severity: sum(f.severity == severity for r in reviews for f in r.findings) for severity in SEVERITIES}
    words = {"error": ("error", "errors"), "warn": ("warning", "warnings"), "info": ("note", "notes")}
    said = ", ".join(f"{n} {words[s][0] if n == 1 else words[s][1]}" for s, n in counts.items() if n)
    return "\n\n".join([*parts, said or "nothing found"])


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
    label = f"  {one.verdict:<13}"
    text = f"{where}, line {one.line}: {'; '.join(facts)}"
    if one.plan is not None and one.verdict in ("fits", "tight"):
        kv = one.plan.kv_cache
        text += f"; {format_tokens(one.plan.settings.max_model_len)} tokens, {kv.max_concurrency:.1f} requests of them"
    elif one.verdict == "unknown":
        text += f"; {one.reason}"
    folded = fold(label, text, column=len(label))
    return folded.replace(one.verdict, style(one.verdict, _VERDICT[one.verdict]), 1)


def _finding(one: Finding) -> str:
    label = f"  {one.severity:<6}{one.line}:{one.column:<5} "
    text = fold(label, f"{one.message} [{one.code}]", column=16)
    if one.cure:
        text += "\n" + fold("", ("cure: " if not one.edits else "fix: ") + one.cure, column=16)
    return text.replace(one.severity, style(one.severity, _STYLE[one.severity]), 1)
