from __future__ import annotations

import pytest

from planner.cli.start_display import StartDisplay
from planner.serve.log.events import PHASES, PhaseStarted, Progress, QuietSeen, StallSeen
from planner.serve.process.follower import stall_limits
from planner.serve.process.progress import StartProgress, quiet_words, stall_words


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


def test_a_phase_that_says_nothing_for_far_longer_than_usual_is_told_before_its_limit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = {"load": 42.0, "profile": 5.0}
    progress = StartProgress(expected_s=usual, earlier_starts=2).after([PhaseStarted(phase="load")], at_s=10.0)
    assert progress.view(at_s=10.0 + 3 * 42.0).quiet_s is None
    view = progress.view(at_s=140.0)
    assert view.quiet_s == 130.0
    assert quiet_words(view).startswith("nothing new for 2 min 10 s in weights (it usually takes 42.0 s here): it may")
    moved = progress.after([Progress(phase="load", done=1, total=9, label="")], at_s=130.0)
    assert moved.view(at_s=140.0).quiet_s is None and not quiet_words(moved.view(at_s=140.0))
    # What is over in a moment may take a minute once.
    short = progress.after([PhaseStarted(phase="profile")], at_s=20.0)
    assert short.view(at_s=79.0).quiet_s is None and short.view(at_s=81.0).quiet_s == 61.0
    waits = progress.after([StallSeen(code="workers-hang", phase="load", text="…", times=1, waited_s=60.0)], at_s=99.0)
    assert waits.view(at_s=140.0).quiet_s is None, "a line that is known says more"
    assert progress.after([PhaseStarted(phase="ready")], at_s=20.0).view(at_s=9e9).quiet_s is None
    display = StartDisplay(progress, launch_s=0.0)
    display.show([QuietSeen(phase="load", waited_s=127.0, usual_s=42.0, last_seen="…")], at_s=137.0)
    display.show([], at_s=500.0)
    told = capsys.readouterr().err
    assert told.count("nothing new for") == 1 and "2 min 7 s in weights (it usually takes 42.0 s here)" in told


@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "ready"])
def test_without_an_earlier_start_half_of_the_limit_is_long(phase: str) -> None:
    limit_s = stall_limits()[phase]
    progress = StartProgress().after([PhaseStarted(phase=phase)], at_s=7.0)
    assert progress.view(at_s=7.0 + limit_s / 2).quiet_s is None
    said = quiet_words(progress.view(at_s=8.0 + limit_s / 2))
    assert "no earlier start tells" in said
