"""What ``--help`` shows: groups that cover a plan, nothing wider than the terminal, no flag cut in two."""

from __future__ import annotations

import re

import click
import pytest

from planner.cli import COMMANDS, app
from planner.cli.charset import UNBROKEN
from planner.cli.help_page import EXAMPLES, GROUPS
from planner.planning.request import SETTINGS, option_for

WIDTH = 80
ROOT = click.Context(app, info_name="m35-plan", terminal_width=WIDTH, max_content_width=WIDTH)


def page(name: str) -> str:
    command = app.get_command(ROOT, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=ROOT, terminal_width=WIDTH, max_content_width=WIDTH)
    return command.get_help(context)


def test_every_setting_of_a_plan_stands_in_one_group() -> None:
    names = [name for group in GROUPS.values() for name in group]
    assert len(names) == len(set(names))
    assert set(SETTINGS) <= set(names)


def test_the_option_that_a_hint_names_is_one_of_the_command_line() -> None:
    """Hints and errors make the option from the field: `num_speculative_tokens`, `limit_mm_per_prompt_image`."""
    plan = app.get_command(ROOT, "plan")
    assert plan is not None
    taken = {word: param.name for param in plan.params for word in param.opts}
    assert {option_for(name): name for name in SETTINGS}.items() <= taken.items()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_fits_and_breaks_no_flag(name: str) -> None:
    whole = page(name)
    assert max(len(line) for line in whole.splitlines()) <= WIDTH
    text, examples = whole.split("\nExamples:\n")
    assert not [line for line in text.splitlines() if re.search(r"\w-$", line)]
    assert UNBROKEN not in text
    assert [line.strip() for line in examples.splitlines()][1::2] == [line for line, _ in EXAMPLES[name]]


@pytest.mark.parametrize("name", ["launch", "check", "rehearse", "diagnose", "calibrate", "fleet", "diff"])
def test_a_command_explains_its_own_options_and_names_those_of_a_plan(name: str) -> None:
    text = page(name)
    assert len(text.splitlines()) < 60
    named = text.split("explained by `m35-plan plan --help`")[1]
    assert {option_for("tensor_parallel_size"), option_for("num_speculative_tokens")} <= set(named.split())


def test_a_command_has_an_example_and_only_commands_have() -> None:
    assert set(EXAMPLES) == set(COMMANDS)
