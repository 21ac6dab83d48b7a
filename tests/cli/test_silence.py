"""No command is silent for a minute, and none is spoken over where something else has the terminal."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

import click
import pytest

from planner.cli import command, diagnostics, silence
from planner.cli.command import Command, quiet
from planner.cli.output import GuardedStdout

Said = list[tuple[str, str]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """What is said beside a command that is hardly waited for."""
    notes: Said = []
    monkeypatch.setattr(silence, "FIRST_S", 0.02)
    monkeypatch.setattr(silence, "MOST_S", 0.02)
    monkeypatch.setattr(command, "say", lambda kind, message: notes.append((kind, message)))
    return notes


def run(work: Callable[[], object]) -> None:
    # As all of ours: a function named `command`, added to the group under the name that people type.
    group = click.Group()
    group.add_command(click.command("command", cls=Command)(work), "slow")
    group.main(["slow"], standalone_mode=False)


def speakers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "company"]


def test_a_silent_command_says_again_and_again_that_it_works(said: Said) -> None:
    def work() -> None:
        patience = threading.Event()
        for _ in range(3000):
            if len(said) >= 2 or patience.wait(0.01):
                return

    run(work)
    assert len(said) >= 2
    assert {kind for kind, _ in said} == {"note"}
    assert all("`m35-plan slow` is still at work after" in text and "Ctrl-C" in text for _, text in said)


def test_nothing_speaks_where_quiet_is_asked_for_or_after_the_end(said: Said) -> None:
    def work() -> None:
        (speaker,) = speakers()
        quiet()
        speaker.join(30)
        assert not speaker.is_alive()
        said.clear()

    run(work)
    assert said == []
    run(lambda: None)
    for speaker in speakers():
        speaker.join(30)
    assert speakers() == []
    quiet()


def test_every_door_counts_as_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    for speak in (lambda: GuardedStdout(io.StringIO()).write("x"), lambda: diagnostics.narrate("x")):
        monkeypatch.setattr(silence, "_heard_s", 0.0)
        speak()
        assert silence._heard_s > 0


def test_a_stream_that_takes_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert not silence._takes_words()
