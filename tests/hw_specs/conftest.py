"""Stub drivers under the real vendor packages, and the means to put a test on any machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import hw_specs.detect
from hw_specs import DetectionReport
from hw_specs.detect.host import Host
from hw_specs.detect.visible import VARIABLES

STUBS = Path(__file__).parent / "stubs"
SCENARIOS = STUBS / "scenarios"
BARE_HOST = Host(hostname="test-host")

Detect = Callable[..., DetectionReport]


def _unavailable(reason: str) -> None:
    """Skip on a user's machine, fail where the tests are the gate."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; CI must run the detection tests")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``nvidia/`` and ``amd/`` (stub drivers) and ``none/`` (files that no loader accepts)."""
    if shutil.which("gcc") is None:
        _unavailable("no gcc: the stub drivers cannot be compiled")
    for package in ("pynvml", "amdsmi"):
        if importlib.util.find_spec(package) is None:
            _unavailable(f"{package} is not installed")
    folder = tmp_path_factory.mktemp("drivers")
    spec = importlib.util.spec_from_file_location("build_stubs", STUBS / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.build(folder)
    (folder / "none").mkdir()
    for name in ("libnvidia-ml.so.1", "libamd_smi.so"):
        (folder / "none" / name).write_text("not a library\n")
    return folder


@pytest.fixture
def machine(drivers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Turn this process's machine into another one, for the probes that it starts.

    ``machine("8xh200")`` names a scenario file, ``machine(text=…, vendor="nvidia")`` gives one, and
    ``machine(None)`` has no driver at all. A real driver of the host is never reached.
    """

    def become(
        scenario: str | None = None, *, text: str | None = None, vendor: str | None = None, host: Host = BARE_HOST
    ) -> None:
        file = SCENARIOS / f"{scenario}.txt"
        if text is not None:
            file = tmp_path / "scenario.txt"
            file.write_text(text)
        content = file.read_text() if scenario or text else ""
        vendor = vendor or ("amd" if "AMD Instinct" in content or "gfx=" in content else "nvidia")
        folders = [str(drivers / vendor)] if scenario or text else []
        for name in (*VARIABLES, "ROCM_HOME", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("ROCM_PATH", str(tmp_path))
        monkeypatch.setenv("LD_LIBRARY_PATH", ":".join([*folders, str(drivers / "none")]))
        monkeypatch.setenv("STUB_SCENARIO", str(file))
        monkeypatch.setattr(hw_specs.detect, "look_at_host", lambda: host)

    return become


@pytest.fixture
def detect(machine: Callable[..., None]) -> Detect:
    """Detect on a scenario: ``detect("8xh200")``."""

    def run(*args: object, timeout_s: float = 20.0, **kwargs: object) -> DetectionReport:
        machine(*args, **kwargs)
        return hw_specs.detect.detect_gpus(timeout_s=timeout_s)

    return run
