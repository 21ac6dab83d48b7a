from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from planner.serve import list_runs

from .world import engine_program


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every test has its own state directory, a plain terminal, and leaves no process behind."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("NO_COLOR", "COLORFGBG", "VLLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path / "state" / "m35-plan"
    for run in list_runs():
        run.stop(grace_s=0.2)


@pytest.fixture
def program(tmp_path: Path) -> str:
    """The stand-in for vLLM."""
    return engine_program(tmp_path)
