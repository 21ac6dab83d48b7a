"""From a command to a running server that is proved to be what was planned.

    run = launch(command, plan=plan)            # a directory that outlives this process
    for events in follow(run):                  # batches of frozen events until ready, failed or timed out
        ...
    run.stop()                                  # SIGTERM, wait, SIGKILL, the whole process group

    list_runs()                                 # every run of this machine, newest first
    attach(run_id)                              # the same `Run`, in another process
    diagnose(log_bytes)                         # the cause of a failed start and what cures it
    measured(events)                            # what the engine measured, to hold against the plan

The server writes to a *file* and everyone tails the file, so a reader that leaves or stalls cannot block it.
`follow` is a plain iterator that sleeps between polls; `follow_async` is the same for an event loop. Events are
in :mod:`planner.serve.events`; the log parser, :mod:`planner.serve.startup_log`, is pure and reads no file.
Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.serve.events import PHASES, Event, event_record
    from planner.serve.startup_log import StartupLog, parse_log

_HOME = {
    "PHASES": "events",
    "Event": "events",
    "StartupLog": "startup_log",
    "event_record": "events",
    "parse_log": "startup_log",
}

__all__ = ["PHASES", "Event", "StartupLog", "event_record", "parse_log"]


def __getattr__(name: str) -> object:
    """Import the module of a public name when it is first used."""
    if name in _HOME:
        return getattr(import_module(f"planner.serve.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
