"""What a refusal tells itself: the settings that it names, as they are typed, and the way out that it offers."""

from __future__ import annotations

import re
from functools import cache

from planner.facts.engine_flags import flags_of
from planner.facts.setting_words import setting_words
from planner.serve.log.events import FailureSeen
from planner.serve.log.lines import messages, plain_lines
from planner.serve.log.refused_flags import UNKNOWN_FLAGS
from planner.serve.log.reports import raised_there

_HEAD = re.compile(r"^\s*(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Warning): ")
_REFUSES = re.compile(r"(?:[A-Za-z_]\w*\.)*(?:Value|Assertion|NotImplemented|Runtime|Type|\w*Validation)Error\b")
"""Classes with which the engine refuses; a time-out, a missing file or a lost connection is none."""
_TAIL = re.compile(r"\[type=\w+, input_value=.*$")
_CLASS = re.compile(r"\bvalidation errors? for (?P<name>\w+)\s*$")
_KEY = re.compile(r"^[a-z_][\w.]*$")
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SENTENCE_END = re.compile(
    r"(?<=[.!;])\s+|(?<=\))\s+(?=Please\b)|[;,:] (?=(?:please|try|either|unset|set|use|disable|remove|install) )|; "
)
_NAME = re.compile(
    r"(?P<flag>--[a-z][\w-]*\w)|(?P<variable>\bVLLM_[A-Z0-9_]+)|(?P<field>\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+)"
)
_MOST_NAMES = 3
_MOST_LETTERS = 240
_MOST_LINES = 4


def cures_told(log: bytes, failure: FailureSeen) -> dict[str, str]:
    """Return the values of cures that a refusal tells itself, from its line in `log` and those that go on in it."""
    flag, message = _whole(log, failure)
    # Of flags that are not known at all `refused_flags` tells.
    told = {"settings": settings_cure(f"{flag} {message}".strip()) if UNKNOWN_FLAGS not in message else ""}
    if advice := advice_in(message):
        told["advice"] = f"as the message says: {advice}"
    elif rule := advice_in(message, weak=True):
        told["rule"] = f"as the message says: {rule}"
    return {name: text for name, text in told.items() if text}


def _whole(log: bytes, failure: FailureSeen) -> tuple[str, str]:
    """What a refusal says in its line; where pydantic says it, in those below its head, and the flag of that head."""
    head = _CLASS.search(failure.text)
    if head is None or not failure.line:
        return "", message_of(failure.text)
    flag = "--" + _CAPITAL.sub("-", head["name"]).lower()
    flag = flag if flags_of(None).find(flag) is not None else ""
    said: list[str] = []
    for line in log.split(b"\n")[failure.line : failure.line + _MOST_LINES]:
        for one in (message for text in plain_lines(line) for message in messages(text)):
            if one.rank != failure.rank:
                continue
            if not (one.text.startswith("  ") or _KEY.match(one.text)):
                return flag, " ".join(said)
            said.append(f"{one.text.strip()}:" if _KEY.match(one.text) else message_of(one.text))
    return flag, " ".join(said)


def message_of(text: str) -> str:
    """Return the words of a refusal without what carries them.

    >>> message_of("RuntimeError: Worker failed with error 'DCP is off', please check the stack trace above")
    'DCP is off'
    """
    said = next(iter(raised_there(text)), text)
    return _TAIL.sub("", _HEAD.sub("", said)).strip()


def settings_named(message: str) -> tuple[str, ...]:
    """Return what a message names of the engine's settings, as it is typed, in order.

    >>> settings_named("DCP does not support an FP8 kv cache now.")
    ('--decode-context-parallel-size', '--kv-cache-dtype')
    """
    found: dict[int, str] = {}
    taken: list[tuple[int, int]] = []

    def take(at: tuple[int, int], name: str) -> None:
        if not any(begin < at[1] and at[0] < end for begin, end in taken):
            taken.append(at)
            if all(name.partition("`")[0] not in (other, other.replace("--", "--no-", 1)) for other in found.values()):
                found[at[0]] = name

    for match in _NAME.finditer(message):
        if name := _typed(match):
            take(match.span(), name)
    for name, regex in _words():
        for match in regex.finditer(message):
            take(match.span(), name)
    ordered = [found[at] for at in sorted(found)]
    return tuple(name for name in ordered if f"--no-{name[2:]}" not in ordered)


def names_a_rule(exception: str) -> bool:
    """Whether an exception says of a setting by name what it must be: no fault of the code.

    >>> names_a_rule("AssertionError: data_parallel_hybrid_lb and data_parallel_external_lb cannot both be True.")
    True
    """
    if not any(map(_REFUSES.match, raised_there(exception))):
        return False
    message = message_of(exception)
    rules = (*setting_words().conflict, *setting_words().need, *setting_words().fit)
    return _any(rules).search(message) is not None and bool(settings_named(message))


def settings_cure(message: str) -> str:
    """Return what to do with the settings that a message names; empty where it names none.

    >>> settings_cure("LoRA is not supported with --enable-eplb")
    '`--enable-lora` and `--enable-eplb` do not go together in this release: leave one of them out'
    """
    names = settings_named(message)[:_MOST_NAMES]
    if not names:
        return ""
    words = setting_words()
    listed = [f"`{name}`" for name in names]
    together = " and ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else listed[0]
    if _any(words.conflict).search(message):
        cure = f"{together} do not go together in this release: leave one of them out" if len(listed) > 1 else (
            f"{together} cannot be had so here: leave it out, or give it another value"
        )  # fmt: skip
    elif _any(words.need).search(message):
        cure = f"of {together} one needs the other as the message says: set it so, or leave out what asks for it" if (
            len(listed) > 1
        ) else f"{together} needs what the message says: set that, or leave it out"  # fmt: skip
    else:
        cure = f"{together} must {'fit each other' if len(listed) > 1 else 'be'} as the message says: change " + (
            "one of them" if len(listed) > 1 else "it, or leave it out"
        )
    off = [f"`{words.off[name]}`" for name in names if name in words.off]
    return f"{cure} ({' or '.join(off)} turns off what is on by default)" if off else cure


def advice_in(message: str, *, weak: bool = False) -> str:
    """Return the sentences of a message that tell what to do, as they stand; empty without one.

    `weak` are those that only tell what must be.

    >>> advice_in("The moonep backend does not support EPLB yet. Disable --enable-eplb or use another one.")
    'Disable --enable-eplb or use another one'
    """
    words = setting_words()
    told = []
    for sentence in _SENTENCE_END.split(message):
        said = sentence.strip().rstrip(".")
        begins = re.match("|".join(words.advice), said, re.IGNORECASE)
        tells = _any(words.rule).search(said) if weak else begins or _any(words.within).search(said)
        if said and tells and not _any(words.no_advice).search(said):
            told.append(said)
    advice = "; ".join(told)
    return advice if len(advice) <= _MOST_LETTERS else advice[:_MOST_LETTERS].rsplit(" ", 1)[0] + " …"


def _typed(match: re.Match[str]) -> str:
    if flag := match["flag"]:
        return flag if flags_of(None).find(flag) is not None else ""
    if match["variable"]:
        return match["variable"]
    return _fields().get(match["field"], "")


@cache
def _fields() -> dict[str, str]:
    """Name of a setting in the engine's code → what is typed."""
    found = {key: f"{flag}` with `{key}" for flag, keys in setting_words().fields.items() for key in keys.split()}
    for flag, spec in flags_of(None).options.items():
        field = str(spec.get("dest", ""))
        if "_" in field and flag == "--" + field.replace("_", "-"):
            found[field] = flag
    return found


@cache
def _words() -> tuple[tuple[str, re.Pattern[str]], ...]:
    table = setting_words().words.items()
    # A longer name of code (`block_size_m`) is another thing's.
    whole = r"(?<![A-Za-z0-9]_)(?:{})(?!_\w)"
    return tuple((name, re.compile(whole.format("|".join(said)), re.IGNORECASE)) for name, said in table)


@cache
def _any(expressions: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(expressions), re.IGNORECASE)
