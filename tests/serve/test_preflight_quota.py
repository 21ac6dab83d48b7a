"""Quotas of accounts, as quota(1) prints them."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.serve.preflight import host

from .test_preflight_host import check, program, subject


def test_a_used_up_quota_is_a_failure(tmp_path: Path) -> None:
    env = program(tmp_path, "quota", "Disk quotas for user u:\n  /dev/sda1 900* 800 900 0 1 0 0 0\n")
    result = check("quota", subject(env))
    assert result is not None and result.status == "fail" and "/dev/sda1" in result.seen
    none = check("quota", subject({"PATH": str(tmp_path / "nothing")}))
    assert none is not None and none.status == "skip"


GIB_IN_BLOCKS = 1 << 20


@pytest.mark.parametrize(
    ("used", "soft", "hard", "status", "words"),
    [
        (45, 0, 55, "fail", "leaves 10.00 GiB"),
        (45, 50, 0, "fail", "leaves 5.00 GiB"),
        (45, 1000, 2000, "pass", "955.00 GiB left"),
        (45, 0, 0, "pass", "no quota is used up"),
    ],
)
@pytest.mark.parametrize("device", ["nas:/home", "/dev/sdb1"])
def test_a_quota_must_leave_room_for_the_download(
    device: str, used: int, soft: int, hard: int, status: str, words: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "mounts").write_text(
        f"overlay / overlay rw 0 0\n{device} {tmp_path} nfs4 rw 0 0\n{device}x {tmp_path}/h/x nfs4 rw 0 0\n"
    )
    monkeypatch.setattr(host, "_MOUNTS", tmp_path / "mounts")
    cells = " ".join(str(one * GIB_IN_BLOCKS) for one in (used, soft, hard))
    env = program(tmp_path / "bin", "quota", f"Disk quotas for user u (uid 1):\n  Filesystem blocks quota limit grace\n"
                  f"  {device} {cells} 0 10 0 0 0\n  /dev/other {cells} 0 10 0 0 0\n")  # fmt: skip
    result = check("quota", subject({**env, "HF_HOME": str(tmp_path / "h")}))
    assert result is not None and result.status == status and words in result.seen
    if status == "fail":
        assert device in result.seen and "to download" in result.seen
    # Of another file system the quota does not matter.
    elsewhere = check("quota", subject({**env, "HF_HOME": "/nowhere"}))
    assert elsewhere is not None and elsewhere.status == "pass"
