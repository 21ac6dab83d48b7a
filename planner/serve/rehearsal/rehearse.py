"""A rehearsal: the same vLLM with the same flags on a tiny twin of the model, then the smoke test.

    report = rehearse(plan, engine=find_engine())
    report = rehearse(plan, full_size=True)      # the model's own dimensions, random weights: proves the memory

It downloads nothing, and the server is gone when it returns, however it returns, or when its process is killed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hw_specs.units import format_gib
from planner.errors import InvalidRequest
from planner.memory.weights import rank_weights
from planner.planning.answer import Plan
from planner.rendering.envelope import document, to_value
from planner.serve.check import CheckResult, NamedCheck
from planner.serve.free_port import free_port
from planner.serve.log.comparison import Comparison
from planner.serve.log.events import Event, ServerReady, TimedOut
from planner.serve.log.verdict import Failure
from planner.serve.preflight.installed import InstalledEngine, find_engine
from planner.serve.process.follower import follow
from planner.serve.process.launcher import launch, start_key
from planner.serve.process.run import Run
from planner.serve.process.scratch import scratch_folder, sweep
from planner.serve.process.start_order import StartOrder
from planner.serve.rehearsal.full_size_plan import FULL_SIZE_CHECKS, Change, rehearsal_command, rehearsal_plan
from planner.serve.rehearsal.twin.spec import TwinSpec
from planner.serve.start_report import report_start
from planner.serve.verification.checks.probe import Probe
from planner.serve.verification.optional_packages import require
from planner.serve.verification.smoke import SmokeReport
from planner.serve.verification.verifier import selected_checks, verify
from planner.state import write_json

Stage = Literal["twin", "start", "checks", "stop"]
START_LIMIT_S = 900.0
"""A tiny model is up within a minute or two; a cold file cache and a first compilation take longer."""
CHECK_TIMEOUT_S = 300.0
"""The first request may compile kernels."""


@document("rehearsal", "2.0")
@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalReport:
    """How a rehearsal went."""

    passed: bool = field(init=False, default=False)
    """Whether it came up and no check failed."""
    engine: InstalledEngine
    argv: tuple[str, ...]
    env: dict[str, str]
    """Variables that were set for the engine; no secrets."""
    changes: tuple[Change, ...]
    unproved: tuple[str, ...] = field(init=False, default=())
    """What this rehearsal says nothing about."""
    run_directory: Path
    """Log, events and this report."""
    full_size: bool = False
    """Whether it had the model's own dimensions."""
    twin_bytes: int
    start_s: float | None
    """Seconds to readiness; None when it never came up."""
    duration_s: float
    timed_out: bool = False
    verification: SmokeReport | None
    """None when the server never came up."""
    comparison: Comparison | None = None
    """Predicted against measured memory; None unless at full size on a GPU build that came up."""
    failure: Failure | None
    """Why it never came up; None also where it was stopped."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "passed", self.verification is not None and self.verification.passed)
        object.__setattr__(self, "unproved", tuple(dict.fromkeys(change.unproved for change in self.changes)))


def rehearse(
    plan: Plan,
    *,
    engine: InstalledEngine | None = None,
    full_size: bool = False,
    twin_directory: Path | None = None,
    run_dir: Path | None = None,
    port: int | None = None,
    checks: tuple[NamedCheck[Probe], ...] | None = None,
    start_limit_s: float = START_LIMIT_S,
    on_stage: Callable[[Stage], None] | None = None,
    on_events: Callable[[tuple[Event, ...]], None] | None = None,
    on_result: Callable[[CheckResult], None] | None = None,
) -> RehearsalReport:
    """Start `engine` (the ``vllm`` on PATH by default) on a twin as `plan` says, test it, stop it.

    Blocks for a minute or two; the callbacks come from the calling thread, `on_events` several times a second
    and also without news. `twin_directory` keeps the twin there. A free port is taken unless `port` names one.

    With `full_size` the engine fills tensors of the model's own dimensions at random: what the plan says of memory
    is compared with what the engine measures, and only checks that ask nothing of the answers are made.

    Raises:
        InvalidRequest: for a plan that no twin can stand for, and at full size on a CPU build whose host lacks the
            memory for it.
        LaunchFailed: when no engine is installed.
        PlannerError: when numpy or safetensors is not installed.
    """
    require("numpy", "safetensors")
    began = time.monotonic()
    tell = on_stage or (lambda _stage: None)
    engine = engine or find_engine()
    rehearsal = rehearsal_plan(plan, engine, full_size=full_size)
    if full_size:
        checks = checks or selected_checks(only=FULL_SIZE_CHECKS)
        if engine.cpu:
            _require_host_memory(rehearsal.twin)
    tell("twin")
    sweep()
    with ExitStack() as held:
        scratch = None if twin_directory else held.enter_context(scratch_folder("m35-twin-"))
        from planner.serve.rehearsal.twin import make_twin

        twin = make_twin(twin_directory or _under(scratch), spec=rehearsal.twin, weights=not full_size)
        port = port or free_port()
        draft = str(twin.draft_path) if twin.draft_path else None
        command = rehearsal_command(plan, rehearsal, model=str(twin.path), draft=draft, engine=engine, port=port)
        order = StartOrder.of_command(command.argv, env={**command.env, **_environment(engine)})
        tell("start")
        run = launch(
            order,
            # Of a twin's memory the plan says nothing.
            plan=plan if full_size and not engine.cpu else None,
            run_dir=run_dir,
            history_key=_history_key(engine, plan, full_size=full_size),
            end_with_launcher=True,
            scratch=(scratch,) if scratch else (),
        )
        try:
            ending, start_s = _wait(run, start_limit_s, on_events)
            found = report_start(run, ending)
            smoke = None
            if isinstance(ending, ServerReady):
                tell("checks")
                smoke = verify(
                    run.url, rehearsal.expectations, checks=checks, timeout_s=CHECK_TIMEOUT_S, on_result=on_result
                )
        finally:
            tell("stop")
            run.stop()
        report = RehearsalReport(
            engine=engine,
            argv=order.argv,
            env=dict(order.env),
            changes=rehearsal.changes,
            full_size=full_size,
            run_directory=run.directory,
            twin_bytes=twin.checkpoint_bytes,
            start_s=start_s,
            duration_s=round(time.monotonic() - began, 3),
            verification=smoke,
            comparison=found.comparison if smoke else None,
            failure=None if smoke else found.failure,
            timed_out=isinstance(ending, TimedOut),
        )
    with suppress(OSError):
        # A full disk must not hide how it went.
        write_json(run.directory / "rehearsal.json", to_value(report))
    return report


def _under(scratch: Path | None) -> Path:
    assert scratch is not None
    return scratch / "twin"


def _require_host_memory(twin: TwinSpec) -> None:
    from planner.serve.preflight.machine import available_memory_bytes

    draft = twin.draft_layers > 0
    need = rank_weights(twin.model_spec("twin"), tensor_parallel_size=1, draft=draft)[0].total_bytes
    available = available_memory_bytes()
    if available is not None and available < need:
        raise InvalidRequest(
            "full_size",
            f"a CPU build holds these weights as BF16 in {format_gib(need)} GiB of host memory, and "
            f"{format_gib(available)} GiB are available",
            hint="a GPU build proves the memory of GPUs; leave --full-size out to rehearse everything else here",
        )


def _environment(engine: InstalledEngine) -> dict[str, str]:
    binaries = str(engine.executable.parent)
    return {
        # The twin is on disk: nothing may be asked of a hub, and nothing told to anyone.
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        # Without byte code each of the engine's processes compiles vLLM again: a minute instead of 20 s.
        "PYTHONDONTWRITEBYTECODE": "",
        "PATH": binaries + os.pathsep + os.environ.get("PATH", os.defpath),
    }


def _history_key(engine: InstalledEngine, plan: Plan, *, full_size: bool) -> str:
    if full_size:
        return f"rehearsal at full size {engine.version or 'unknown'} | {start_key(plan, 'local')}"
    draft = "draft" if plan.settings.num_speculative_tokens else "plain"
    return f"rehearsal {engine.version or 'unknown'} {draft}"


def _wait(
    run: Run, limit_s: float, on_events: Callable[[tuple[Event, ...]], None] | None
) -> tuple[Event | None, float | None]:
    """Follow `run` to its end or readiness; the event that decided, and the seconds to readiness."""
    last: Event | None = None
    for events in follow(run, total_limit_s=limit_s, tick=True):
        if on_events:
            on_events(events)
        last = events[-1] if events else last
    return last, round(last.after_s, 3) if isinstance(last, ServerReady) else None
