"""The wizard on a machine of our own: no GPU, an engine that is a script, and patience without sleeping."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from textual._context import visible_screen_stack
from textual.pilot import Pilot

from hw_specs import DetectionReport, parse_gpus
from hw_specs.detect.devices import Problem
from planner import Plan, PlanRequest, plan
from planner.serve import CheckResult, StartOrder
from tui.app import M35App
from tui.backend import Backend
from tui.screens.step import StepScreen
from tui.wizard import Answers, Step

FAKE_ENGINE = Path(__file__).parent / "fakes" / "vllm.py"
WAIT_S = 40.0

NO_GPU = DetectionReport(
    hostname="desk",
    taken_at="2026-01-01T00:00:00+00:00",
    environment={},
    problems=(
        Problem(
            kind="absent",
            vendor="nvidia",
            message="no NVIDIA driver is here (`libnvidia-ml.so.1` cannot be loaded)",
            hint="install it",
        ),
        Problem(kind="absent", vendor="amd", message="no ROCm is here (`libamd_smi.so` cannot be loaded)", hint=""),
    ),
)

CHECKS = (
    CheckResult(name="vllm", status="pass", seen="vllm 0.33.0"),
    CheckResult(
        name="mistral_common",
        status="warn",
        seen="1.13.1, which breaks every chat request of this release",
        hint="pip install 'mistral_common[image]==1.12.0'",
    ),
    CheckResult(name="port", status="pass", seen="8000 is free"),
    CheckResult(name="disk", status="unknown", seen="the cache is on another machine"),
)


def preflight(*results: CheckResult) -> Callable[[StartOrder, Plan, Callable[[str], None]], Iterator[CheckResult]]:
    return lambda _order, _plan, _on_start: iter(results)


def backend(**changes: Any) -> Backend:
    """A backend that looks at nothing of the real machine."""
    doors: dict[str, Any] = {
        "detect": lambda: NO_GPU,
        "detect_every_s": None,
        "preflight": preflight(*CHECKS),
        "running": list,
        "damaged": tuple,
        "activity": tuple,
        "poll_s": 0.02,
    }
    return Backend(**{**doors, **changes})


def request(gpus: str = "8xH200", **settings: Any) -> PlanRequest:
    return PlanRequest(gpus=parse_gpus(gpus), **settings)


def app_at(step: Step, *, gpus: str = "8xH200", doors: Backend | None = None, **answers: Any) -> M35App:
    """The wizard at one step, the GPUs chosen."""
    return M35App(backend=doors or backend(), answers=Answers(request=request(gpus), **answers), step=step)


def engine_program(folder: Path) -> str:
    """An executable called ``vllm`` that is the stand-in."""
    program = folder / "vllm"
    program.write_text(f"#!{sys.executable}\nimport runpy\nrunpy.run_path({str(FAKE_ENGINE)!r}, run_name='__main__')\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program)


def blocks_of(gpus: str = "8xH200") -> str:
    return str(plan(request(gpus)).kv_cache.num_gpu_blocks)


def at(app: M35App, step: Step) -> bool:
    """Whether a step is on the screen; between two of them there is none."""
    return isinstance(app.screen, StepScreen) and app.screen.STEP is step


async def until(pilot: Pilot[Any], true: Callable[[], bool], what: str = "") -> None:
    """Let the application run until something is true."""
    import time

    deadline = time.monotonic() + WAIT_S
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited for {what or true}; the screen says:\n{text_of(pilot.app)}")
        await asyncio.sleep(0.01)


def text_of(app: Any) -> str:
    """What stands on the screen, as plain text."""
    # As Textual does before it renders: a dialogue that is rendered without the screens under it stays without them.
    visible_screen_stack.set(app._background_screens)
    return "\n".join(
        "".join(segment.text for segment in strip).rstrip() for strip in app.screen._compositor.render_strips()
    )


async def typed(pilot: Pilot[Any], text: str) -> None:
    names = {" ": "space", "-": "minus", "=": "equals_sign", ".": "full_stop", ",": "comma", "/": "slash"}
    await pilot.press(*(names.get(one, one) for one in text))


Script = Callable[[Pilot[Any]], Awaitable[None]]


def run_environment(state: Path) -> dict[str, str]:
    return {**os.environ, "XDG_STATE_HOME": str(state)}
