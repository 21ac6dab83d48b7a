"""Every program of the tree says what it does when it is asked, and does nothing else then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = ("tests.soak", "tests.fuzz", "tests.faults.report", "tests.tui.stage", "oracle")
PYTHON = sorted(
    str(path.relative_to(ROOT))
    for folder in ("scripts", "benchmarks")
    for path in (ROOT / folder).glob("*.py")
    if "__main__" in path.read_text()
)
SHELL = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix
)


@pytest.mark.parametrize("program", [*PYTHON, *MODULES, *SHELL])
def test_a_program_that_is_asked_for_help_does_nothing_else(program: str) -> None:
    argv = [sys.executable, program] if program in PYTHON else [sys.executable, "-m", program]
    argv = ["bash", program] if program in SHELL else argv
    done = subprocess.run([*argv, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() and "==" not in done.stdout.split("\n")[0]
    assert program in SHELL or done.stdout.startswith("usage:")
