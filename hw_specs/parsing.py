"""From text to values: JSON, YAML and encodings, within what is ever needed; it opens no file."""

from __future__ import annotations

import codecs
import math
from typing import Any, NoReturn

from hw_specs.errors import shown

MOST_LEVELS = 100
"""Nesting of JSON; what people and programs write for us has fewer than twenty."""

MOST_ALIASES = 16
"""Of a YAML text: each may double what stands behind it."""

MOST_DIGITS = 40
"""Of a whole number in JSON: far above every count of bytes."""

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks in an order in which none is the beginning of a later one."""
LOOKED_AT_BYTES = 512
"""Of the beginning, where no mark says how a text is written."""


class BadJson(ValueError):
    """Text that is not JSON, or JSON beyond every limit; the text of the error follows ``it ``."""


class BadYaml(ValueError):
    """Text that is not YAML, or YAML beyond every limit; the text of the error follows ``it ``."""


def decoded(data: bytes, *, errors: str = "strict") -> str:
    """Return `data` as text, by its byte order mark or its zeros, else as UTF-8.

    >>> decoded(b"\\xff\\xfea\\x00"), decoded(b"\\xef\\xbb\\xbfa")
    ('a', 'a')

    Raises:
        UnicodeDecodeError: for bytes that are not text, unless `errors` is ``replace``.
    """
    codec = next((codec for mark, codec in BYTE_ORDER_MARKS if data.startswith(mark)), "")
    return data.decode(codec or unmarked_codec(data[:LOOKED_AT_BYTES]) or "utf-8", errors)


def unmarked_codec(head: bytes) -> str:
    """Return the codec of text in two bytes a character that begins without a mark; empty for any other text.

    Latin letters, digits and line ends have a zero in the same half of each pair, and UTF-8 text holds none.

    >>> unmarked_codec(b"a\\x00b\\x00\\n\\x00"), unmarked_codec(b"\\x00a\\x00b"), unmarked_codec(b"ab\\x00")
    ('utf-16-le', 'utf-16-be', '')
    """
    pairs = len(head) // 2
    first, second = head[: 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if pairs and not first and 2 * second > pairs:
        return "utf-16-le"
    return "utf-16-be" if pairs and not second and 2 * first > pairs else ""


def parse_json(text: str | bytes, *, constants: bool = False) -> Any:
    """Return the value of a JSON document whose nesting and numbers stay within what is ever needed.

    Args:
        text: the document.
        constants: whether ``NaN`` and ``Infinity`` are numbers, as Python's own writer has it.

    Raises:
        BadJson: when it is not such a document; the text follows ``it ``.
    """
    import json  # a plan reads none, and its cold start is part of the product

    if isinstance(text, bytes):
        # JSON needs no mark: where its first characters are zero bytes it is UTF-16 or UTF-32.
        text = _plain_text(text)
    try:
        value = json.loads(
            text.removeprefix("\ufeff"),
            parse_int=_whole,
            parse_float=None if constants else _finite,
            parse_constant=None if constants else _no_constant,
        )
    except RecursionError:
        raise BadJson("is nested too deeply") from None
    except BadJson:
        raise
    except ValueError as error:
        raise BadJson(f"is not JSON: {shown(str(error))}") from None
    if _levels(value) > MOST_LEVELS:
        raise BadJson("is nested too deeply")
    return value


def parse_yaml(text: str) -> list[Any]:
    """Return the documents of a YAML text whose nesting and repetition stay within what people write.

    Raises:
        BadYaml: when it is not such a text; the error's text follows ``it ``.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    opened: list[str | None] = []
    aliases = 0
    try:
        # The events come one by one; building values of them goes as deep as they do, in C without a limit.
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append(event.anchor)
            elif isinstance(event, yaml.CollectionEndEvent):
                opened.pop()
            elif isinstance(event, yaml.AliasEvent):
                aliases += 1
                if event.anchor in opened:
                    raise BadYaml("contains itself")
            if len(opened) > MOST_LEVELS:
                raise BadYaml("is nested too deeply")
            if aliases > MOST_ALIASES:
                raise BadYaml("repeats itself too often")
        return list(yaml.load_all(text, Loader=loader))
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, BadYaml):
            raise
        if "nesting depth" in str(error):
            # Newer C libraries have a limit of their own, below ours.
            raise BadYaml("is nested too deeply") from None
        raise BadYaml(f"is not YAML: {shown(str(error), characters=200)}") from None


def _plain_text(data: bytes) -> str:
    from json import detect_encoding

    try:
        if data[:4].count(0) and not data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
            return data.decode(detect_encoding(data))
        return decoded(data)
    except (UnicodeDecodeError, LookupError) as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        raise BadJson(f"is not text: byte {start:,} is not UTF-8") from None


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise BadJson(f"holds a number of {len(digits):,} digits")
    return int(digits)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadJson(f"holds the number `{shown(text, characters=20)}`, which is beyond every limit")
    return number


def _no_constant(text: str) -> NoReturn:
    raise BadJson(f"is not JSON: `{text}` is not a number")


def _levels(value: object) -> int:
    """How deep lists and objects stand in each other; counted without recursion, and no further than the limit."""
    level, depth = [value], 0
    while level and depth <= MOST_LEVELS:
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner += [item for item in one.values() if isinstance(item, dict | list)]
            elif isinstance(one, list):
                inner += [item for item in one if isinstance(item, dict | list)]
        depth += 1
        level = inner
    return depth
