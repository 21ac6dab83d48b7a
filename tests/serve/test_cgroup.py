"""Control groups of both versions, laid out as files: the least limit on the way up counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from planner.serve import cgroup


def group(root: Path, files: Mapping[str, Mapping[str, str]]) -> None:
    for folder, texts in files.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (root / folder / name).write_text(f"{text}\n")


def test_limits_are_the_least_of_all_groups_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group(tmp_path, {
        ".": {"cpu.max": "max 100000"},
        "a": {"cpu.max": "300000 100000", "pids.max": "500", "memory.max": "1000", "memory.current": "400"},
        "a/b": {"cpu.max": "800000 100000", "pids.max": "max", "memory.max": "max", "memory.current": "100"},
    })  # fmt: skip
    (tmp_path / "own").write_text("0::/a/b\n")
    monkeypatch.setattr(cgroup, "_OWN", tmp_path / "own")
    assert (cgroup.cpu_quota(tmp_path), cgroup.least("pids.max", tmp_path)) == (3.0, 500)
    assert cgroup.memory_left_bytes(tmp_path) == 600
    # A checkpoint in the page cache is given up where memory is wanted; what lies in /dev/shm is not.
    (tmp_path / "a" / "memory.stat").write_text("anon 50\nfile 340\ninactive_file 250\nactive_file 60\nshmem 30\n")
    assert cgroup.memory_left_bytes(tmp_path) == 910
    assert cgroup.cpu_quota(tmp_path / "nothing") is None
    for text in ("", "max", "x y", "1 0"):
        (tmp_path / "a" / "cpu.max").write_text(text)
        assert cgroup.cpu_quota(tmp_path) == 8.0


@pytest.mark.parametrize(("shown", "here"), [("/kubepods/pod7", "kubepods/pod7"), ("/kubepods/pod7", "."), ("/", ".")])
def test_the_first_version_of_groups_is_read_in_full_or_from_a_container(
    shown: str, here: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that is shown the host's path of its group finds its files at the root of the mount."""
    group(tmp_path, {
        f"memory/{here}": {
            "memory.limit_in_bytes": "1000", "memory.usage_in_bytes": "700", "memory.oom_control": "oom_kill 4",
            "memory.stat": "inactive_file 9\ntotal_inactive_file 100\ntotal_active_file 50\ntotal_shmem 5",
        },
        f"cpu/{here}": {"cpu.cfs_quota_us": "250000", "cpu.cfs_period_us": "100000"},
        f"pids/{here}": {"pids.max": "300"},
    })  # fmt: skip
    (tmp_path / "own").write_text(f"5:memory:{shown}\n4:cpu,cpuacct:{shown}\n3:pids:{shown}\n1:name=systemd:/\n0::/\n")
    monkeypatch.setattr(cgroup, "_OWN", tmp_path / "own")
    assert cgroup.memory_left_bytes(tmp_path) == 450
    assert (cgroup.cpu_quota(tmp_path), cgroup.least("pids.max", tmp_path)) == (2.5, 300)
    assert list(cgroup.readings("memory.events", tmp_path)) == ["oom_kill 4"]
    group(tmp_path, {
        f"memory/{here}": {"memory.limit_in_bytes": "9223372036854771712"},
        f"cpu/{here}": {"cpu.cfs_quota_us": "-1"},
    })  # fmt: skip
    assert (cgroup.memory_left_bytes(tmp_path), cgroup.cpu_quota(tmp_path)) == (None, None)
