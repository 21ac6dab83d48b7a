"""What hosts that were prepared to stop a start showed to be unsaid, or said wrongly."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

from hw_specs.detect.devices import DetectedGpu
from planner.serve.preflight import folders, machine
from tests.hw_specs.devices import device, report
from tests.ports import own_port

from .test_preflight_host import check, subject


def test_every_low_limit_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {resource.RLIMIT_NOFILE: 20_000, resource.RLIMIT_NPROC: 100}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (small.get(kind, resource.RLIM_INFINITY),) * 2)
    result = check("limits", subject({}))
    assert result is not None and result.status == "warn"
    assert "20,000 open files" in result.seen and "100 processes" in result.seen
    assert "ulimit -n" in result.hint and "ulimit -u" in result.hint


@pytest.mark.parametrize(
    ("flag", "files_left", "said"),
    [(os.ST_RDONLY, 10, "mounted read-only"), (0, 0, "as many files as it may"), (0, 10, "")],
)
def test_shared_memory_that_is_read_only_or_has_no_file_left(
    flag: int, files_left: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = SimpleNamespace(f_flag=flag, f_files=100, f_favail=files_left, f_bavail=1 << 20, f_frsize=1 << 12)
    monkeypatch.setattr(machine.os, "statvfs", lambda path: room)
    result = check("shared_memory", subject({}))
    assert result is not None and result.status == ("fail" if said else "pass") and said in result.seen


@pytest.mark.parametrize(
    ("code", "hint"),
    [(errno.EADDRNOTAVAIL, "--host 127.0.0.1"), (errno.EACCES, "above 1023"), (errno.EADDRINUSE, "is free")],
)
def test_why_an_address_is_not_had_decides_what_to_type(code: int, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def __enter__(self) -> Refusing:
            return self

        def __exit__(self, *_: object) -> None: ...

        def setsockopt(self, *_: int) -> None: ...

        def bind(self, _address: object) -> None:
            raise OSError(code, "refused")

    monkeypatch.setattr(machine, "free_port_beside", lambda port: port + 1)
    monkeypatch.setattr(machine.socket, "socket", lambda family: Refusing())
    result = check("port", subject({}))
    assert result is not None and result.status == "fail" and hint in result.hint


def test_a_machine_that_does_not_reach_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.ENETUNREACH, "unreachable")

    monkeypatch.setattr(machine.socket, "create_connection", refused)
    result = check("port", subject({}, port=own_port()))
    assert result is not None and result.status == "fail" and "lo up" in result.hint


@pytest.mark.parametrize(
    ("value", "status"), [("0,9", "fail"), ("GPU-beef", "fail"), ("0,1", "pass"), ("GPU-00000001,0", "pass")]
)
def test_a_device_that_is_not_here(value: str, status: str) -> None:
    given = subject({"CUDA_VISIBLE_DEVICES": value}, gpus="2xH200")
    given.__dict__["report"] = report(device(0), device(1))
    result = check("visible_devices", given)
    assert result is not None and result.status == status, result


def test_gpus_that_a_variable_hides_are_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = subject({}, gpus="1xH200")
    given.__dict__["report"] = report(device(0, hidden_by="CUDA_VISIBLE_DEVICES="))
    result = check("gpus", given)
    assert result is not None and result.status == "fail"
    assert "1 GPU here, all of them hidden by CUDA_VISIBLE_DEVICES" in result.seen
    assert result.hint == "unset CUDA_VISIBLE_DEVICES"


def test_torch_s_code_lies_in_the_temporary_folder(tmp_path: Path) -> None:
    found = dict(folders._code_folders(subject({"TMPDIR": str(tmp_path)})))
    assert found["TORCHINDUCTOR_CACHE_DIR"] == tmp_path


@pytest.mark.parametrize(("gpus", "said"), [((), "there is no GPU"), ((device(0),), "nvidia-smi")])
def test_without_nvidia_smi_it_is_skipped_with_a_reason(
    gpus: tuple[DetectedGpu, ...], said: str, tmp_path: Path
) -> None:
    for name in ("fabric", "peer_access"):
        given = subject({"PATH": str(tmp_path)})
        given.__dict__["report"] = report(*gpus)
        result = check(name, given)
        assert result is not None and result.status == "skip" and said in result.seen
