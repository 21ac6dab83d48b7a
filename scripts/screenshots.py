"""Take the pictures of the wizard for README and docs from the live application.

    python scripts/screenshots.py          # writes docs/images/*.svg

The scenes are those of the snapshot tests, so no engine and no GPU is needed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

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


async def take(picture: str, scene: str) -> None:
    from tests.tui import stage, test_snapshots
    from tui.backend import Backend

    # The tests' record answers every load alike; a picture that people read shows the forecast for its own.
    stage.staged = partial(stage.staged, speed=Backend().speed)
    app, act = test_snapshots.scene(scene)
    async with app.run_test(size=SIZE) as pilot:
        await act(pilot)
        (IMAGES / f"{picture}.svg").write_text(app.export_screenshot(title="m35-tui"), encoding="utf-8")


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    for picture, scene in SCENES.items():
        with tempfile.TemporaryDirectory() as state:
            os.environ["XDG_STATE_HOME"] = state
            asyncio.run(take(picture, scene))
        print(f"docs/images/{picture}.svg")


if __name__ == "__main__":
    main()
