"""Flags that the release does not have, took another way, or refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache

from hw_specs.parsing import BadJson, parse_json
from planner.facts.engine_flags import complete, flags_of, takes_value
from planner.facts.gone_flags import gone
from planner.facts.release import known_versions, parse_version
from planner.facts.review import options, review_facts
from planner.facts.start_checks import start_checks
from planner.review.case import Case
from planner.review.edits import replaced, without_option, without_word
from planner.review.findings import Edit, Finding, Severity, finding
from planner.review.options import Option
from planner.review.text import Source

_WARN: Severity = "warn"
_COUNTED = ("int", "float", "human_readable_int", "human_readable_int_or_auto")
"""Types of flags that hold one number, never a list."""
_SPECULATIVE = ("speculative-model", "num-speculative-tokens", "speculative-max-model-len")


def find(case: Case, source: Source) -> Iterator[Finding]:
    """Yield what is wrong with the flags."""
    if not complete(case.version):
        return
    # KServe's own runtimes have flags beside the engine's: what no release ever had may be theirs.
    mixed = case.server.platform == "kserve" and case.server.kind == "InferenceService"
    mixed = mixed or any(one.name in review_facts().extensions.names for one in case.server.options)
    yield from _two_models(case)
    for one in case.server.options:
        found = _missing(case, one, source) if not mixed or gone(one.name) is not None else None
        if found is not None:
            yield found
        else:
            yield from _again(case, one, source)
            yield from _truth(case, one, source)
            yield from _bare(case, one, source)
            yield from _value(case, one)


def _two_models(case: Case) -> Iterator[Finding]:
    """A model as a word, and another as a flag."""
    server, option = case.server, case.server.option("model")
    if option is None or option.value is None or server.model is None or server.model == option.value:
        return
    if server.platform in ("kserve", "helm", "config", "python") or server.entry == "llm":
        return  # the name may stand in a place of its own
    said = f"the model is named twice, as `{server.model.value[:60]}` and by --model: the parser takes the flag's and "
    said += "refuses the other word"
    yield finding("refused", said, option.typed, cure="name it once, without --model", stops=True)


def _missing(case: Case, one: Option, source: Source) -> Finding | None:
    written = one.typed.value
    head = written.partition(".")[0]
    if head.startswith("--"):
        spelt = "--" + head[2:].replace("_", "-")
    elif head.startswith("-"):
        spelt = head
        if re.fullmatch(r"-O\d?", written) or case.flags.find("--" + one.name) is not None:
            return None
    else:
        spelt = ("--" if one.on else "--no-") + one.name
    if case.flags.find(spelt) is not None or (not one.on and case.flags.find("--" + one.name) is not None):
        return None
    typed_name = spelt.removeprefix("--")
    if case.server.entry == "llm":
        return _argument(case, one)
    shown = f"`{written}`" if written.startswith("-") else f"`--{one.name}`"
    if written.startswith("--"):
        guesses = case.flags.abbreviates(spelt)
        if len(guesses) == 1:
            trap = review_facts().misread.get(typed_name)
            message = f"{shown} does not exist: the parser takes it for {guesses[0]}"
            return finding(
                "flag-abbreviated",
                f"{message}; {trap}" if trap else message,
                one.typed,
                severity="error" if trap else None,
                cure=f"leave {shown} out" if trap else f"write {guesses[0]}",
                edits=without_option(case.server, one, source) if trap else replaced(one.typed, guesses[0]),
            )
    release = _releases(case)
    message = f"{shown} does not exist in {release}"
    history = gone(one.name)
    cure = f"leave {shown} out"
    edits: tuple[Edit, ...] = without_option(case.server, one, source)
    if history is not None:
        message += f": it is gone since {history.first_without}"
        if history.note:
            message += f"; {history.note}"
        if history.instead:
            cure = f"{history.instead} instead"
            renamed = review_facts().renamed.get(one.name)
            edits = (
                replaced(one.typed, renamed)
                if renamed and one.value is None and case.server.editable == "words"
                else ()
            )
    elif case.version is not None and flags_of(None).find("--" + one.name) is not None:
        since = next(v for v in known_versions() if v >= "0.20" and flags_of(v).find("--" + one.name) is not None)
        message += f": it came with {since}"
        cure, edits = f"take {since} or newer, or leave {shown} out", ()
    else:
        near = _nearest(one.name, case)
        if near is not None:
            message += f"; the nearest one is {near}"
            cure = f"write {near} if that is meant, else leave {shown} out"
            # Dropping a mistyped flag would drop its value without a word.
            edits = _respelt(case, one, near)
    if one.name in _SPECULATIVE:
        cure, edits = _speculative(case, one, source)
    surely = case.version is not None or history is None or case.model is not None
    severity = None if surely else _WARN
    return finding("flag-gone", message, one.typed, cure=cure, severity=severity, stops=surely, edits=edits)


def _argument(case: Case, one: Option) -> Finding:
    written = one.typed.value
    history = gone(one.name)
    message = f"`{written}` does not exist as an argument in {_releases(case)}"
    if history is not None:
        message += f": it is gone since {history.first_without}" + (f"; {history.note}" if history.note else "")
    surely = case.version is not None or history is None or case.model is not None
    severity, cure = None if surely else _WARN, f"leave `{written}` out"
    return finding("flag-gone", message, one.typed, cure=cure, stops=surely, severity=severity)


def _releases(case: Case) -> str:
    if case.version is not None:
        return f"vLLM {case.version}"
    full = [one for one in known_versions() if one >= "0.20"]
    return f"vLLM {full[0]} to {full[-1]}"


def _nearest(name: str, case: Case) -> str | None:
    from difflib import get_close_matches

    near = get_close_matches("--" + name, [one for one in case.flags.options if one.startswith("--")], n=1, cutoff=0.8)
    return near[0] if near else None


def _respelt(case: Case, one: Option, near: str) -> tuple[Edit, ...]:
    """The right name in the place of a misspelt one; nothing where something else may be meant."""
    right = near.removeprefix("--")
    takes = takes_value(near, case.flags) != "none"
    if not _slip(one.name, right) or takes != (one.value is not None) or case.server.option(right) is not None:
        return ()
    head, dot, key = one.typed.value.partition(".")
    return replaced(one.typed, (near if head.startswith("--") else right) + dot + key)


def _slip(name: str, right: str) -> bool:
    """Whether no more than two letters make the difference."""
    from difflib import SequenceMatcher

    steps = SequenceMatcher(None, name, right, autojunk=False).get_opcodes()
    return sum(max(end - start, other - begin) for tag, start, end, begin, other in steps if tag != "equal") <= 2


def _speculative(case: Case, one: Option, source: Source) -> tuple[str, tuple[Edit, ...]]:
    """The draft's flags of old as one JSON, written where the first of them stands."""
    if case.server.option("speculative-config") is not None:
        return f"leave --{one.name} out", without_option(case.server, one, source)
    given = {name: case.server.option(name) for name in _SPECULATIVE}
    present = [option for option in given.values() if option is not None]
    model, count = given["speculative-model"], given["num-speculative-tokens"]
    if model is None or model.value is None or count is None or count.value is None:
        return "--speculative-config instead", ()
    known = model.value.known and count.value.known and count.value.value.isdecimal()
    if not known:
        return "--speculative-config instead", ()
    draft: dict[str, object] = {"model": model.value.value}
    if "eagle" in model.value.value.casefold():
        draft["method"] = "eagle"
    draft["num_speculative_tokens"] = int(count.value.value[:6])
    text = "--speculative-config '" + json.dumps(draft, separators=(",", ":")) + "'"
    first = min(present, key=lambda option: option.typed.start)
    if one is not first:
        return text, without_option(case.server, one, source)
    last = first.value if first.value is not None and not first.joined else first.word or first.typed
    solid = first.typed.verbatim and last.verbatim and case.server.editable == "words"
    return text, (Edit(first.typed.start, last.end, text),) if solid else ()


def _again(case: Case, one: Option, source: Source) -> Iterator[Finding]:
    """A flag whose value a later one of the same name overrides."""
    known, last = case.flags.find("--" + one.name), case.server.option(one.name)
    if last is None or last is one or one.key or known is None or known.get("type") not in _COUNTED:
        return
    if one.value is None or last.value is None or not (one.value.known and last.value.known):
        return
    if one.value.value != last.value.value:
        said, wins = f"`{one.typed.value} {one.value.value}`", f"`{last.typed.value} {last.value.value}`"
        message, edits = f"{said} has no effect: the last one wins, {wins}", without_option(case.server, one, source)
        yield finding("flag-repeated", message, one.typed, cure=f"leave {said} out", edits=edits)


def _truth(case: Case, one: Option, source: Source) -> Iterator[Finding]:
    """A truth value behind a switch, which older parsers took and newer ones refuse."""
    known = case.flags.find("--" + one.name)
    if known is None or known.get("type") != "flag" or not one.typed.value.startswith("--"):
        return
    if case.version is not None and parse_version(case.version) < (0, 10, 0):
        return
    word = one.truth or one.value
    if word is None or not word.known:
        return
    off = word.value.lower() in ("false", "no", "off", "0")
    right = f"--no-{one.name}" if off else f"--{one.name}"
    edits: tuple[Edit, ...] = ()
    if one.joined and one.word is not None:
        edits = replaced(one.word, right)
    elif one.truth is not None:
        edits = without_word(case.server, one.truth, source)
        edits = (*replaced(one.typed, right), *edits) if off else edits
    # Older parsers took it, and nobody says that this is a newer one.
    surely = case.version is not None or case.model is not None
    said, severity = f"`--{one.name}` takes no value: the parser refuses `{word.value}`", None if surely else _WARN
    yield finding("flag-value", said, one.typed, cure=right, severity=severity, stops=surely, edits=edits)


def _bare(case: Case, one: Option, source: Source) -> Iterator[Finding]:
    """A flag that ends before its value."""
    known = case.flags.find("--" + one.name)
    if known is None or one.value is not None or one.key or not one.on or not one.typed.value.startswith("--"):
        return
    if known.get("type") in ("flag", None) or known.get("nargs") in ("?", "*") or "{{" in source.text:
        return
    said = f"`--{one.name}` needs a value, and nothing follows it"
    yield finding("flag-value", said, one.typed, stops=True, cure=f"a value after --{one.name}, or leave it out")


def _value(case: Case, one: Option) -> Iterator[Finding]:
    known = case.flags.find("--" + one.name)
    if known is None or one.value is None or not one.value.known or (case.version is None and not known.get("type")):
        return
    value, kind, at = one.value.value.strip(), known.get("type"), one.value

    def wrong(message: str, cure: str, edits: tuple[Edit, ...] = ()) -> Finding:
        return finding("flag-value", message, at, cure=cure, stops=True, edits=edits)

    old = case.version is not None and parse_version(case.version) < parse_version(
        review_facts().pairs_gone_since.value
    )
    if one.name == "limit-mm-per-prompt" and not one.key and not old and re.fullmatch(r"\w+=\d+(,\w+=\d+)*", value):
        counts = dict(part.split("=") for part in value.split(","))
        new = json.dumps({name: int(number[:6]) for name, number in counts.items()})
        quoted = f"'{new}'" if case.server.editable == "words" else new
        edits = replaced(one.value, quoted) if not (case.server.editable == "words" and one.joined) else ()
        said = f"`--limit-mm-per-prompt {value}` is the form of old, which the parser does not take any more"
        yield wrong(said, f"--limit-mm-per-prompt '{new}'", edits)
        return
    choices = known.get("choices") if case.version is not None else _ever_chosen(one.name)
    if choices and value not in choices:
        said = f"`--{one.name} {value}` is not one of the values it may have"
        numbers = sorted(choices, key=int) if all(choice.isdigit() for choice in choices) else choices[:8]
        yield wrong(said, f"one of {', '.join(numbers)}")
        return
    number = None
    if kind == "int" and not re.fullmatch(r"[+-]?\d+", value):
        number = "a whole number"
    elif kind == "float" and not _is_float(value):
        number = "a number"
    elif str(kind).startswith("human_readable_int") and not _is_count(value):
        number = "a number such as 8192, 8k or 8K"
    if number is not None and not one.key:
        yield wrong(f"`--{one.name}` must be {number}, not `{value[:40]}`", f"write --{one.name} as a number")
    elif kind == "_optional_type" and value in ("", "None"):
        return  # the parser takes both for nothing at all
    elif _reads_json(case, one) and (wanted := _not_json(one.name, value)):
        cure = "quote it for the shell, and its keys and texts with double quotes"
        yield wrong(f"`--{one.name}` is not {wanted}", cure)


@cache
def _ever_chosen(name: str) -> list[str]:
    """The values that some read release takes; empty where one takes any."""
    rows = [spec for _, spec in options().options.get(f"--{name}", ()) if spec is not None]
    groups = [spec.get("choices") for spec in rows]
    return [value for group in groups for value in group] if rows and all(groups) else []  # type: ignore[attr-defined]


_COUNT = re.compile(r"\d+|\d+(\.\d+)?[kmgt]|\d+[KMGT]|-1|auto", re.IGNORECASE)


def _is_count(value: str) -> bool:
    return _COUNT.fullmatch(value) is not None and not re.fullmatch(r"\d+\.\d+[KMGT]", value)


def _reads_json(case: Case, one: Option) -> bool:
    """Whether the value goes through the parser, and through one that takes no number for a level of optimization."""
    level = one.typed.value.startswith("-O") or (
        one.name == "compilation-config"
        and case.version is not None
        and parse_version(case.version) < parse_version(start_checks().first)
    )
    filled_in = one.value is not None and re.search(r"<\w+>", one.value.value) is not None
    return case.server.entry == "serve" and not one.key and not level and not filled_in


def _not_json(name: str, value: str) -> str:
    """What a flag's value should be and is not; empty where it is, or need not be."""
    json_flags, (readable, read) = start_checks().json, _read_json(value)
    braced = name in json_flags.braced and value.startswith("{") and value.endswith("}")
    if (braced or name in json_flags.objects) and not isinstance(read, dict):
        return "a JSON object" if readable else "JSON"
    return "" if readable or name not in json_flags.lists else "JSON"


def _is_float(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _read_json(value: str) -> tuple[bool, object]:
    """Whether a text is JSON, and what it says."""
    try:
        return True, parse_json(value)
    except BadJson:
        return False, None
