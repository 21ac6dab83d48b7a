"""The steps as plain values: no terminal is needed."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import parse_gpus
from planner import Lever, plan, serve_command
from planner.rendering.argv import read_command
from planner.settings import Layout
from tui import wizard
from tui.wizard import Answers, Move, Step, advance, effective_request

from .world import request

EAGER = Lever(
    name="enforce-eager", change={"enforce_eager": True}, gain_bytes=1, gain_tokens=1, fits=True, cost="speed"
)
FEWER = Lever(name="max-num-seqs", change={"max_num_seqs": 128}, gain_bytes=1, gain_tokens=1, fits=True, cost="speed")
MORE = Lever(
    name="gpus",
    change={
        "gpus": parse_gpus("2xMI300X"),
        "tensor_parallel_size": None,
        "pipeline_parallel_size": None,
        "replicas": None,
    },
    gain_bytes=0,
    gain_tokens=0,
    fits=True,
    cost="hardware",
)
TWO = Layout(tensor_parallel_size=2, pipeline_parallel_size=1, replicas=4)

ANSWERS = st.builds(
    Answers,
    request=st.none() | st.just(request()),
    run_id=st.none() | st.just("20260101-000000-abcd"),
)
MOVES = st.sampled_from(["next", "back", "quit", *Step])


@given(st.sampled_from(list(Step)), ANSWERS, MOVES)
def test_every_move_ends_at_a_step_that_can_be_entered(step: Step, answers: Answers, to: str) -> None:
    kept, following = advance(step, Move(to=to, answers=answers))  # type: ignore[arg-type]
    assert kept == answers
    assert (following is None) == (to == "quit")
    assert following is None or wizard.reachable(following, answers)


@given(st.sampled_from(list(Step)[:-1]))
def test_back_undoes_next(step: Step) -> None:
    answers = Answers(request=request(), run_id="x")
    _, after = advance(step, Move(to="next", answers=answers))
    assert after is not None
    assert advance(after, Move(to="back", answers=answers))[1] == step


def test_steps_without_their_answers_fall_back() -> None:
    assert advance(Step.GPUS, Move(to=Step.VERIFY, answers=Answers()))[1] is Step.GPUS
    assert advance(Step.PLAN, Move(to=Step.VERIFY, answers=Answers(request=request())))[1] is Step.LAUNCH
    assert advance(Step.GPUS, Move(to=Step.VERIFY, answers=Answers(run_id="x")))[1] is Step.VERIFY


def test_layout_and_levers_make_the_request() -> None:
    answers = wizard.with_lever(wizard.with_layout(Answers(request=request()), TWO), EAGER)
    asked = effective_request(wizard.with_lever(answers, FEWER))
    assert (asked.tensor_parallel_size, asked.replicas) == (2, 4)
    assert asked.enforce_eager
    assert asked.max_num_seqs == 128
    assert effective_request(wizard.with_lever(wizard.with_lever(answers, EAGER), FEWER)).enforce_eager is False


def test_more_gpus_let_the_layout_be_chosen_anew() -> None:
    answers = wizard.with_lever(wizard.with_layout(Answers(request=request("1xMI300X")), TWO), MORE)
    assert str(effective_request(answers).gpus) == "2xMI300X"
    assert plan(effective_request(answers)).settings.tensor_parallel_size == 2


def test_other_gpus_drop_what_was_picked_for_the_old_ones() -> None:
    answers = wizard.with_lever(wizard.with_layout(Answers(request=request()), TWO), EAGER)
    assert wizard.with_request(answers, request()) == answers
    other = wizard.with_request(answers, request("4xH100"))
    assert (other.layout, other.levers) == (None, ())
    longer = wizard.with_request(answers, request(max_model_len=1000))
    assert (longer.layout, longer.levers) == (TWO, (EAGER,))


def test_an_edited_command_wins_until_something_else_is_picked() -> None:
    planned = plan(request())
    text = serve_command(planned).shell + " --enforce-eager"
    answers = dataclasses.replace(Answers(request=request()), edited=read_command(text, plan=planned))
    assert effective_request(answers).enforce_eager
    assert wizard.with_layout(answers, TWO).edited is None
    assert wizard.with_lever(answers, FEWER).edited is None


def test_fewer_sequences_can_be_switched_on() -> None:
    asked = request("1xMI300X", concurrency=64)
    (fewer,) = [lever for lever in plan(asked).levers if lever.name == "concurrency"]
    answers = wizard.with_lever(Answers(request=asked), fewer)
    assert effective_request(answers).concurrency == fewer.change["concurrency"]
    assert plan(effective_request(answers)).verdict == "fits"


def test_levers_that_are_on_stay_in_sight() -> None:
    answers = wizard.with_lever(Answers(request=request()), FEWER)
    shown = wizard.offered_levers(answers, (EAGER, FEWER))
    assert shown == (FEWER, EAGER)


def test_there_is_no_request_without_gpus() -> None:
    with pytest.raises(ValueError, match="no GPUs"):
        effective_request(Answers())


def test_steps_and_doors_load_no_terminal() -> None:
    code = (
        "import sys, tui, tui.wizard, tui.backend; "
        "sys.exit(any(name in sys.modules for name in ('textual', 'rich', 'httpx', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
