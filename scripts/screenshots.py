"""Take the pictures of the wizard for README and docs from the live application.

    python scripts/screenshots.py          # writes docs/images/*.svg

Most scenes are those of the tests, so no engine and no GPU is needed: what the server in them shows is staged.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.pilot import Pilot

if TYPE_CHECKING:
    from tests.tui.scenes import Act
    from tui.app import M35App

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

IMAGES = ROOT / "docs" / "images"
SCENES = {
    "wizard-gpus": "gpus",
    "wizard-workload": "workload",
    "wizard-plan": "plan",
    "wizard-explain": "explain",
    "wizard-command": "command",
    "wizard-launch": "launch-starting",
    "wizard-failed": "launch-failed",
    "wizard-verify": "verify-measured",
    "wizard-dashboard": "verify-dashboard",
}
"""Picture → scene."""

SIZE = (110, 34)


def scene_of(picture: str) -> tuple[M35App, Act]:
    """The application and what is pressed in it."""
    from tests.tui import scenes, stage, world
    from tui.app import M35App
    from tui.backend import Backend
    from tui.screens.review import ReviewScreen
    from tui.wizard import Step

    if picture == "wizard-compare":
        app = world.app_at(Step.PLAN)
        return app, scenes.settled(scenes.press("d", "tab", "space", "D"))
    if picture == "wizard-review":

        async def judged(pilot: Pilot[Any]) -> None:
            screen = pilot.app.screen
            await world.until(pilot, lambda: isinstance(screen, ReviewScreen) and screen.review is not None)

        app = M35App(backend=world.backend(), review=ROOT / "examples" / "compose.yaml")
        return app, scenes.settled(judged)
    # The tests' record answers every load alike; a picture that people read shows the forecast for its own.
    stage.staged = partial(stage.staged, speed=Backend().speed)
    return scenes.scene(SCENES[picture])


async def take(picture: str) -> None:
    app, act = scene_of(picture)
    async with app.run_test(size=SIZE) as pilot:
        await act(pilot)
        (IMAGES / f"{picture}.svg").write_text(app.export_screenshot(title="m35-tui"), encoding="utf-8")


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    for picture in (*SCENES, "wizard-compare", "wizard-review"):
        with tempfile.TemporaryDirectory() as state:
            os.environ["XDG_STATE_HOME"] = state
            asyncio.run(take(picture))
        print(f"docs/images/{picture}.svg")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    main()
