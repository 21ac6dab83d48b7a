"""Changes of a file that touch nothing but the words they are about; they refuse what they do not understand."""

from __future__ import annotations

import re

from planner.review.findings import Edit
from planner.review.options import Option
from planner.review.server import Server
from planner.review.text import Source, Text

_PLAIN = re.compile(r"[\w@%+=:,./{}\"\[\]-]*")


def replaced(text: Text, new: str) -> tuple[Edit, ...]:
    """Write `new` where `text` stands; nothing where that is not one piece of the file."""
    if not text.verbatim or not text.value or not text.known:
        return ()
    return (Edit(text.start, text.end, new),)


def without_option(server: Server, option: Option, source: Source) -> tuple[Edit, ...]:
    """Take an option out, with its value and the blanks in front of it."""
    if server.editable == "none":
        return ()
    last = option.value if option.value is not None and not option.joined else option.word or option.typed
    parts = [option.typed, last]
    if not all(part.verbatim for part in parts):
        return ()
    start, end = option.typed.start, last.end
    if end < start:
        return ()
    if server.editable == "keys":
        return _without_line(source, start, end)
    between = source.text[option.typed.end : last.start]
    if last is not option.typed and not option.joined and between.strip(" \t\\\n\"'"):
        # Two members of a list, each with its own dash, comma or quotes.
        return (*_removed(source, start, option.typed.end), *_removed(source, last.start, end))
    return _removed(source, start, end)


def without_word(server: Server, word: Text, source: Source) -> tuple[Edit, ...]:
    """Take one word out."""
    return _removed(source, word.start, word.end) if word.verbatim and server.editable in ("words", "items") else ()


def _without_line(source: Source, start: int, end: int) -> tuple[Edit, ...]:
    """Remove the line of one key of a mapping; nothing where it shares its line."""
    text = source.text
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    after = text[end:line_end].strip(" '\"")
    if text[line_start:start].strip() or (after and not after.startswith(("#", ":"))):
        return ()
    return (Edit(line_start, min(line_end + 1, len(text)), ""),)


def _removed(source: Source, start: int, end: int) -> tuple[Edit, ...]:
    """Remove a stretch of a command line or of a YAML list, and what joined it to its neighbours."""
    text = source.text
    start, end = _with_quotes(text, start, end)
    line_start = text.rfind("\n", 0, start) + 1
    line_end = text.find("\n", end)
    line_end = len(text) if line_end < 0 else line_end
    before, after = text[line_start:start], text[end:line_end]
    # A comment behind a member of a list is about that member, and goes with it.
    alone = after.strip() in ("", "\\") or (before.strip() == "-" and after.lstrip().startswith("#"))
    if before.strip() in ("", "-") and alone:
        if after.strip() == "" and before.strip() == "" and text[:line_start].rstrip(" \t").endswith("\\\n"):
            # The last line of a command: the line before must not go on any more.
            joint = text.rfind("\\", 0, line_start)
            cut = len(text[:joint].rstrip(" \t"))
            return (Edit(cut, line_end, ""),)
        return (Edit(line_start, min(line_end + 1, len(text)), ""),)
    if before.rstrip().endswith(","):
        comma = line_start + len(before.rstrip()) - 1
        return (Edit(comma, end, ""),)
    if before.rstrip().endswith("[") and after.lstrip().startswith(","):
        lead = len(after) - len(after.lstrip()) + 1
        more = after[lead:]
        return (Edit(start, end + lead + len(more) - len(more.lstrip()), ""),)
    blanks = len(before) - len(before.rstrip(" \t"))
    if not before.strip():
        # The first word of its line: the blanks behind it go, those in front are the line's own.
        return (Edit(start, end + len(after) - len(after.lstrip(" \t")), ""),)
    return (Edit(start - blanks, end, ""),)


def line_before(source: Source, at: Text, key: str, line: str) -> tuple[Edit, ...]:
    """Put a line of YAML in front of the one that begins with `key`, where `at` stands behind it."""
    text = source.text
    start = text.rfind("\n", 0, at.start) + 1
    head = text[start : at.start]
    lead = len(head) - len(head.lstrip(" "))
    if not head[lead:].startswith(f"{key}:") and not text[start + lead :].startswith(f"{key}:"):
        return ()
    return (Edit(start, start, head[:lead] + line + "\n"),)


def _with_quotes(text: str, start: int, end: int) -> tuple[int, int]:
    if start > 0 and end < len(text) and text[start - 1] in "'\"" and text[end : end + 1] == text[start - 1]:
        return start - 1, end + 1
    if end < len(text) and text[end] in "'\"" and text.count(text[end], start, end) == 1:
        # The quotation mark that opens the value stands between flag and value.
        return start, end + 1
    return start, end


def with_value(server: Server, option: Option, value: str) -> tuple[Edit, ...]:
    """Give an option another value."""
    if option.value is None or server.editable == "none" or not _PLAIN.fullmatch(value):
        return ()
    return replaced(option.value, value)


def with_option(server: Server, words: tuple[str, ...], source: Source) -> tuple[Edit, ...]:
    """Add words behind the last argument, in the style of the others."""
    last = server.arguments.end
    if last is None or not last.verbatim or not last.offsets or server.editable in ("none", "keys"):
        return ()
    if not all(_PLAIN.fullmatch(word) for word in words):
        return ()
    text = source.text
    _, end = _with_quotes(text, last.start, last.end)
    start = last.start if end == last.end else last.start - 1
    line_start = text.rfind("\n", 0, start) + 1
    before = text[line_start:start]
    if server.editable == "items" and text[start - 2 : start].strip(" ") in ("-",) and before.strip() == "-":
        lead = "\n" + before
        return (Edit(end, end, "".join(lead + _scalar(word) for word in words)),)
    if server.editable == "items" and _inside_brackets(text, start, end):
        quote = text[start] if text[start : start + 1] in ("'", '"') else ""
        return (Edit(end, end, "".join(", " + (quote + word + quote if quote else _scalar(word)) for word in words)),)
    if (text[:line_start].rstrip(" \t").endswith("\\\n") and before.strip(" \t") == "") or (
        before.strip().startswith("-") and text[:line_start].rstrip(" \t").endswith("\\\n")
    ):
        indent = before[: len(before) - len(before.lstrip())]
        return (Edit(end, end, " \\\n" + indent + " ".join(words)),)
    return (Edit(end, end, " " + " ".join(words)),)


def _inside_brackets(text: str, start: int, end: int) -> bool:
    after = text[end : end + 400].lstrip()
    return after[:1] in (",", "]") and ("[" in text[max(0, start - 2000) : start])


def _scalar(word: str) -> str:
    """A word as a YAML scalar that stays text."""
    return word if re.fullmatch(r"--?[A-Za-z][\w./-]*|[A-Za-z/][\w./-]*", word) else f'"{word}"'
