"""The way back to the command line: what a step says, as the words that say it there. It runs nothing."""

from __future__ import annotations

import dataclasses
import shlex

from planner import Plan
from planner.rendering.own_line import own_line
from tui.wizard import Answers, Step, effective_load, effective_request

VERBS = {Step.LAUNCH: "launch"}


def step_line(
    answers: Answers,
    step: Step,
    *,
    shown: Plan | None = None,
    target: str = "",
    docker: bool = False,
    program: str | None = None,
) -> str:
    """Return the command line of `step`; empty where there is nothing to say yet.

    Args:
        answers: everything decided so far.
        step: where one is.
        shown: the plan that is shown; a question with a load must name its layout.
        target: what the Command step shows, as ``--emit`` names it.
        docker: whether the image is started instead of this machine's vllm.
        program: the vllm program, where it is not the one on PATH.
    """
    if step in (Step.LAUNCH, Step.VERIFY) and answers.run_id is not None:
        follow = ["attach", answers.run_id] if step is Step.LAUNCH else ["verify", "--run", answers.run_id]
        return shlex.join(["m35-plan", *follow])
    if answers.request is None:
        return ""
    request, verb = effective_request(answers), VERBS.get(step, "plan")
    load, in_flight = effective_load(answers) if verb == "plan" and answers.load else ({}, None)
    if load:
        # The command line chooses by speed where the layout is open; here it is the one that is shown.
        request = dataclasses.replace(request, concurrency=in_flight)
        if shown is not None:
            batched = shown.settings.max_num_batched_tokens
            request = dataclasses.replace(request.with_layout(shown.settings.layout), max_num_batched_tokens=batched)
    words = list(own_line(request, verb=verb, gpus=answers.gpus_from, load=load))
    if step is Step.COMMAND and target:
        words += ["--emit", target]
    if step is Step.LAUNCH:
        words += ["--target", "docker"] if docker else ["--vllm", program] if program else []
        words += ["--port", str(answers.port)] if answers.port != DEFAULT_PORT else []
        if answers.edited is not None and answers.edited.unplanned:
            words += ["--", *answers.edited.unplanned]
    # GPUs of this machine that were picked are the ones that a probe sees with these variables.
    seen = request.gpus.env if request.gpus.origin == "detected" else ()
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in seen), shlex.join(words)])


DEFAULT_PORT = Answers().port
