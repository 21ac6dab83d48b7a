"""A negative value is a value, of every option that takes one."""

from __future__ import annotations

import click
import pytest

from planner.cli import COMMANDS, app

CONTEXT = click.Context(app)
OPTIONS = [
    (name, flag)
    for name in COMMANDS
    for option in (app.get_command(CONTEXT, name) or click.Command(name)).params
    if isinstance(option, click.Option) and not option.is_flag
    for flag in option.opts
]


@pytest.mark.parametrize(("command", "flag"), OPTIONS)
def test_no_negative_value_is_taken_for_an_option(command: str, flag: str) -> None:
    found = app.get_command(CONTEXT, command)
    assert found is not None
    for words in ([flag, "-1"], [f"{flag}=-1"]):
        try:
            context = found.make_context(command, list(words))
        except click.NoSuchOption as error:
            pytest.fail(f"{words}: {error.message}")
        except (click.ClickException, click.exceptions.Exit, Exception):
            continue  # Whatever is wrong with the value is said of the value.
        assert any(str(value).strip(" (,)'") in ("-1", "-1.0", "None") for value in context.params.values())


def test_an_option_that_may_stand_alone_still_does() -> None:
    plan = app.get_command(CONTEXT, "plan")
    assert plan is not None
    for words, tokens in (
        (["--spec-tokens", "-tp", "8"], 3),
        (["--spec-tokens"], 3),
        (["--spec-tokens", "-2"], -2),
        (["--spec-tokens=2"], 2),
        (["--eagle", "--", "-4"], 3),
    ):
        context = plan.make_context("plan", list(words), ignore_unknown_options=True, allow_extra_args=True)
        assert context.params["num_speculative_tokens"] == tokens, words
