"""What the values of options and arguments may be, whatever they belong to."""

from __future__ import annotations

import click
import pytest

from planner.cli import COMMANDS, app
from planner.cli.command import EMPTY
from planner.planning.request import SETTINGS, option_for

CONTEXT = click.Context(app)
VALUED = [
    (name, ("" if isinstance(each, click.Argument) else each.opts[0]))
    for name in COMMANDS
    for each in (app.get_command(CONTEXT, name) or click.Command(name)).params
    if isinstance(each, click.Argument) or not (isinstance(each, click.Option) and each.is_flag)
]


@pytest.mark.parametrize(("command", "flag"), VALUED)
def test_an_empty_value_is_refused(command: str, flag: str) -> None:
    """An unset variable between quotes would be this folder as a path and the default as an address."""
    found = app.get_command(CONTEXT, command)
    assert found is not None
    for words in ([flag, ""], [flag, "  "], [f"{flag}="]) if flag else ([""], [" "]):
        with pytest.raises(click.BadParameter) as refused:
            found.make_context(command, list(words))
        assert refused.value.message == EMPTY
        assert not flag or refused.value.param_hint == f"'{flag}'"


def test_what_comes_behind_two_dashes_may_be_empty() -> None:
    found = app.get_command(CONTEXT, "launch")
    assert found is not None
    assert found.make_context("launch", ["--", "--served-model-name", ""]).params["words"] == (
        "--served-model-name",
        "",
    )


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.choices])
def test_a_choice_is_spelled_as_vllm_spells_it(name: str) -> None:
    plan = app.get_command(CONTEXT, "plan")
    assert plan is not None
    for choice in SETTINGS[name].choices:
        for said in (choice, choice.lower(), choice.replace("_", "-")):
            # The parent brings the spelling of options, where underscores are hyphens.
            with app.make_context("m35-plan", ["plan"]) as parent:
                context = plan.make_context("plan", [option_for(name), said], parent=parent)
            assert context.params[name] == choice
    with pytest.raises(click.BadParameter) as refused, app.make_context("m35-plan", ["plan"]) as parent:
        plan.make_context("plan", [option_for(name), "nonsense"], parent=parent)
    assert all(f"'{choice}'" in refused.value.message for choice in SETTINGS[name].choices)


@pytest.mark.parametrize(
    ("command", "words", "taken"),
    [
        ("plan", ["--cudagraph-capture-sizes", "1", "2", "8"], (1, 2, 8)),
        ("plan", ["--cudagraph_capture_sizes", "1,2", "8", "-tp", "4"], (1, 2, 8)),
        ("diagnose", ["--cudagraph-capture-sizes", "1", "2", "a.log"], (1, 2)),
    ],
)
def test_a_list_is_read_as_vllm_reads_it(command: str, words: list[str], taken: tuple[int, ...]) -> None:
    found = app.get_command(CONTEXT, command)
    assert found is not None
    with app.make_context("m35-plan", [command]) as parent:
        params = found.make_context(command, list(words), parent=parent).params
    assert params["cudagraph_capture_sizes"] == taken
    assert params.get("logs") in (None, ("a.log",))
    assert params["tensor_parallel_size"] == (4 if "-tp" in words else None)
