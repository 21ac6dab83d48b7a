"""What a secret looks like, and the variables that carry ours. One place knows it; no value is ever written by us.

A secret is known by the name it is given to (a variable, a flag, a key of JSON or YAML), by where it stands (a header,
an address), by its own form (tokens of hubs and clouds), or because it is the value of such a variable here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

API_KEY = "VLLM_API_KEY"
"""What a client must send, where a server has it."""
HF_TOKEN = "HF_TOKEN"
"""What a download from the hub may need."""
HIDDEN = "***"
"""What stands for a secret where text is shown."""

_LEAST_CHARACTERS = 8
"""Of a variable's value that is looked for in other text; a shorter one would be found by chance."""

_IN_NAMES = ("KEY", "TOKEN", "SECRET", "PASSW", "PASSPHRASE", "CREDENTIAL", "AUTH", "COOKIE", "PRIVATE")
"""One of these stands in every name of a secret; to look for them costs less than the expression does."""

_HINTS = (
    "://", "hf_", "api_org_", "sk-", "pk-", "rk-", "sk_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat", "glpat",
    "xox", "akia", "asia", "aiza", "nvapi", "eyj", "-----begin", "bearer", "basic", "authorization", "api-key",
    "auth-token", "cookie",
)  # fmt: skip
"""One of these stands in small letters in every text that :func:`concealed` changes."""

# Expressions are compiled where they are needed: a plan needs none of them.
_NAME = (
    r"(?i)(?<!^)KEY(?!BOARD|WORD|MAP|S_)|TOKEN(?!IZ|S|[_-](?:ID|LIMIT|COUNT|TYPE|LEVEL|BUDGET|PATH|THRESHOLD))|SECRET|"
    r"PASSW|PASSPHRASE|CREDENTIAL|(?:^|[_-])AUTH(?![A-Z])|AUTHORIZATION|COOKIE|PRIVATE"
)
_OF_SOMETHING_ELSE = (
    r"(?i)(?:FILE|PATH|DIR|NAME|REF|URL|TYPE|MODE|LEN|LENGTH|ID|SIZE|COUNT|LIMIT|NUM|SOCK|HEADS|CACHE)$|"
    r"^(?:RETURN|ALLOW|ENABLE|DISABLE|NO|USE|NUM|MAX|MIN|ALLOWED)[_-]"
)
"""Names of what only says where a secret is, or how many tokens there are."""

_FORMS = r"""(?x)
      \bhf_[A-Za-z0-9]{16,} | \bapi_org_[A-Za-z0-9]{16,}      # Hugging Face
    | \b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,} | \bsk_[A-Za-z0-9_]{20,}
    | \bgh[pousr]_[A-Za-z0-9]{20,} | \bgithub_pat_[A-Za-z0-9_]{20,} | \bglpat-[A-Za-z0-9_-]{16,}
    | \bxox[abeoprs]-[A-Za-z0-9-]{10,} | \bA(?:KIA|SIA)[0-9A-Z]{16}\b | \bAIza[A-Za-z0-9_-]{30,}
    | \bnvapi-[A-Za-z0-9_-]{16,} | \beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_.-]{8,}
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----
    """
_HEADER = (
    r"""(?i)\b(?P<name>(?:proxy-)?authorization|(?:x-)?api-key|x-auth-token|(?:set-)?cookie)(?P<mark>["']?\s*:\s*["']?)"""
    r"""(?P<value>(?:(?:bearer|basic|token|digest)\s+)?[^\s"'\\,;}]+)"""
)
_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_BEARER = r"(?i)\b(?:bearer|basic)\s+(?P<value>[A-Za-z0-9+/_.=~-]{8,})"
_ADDRESS = r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<value>[^/\s:@\"'`]*:[^/\s@\"'`]+|[^/\s:@\"'`]{16,})@"
_USER = r"\bcurl\b[^;|]*?\s(?:-u|--user|--proxy-user)(?:\s+|=)[\"']?(?P<value>[^\s:\"'/]+:[^\s\"':]{4,})"
_GIVEN = (
    r"""(?P<flag>(?<![\w-])--?)?(?P<name>[A-Za-z][A-Za-z0-9_.-]*)["']?(?P<mark>\s*[=:]\s*|\s+)"""
    r"""(?P<value>"[^"]*"|'[^']*'|[^\s"',;|&)}\]\\]+)"""
)
_REFERENCE = r"^(?:$|[$%{\[<(/~.@]|(?i:true|false|none|null|auto|yes|no|on|off|\d{1,6})$|(?i:x+|\*+)$)"
"""Values that only say where a secret comes from, or that none is."""
_PAIR = (
    r"""(?m)name:\s*["']?(?P<name>[A-Za-z_]\w*)["']?\s*,?\s*\n?\s*-?\s*value:\s*(?P<value>"[^"]*"|'[^']*'|[^\s"'}]+)"""
)


def is_secret_name(name: str) -> bool:
    """Whether a variable, flag or key of this name holds a secret.

    >>> is_secret_name("HF_TOKEN"), is_secret_name("VLLM_TOKENIZER"), is_secret_name("ssl-keyfile")
    (True, False, False)
    """
    upper = name.upper()
    if not any(part in upper for part in _IN_NAMES):
        return False
    return re.search(_NAME, name) is not None and re.search(_OF_SOMETHING_ELSE, name) is None


def is_value(text: str) -> bool:
    """Whether `text` may be a secret itself, and not a reference to one, a path or a switch."""
    return re.match(_REFERENCE, text.strip()) is None


def secrets_in(text: str) -> list[tuple[str, str]]:
    """Return (where it stands, value) of every secret in a command, a script or a file.

    >>> secrets_in("env HF_TOKEN=abcdefgh vllm serve M --max-num-batched-tokens 8192 --api-key $KEY")
    [('HF_TOKEN', 'abcdefgh')]
    """
    found = [(one["name"], one["value"]) for one in re.finditer(_HEADER, text) if is_value(one["value"])]
    found += [("a header", one["value"]) for one in re.finditer(_BEARER, text)]
    found += [("a user's password", one["value"]) for one in re.finditer(_USER, text) if is_value(one["value"])]
    found += [("an address", one["value"]) for one in re.finditer(_ADDRESS, text) if not one["value"].startswith("$")]
    for one in re.finditer(_PAIR, text):
        found += _given(one["name"], one["value"])
    given, at = re.compile(_GIVEN), 0
    while pair := given.search(text, at):
        # The value may be a pair itself, as in `-e NAME=value` and `env NAME=value`.
        at = pair.start("value")
        spaced = not pair["mark"].strip()
        if not spaced or (pair["flag"] and not pair["value"].startswith("-")):
            found += _given(pair["name"], pair["value"])
    found += [("a token", one[0]) for one in re.finditer(_FORMS, text)]
    return found


def _given(name: str, value: str) -> list[tuple[str, str]]:
    value = value.strip("\"'")
    # A value may be the name of the variable that holds the secret.
    named = value.replace("_", "").isupper() and is_secret_name(value)
    return [(name, value)] if is_secret_name(name) and is_value(value) and not named else []


def secrets_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `environment` whose values are secrets that could be found in other text."""
    return {
        name: value
        for name, value in environment.items()
        if len(value) >= _LEAST_CHARACTERS and is_secret_name(name) and is_value(value) and not value.isdigit()
    }


def concealed(text: str, own: Iterable[str] = ()) -> str:
    """Return `text` without secrets that are known by their form or their place, and without the values `own`.

    Names and their values are left as they are: our own words and files are full of them.
    """
    for value in own:
        text = text.replace(value, HIDDEN)
    lower = text.lower()
    if not any(hint in lower for hint in _HINTS):
        return text
    text = re.sub(_ADDRESS, rf"\g<scheme>{HIDDEN}@", text)
    text = re.sub(_FORMS, HIDDEN, re.sub(_BEARER, lambda one: one[0].replace(one["value"], HIDDEN), text))
    return re.sub(_HEADER, _hide, text)


def without(text: str, secrets: list[tuple[str, str]]) -> str:
    """Return `text` with each of the values in `secrets` hidden."""
    for _, value in sorted(secrets, key=lambda one: -len(one[1])):
        text = text.replace(value, HIDDEN)
    return text


def _hide(one: re.Match[str]) -> str:
    # A number of JSON stands without quotes: hidden, it would break the record around it, and no header has one.
    number = one["mark"][:1] in "\"'" and one["mark"][-1] not in "\"'" and re.fullmatch(_NUMBER, one["value"])
    return one[0].replace(one["value"], HIDDEN) if is_value(one["value"]) and not number else one[0]
