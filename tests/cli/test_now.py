"""What a command does at the moment is shown to a person, and never stays or reaches a file."""

from __future__ import annotations

import io

import pytest

from planner.cli.progress import Now


class Screen(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_line_is_gone_before_anything_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    with pytest.raises(KeyboardInterrupt), Now() as now:
        now.at("its tokenizer package fits")
        assert screen.getvalue().endswith("its tokenizer package fits ...")
        now.over()
        assert screen.getvalue().endswith("\r\x1b[2K")
        now.at("it takes every flag")
        raise KeyboardInterrupt
    assert screen.getvalue().endswith("it takes every flag ...\r\x1b[2K")


@pytest.mark.parametrize(("screen", "term"), [(io.StringIO(), "xterm"), (Screen(), "dumb")])
def test_a_file_and_a_terminal_without_colours_hear_nothing(
    screen: io.StringIO, term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", term)
    with Now() as now:
        now.at("it takes every flag")
    assert screen.getvalue() == ""
