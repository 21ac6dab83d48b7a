"""What the wizard keeps between two sessions: answers, step, theme, engine and window, in the user's own state folder.

Files are replaced whole and are the owner's alone. What cannot be read is told and kept aside; it draws nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw_specs import M35Error
from hw_specs.errors import reason_of
from hw_specs.parsing import BadJson, parse_json
from planner import Plan
from planner.calibrate import calibrations
from planner.planning.load import LOAD
from planner.rendering.argv import read_command
from planner.rendering.document import plan_document, read_document, to_json_value
from planner.rendering.emitters.shell import command_lines
from planner.state import make_private, read_own, state_dir, write_json
from tui.wizard import Answers, Step, effective_load, effective_request

FILE = "wizard.json"
WINDOWS_S = (60, 600, 3600)
"""How much of the past a dashboard may show."""
DEFAULT_WINDOW_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """One session, as the next one finds it."""

    theme: str = ""
    """Name of a palette; empty is what the terminal suggests."""
    program: str | None = None
    """The vllm program; None is the one on PATH."""
    window_s: int = DEFAULT_WINDOW_S
    """How much of the past the dashboard shows."""
    answers: Answers | None = None
    step: Step = Step.GPUS
    faults: tuple[str, ...] = ()
    """What of the file could not be used, one sentence each."""


def wizard_file() -> Path:
    """Where it is kept.

    Raises:
        PlannerError: where this user has no home.
    """
    return state_dir() / FILE


def remember(kept: Remembered, plan: Plan | None) -> None:
    """Keep a session; `plan` is the answer to its question, where there is one.

    Raises:
        PlannerError: where the folder cannot be made, or another user may write it.
        OSError: where it cannot be written.
    """
    make_private(state_dir())
    answers = kept.answers
    document: dict[str, Any] = {"theme": kept.theme, "program": kept.program, "window_s": kept.window_s}
    if answers is not None and answers.request is not None and plan is not None:
        edited, (load, in_flight) = answers.edited, effective_load(answers)
        document |= {
            "step": kept.step.value,
            "plan": to_json_value(plan_document(plan)),
            "vllm_version": answers.request.vllm_version,
            "gpus_from": answers.gpus_from,
            "load": load,
            "concurrency": in_flight,
            "port": answers.port,
            "edited": command_lines(edited.argv, dict(edited.env), width=1000) if edited else "",
        }
    write_json(wizard_file(), document)


def remembered(*, touch: bool = True) -> Remembered:
    """Return the last session, or as much of it as can be read.

    A file that is damaged goes to another name, because the next session replaces it; unless nothing may be touched.
    """
    try:
        path = wizard_file()
        document = parse_json(read_own(path), constants=True)
    except FileNotFoundError:
        return Remembered()
    except BadJson as error:
        return _kept_aside(Remembered(), path, touch, f"it {error}")
    except OSError as error:
        return _kept_aside(Remembered(), path, touch, reason_of(error))
    except M35Error as error:
        return Remembered(faults=(f"the last session: {error}",))
    if not isinstance(document, dict):
        return _kept_aside(Remembered(), path, touch, "it is not a JSON object")
    theme, program, window_s = document.get("theme"), document.get("program"), document.get("window_s")
    kept = Remembered(
        theme=theme if isinstance(theme, str) else "",
        program=program if isinstance(program, str) and program else None,
        window_s=window_s if window_s in WINDOWS_S else DEFAULT_WINDOW_S,
    )
    if "plan" not in document:
        return kept
    try:
        return dataclasses.replace(kept, answers=_answers(document), step=_step(document))
    except KeyError as error:
        return _kept_aside(kept, path, touch, f"it has no {error.args[0]}")
    except (M35Error, TypeError, ValueError, AttributeError) as error:
        return _kept_aside(kept, path, touch, f"its answers cannot be used: {error}")


def _kept_aside(kept: Remembered, path: Path, touch: bool, what: str) -> Remembered:
    """Return the session with what is wrong with its file, which goes to another name."""
    told, aside = f"the last session, in {path}: {what}", path.with_name(f"{path.name}.damaged")
    if touch:
        with contextlib.suppress(OSError):
            path.replace(aside)
            told += f"; the file is now {aside.name}"
    return dataclasses.replace(kept, faults=(told,))


def forget() -> None:
    """Remove what was kept."""
    wizard_file().unlink(missing_ok=True)


def _answers(document: dict[str, Any]) -> Answers:
    request = read_document(json.dumps(document["plan"])).request
    # How full the GPUs were is another day's; this machine is looked at again.
    gpus = dataclasses.replace(request.gpus, free_memory_bytes=None, holders=(), unheld=None)
    # A plan names its release; where none was asked for, the newest is meant, today's as well as tomorrow's.
    version = document.get("vllm_version")
    request = dataclasses.replace(
        request, gpus=gpus, calibrations=calibrations(), vllm_version=None if version is None else str(version)
    )
    if document["concurrency"] is not None:
        request = dataclasses.replace(request, concurrency=document["concurrency"])
    load = tuple((name, document["load"][name]) for name in LOAD if document["load"].get(name) is not None)
    answers = Answers(
        request=request,
        model=request.model,
        load=load,
        gpus_from=str(document["gpus_from"]),
        port=int(document["port"]),
    )
    if document["edited"]:
        from planner import plan

        edited = read_command(document["edited"], plan=plan(effective_request(answers)))
        answers = dataclasses.replace(answers, edited=edited)
    return answers


def _step(document: dict[str, Any]) -> Step:
    """Where one was; what started or ran is found again by itself."""
    step = Step(document["step"])
    return step if step in (Step.GPUS, Step.WORKLOAD, Step.PLAN, Step.COMMAND) else Step.COMMAND
