"""The goals of the corpus of real failed starts, and that its halves are threads apart."""

from __future__ import annotations

import re
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from planner.serve.log.causes import causes
from planner.serve.log.diagnosis import diagnose

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def benchmark() -> ModuleType:
    spec = spec_from_file_location("benchmark_diagnosis", ROOT / "benchmarks" / "diagnosis.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_judging_half_meets_its_goals() -> None:
    assert benchmark().main(list_misses=False) == 0


def test_the_corpus_is_large_and_each_entry_a_thread_of_its_own() -> None:
    entries = tomllib.loads((ROOT / "tests/fixtures/failures/corpus.toml").read_text())["start"]
    urls = [entry["url"] for entry in entries]
    assert len(set(urls)) == len(urls) >= 120
    halves = [benchmark().half(url) for url in urls]
    assert min(halves.count("judging"), halves.count("building")) >= 60
    assert {code for entry in entries for code in entry["causes"]} <= set(causes())


PROVOKED = tomllib.loads((ROOT / "tests/fixtures/failures/provoked.toml").read_text())["start"]


@pytest.mark.parametrize("start", PROVOKED, ids=[start["name"] for start in PROVOKED])
def test_a_start_that_was_broken_on_purpose_is_named_after_what_was_broken(start: dict[str, Any]) -> None:
    found = diagnose(start["log"].encode(), exit_code=start.get("exit_code"))
    assert found.code in start["causes"]
    assert re.search(start.get("cure", ""), " ".join(found.cures))


def test_each_provoked_start_says_the_same_as_the_campaign_that_made_it() -> None:
    cases = tomllib.loads((ROOT / "scripts/ground-truth/broken.toml").read_text())["start"]
    known = {case["name"]: case["causes"] for case in cases}
    assert {start["name"]: start["causes"] for start in PROVOKED}.items() <= known.items()
