"""Every state of every screen as a picture at the three sizes it is designed for, and without colour.

After a change that is meant: ``pytest tests/tui/test_snapshots.py --snapshot-update``, once the report was looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version

import pytest

from .scenes import SCENES, SIZES, scene

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.version_info[:2] != (3, 11) or not version("textual").startswith("8.2."),
        reason="pictures are compared on one Python and one Textual only",
    ),
]


STATES = (
    "gpus-none",
    "gpus-unknown",
    "workload-refused",
    "plan-lever",
    "plan-asked",
    "command-saving",
    "launch-checking",
)
"""Of a screen that has a picture at every size: one at the smallest tells enough."""
PICTURES = [(name, size) for name in SCENES for size in (SIZES[:1] if name in STATES else SIZES)]


@pytest.mark.parametrize(("name", "size"), PICTURES, ids=[f"{name}-{size[0]}x{size[1]}" for name, size in PICTURES])
def test_screen(name: str, size: tuple[int, int], snap_compare: Callable[..., bool]) -> None:
    app, act = scene(name)
    assert snap_compare(app, terminal_size=size, run_before=act)


@pytest.mark.parametrize("name", ["plan", "launch-starting", "verify-checks"])
def test_screen_without_colour(name: str, snap_compare: Callable[..., bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app, act = scene(name)
    assert app.no_color
    assert snap_compare(app, terminal_size=(80, 24), run_before=act)


def test_screen_in_light(snap_compare: Callable[..., bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORFGBG", "0;15")
    app, act = scene("plan")
    assert snap_compare(app, terminal_size=(120, 40), run_before=act)


def test_screen_that_is_too_small(snap_compare: Callable[..., bool]) -> None:
    app, act = scene("plan")
    assert snap_compare(app, terminal_size=(60, 18), run_before=act)
