from __future__ import annotations

import pytest

from planner.cli.start_display import StartDisplay
from planner.serve.log.events import PhaseStarted, StallSeen
from planner.serve.process.progress import StartProgress, stall_words


def test_a_wait_is_told_with_the_phase_s_usual_time() -> None:
    stall = StallSeen(code="workers-hang", phase="load", text="…", times=3, waited_s=180.0)
    progress = StartProgress(expected_s={"load": 42.0}, earlier_starts=2).after([PhaseStarted(phase="load")], at_s=9.0)
    said = stall_words(stall, progress.view(at_s=200.0))
    assert said.startswith(
        "waits for 3 min 0 s in weights (it usually takes 42.0 s here); if it goes on, workers-hang: "
    )
    assert "no earlier start tells" in stall_words(stall, StartProgress().view(at_s=200.0))


def test_a_wait_before_any_phase_is_told_of_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    stall = StallSeen(code="workers-hang", phase="", text="…", times=1, waited_s=60.0)
    StartDisplay(StartProgress(), launch_s=0.0).show([stall], at_s=61.0)
    assert "waits for 1 min 0 s in configuration" in capsys.readouterr().err


def test_what_was_over_before_anybody_watched_has_no_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    """`attach` to a server that was ready for a minute said how long its start would go on."""
    display = StartDisplay(StartProgress(expected_s={"load": 42.0, "capture": 9.0}, earlier_starts=2), launch_s=0.0)
    display.show([PhaseStarted(phase="load")], at_s=200.0)
    display.show([PhaseStarted(phase="capture")], at_s=210.0)
    before, watched = capsys.readouterr().err.splitlines()
    assert before.endswith("weights") and "left" in watched
