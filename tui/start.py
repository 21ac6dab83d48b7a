"""From the words of the command line to the first screen; it draws nothing."""

from __future__ import annotations

from collections.abc import Sequence

from hw_specs import resolve_gpus
from planner import InvalidRequest, PlanRequest
from planner.calibrate import calibrations
from tui.app import M35App
from tui.wizard import FIRST, Answers, Step


def start(words: Sequence[str]) -> int:
    """Run the application and return its exit code.

    Raises:
        M35Error: for a wrong option, or GPUs that cannot be resolved.
    """
    answers, step = Answers(), FIRST
    rest = iter(words)
    for word in rest:
        name, mark, value = word.partition("=")
        if name != "--gpus":
            raise InvalidRequest("option", f"there is no option `{word}`", hint="`m35-tui --help` shows them all")
        text = value if mark else next(rest, None)
        if not text:
            raise InvalidRequest("gpus", "`--gpus` needs a value", hint="such as `--gpus 8xH200`")
        request = PlanRequest(gpus=resolve_gpus(text), calibrations=calibrations())
        answers, step = Answers(request=request), Step.WORKLOAD
    return M35App(answers=answers, step=step).run() or 0
