"""What is said about a setting once: option, engine flag, wizard line, log figure follow from it. It holds no value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from hw_specs.frozen import dataclass
from hw_specs.spec import GpuSet

Kind = Literal["gpus", "integer", "count", "length", "fraction", "text", "switch", "either", "integers", "words"]
"""How a value is written: a ``count`` may end in k or M as vLLM reads it, a ``length`` may also be ``auto``; ``either``
is a switch that may be left open, and the last two are several of a kind."""
SettingValue = int | float | str | bool | GpuSet | tuple[int, ...] | tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One field of a request, as people and programs meet it."""

    help: str
    """The line that command line, wizard and documentation share."""
    kind: Kind
    default: SettingValue = None
    option_help: str = ""
    """Help of our option where it is written unlike the field."""
    option: str = ""
    """Our option where it is not the field's name with dashes."""
    short: str = ""
    metavar: str = "N"
    flags: tuple[str, ...] = ()
    """Flags of ``vllm serve`` that say it, without dashes; the field's name with dashes where empty."""
    label: str = ""
    """Name in the wizard's form, where that asks for it."""
    placeholder: str = "choose for me"
    """What the form shows in an empty line."""
    least: int | None = None
    """Smallest value."""
    choices: tuple[str, ...] = ()
    logged: bool = False
    """Whether the engine's log says it."""


def option_of(name: str, setting: Setting) -> str:
    """Return the option of ours that sets the field `name`.

    >>> option_of("max_num_seqs", Setting(help="", kind="count"))
    '--max-num-seqs'
    """
    return setting.option or "--" + name.replace("_", "-")


def flags_of(name: str, setting: Setting) -> tuple[str, ...]:
    """Return the flags of ``vllm serve`` that say the field `name`, without dashes."""
    return setting.flags or (name.replace("_", "-"),)


def as_typed(change: Mapping[str, Any], settings: Mapping[str, Setting]) -> str:
    """Return `change` as options of ours; what it leaves open again is not said."""
    words: list[str] = []
    for name, value in change.items():
        option = settings[name].short or option_of(name, settings[name])
        words += words_of(option, value, settings[name])
    return " ".join(words)


def words_of(option: str, value: Any, setting: Setting) -> tuple[str, ...]:
    """Return `option` with `value` as words of our command line; none for what is left open.

    >>> words_of("--cudagraph-capture-sizes", (1, 2, 4), Setting(help="", kind="integers"))
    ('--cudagraph-capture-sizes', '1,2,4')
    >>> words_of("--async-scheduling", False, Setting(help="", kind="either"))
    ('--no-async-scheduling',)
    """
    if value is None or (value is False and setting.kind == "switch"):
        return ()
    if isinstance(value, bool):
        return (option if value else f"--no-{option.removeprefix('--')}",)
    return option, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
