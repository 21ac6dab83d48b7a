"""What changes from one plan to another: memory, context, requests, flags and why. It plans and prints nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from hw_specs.units import GIB, format_tokens
from planner.planning.answer import Plan
from planner.rendering.envelope import document
from planner.rendering.headline import headline, verdict_words
from planner.rendering.multi_node import first_command
from planner.rendering.report import LABELS


@dataclass(frozen=True, slots=True, kw_only=True)
class TermDifference:
    """One ledger line in both plans."""

    name: str
    label: str
    before_bytes: int
    after_bytes: int
    why: str
    """Both formulas where they differ; empty where only numbers do."""

    @property
    def gain_bytes(self) -> int:
        """How much the second plan takes more."""
        return self.after_bytes - self.before_bytes


@document("plan-diff", "1.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDifference:
    """Two plans side by side; ``before`` is the first."""

    before: str
    """Verdict and headline of the first plan."""
    after: str
    same: bool
    """Whether nothing that a user would see has changed."""
    max_model_len: tuple[int, int]
    kv_cache_tokens: tuple[int, int]
    max_concurrency: tuple[float, float]
    """Of all servers together."""
    settings: tuple[tuple[str, str, str], ...]
    """Name, before, after of every setting that differs."""
    terms: tuple[TermDifference, ...]
    """Ledger lines of one GPU that differ, the largest change first."""
    flags_gone: tuple[str, ...]
    flags_new: tuple[str, ...]
    warnings_gone: tuple[str, ...]
    warnings_new: tuple[str, ...]


def difference(before: Plan, after: Plan) -> PlanDifference:
    """Return what changes from `before` to `after`."""
    settings = tuple(
        (name, str(old), str(new))
        for name in before.settings.__slots__
        if (old := getattr(before.settings, name)) != (new := getattr(after.settings, name))
    )
    terms = _terms(before, after)
    # What cannot be started has no command: every flag of the other one would look new.
    startable = before.feasible and after.feasible
    old_flags, new_flags = (_flags(before), _flags(after)) if startable else ((), ())
    old_warnings = {warning.code: warning.message for warning in before.warnings}
    new_warnings = {warning.code: warning.message for warning in after.warnings}
    found = PlanDifference(
        before=f"{verdict_words(before)}: {headline(before)}",
        after=f"{verdict_words(after)}: {headline(after)}",
        same=False,
        max_model_len=(before.settings.max_model_len, after.settings.max_model_len),
        kv_cache_tokens=(before.kv_cache.tokens, after.kv_cache.tokens),
        max_concurrency=(_requests(before), _requests(after)),
        settings=settings,
        terms=terms,
        flags_gone=tuple(flag for flag in old_flags if flag not in new_flags),
        flags_new=tuple(flag for flag in new_flags if flag not in old_flags),
        warnings_gone=tuple(text for code, text in old_warnings.items() if code not in new_warnings),
        warnings_new=tuple(text for code, text in new_warnings.items() if code not in old_warnings),
    )
    changed = (
        found.before != found.after or settings or terms or found.flags_gone or found.flags_new
        or found.warnings_gone or found.warnings_new
    )  # fmt: skip
    return found if changed else replace(found, same=True)


def _terms(before: Plan, after: Plan) -> tuple[TermDifference, ...]:
    found = []
    for old, new in zip(before.ledger.lines, after.ledger.lines, strict=True):
        if old.bytes == new.bytes:
            continue
        why = f"{old.formula} → {new.formula}" if old.formula != new.formula else ""
        found.append(
            TermDifference(
                name=old.name, label=LABELS[old.name], before_bytes=old.bytes, after_bytes=new.bytes, why=why
            )
        )
    return tuple(sorted(found, key=lambda term: -abs(term.gain_bytes)))


def _requests(plan: Plan) -> float:
    return plan.kv_cache.max_concurrency * plan.settings.replicas if plan.feasible else 0.0


def _flags(plan: Plan) -> tuple[str, ...]:
    """Every flag of a plan that can be started with its value, as one text each."""
    command = first_command(plan)
    flags = [f"{name}={value}" for name, value in command.env.items()]
    for word in command.argv[3:]:
        if word.startswith("--") or not flags:
            flags.append(word)
        else:
            flags[-1] += f" {word}"
    return tuple(flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the comparison for people."""

    label: str
    before: str
    after: str
    change: str


def rows(found: PlanDifference) -> tuple[Row, ...]:
    """Figures first, then settings, then memory; equal ones are left out."""
    lines = []
    for label, (old, new) in (("max-model-len", found.max_model_len), ("KV cache, tokens", found.kv_cache_tokens)):
        if old != new:
            change = f"{new - old:+,}"
            lines.append(Row(label=label, before=format_tokens(old), after=format_tokens(new), change=change))
    lines += _figure("requests at once", *found.max_concurrency, decimals=1)
    lines += [
        Row(label=name.replace("_", "-"), before=old, after=new, change="")
        for name, old, new in found.settings
        if name != "max_model_len"
    ]
    for term in found.terms:
        lines += _figure(f"{term.label}, GiB", term.before_bytes / GIB, term.after_bytes / GIB, decimals=2)
    return tuple(lines)


def _figure(label: str, before: float, after: float, *, decimals: int) -> Iterator[Row]:
    """A line whose change is the difference of the two figures as they are read; none where that is nothing."""
    old, new = round(before, decimals), round(after, decimals)
    if old != new:
        yield Row(
            label=label, before=f"{old:,.{decimals}f}", after=f"{new:,.{decimals}f}",
            change=f"{new - old:+,.{decimals}f}",
        )  # fmt: skip


def markdown(found: PlanDifference) -> str:
    """Return the comparison for a pull request."""
    from planner.rendering.sheet.markdown import table, text

    parts = [f"- before: {text(found.before)}\n- after: {text(found.after)}"]
    if found.same:
        return "\n\n".join([*parts, "Nothing changes."]) + "\n"
    cells = [(text(row.label), text(row.before), text(row.after), row.change) for row in rows(found)]
    if cells:
        parts.append(table(("", "before", "after", "change"), cells, right=(1, 2, 3)))
    for title, items in _lists(found):
        parts.append(f"**{title}**\n\n" + "\n".join(f"- {item}" for item in items))
    return "\n\n".join(parts) + "\n"


def _lists(found: PlanDifference) -> list[tuple[str, list[str]]]:
    from planner.rendering.sheet.markdown import text

    lists = [
        ("Flags gone", [f"`{flag}`" for flag in found.flags_gone]),
        ("Flags new", [f"`{flag}`" for flag in found.flags_new]),
        ("Warnings gone", [text(words) for words in found.warnings_gone]),
        ("Warnings new", [text(words) for words in found.warnings_new]),
        ("Why", [f"{text(term.label)}: {text(term.why)}" for term in found.terms if term.why]),
    ]
    return [(title, items) for title, items in lists if items]
