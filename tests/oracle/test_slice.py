"""The harness itself, alive: one release, two points, through the real wheel; minutes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from oracle import changes, environment, facts_file, run
from planner.facts.release import newest_version

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def scratch() -> Path:
    """Where wheels and environments lie: reused between runs."""
    return Path(os.environ.get("M35_ORACLE_DIR") or Path.home() / ".cache" / "m35-oracle").resolve()


@pytest.fixture(scope="module")
def release() -> environment.Release:
    try:
        return environment.prepare(newest_version(), scratch())
    except environment.EnvironmentFailure as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"the oracle's environment could not be made: {error}")


def test_two_points_are_what_the_facts_file_says(release: environment.Release) -> None:
    results, _ = run.release(release, scratch(), scope="slice")
    document = facts_file.assemble(release, results, scope="slice", seconds=0.0, fused={})
    assert document["provenance"]["gaps"] == []
    kept = json.loads((facts_file.FOLDER / f"{release.version}.json").read_text(encoding="utf-8"))
    for table in ("profile_peaks", "buffers"):
        fresh = changes.rows(document, table)
        assert len(fresh) == 2
        assert all(row in changes.rows(kept, table) for row in fresh), table


def test_a_peak_does_not_depend_on_depth(release: environment.Release) -> None:
    models = run.write_models(release, scratch())
    point = {"kind": "profile", "tensor_parallel_size": 8, "max_num_batched_tokens": 2048, "max_num_seqs": 256}
    asked = [{**point, "model": model} for model in ("shallow", "full")]
    shallow, full = (entry["result"] for entry in run.child(release, "cuda-9.0", asked, models, scratch()))
    phases = ("encoder", "forward", "logits", "sampler", "left", "init", "after_load")
    assert {name: full[name] for name in phases} == {name: shallow[name] for name in phases}
    assert full["loaded"] > 10 * shallow["loaded"]
