"""Whether a text can be an answer at all: no repetition, no salad, no marks of a chat template.

A server whose weights, KV cache or kernels are broken still answers with 200. That is said first: no parser and no
template can be blamed for words that are none.
"""

from __future__ import annotations

import re
import unicodedata

from planner.serve.check import Failed
from planner.serve.verification.checks.server import brief

BROKEN_HINT = (
    "the model computes nonsense, no parser is to blame: try `--kv-cache-dtype auto`, `--enforce-eager`, another "
    "`--attention-backend` or release, and `m35-plan check` for damaged weight files"
)
TEMPLATE_HINT = (
    "the prompt format is not this model's: `--tokenizer-mode mistral`, or the chat template of this checkpoint"
)

_REPEATED = re.compile(r"(?P<unit>.{1,40}?)(?P=unit){7,}", re.DOTALL)
_TEMPLATE = re.compile(r"<\|[a-z_]+\|>|\[/?INST\]|</?s>|<(?:start|end)_of_turn>|\[/?SYSTEM_PROMPT\]|<<SYS>>")
_TURN = re.compile(r"(?<=\n)(?:User|USER|Human|### (?:Instruction|Human)):")
"""Whoever asked goes on asking: the model does not know where its turn ends. In reasoning it may speak of the user."""
_PIECES = re.compile("(?<=\\S)[\u0120\u010a\u2581]|^[\u2581]|<0x[0-9A-F]{2}>")
"""How tokenizers write spaces, line ends and single bytes to themselves."""
PIECES_HINT = (
    "tokens are not turned back into text: tokenizer files and transformers of this checkpoint, `--tokenizer-mode`"
)
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Control characters: terminals obey them, and no text holds them."""
_TWICE = re.compile("\u00c3[\u0080-\u00bf]|\u00e2\u20ac[\u0080-\u2122]")
"""What UTF-8 looks like where it was read as Latin-1, or as Windows has it."""
_MOST_JOINERS = 3
"""One in that many characters may be a joiner that has no width: emoji and some scripts need them."""
_SHORTEST = 10
"""Characters below which nothing is judged: short answers repeat themselves."""
_LONGEST = 4000
_LATIN_BESIDE = ("LATIN", "GREEK")
"""Scripts that mathematics and names bring into any language."""


def nonsense(text: str) -> str:
    """Return what makes `text` no answer, in words; empty when nothing does.

    >>> nonsense("#" * 60)
    "one piece repeated 60 times: '#'"
    >>> nonsense("Hello, I am a twin.")
    ''
    """
    text = text.strip()[:_LONGEST]
    if unseen := _UNSEEN.search(text):
        return f"a control character: {unseen.group()!r}"
    if _TWICE.search(text):
        return f"letters that were decoded twice: {brief(text, 40)!r}"
    if sum(unicodedata.category(one) == "Cf" for one in text) * _MOST_JOINERS > len(text):
        return "characters that have no width"
    if len(text) < _SHORTEST:
        return ""
    repeated = _REPEATED.search(text)
    if repeated is not None and len(repeated.group()) >= max(_SHORTEST, len(text) // 2):
        unit = repeated["unit"]
        return f"one piece repeated {len(repeated.group()) // len(unit)} times: {brief(unit, 20)!r}"
    if "\ufffd" in text:
        return f"broken characters: {brief(text, 40)!r}"
    scripts = {_script(one) for one in text if one.isalpha()} - set(_LATIN_BESIDE)
    if len(scripts) > 1 or (scripts and _mixed(text)):
        return f"words of several scripts: {brief(text, 40)!r}"
    words = text.split()
    glued = sum(_glued(word) for word in words)
    if len(words) >= 4 and glued * 3 > len(words):
        return f"no words: {brief(text, 40)!r}"
    return ""


def template_mark(text: str) -> str:
    """Return the mark of a chat template that stands in `text`; empty when none does."""
    found = _TEMPLATE.search(text)
    return found.group() if found else ""


def next_turn(text: str) -> str:
    """Return the beginning of a turn of whoever asked; empty when `text` holds none.

    >>> next_turn("Blue.\\nUser: And then?"), next_turn("User: a person")
    ('User:', '')
    """
    found = _TURN.search(text)
    return found.group() if found else ""


def token_piece(text: str) -> str:
    """Return a mark that tokenizers use among themselves and no reader should see; empty when there is none.

    >>> token_piece("Hello\\u0120there"), token_piece("\\u0120or\\u0121")
    ('\u0120', '')
    """
    found = _PIECES.search(text)
    return found.group() if found else ""


def must_be_sane(said: str, *, reasoning: str = "") -> None:
    """Refuse what cannot be an answer, or the reasoning before one.

    Raises:
        Failed: for the first that cannot.
    """
    if turn := next_turn(said):
        raise Failed(f"the answer holds a raw {turn}: {brief(said, 60)!r}", TEMPLATE_HINT)
    for text in (said, reasoning):
        if reason := nonsense(text):
            raise Failed(f"the answer is not text, {reason}", BROKEN_HINT)
        if mark := template_mark(text):
            raise Failed(f"the answer holds a raw {mark}: {brief(text, 60)!r}", TEMPLATE_HINT)
        if piece := token_piece(text):
            raise Failed(f"the answer holds pieces of tokens ({piece}): {brief(text, 60)!r}", PIECES_HINT)


def _script(character: str) -> str:
    name = unicodedata.name(character, "UNKNOWN").split()[0]
    return "CJK" if name in ("CJK", "HIRAGANA", "KATAKANA") else name


def _mixed(text: str) -> bool:
    """Whether one word holds letters of two scripts."""
    return any(len({_script(one) for one in word if one.isalpha()}) > 1 for word in text.split())


def _glued(word: str) -> bool:
    """Whether a word looks like pieces of several: capitals or signs within."""
    inner = word.strip(".,;:!?()[]\"'*`-")
    letters = [one for one in inner if one.isalpha()]
    if len(letters) < 4:
        return False
    capitals = sum(one.isupper() for one in inner[1:])
    signs = sum(not one.isalnum() and one not in "-'’._/" for one in inner)
    return (capitals > 0 and not inner.isupper()) or signs > 1 or len(inner) > 24
