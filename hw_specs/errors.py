"""The root of every error this project raises on purpose; it never formats for a terminal.

M35Error
├── UnknownGpu        a GPU name that is not in the catalogue (hint: nearest names)
├── BadGpuString      text that is not ``[NODESx][COUNTx]GPU``
├── BadSnapshot       a file that ``m35-plan detect --json`` did not write
├── UnreadableInput   a file that was named, see :mod:`hw_specs.reading`
├── NoGpuFound        a probe or a snapshot without a GPU to plan for
├── BadFacts          a data file of ours that is damaged, with file and key
├── MissingPackage    a dependency that this Python lacks
└── PlannerError      see :mod:`planner.errors`
"""

from __future__ import annotations

from collections.abc import Callable


class M35Error(Exception):
    """An expected failure, phrased for the person who can act on it.

    ``str(error)`` is one lower-case line without a final period. ``hint`` says what works instead.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[Callable[..., M35Error], tuple[object, ...]]:
        """Say how a copy is made, also by pickle for another process: some kinds need more than a message."""
        return _again, (type(self), self.args, dict(self.__dict__))


def _again(kind: type[M35Error], args: tuple[object, ...], state: dict[str, object]) -> M35Error:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class UnknownGpu(M35Error):
    """A GPU name that no entry of the catalogue answers to."""


class BadGpuString(M35Error):
    """Text that does not follow the grammar ``[NODESx][COUNTx]GPU``, or a count that makes no sense."""


class BadSnapshot(M35Error):
    """A file that is not a snapshot of a machine, or a damaged one."""


class NoGpuFound(M35Error):
    """This machine, or a snapshot of one, has no GPU that can be planned for."""


class BadFacts(M35Error):
    """A data file of ours has a key too many, one too few or a value of another type."""

    def __init__(self, file: str, key: str, message: str, *, folder: str = "planner/facts") -> None:
        whose = f"`{key}` " if key else ""
        super().__init__(f"{folder}/{file}: {whose}{message}", hint="reinstall m35-plan")
        self.file, self.key = file, key


class MissingPackage(M35Error):
    """A package this program depends on is not installed for the Python that runs it."""


def reason_of(error: Exception) -> str:
    """What the system says of a failure, in small letters: the words of its error number, where it has one."""
    return (getattr(error, "strerror", None) or str(error)).lower()


_SHOWN_CHARACTERS = 60


def shown(text: str, *, characters: int = _SHOWN_CHARACTERS) -> str:
    """Return foreign text fit for one line of an error: no line ends, no control characters, not too long.

    >>> shown("8x\\nH200")
    '8x H200'
    """
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line if len(line) <= characters else line[:characters] + "…"
