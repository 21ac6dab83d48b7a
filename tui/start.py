"""From the words of the command line to the first screen; it draws nothing."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hw_specs import GpuSet, M35Error, resolve_gpus
from hw_specs.reading import expanded, read_bytes
from hw_specs.units import parse_memory
from planner import InvalidRequest, PlanRequest
from planner.calibrate import calibrations
from planner.checkpoint import load_model
from planner.planning.load import load_of
from planner.rendering.document import read_document
from tui.app import M35App
from tui.backend import Backend
from tui.remembering import forget, remembered
from tui.watching import answers_of
from tui.wizard import FIRST, Answers, Step

_EXAMPLES = {
    "--gpus": "8xH200",
    "--gpu-memory": "130GiB",
    "--snapshot": "host.json",
    "--plan": "plan.json",
    "--review": "compose.yaml",
    "--model": "mistralai/Devstral-2-123B-Instruct-2512",
    "--vllm": "/opt/vllm/bin/vllm",
}
"""Option → a value to show where it has none."""
_SWITCHES = ("--readonly", "--fresh")
_BEGINNINGS = ("--snapshot", "--plan", "--review", "run")
"""Only one of them can say where to begin."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """Where the wizard begins, and how."""

    answers: Answers
    step: Step
    program: str | None = None
    """The vllm program; None is the one on PATH."""
    readonly: bool = False
    review: Path | None = None
    """A text to judge first."""
    hosts: tuple[tuple[str, GpuSet], ...] = ()
    """Hosts of a cluster to choose from, where a file is about several."""
    fresh: bool = False
    """Whether the last session is forgotten."""


def start(words: Sequence[str]) -> int:
    """Run the application and return its exit code.

    Raises:
        M35Error: for a wrong option, GPUs that cannot be resolved, or a file or model that cannot be read.
    """
    begin = beginning(words)
    if begin.fresh:
        forget()
    kept = remembered(touch=not begin.readonly)
    backend = Backend(program=begin.program or kept.program, readonly=begin.readonly)
    app = M35App(
        backend=backend, answers=begin.answers, step=begin.step, kept=kept, review=begin.review, hosts=begin.hosts
    )
    return _run(app)


def _run(app: M35App) -> int:
    """Run the application and return its exit code."""
    # What is loaded stays until the end: to look through it again and again would let keys wait for 50 to 90 ms.
    gc.freeze()
    return app.run() or 0


def open_plan(request: PlanRequest, load: Mapping[str, Any]) -> int:
    """Run the application on the plan of `request` under `load` and return its exit code."""
    answers = Answers(request=request, model=request.model, load=tuple(load.items()))
    kept = remembered()
    return _run(M35App(backend=Backend(program=kept.program), answers=answers, step=Step.PLAN, kept=kept))


def beginning(words: Sequence[str]) -> Beginning:
    """Return where the options let the wizard begin.

    Raises:
        M35Error: as :func:`start`.
    """
    values = _read(words)
    said = [name for name in _BEGINNINGS if name in values]
    if "--gpus" in values and "--review" not in values:
        said.append("--gpus")
    if len(said) > 1:
        raise InvalidRequest("option", f"{' and '.join(said)} both say where to begin", hint="give one of them")
    hosts = _hosts(Path(values["--snapshot"])) if "--snapshot" in values else ()
    if hosts:
        model = load_model(values["--model"]) if "--model" in values else None
        answers, step = Answers(model=model), FIRST
    else:
        answers, step = _first(values)
    return Beginning(
        hosts=hosts,
        answers=answers,
        step=step,
        program=values.get("--vllm"),
        readonly="--readonly" in values,
        review=Path(values["--review"]) if "--review" in values else None,
        fresh="--fresh" in values,
    )


def _read(words: Sequence[str]) -> dict[str, str]:
    """Return option → value; a word that is not an option is the run."""
    values: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name, mark, value = word.partition("=")
        if not word.startswith("-"):
            if "run" in values:
                raise InvalidRequest("option", f"`{values['run']}` and `{word}`: only one run can be watched")
            values["run"] = word
        elif word in _SWITCHES:
            values[word] = ""
        elif name in _EXAMPLES:
            text = value if mark else next(rest, None)
            if not text:
                raise InvalidRequest(name[2:], f"`{name}` needs a value", hint=f"such as `{name} {_EXAMPLES[name]}`")
            values[name] = text
        else:
            raise InvalidRequest("option", f"there is no option `{word}`", hint="`m35-tui --help` shows them all")
    return values


def _first(values: dict[str, str]) -> tuple[Answers, Step]:
    """What the options answer already, and the step to begin with."""
    if "run" in values:
        from planner.serve import attach

        return answers_of(attach(values["run"])), Step.LAUNCH
    if "--plan" in values:
        return _of_document(Path(values["--plan"])), Step.PLAN
    model = load_model(values["--model"]) if "--model" in values else None
    gpus_from = f"@{values['--snapshot']}" if "--snapshot" in values else values.get("--gpus", "")
    if not gpus_from:
        if "--gpu-memory" in values:
            raise InvalidRequest("gpu-memory", "`--gpu-memory` goes with `--gpus`", hint="such as `--gpus 4xMI300A`")
        return Answers(model=model), FIRST
    memory_bytes = parse_memory(values["--gpu-memory"]) if "--gpu-memory" in values else None
    gpus = resolve_gpus(gpus_from, memory_override_bytes=memory_bytes)
    request = PlanRequest(gpus=gpus, model=model, calibrations=calibrations())
    kept = gpus_from if gpus_from.startswith("@") else ""
    return Answers(request=request, model=model, gpus_from=kept), Step.WORKLOAD


def _hosts(path: Path) -> tuple[tuple[str, GpuSet], ...]:
    """The hosts of a file that is about several, with what each can be planned for; none where it is about one.

    Raises:
        M35Error: when it cannot be read, or none of its hosts can be planned for.
    """
    from hw_specs.inventory import load_hosts

    found = load_hosts(expanded(path))
    if len(found) < 2:
        return ()
    sets = [(host.name, host.report.gpu_set if host.report is not None else host.gpus) for host in found]
    # The GPUs of another machine's probe are a size and a count here, and no probe of ours.
    usable = tuple((name, dataclasses.replace(gpus, origin="catalogue")) for name, gpus in sets if gpus is not None)
    if not usable:
        raise M35Error(f"none of the {len(found)} hosts in `{path}` has a GPU to plan for")
    return usable


def _of_document(path: Path) -> Answers:
    """What a plan's JSON asked.

    Raises:
        M35Error: when it cannot be read, or is not a plan.
    """
    document = read_document(read_bytes(expanded(path)))
    request, load = document.request, tuple[tuple[str, Any], ...]()
    if document.speed is not None:
        request = dataclasses.replace(request, concurrency=document.speed.forecast.workload.concurrency)
        load = load_of(document.speed)
    # The GPUs of another machine's probe are a size and a count here, and no probe of ours.
    request = dataclasses.replace(request, gpus=dataclasses.replace(request.gpus, origin="catalogue"))
    return Answers(request=request, model=request.model, load=load)
