"""Every command in the documentation is run, or, where it needs a GPU, an engine or a server, checked word by word.

A fenced ``sh`` block is run in an empty folder, line by line, and must end with 0. A comment above the block changes
that: ``<!-- exit: 3 -->`` expects another code; ``<!-- needs: gpu -->`` (or engine, server, docker, network, files)
only checks that the command and its flags exist, as it is done for what follows ``$`` in a ``console`` block. The
folder holds a copy of ``examples/``. The examples of the help pages are run in the same way.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from planner.cli.commands.spec import specification
from planner.cli.help_page import EXAMPLES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?P<notes>(?:<!-- [^\n]* -->\n)*)```sh\n(?P<text>.*?)```", re.S)
CONSOLE = re.compile(r"```console\n(?P<text>.*?)```", re.S)
INSTALL = ("git clone", "python3 -m venv", "bash scripts/", "pip install", "eval ")


@dataclass(frozen=True)
class Shown:
    """One command line of a page."""

    page: str
    line: str
    code: int
    needs: str


def shown() -> list[Shown]:
    found = []
    for page in PAGES:
        for session in CONSOLE.finditer(page.read_text(encoding="utf-8")):
            typed = [line[2:] for line in session["text"].splitlines() if line.startswith("$ ")]
            found += [Shown(str(page.relative_to(ROOT)), line, 0, "a terminal") for line in typed]
        for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
            code = re.search(r"exit: (\d+)", block["notes"])
            needs = re.search(r"needs: (\w+)", block["notes"])
            for line in block["text"].replace("\\\n", " ").splitlines():
                if line.strip() and not line.lstrip().startswith("#"):
                    where = str(page.relative_to(ROOT))
                    found.append(Shown(where, line.strip(), int(code[1]) if code else 0, needs[1] if needs else ""))
    return found


NEEDS = {
    "bench": "server", "check": "gpu", "rehearse": "engine", "launch": "gpu", "attach": "run", "stop": "run",
    "verify": "server", "watch": "server",
}  # fmt: skip
"""Command → what its examples need that is not here."""
NEEDED = {
    "m35-plan detect": "gpu", "m35-plan detect --json > host.json": "gpu", "m35-plan diagnose latest": "run",
    "m35-plan diagnose node-0.log node-1.log": "cluster", "kubectl get nodes -o json | m35-plan fleet -": "cluster",
    "kubectl logs POD --previous | m35-plan diagnose -": "cluster", "m35-plan calibrate latest": "run",
}  # fmt: skip

CODES = {
    "m35-plan diagnose examples/logs/kv-cache-too-small.log": 5,
    "m35-plan review --gpus 8xH200 -- vllm serve mistralai/Mistral-Medium-3.5-128B": 3,
}
"""Example → its exit code where that is not 0."""


def examples() -> list[Shown]:
    return [
        Shown(f"{name} --help", line, CODES.get(line, 0), NEEDED.get(line, NEEDS.get(name, "")))
        for name, lines in EXAMPLES.items()
        for line, _ in lines
    ]


SHOWN = [one for one in [*shown(), *examples()] if not one.line.startswith(INSTALL)]
RUNNABLE = list({(one.line, one.code): one for one in reversed(SHOWN) if not one.needs}.values())[::-1]
"""Each once, where it is shown first."""
CHECKED = [one for one in SHOWN if one.needs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "examples", folder / "examples")
    return folder


@pytest.mark.parametrize("one", RUNNABLE, ids=lambda one: f"{one.page}: {one.line[:60]}")
def test_it_runs(one: Shown, folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "XDG_STATE_HOME": str(folder / "state"), "NO_COLOR": "1"}
    done = subprocess.run(
        ["bash", "-c", one.line], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == one.code, done.stderr[-2000:] + done.stdout[-2000:]


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    found: dict[str, Any] = specification()["commands"]
    return found


@pytest.mark.parametrize("one", CHECKED, ids=lambda one: f"{one.page}: {one.line[:60]}")
def test_its_words_exist(one: Shown, commands: dict[str, Any]) -> None:
    words = shlex.split(one.line, comments=True)
    if "m35-plan" not in words:
        return
    words = words[words.index("m35-plan") + 1 :]
    for stop in ("|", ">", "--", "&&", ";"):
        words = words[: words.index(stop)] if stop in words else words
    name = words[0] if words and not words[0].startswith("-") else "plan"
    assert name in commands, f"there is no command {name}"
    flags = {flag for parameter in commands[name]["parameters"] for flag in parameter["flags"]} | {"-h", "--help"}
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in flags, f"{name} has no {word}"


def test_there_is_something_to_run() -> None:
    assert RUNNABLE
