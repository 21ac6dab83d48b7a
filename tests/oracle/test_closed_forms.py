"""The planner's closed forms against the engine's own numbers: no difference may grow.

`python -m oracle --ratchet` records smaller ones (and shows in the diff what a new release did).
"""

from __future__ import annotations

import json

import pytest

from oracle import changes, closed_forms

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


def test_the_newest_release_is_matched_to_a_twentieth_of_a_mib() -> None:
    newest = EVERY[-1]["vllm_version"]
    executed = {k: v for k, v in closed_forms.differences(EVERY[-1]).items() if "cuda" in k}
    assert executed
    assert max(map(abs, executed.values())) <= 46_592, newest
