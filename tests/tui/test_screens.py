"""What holds on every screen in every state, at any size: nothing is cut, and a resize leaves no trace."""

from __future__ import annotations

import re
from typing import cast

import pytest
from textual.content import Content
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Static
from textual.widgets._footer import FooterKey

from tui.app import M35App
from tui.screens.review import ReviewScreen
from tui.widgets.table import Rows

from .scenes import SCENES, idle, scene
from .world import text_of, until

pytestmark = pytest.mark.slow

SMALL, LARGE, ODD = (80, 24), (200, 60), (103, 37)
KEEPS_ITS_LINES = ("command-editing",)
"""What a person typed keeps its lines."""
STILL = 3
"""So often in a row a screen is the same before it is taken for what it looks like: what is drawn in several rounds
is not compared with a round of its own."""
CUT_VALUE = re.compile(r"(?<!alt\+)\d[\d.,]*…")
"""A number that ends in an ellipsis; `alt+1…6` are keys."""


def keys_of(app: M35App) -> list[FooterKey]:
    return [*app.screen.query(FooterKey)]


def clipped(widget: Widget) -> Region:
    """What of a widget is not hidden by what it stands in."""
    region = widget.region
    for outer in widget.ancestors:
        region = region.intersection(outer.region) if isinstance(outer, Widget) else region
    return region


def broken(app: M35App) -> list[str]:
    """What is wrong with what stands on the screen."""
    width = app.size.width
    found = [f"key {key.description} is cut" for key in keys_of(app) if key.region.right > width]
    if not any(key.description in ("help", "back") for key in keys_of(app)):
        found.append("no key says how to learn the others")
    if not isinstance(app.screen, ReviewScreen):
        # There, sentences are cut that stand whole below.
        found += [f"a value is cut: {line}" for line in text_of(app).splitlines() if CUT_VALUE.search(line)]
    for rows in app.screen.query(Rows):
        row = rows.region.y + (rows.highlighted or 0) - rows.scroll_offset.y
        if rows.highlighted is not None and rows.region and not clipped(rows).contains(rows.region.x, row):
            found.append(f"the cursor of a list is out of sight: row {rows.highlighted} of {rows.option_count}")
    for static in app.screen.query(Static):
        drawn = static.content
        if not static.region or not isinstance(drawn, Content) or static.has_class("prose", "note"):
            continue
        longest = max((line.cell_length for line in drawn.split("\n")), default=0)
        if longest > static.content_size.width:
            found.append(f"{static.id} is laid out for {longest} cells and has {static.content_size.width}")
    return found


async def whole(pilot: Pilot[int], name: str) -> str:
    """Wait until nothing is broken and nothing moves any more, and return what stands there then."""
    app = cast(M35App, pilot.app)
    seen, still = "", 0
    while still < STILL:
        await until(pilot, lambda: not broken(app) and idle(app), f"{name} at {app.size}: {broken(app)}")
        await pilot.pause()
        before, seen = seen, text_of(app)
        still = still + 1 if seen == before else 0
    return seen


async def same(pilot: Pilot[int], fresh: str) -> None:
    await until(pilot, lambda: text_of(pilot.app) == fresh, f"\n{fresh}")


async def test_reading_a_screen_under_a_dialogue_leaves_it_as_it_is() -> None:
    app, act = scene("plan-asked")
    async with app.run_test(size=SMALL) as pilot:
        await act(pilot)
        before = text_of(app)
        assert "layout" in before
        app.screen.refresh()
        assert text_of(app) == before
        await pilot.pause()
        assert text_of(app) == before


@pytest.mark.parametrize("name", SCENES)
async def test_every_screen_is_whole_at_every_size_and_a_resize_leaves_no_trace(name: str) -> None:
    """There and back: what stands at the first size again is what stood there at first."""
    app, act = scene(name)
    async with app.run_test(size=SMALL) as pilot:
        await act(pilot)
        fresh = await whole(pilot, name)
        for size in (LARGE, ODD, SMALL):
            await pilot.resize_terminal(*size)
            await whole(pilot, name)
        if name not in KEEPS_ITS_LINES:
            await same(pilot, fresh)
