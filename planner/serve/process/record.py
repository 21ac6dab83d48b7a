"""What a launch writes down of a run, once: ``run.json``. It is data; only a run that lives is started again from it.

Every entry is checked when it is read: whoever copies a run directory from elsewhere must not decide which container
is removed or which address is asked.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from planner.errors import InvalidRequest, PlannerError
from planner.rendering.address import check_host
from planner.serve.process.endpoint import Endpoint
from planner.serve.process.start_order import Target, container_of
from planner.state import read_json, require_own_folder, write_json

SCHEMA_VERSION = "1.0"
FILE = "run.json"

_LATEST_S = 1e11
"""No launch was later: a time beyond the year 5000 is a damaged record."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One launch."""

    id: str
    """Name of the run, sortable by time."""
    created_at_s: float
    """Unix time of the launch."""
    target: Target
    endpoint: Endpoint
    argv: tuple[str, ...]
    """What was started; to read. :mod:`planner.serve.process.again` runs it once more while its supervisor lives."""
    history_key: str = ""
    """Runs with the same key take about as long to start."""
    launcher_pid: int
    launcher_start_ticks: int | None = None
    """When the launcher itself began, in clock ticks after boot: its number may be another process by now."""

    def write(self, directory: Path) -> None:
        """Keep it in `directory`.

        Raises:
            OSError: when it cannot be written.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del values["endpoint"]
        head = {"kind": "run", "schema_version": SCHEMA_VERSION}
        write_json(directory / FILE, {**head, **values, "host": self.endpoint.host, "port": self.endpoint.port})

    @property
    def container(self) -> str | None:
        """Name of the container it runs in; None for a program of this machine."""
        return container_of(self.id) if self.target != "local" else None

    @classmethod
    def read(cls, directory: Path) -> RunRecord:
        """Return the record that `directory` holds.

        Raises:
            UnsafePath: when another user owns the directory or the record, or may write one of them.
            PlannerError: when there is none, or it is damaged.
        """
        try:
            require_own_folder(directory)
        except OSError:
            raise _no_run(directory) from None
        found = read_json(directory / FILE)
        if found is None:
            if not (directory / FILE).exists():
                raise _no_run(directory)
            raise _damaged(directory, "is not a JSON object")
        wrong = next((name for name, right in _CHECKS.items() if not right(found.get(name))), None)
        if wrong is not None:
            raise _damaged(directory, f"has no usable `{wrong}`")
        return cls(
            endpoint=Endpoint(host=found["host"], port=found["port"]),
            argv=tuple(found["argv"]),
            **{name: found[name] for name in _PLAIN if found.get(name) is not None},
        )


def _no_run(directory: Path) -> PlannerError:
    return PlannerError(f"`{directory}` is not a run directory", hint="`m35-plan runs` lists the runs of this machine")


def _damaged(directory: Path, what: str) -> PlannerError:
    return PlannerError(
        f"the run directory `{directory}` is damaged: its run.json {what}",
        hint="its server.log is still readable: `m35-plan diagnose` takes the file",
    )


_PLAIN = ("id", "created_at_s", "target", "history_key", "launcher_pid", "launcher_start_ticks")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_host(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(check_host(value))
    except InvalidRequest:
        return False


def _is_time(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value < _LATEST_S


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "id": lambda value: isinstance(value, str) and _ID.fullmatch(value) is not None,
    "created_at_s": _is_time,
    "target": lambda value: value in get_args(Target),
    "host": _is_host,
    "port": lambda value: _is_whole(value) and value < 1 << 16,
    "argv": lambda value: isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value),
    "history_key": lambda value: value is None or isinstance(value, str),
    "launcher_pid": _is_whole,
    "launcher_start_ticks": lambda value: value is None or _is_whole(value),
}
