"""Flags of ``vllm serve`` that no plan decides, and how any flag is spelt: ``serve_flags.toml``."""

from collections.abc import Mapping
from typing import Literal

from planner.facts.record import Record, door
from planner.facts.vllm import Basis


class Whole(Record):
    """Flags that abbreviate nothing, though they look like it."""

    names: tuple[str, ...]


class ServeFlags(Record):
    """The whole file; names stand without their dashes."""

    basis: Basis
    source: str
    switches: tuple[str, ...]
    values: tuple[str, ...]
    """Flags that take one value."""
    layouts: Mapping[str, Mapping[str, Literal["mistral", "hf"]]]
    """Flag → its values → the checkpoint layout they mean."""
    short: Mapping[str, str]
    """Short form → flag."""
    aliases: Mapping[str, str]
    """Another spelling of a flag → the flag."""
    whole: Whole
    unmodelled: Mapping[str, str]
    """Flag, a switch as it is not by default → the memory it takes that no plan counts."""


serve_flags = door("serve_flags.toml", ServeFlags)


def flag_of(word: str) -> tuple[str, str | None]:
    """Return the flag that `word` is, in full and without dashes, and the value behind its ``=``.

    The name is empty for a word that is not a flag; a short flag that stands for no long one keeps its dash. vLLM
    takes underscores for dashes.

    >>> flag_of("--max_num_seqs=4"), flag_of("-tp"), flag_of("--speculative_config.method"), flag_of("4")
    (('max-num-seqs', '4'), ('tensor-parallel-size', None), ('speculative-config.method', None), ('', None))
    """
    key, mark, value = word.partition("=")
    inline = value if mark else None
    if key.startswith("--"):
        head, dot, tail = key[2:].partition(".")
        name = head.replace("_", "-")
        return serve_flags().aliases.get(name, name) + dot + tail, inline
    if key.startswith("-") and len(key) > 1:
        head, dot, tail = key[1:].partition(".")
        long = serve_flags().short.get(head)
        return (long + dot + tail if long else key), inline
    return "", None
