"""From the words of the command line to the first screen; it draws nothing."""

from __future__ import annotations

from collections.abc import Sequence

from hw_specs import resolve_gpus
from planner import InvalidRequest, PlanRequest
from planner.calibrate import calibrations
from planner.checkpoint import load_model
from tui.app import M35App
from tui.wizard import FIRST, Answers, Step

_EXAMPLES = {"--gpus": "8xH200", "--model": "mistralai/Devstral-2-123B-Instruct-2512"}


def start(words: Sequence[str]) -> int:
    """Run the application and return its exit code.

    Raises:
        M35Error: for a wrong option, GPUs that cannot be resolved, or a model that cannot be read.
    """
    answers, step = first_answers(words)
    return M35App(answers=answers, step=step).run() or 0


def first_answers(words: Sequence[str]) -> tuple[Answers, Step]:
    """Return what the options answer already, and the step to begin with.

    Raises:
        M35Error: as :func:`start`.
    """
    values: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name, mark, value = word.partition("=")
        if name not in _EXAMPLES:
            raise InvalidRequest("option", f"there is no option `{word}`", hint="`m35-tui --help` shows them all")
        text = value if mark else next(rest, None)
        if not text:
            raise InvalidRequest(name[2:], f"`{name}` needs a value", hint=f"such as `{name} {_EXAMPLES[name]}`")
        values[name] = text
    model = load_model(values["--model"]) if "--model" in values else None
    if "--gpus" not in values:
        return Answers(model=model), FIRST
    gpus = resolve_gpus(values["--gpus"])
    request = PlanRequest(gpus=gpus, model=model, calibrations=calibrations())
    return Answers(request=request, model=model), Step.WORKLOAD
