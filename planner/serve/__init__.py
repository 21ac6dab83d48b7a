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
`follow` is a plain iterator that sleeps between polls; `follow_async` is the same for an event loop. The log
parser, :mod:`planner.serve.log.parser`, is pure and reads no file. Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw_specs.lazy import lazy

if TYPE_CHECKING:
    from planner.serve.check import CheckResult as CheckResult
    from planner.serve.log.diagnosis import diagnose as diagnose
    from planner.serve.log.events import Event as Event
    from planner.serve.log.events import FailureSeen as FailureSeen
    from planner.serve.log.events import Figure as Figure
    from planner.serve.log.events import Healthy as Healthy
    from planner.serve.log.events import PhaseStarted as PhaseStarted
    from planner.serve.log.events import Progress as Progress
    from planner.serve.log.events import QuietSeen as QuietSeen
    from planner.serve.log.events import ServerEnded as ServerEnded
    from planner.serve.log.events import ServerReady as ServerReady
    from planner.serve.log.events import StallSeen as StallSeen
    from planner.serve.log.events import TimedOut as TimedOut
    from planner.serve.log.events import TracebackSeen as TracebackSeen
    from planner.serve.log.verdict import Diagnosis as Diagnosis
    from planner.serve.log.verdict import Failure as Failure
    from planner.serve.preflight import run_preflight as run_preflight
    from planner.serve.process.endpoint import Endpoint as Endpoint
    from planner.serve.process.follower import Follower as Follower
    from planner.serve.process.follower import follow as follow
    from planner.serve.process.follower import follow_async as follow_async
    from planner.serve.process.launcher import launch as launch
    from planner.serve.process.progress import StartProgress as StartProgress
    from planner.serve.process.run import Run as Run
    from planner.serve.process.run import RunStatus as RunStatus
    from planner.serve.process.run import StopReport as StopReport
    from planner.serve.process.runs import attach as attach
    from planner.serve.process.runs import list_runs as list_runs
    from planner.serve.process.start_order import StartOrder as StartOrder
    from planner.serve.rehearsal.rehearse import RehearsalReport as RehearsalReport
    from planner.serve.rehearsal.rehearse import rehearse as rehearse
    from planner.serve.start_report import StartReport as StartReport
    from planner.serve.start_report import report_start as report_start
    from planner.serve.verification.smoke import Expectations as Expectations
    from planner.serve.verification.smoke import SmokeReport as SmokeReport
    from planner.serve.verification.verifier import verify as verify

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "check": "CheckResult",
        "log.diagnosis": "diagnose",
        "log.events": "Event FailureSeen Figure Healthy PhaseStarted Progress QuietSeen ServerEnded ServerReady "
        "StallSeen TimedOut TracebackSeen",
        "log.verdict": "Diagnosis Failure",
        "preflight": "run_preflight",
        "process.endpoint": "Endpoint",
        "process.follower": "Follower follow follow_async",
        "process.launcher": "launch",
        "process.progress": "StartProgress",
        "process.run": "Run RunStatus StopReport",
        "process.runs": "attach list_runs",
        "process.start_order": "StartOrder",
        "rehearsal.rehearse": "RehearsalReport rehearse",
        "start_report": "StartReport report_start",
        "verification.smoke": "Expectations SmokeReport",
        "verification.verifier": "verify",
    },
)
