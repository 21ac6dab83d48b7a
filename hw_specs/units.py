"""Bytes and tokens as people read them; the only place that knows 2**30. It never prints.

Memory is an ``int`` of bytes everywhere and GiB on screen; the decimal gigabyte does not occur.
"""

from __future__ import annotations

import re

from hw_specs.errors import M35Error, shown

KIB = 2**10
MIB = 2**20
GIB = 2**30
TIB = 2**40

_BINARY = {"": 1, "b": 1, "k": KIB, "kib": KIB, "m": MIB, "mib": MIB, "g": GIB, "gib": GIB, "t": TIB, "tib": TIB}
# Expressions are compiled where they are needed: a plan needs hardly any.
_QUANTITY = r"(\d{1,18}(?:\.\d{1,9})?)([KMGTP]i|[kMGTP])?"
_QUANTITY_SUFFIX = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
    "Ki": KIB, "Mi": MIB, "Gi": GIB, "Ti": TIB, "Pi": 2**50,
}  # fmt: skip
_THOUSANDS = r"\d{1,3}(,\d{3})+(?![\d,])"
_COUNT = r"^([0-9]+(?:\.[0-9]+)?)([kKmMgGtT]?)(?:i?B)?$"
_COUNT_SUFFIX = {
    "": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "K": KIB, "M": MIB, "G": GIB, "T": TIB,
}  # fmt: skip
MOST_COUNT = 2**53
"""Of bytes and tokens: 8 PiB, and what a float still tells apart from its neighbour."""

SAID_AS_FACTOR = 1.5
"""From here on an excess is said as a factor, below it in percent."""

_BINARY_ENDINGS = ("KiB", "MiB", "GiB", "TiB")
_SIZE = r"^\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*$"


def gib(number: float) -> int:
    """Return `number` GiB as bytes, rounded to the nearest byte.

    >>> gib(1.5)
    1610612736
    """
    return round(number * GIB)


def format_gib(size_bytes: int, *, decimals: int = 2) -> str:
    """Return bytes as GiB without the unit, which stands in the column head.

    >>> format_gib(133_605_834_656)
    '124.43'
    """
    return f"{size_bytes / GIB:,.{decimals}f}"


def format_tokens(tokens: int) -> str:
    """Return a token count with thousands separators.

    >>> format_tokens(262144)
    '262,144'
    """
    return f"{tokens:,}"


def counted(number: int, thing: str) -> str:
    """Return a number of things.

    >>> counted(1, "token"), counted(8192, "token")
    ('1 token', '8,192 tokens')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def format_figure(value: float, *, decimals: int = 1) -> str:
    """Return a rate or a time with as many decimals as are read; what is not nothing is never shown as 0.

    >>> format_figure(2319.6), format_figure(45.62), format_figure(0.31), format_figure(0.0132), format_figure(0)
    ('2,320', '45.6', '0.3', '0.013', '0.0')
    """
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value and not round(value, decimals) else f"{value:.{decimals}f}"


def format_excess(factor: float) -> str:
    """Return how far a factor above 1 is from it, in the words that follow "by".

    >>> format_excess(1.004), format_excess(1.06), format_excess(5.67), format_excess(2516)
    ('less than 1 %', '6 %', '5.7 x', '2,516.0 x')
    """
    if factor < SAID_AS_FACTOR:
        percent = (factor - 1) * 100
        return f"{percent:.0f} %" if percent >= 1 else "less than 1 %"
    return f"{factor:,.1f} x"


def parse_memory(text: str) -> int:
    """Return the bytes that ``130GiB``, ``500 MiB`` or a plain byte count name.

    Raises:
        M35Error: for anything else, decimal units such as the marketing gigabyte included, because on a
            GPU they differ from the real size by up to 7 %.

    >>> parse_memory("1.5 GiB")
    1610612736
    """
    match = re.match(_SIZE, text)
    unit = match.group(2).lower() if match else ""
    if match is None or unit not in _BINARY:
        raise M35Error(
            f"cannot read `{shown(text)}` as a memory size", hint="write bytes or a binary unit, such as `130GiB`"
        )
    number = float(match.group(1)) * _BINARY[unit]
    if number > MOST_COUNT:
        raise M35Error(
            f"a memory size of `{shown(text)}` is more than any machine has", hint="write one such as `130GiB`"
        )
    size_bytes = round(number)
    if size_bytes <= 0:
        raise M35Error(f"a memory size of `{shown(text)}` is not positive", hint="write a size such as `130GiB`")
    return size_bytes


def quantity(text: object) -> int | None:
    """Return the whole number nearest to a quantity as Kubernetes writes them; None for anything else.

    >>> quantity("2Gi"), quantity("1.5k"), quantity(4), quantity("2 GiB")
    (2147483648, 1500, 4, None)
    """
    found = re.fullmatch(_QUANTITY, str(text).strip())
    return round(float(found[1]) * _QUANTITY_SUFFIX[found[2] or ""]) if found else None


def parse_count(text: str) -> int:
    """Return the whole number that `text` names in vLLM's notation: small letters are decimal, capitals binary.

    Raises:
        M35Error: for anything else, a list of counts included.

    >>> parse_count("128k"), parse_count("128K"), parse_count("262,144")
    (128000, 131072, 262144)
    """
    if "," in text and not re.match(_THOUSANDS, text.strip()):
        raise M35Error(f"`{shown(text)}` is not one count", hint="a comma only parts thousands, as in 262,144")
    plain = text.strip().replace(",", "").replace("_", "")
    unit = next((unit for unit in _BINARY_ENDINGS if plain.endswith(unit)), None)
    match = re.match(_COUNT, plain)
    if match is None or (plain.endswith("B") and unit is None):
        raise M35Error(f"`{shown(text)}` is not a count", hint="write 131072, 128k (128,000) or 128K (131,072)")
    number = float(match[1]) * _COUNT_SUFFIX[match[2]]
    if number > MOST_COUNT:
        raise M35Error(f"`{shown(text)}` is larger than every count", hint=f"{MOST_COUNT:,} is the largest")
    if number != int(number):
        raise M35Error(f"`{shown(text)}` is not a whole number", hint="write 131072, 128k (128,000) or 128K (131,072)")
    return int(number)
