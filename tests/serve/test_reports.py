"""What a report quotes is named as if it had been raised on its own, and the report's own words name nothing."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable

import pytest

from planner.facts.log_lines import Report, log_lines
from planner.serve.log.causes import causes
from planner.serve.log.diagnosis import diagnose
from planner.serve.log.reports import is_report, raised_there

ENGINE = "(EngineCore pid=210) INFO 05-13 10:40:43 [core.py:97] Initializing a V1 LLM engine (v0.27.0)\n"
RAISED = re.compile(r"(?P<kind>[A-Z]\w*(?:Error|Exception)): (?P<said>[^\n]+)")
EXAMPLES = [
    (line.example, raised["kind"], raised["said"])
    for cause in causes().values()
    for line in cause.lines
    if (raised := RAISED.fullmatch(line.example)) and len(raised_there(line.example)) == 1
]
FORMS: dict[str, Callable[[str, str], str]] = {
    "behind words": lambda kind, said: f"RuntimeError: Exception from the 'Worker_TP0' process: {kind}: {said}",
    "another class": lambda kind, said: (
        f"RuntimeError: Worker failed with error '{kind}: {said}', please check the stack trace above"
    ),
    "repr": lambda kind, said: f"MQEngineDeadError: Find the original error: {kind}({said!r}).",
    "a future": lambda kind, said: f"future: <Task finished name='Task-2' exception={kind}({said!r})>",
    "a message of Kubernetes": lambda kind, said: f"      Message:      {kind}: {said}",
    "a field": lambda kind, said: f'level=error msg="it ended" err={json.dumps(f"{kind}: {said}")}',
    "Ray": lambda kind, said: (
        f"Traceback (most recent call last):\nray.exceptions.RayTaskError({kind}): ray::Worker.execute() (pid=1)\n"
        f'  File "/usr/lib/python3/site-packages/vllm/x.py", line 3, in f\n{kind}: {said}'
    ),
    "a process's": lambda kind, said: (
        "Traceback (most recent call last):\ntorch.multiprocessing.spawn.ProcessRaisedException:\n\n"
        "-- Process 0 terminated with the following error:\nTraceback (most recent call last):\n"
        f'  File "/usr/lib/python3/site-packages/vllm/x.py", line 3, in f\n{kind}: {said}'
    ),
}


def code(text: str) -> str:
    return diagnose(f"{ENGINE}{text}\n".encode()).code


@pytest.mark.parametrize("form", FORMS)
def test_what_is_quoted_is_named_as_if_it_stood_alone(form: str) -> None:
    tried = random.Random(form).sample(EXAMPLES, 60)
    other = [(line, found) for line, kind, said in tried if (found := code(FORMS[form](kind, said))) != code(line)]
    assert not other


@pytest.mark.parametrize("kind", ["ValueError", "RuntimeError"])
def test_the_class_may_have_been_dropped(kind: str) -> None:
    mine = [(line, said) for line, of, said in EXAMPLES if of == kind]
    lost = []
    for line, said in random.Random(kind).sample(mine, 60):
        found = code(f"RuntimeError: Worker failed with error '{said}', please check the stack trace above")
        lost += [(line, found)] if found != code(line) else []
    assert not lost


def test_pydantic_tells_what_was_raised() -> None:
    mine = [(line, said) for line, kind, said in EXAMPLES if kind == "ValueError"]
    for line, said in random.Random(5).sample(mine, 60):
        refused = (
            f"pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig\n  Value error, {said}"
        )
        assert code(f"{refused} [type=value_error, input_value=1]") in (code(line), "refused-settings"), line


def test_words_that_nobody_has_seen_name_nothing_in_any_report() -> None:
    for form in FORMS.values():
        assert code(form("OddError", "nobody has seen this")) in ("unknown", "died", "none")
    assert (
        code("RuntimeError: Worker failed with error 'nobody has seen this', please check the stack trace above")
        == "unknown"
    )


@pytest.mark.parametrize("report", log_lines().report, ids=lambda one: one.texts[0])
def test_every_form_is_known_by_its_example(report: Report) -> None:
    assert is_report(report.example) or raised_there(report.example) != (report.example,)


def test_what_is_raised_in_a_frames_source_is_not_said() -> None:
    assert raised_there('    raise ValueError("CUDA is missing")') == ('    raise ValueError("CUDA is missing")',)
