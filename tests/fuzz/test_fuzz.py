"""Every door on its corpus, and on changed inputs for a fixed time; what broke once stays in the corpus."""

from __future__ import annotations

import re

import pytest

from tests.fuzz.doors import CORPUS, DOORS, EXPECTED, fuzz, seeds

pytestmark = pytest.mark.slow

SECONDS = 12 / len(DOORS)


@pytest.mark.parametrize("door", DOORS)
def test_a_door_raises_nothing_but_words(door: str) -> None:
    tries, bad = fuzz(door, seconds=SECONDS, seed=1)
    assert tries > 0
    assert not bad, f"{len(bad)} of {tries}: {bad[0][0][:300]!r}: {bad[0][1]!r}"


@pytest.mark.parametrize("door", DOORS)
def test_a_number_of_thousands_of_digits_is_no_traceback(door: str) -> None:
    """Python itself refuses to read more than 4,300 digits, with an error of its own."""
    for seed in seeds(door):
        places = [match.span() for match in re.finditer(rb"\d+", seed)]
        for begin, end in places[:: max(1, len(places) // 4)][:4]:
            try:
                DOORS[door](seed[:begin] + b"9" * 5000 + seed[end:])
            except EXPECTED:
                continue


def test_every_door_has_a_corpus() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(DOORS)
