"""The wizard in a real browser, as the tutorial shows it: textual-serve, Chromium, a click and keys."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import own_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_S = 60.0
SERVE = "from textual_serve.server import Server; Server({command!r}, host='127.0.0.1', port={port}).serve()"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here"),
]


@pytest.fixture
def address(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the wizard is served, with a state folder of its own."""
    if "browser" not in request.config.getoption("markexpr"):
        pytest.skip("it takes seconds of two cores: pytest -m browser")
    pytest.importorskip("textual_serve")
    port = own_port()
    code = SERVE.format(command=f"{sys.executable} -m tui --gpus 1xMI300X", port=port)
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    with (tmp_path / "serve.log").open("wb") as log:
        server = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=log, stderr=log)
    yield f"http://127.0.0.1:{port}/"
    server.terminate()
    server.wait(timeout=30)


def test_keys_reach_the_wizard_after_one_click(address: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    came: list[bytes] = []

    def listen(socket: Any) -> None:
        socket.on("framereceived", lambda frame: came.append(frame if isinstance(frame, bytes) else frame.encode()))

    def until(text: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while text.encode() not in b"".join(came):
            assert time.monotonic() < deadline, f"waited for {text!r}: {b''.join(came)[-400:]!r}"
            page.wait_for_timeout(50)

    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        # The page asks for a font of somebody else's; nothing outside is needed.
        page.route(lambda url: not url.startswith(address), lambda route: route.abort())
        page.on("websocket", listen)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                page.goto(address)
                break
            except playwright.Error:
                assert time.monotonic() < deadline, "nothing is served"
        until("draft tokens")
        page.mouse.click(900, 700)
        came.clear()
        # The click went beside the form, so the first field has the keys still.
        page.keyboard.press("ArrowDown")
        page.keyboard.type("64K")
        until("--max-model-len 65536")
        browser.close()
