"""Every door on its corpus, and on changed inputs for a fixed time; what broke once stays in the corpus."""

from __future__ import annotations

import pytest

from tests.fuzz.doors import CORPUS, DOORS, fuzz

SECONDS = 12 / len(DOORS)


@pytest.mark.parametrize("door", DOORS)
def test_a_door_raises_nothing_but_words(door: str) -> None:
    tries, bad = fuzz(door, seconds=SECONDS, seed=1)
    assert tries > 0
    assert not bad, f"{len(bad)} of {tries}: {bad[0][0][:300]!r}: {bad[0][1]!r}"


def test_every_door_has_a_corpus() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(DOORS)
