"""From a command to a running server that is proved to be what was planned.

    order = StartOrder.local(plan)              # what exactly is started, and where
    run_preflight(order, plan=plan)             # named checks of this machine, before anything starts
    run = launch(order, plan=plan)              # a directory that outlives this process
    for events in follow(run):                  # batches of frozen events until ready, failed or timed out
        ...
    run.stop()                                  # SIGTERM, wait, SIGKILL, the whole process group

    list_runs()                                 # every run of this machine, newest first
    attach(run_id)                              # the same `Run`, in another process
    report_start(run, last_event)               # figures against the plan, or the cause and how to fix it
    diagnose(log_bytes, plan=plan)              # the cause of a failed start and how to fix it

The server writes to a *file* and everyone tails the file, so a reader that leaves or stalls cannot block it.
`follow` is a plain iterator that sleeps between polls; `follow_async` is the same for an event loop. Events are
in :mod:`planner.serve.log.events`; the log parser, :mod:`planner.serve.log.parser`, is pure and reads no file.
Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.serve.check import CheckResult
    from planner.serve.log.diagnosis import Diagnosis, diagnose
    from planner.serve.log.events import Event, event_record
    from planner.serve.preflight import run_preflight
    from planner.serve.process.endpoint import Endpoint
    from planner.serve.process.follower import Follower, follow, follow_async
    from planner.serve.process.launcher import launch
    from planner.serve.process.progress import StartProgress
    from planner.serve.process.run import Run, RunStatus, StopReport
    from planner.serve.process.runs import attach, list_runs
    from planner.serve.process.start_order import StartOrder
    from planner.serve.rehearsal.rehearse import RehearsalReport, rehearse
    from planner.serve.start_report import StartReport, report_start
    from planner.serve.verification.smoke import Expectations, SmokeReport
    from planner.serve.verification.verifier import verify

_HOME = {
    "CheckResult": "check",
    "Diagnosis": "log.diagnosis",
    "Endpoint": "process.endpoint",
    "Event": "log.events",
    "Expectations": "verification.smoke",
    "Follower": "process.follower",
    "RehearsalReport": "rehearsal.rehearse",
    "Run": "process.run",
    "RunStatus": "process.run",
    "SmokeReport": "verification.smoke",
    "StartOrder": "process.start_order",
    "StartProgress": "process.progress",
    "StartReport": "start_report",
    "StopReport": "process.run",
    "attach": "process.runs",
    "diagnose": "log.diagnosis",
    "event_record": "log.events",
    "follow": "process.follower",
    "follow_async": "process.follower",
    "launch": "process.launcher",
    "list_runs": "process.runs",
    "rehearse": "rehearsal.rehearse",
    "report_start": "start_report",
    "run_preflight": "preflight",
    "verify": "verification.verifier",
}

__all__ = [
    "CheckResult",
    "Diagnosis",
    "Endpoint",
    "Event",
    "Expectations",
    "Follower",
    "RehearsalReport",
    "Run",
    "RunStatus",
    "SmokeReport",
    "StartOrder",
    "StartProgress",
    "StartReport",
    "StopReport",
    "attach",
    "diagnose",
    "event_record",
    "follow",
    "follow_async",
    "launch",
    "list_runs",
    "rehearse",
    "report_start",
    "run_preflight",
    "verify",
]


def __getattr__(name: str) -> object:
    """Import the module of a public name when it is first used."""
    if name in _HOME:
        return getattr(import_module(f"planner.serve.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
