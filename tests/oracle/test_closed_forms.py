"""The planner's closed forms against the engine's own numbers: no difference may grow.

`python -m oracle --ratchet` records smaller ones (and shows in the diff what a new release did).
"""

from __future__ import annotations

import json

import pytest

from oracle import changes, closed_forms, facts_file
from planner.facts import load

EVERY = changes.load()
ALLOWED: dict[str, int] = json.loads(closed_forms.RATCHET.read_text(encoding="utf-8"))


@pytest.mark.parametrize("facts", EVERY, ids=lambda facts: facts["vllm_version"])
def test_no_difference_grows(facts: changes.Facts) -> None:
    found = closed_forms.differences(facts)
    grown = {key: (was, now) for key, now in found.items() if abs(now) > abs(was := ALLOWED.get(key, 0))}
    listed = "\n".join(f"{key}: {was:,} -> {now:,} bytes" for key, (was, now) in sorted(grown.items()))
    assert not grown, f"planner minus engine grew:\n{listed}"


@pytest.mark.parametrize("facts", EVERY, ids=lambda facts: facts["vllm_version"])
def test_weights_are_exact(facts: changes.Facts) -> None:
    wrong = {key: difference for key, difference in closed_forms.weight_differences(facts).items() if difference}
    assert not wrong


def test_every_recorded_difference_belongs_to_a_release_that_is_there() -> None:
    versions = {facts["vllm_version"] for facts in EVERY}
    assert {key.split("/")[0] for key in ALLOWED} <= versions


@pytest.mark.parametrize("facts", EVERY, ids=lambda facts: facts["vllm_version"])
def test_every_release_has_closed_forms(facts: changes.Facts) -> None:
    """Peaks within 0.1 MiB, buffers within 0.4: no release is left to a table of its own."""
    found = closed_forms.differences(facts)
    peaks = {key: size for key, size in found.items() if not key.endswith("buffers")}
    assert any("/images/peak" in key for key in peaks)
    assert max(map(abs, peaks.values())) <= 104_858, peaks
    assert max(abs(size) for key, size in found.items() if key.endswith("buffers")) <= 419_430


def test_bounds_rest_on_the_residuals() -> None:
    summary = json.loads((facts_file.FOLDER / "residuals.json").read_text(encoding="utf-8"))["summary"]
    overheads = load("overheads.toml")
    assert overheads["activations"]["bounds"]["unseen_high_bytes"] == 2 * summary["peak_highest_bytes"]
    assert overheads["weights"]["high_bytes"] == summary["weights_highest_bytes"]
    assert summary["peak_lowest_bytes"] > 0  # so the closed form is a low bound
