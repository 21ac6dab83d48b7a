"""Which vLLM is installed, read from its package metadata; it never imports and never runs it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from planner.errors import LaunchFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledEngine:
    """A ``vllm`` executable and what its environment says about it."""

    executable: Path
    version: str | None
    """Such as ``0.33.0`` or ``0.32.0+cpu``; None when the metadata cannot be found."""

    @property
    def cpu(self) -> bool:
        """Whether it is a CPU build; vLLM itself decides by this substring of its version."""
        return self.version is not None and "cpu" in self.version

    @property
    def release(self) -> str | None:
        """The version without its build suffix."""
        return None if self.version is None else self.version.partition("+")[0]


def find_engine(name: str = "vllm") -> InstalledEngine:
    """Return the engine that `name`, a command or a path, starts.

    Raises:
        LaunchFailed: when there is no such executable.
    """
    found = shutil.which(name)
    if found is None:
        raise LaunchFailed(
            f"there is no executable `{name}`",
            hint="install vLLM, activate its environment, or name its executable with --vllm",
        )
    executable = Path(found).absolute()
    return InstalledEngine(executable=executable, version=_version(executable))


def _version(executable: Path) -> str | None:
    """The version of the distribution ``vllm`` beside the interpreter that runs `executable`."""
    for prefix in _prefixes(executable):
        sites = [str(site) for site in prefix.glob("lib*/python3*/site-packages")]
        for distribution in distributions(name="vllm", path=sites):
            return distribution.version
    return None


def _prefixes(executable: Path) -> list[Path]:
    """Environments that `executable` may belong to: its interpreter's, its own, that of the file it links to."""
    prefixes = []
    try:
        with executable.open("rb") as script:
            first = script.readline(512)
    except OSError:
        first = b""
    if first.startswith(b"#!"):
        words = first[2:].decode(errors="replace").split()
        if words:
            prefixes.append(Path(words[0]).parent.parent)
    return [*prefixes, executable.parent.parent, executable.resolve().parent.parent]
