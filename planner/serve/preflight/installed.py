"""Which vLLM is installed, read from its package metadata; it never imports and never runs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from planner.errors import LaunchFailed
from planner.serve.preflight.engine import vllm_version
from planner.serve.preflight.subject import Subject
from planner.serve.process.engine_argv import SERVE
from planner.serve.process.start_order import StartOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledEngine:
    """A ``vllm`` executable and what its environment says about it."""

    executable: Path
    version: str | None
    """Such as ``0.33.0`` or ``0.32.0+cpu``; None when its environment cannot be asked."""
    cpu: bool = field(init=False, default=False)
    """Whether it is a CPU build; vLLM itself decides by this substring of its version."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cpu", self.version is not None and "cpu" in self.version)

    @property
    def release(self) -> str | None:
        """The version without its build suffix."""
        return None if self.version is None else self.version.partition("+")[0]


def find_engine(name: str = "vllm") -> InstalledEngine:
    """Return the engine that `name`, a command or a path, starts.

    Raises:
        LaunchFailed: when there is no such executable.
    """
    subject = Subject(order=StartOrder.of_command((name, SERVE)))
    if subject.program is None:
        raise LaunchFailed(
            f"there is no executable `{name}`",
            hint="install vLLM, activate its environment, or name its executable with --vllm",
        )
    return InstalledEngine(executable=subject.program.absolute(), version=vllm_version(subject))
