"""The twin's ``tekken.json``: a byte-level vocabulary of our own in Mistral's format, version 15.

It never copies a published vocabulary. 256 single bytes come first, as the format asks; then the words of the
script, so that each is one token; then letter groups, until the vocabulary is full.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import product
from string import ascii_lowercase

from planner.errors import InvalidRequest
from planner.serve.rehearsal.twin.spec import SPECIAL_TOKENS, TwinSpec

PATTERN = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
"""How text is cut before merging: words and signs with one leading space, single digits, runs of white space."""

CONTROL_TOKENS = {
    0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 5: "[AVAILABLE_TOOLS]", 6: "[/AVAILABLE_TOOLS]",
    7: "[TOOL_RESULTS]", 8: "[/TOOL_RESULTS]", 9: "[TOOL_CALLS]", 10: "[IMG]", 11: "<pad>", 12: "[IMG_BREAK]",
    13: "[IMG_END]", 14: "[PREFIX]", 15: "[MIDDLE]", 16: "[SUFFIX]", 17: "[SYSTEM_PROMPT]", 18: "[/SYSTEM_PROMPT]",
    19: "[TOOL_CONTENT]", 24: "[AUDIO]", 25: "[BEGIN_AUDIO]", 32: "[ARGS]", 33: "[CALL_ID]", 34: "[THINK]",
    35: "[/THINK]", 36: "[MODEL_SETTINGS]", 37: "[/MODEL_SETTINGS]",
}  # fmt: skip
"""Ids of control tokens. 0–19 are mistral_common's own list; engines look the later ones up by name, and the
places of 36 and 37 are this file's choice."""


def words(spec: TwinSpec, scripted: tuple[str, ...]) -> list[bytes]:
    """Return the ordinary tokens in rank order; ids are ranks plus 1000.

    Raises:
        InvalidRequest: when the vocabulary has no room for the script, or more room than letter groups fill.
    """
    size = spec.vocab_size - SPECIAL_TOKENS
    tokens = [bytes([byte]) for byte in range(256)] + [word.encode() for word in scripted]
    if len(tokens) > size:
        raise InvalidRequest("vocab_size", f"a vocabulary of {spec.vocab_size} has no room for the script")
    known = set(tokens)
    for filler in _letter_groups():
        if len(tokens) == size:
            return tokens
        if filler not in known:
            tokens.append(filler)
    raise InvalidRequest("vocab_size", f"a vocabulary of {spec.vocab_size} is too large", hint="131072 works")


def _letter_groups() -> Iterator[bytes]:
    for length in (2, 3, 4):
        for letters in product(ascii_lowercase, repeat=length):
            yield "".join(letters).encode()


def tekken(spec: TwinSpec, scripted: tuple[str, ...]) -> dict[str, object]:
    """Return the content of ``tekken.json``."""
    ordinary = words(spec, scripted)
    control = [
        # The list must have no gaps: readers number their own fillers from its length.
        {"rank": rank, "token_str": CONTROL_TOKENS.get(rank, f"<SPECIAL_{rank}>"), "is_control": True}
        for rank in range(max(CONTROL_TOKENS) + 1)
    ]
    document: dict[str, object] = {
        "config": {
            "pattern": PATTERN,
            "num_vocab_tokens": len(ordinary),
            "default_vocab_size": spec.vocab_size,
            "default_num_special_tokens": SPECIAL_TOKENS,
            "version": "v15",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": _text(token)}
            for rank, token in enumerate(ordinary)
        ],
        "special_tokens": control,
        "model_settings_builder": {
            "reasoning_effort": {"type": "enum", "accepts_none": True, "values": ["none", "high"], "default": "none"}
        },
    }
    if spec.vision:
        document["image"] = {
            "image_patch_size": spec.patch_size,
            "max_image_size": spec.image_size,
            "spatial_merge_size": spec.spatial_merge_size,
        }
    return document


def _text(token: bytes) -> str | None:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None
