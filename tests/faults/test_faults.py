"""The store and the run directories while writing fails, is cut, races, or ends with the power."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from planner.state import read_records
from tests.faults.harness import HOWS, KEEP, KINDS, LAUNCH, Place, expect_ends, try_once

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    tmp_path.chmod(0o700)
    return Place(tmp_path)


def changes(kind: str, place: Place) -> list[list[str]]:
    """Return what one whole run of a command changes: call and paths, in order."""
    log = place.root.parent / f"{place.root.name}.log"
    KINDS[kind].before(place)
    done = place.run(*KINDS[kind].argv(place), log=log)
    assert done.returncode == 0, done.stderr
    expect_ends(place)
    return [line.split(" ")[1:] for line in log.read_text().splitlines()]


SLICE = [
    ("calibrate", "full", 2), ("calibrate", "short", 2), ("calibrate", "killed-late", 2), ("launch", "full", 8),
    ("launch", "killed", 20), ("launch", "broken", 24), ("stop", "read-only", 1), ("remove", "killed-late", 1),
]  # fmt: skip
"""One change of each kind and way; ``python -m tests.faults.report`` hits all of them."""


@pytest.mark.parametrize(("kind", "how", "at"), SLICE)
def test_a_change_that_fails_loses_nothing(kind: str, how: str, at: int, place: Place) -> None:
    _, wrong = try_once(KINDS[kind], place, at=at, how=HOWS[how])
    assert not wrong


def test_a_store_cut_at_every_byte_loses_one_record_at_most(place: Place) -> None:
    place.plain(*KEEP)
    place.plain(*KEEP)
    whole = place.store.read_bytes()
    first, both = read_records(place.store)[:1], read_records(place.store)
    end = whole.index(b"\n")
    for length in range(len(whole) + 1):
        place.store.write_bytes(whole[:length])
        dropped: list[str] = []
        found = read_records(place.store, dropped=dropped)
        # A record is whole with its last bracket; the line end is not part of it.
        assert found == (both if length >= len(whole) - 1 else first if length >= end else [])
        assert len(dropped) == (0 if length in (0, end, end + 1) or length >= len(whole) - 1 else 1)


def test_a_record_behind_a_cut_one_is_whole(place: Place) -> None:
    place.plain(*KEEP)
    whole = place.store.read_bytes()
    for length in range(1, len(whole) - 1, len(whole) // 3):
        place.store.write_bytes(whole[:length])
        place.plain(*KEEP)
        assert len(read_records(place.store)) == 1


def test_writers_at_once_keep_every_record(place: Place) -> None:
    argv = [sys.executable, "-m", "planner", *KEEP]
    writers = [
        subprocess.Popen(argv, env=place.env(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=Path.cwd())
        for _ in range(6)
    ]
    for writer in writers:
        _, words = writer.communicate(timeout=120)
        assert writer.returncode == 0, words
    dropped: list[str] = []
    assert len(read_records(place.store, dropped=dropped)) == 6
    assert dropped == []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_put_in_place_before_it_is_on_the_disk(kind: str, place: Place) -> None:
    """After a power loss a file that was renamed into place is whole: its bytes were synced after the last write."""
    dirty: set[str] = set()
    seen = changes(kind, place)
    assert seen
    for call, *paths in seen:
        if call == "write":
            dirty.add(paths[0])
        elif call == "sync":
            dirty.discard(paths[0])
        elif call == "rename":
            # The supervisor's own records speak of processes, which no power loss survives.
            if (
                Path(paths[0]).name.startswith((".process.json.", ".exit.json."))
                and paths[0].rsplit(".", 1)[1].isdigit()
            ):
                dirty.discard(paths[0])
            assert not any(path.startswith(paths[0]) for path in dirty), f"{paths} was renamed before it was synced"
    kept = {path for path in dirty if path.endswith(".jsonl") and not path.endswith("events.jsonl")}
    assert not kept, f"{kept} ends without a sync"


def test_two_launches_at_once_are_two_runs(place: Place) -> None:
    argv = [sys.executable, "-m", "planner", *LAUNCH]
    both = [subprocess.Popen(argv, env=place.env(), stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) for _ in (1, 2)]
    names = {one.communicate(timeout=120)[0].strip() for one in both}
    assert len(names) == 2
    assert {one["id"] for one in json.loads(place.plain("runs", "--json"))["runs"]} == names
    expect_ends(place)
