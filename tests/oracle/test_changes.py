"""The page of changes: what it says follows from the facts files, and the committed page is the generated one."""

from __future__ import annotations

import copy

import pytest

from oracle import changes, options
from planner.facts.engine_flags import flags_of

EVERY = changes.load()


def test_page_is_up_to_date() -> None:
    assert changes.PAGE.read_text(encoding="utf-8") == changes.page(EVERY), "run `python -m oracle --changes`"


def test_the_options_that_a_review_reads_are_those_of_the_facts_files() -> None:
    assert options.FILE.read_text(encoding="utf-8") == options.render(options.history()), (
        "run `python -m oracle --changes`"
    )
    for facts in EVERY:
        assert flags_of(facts["vllm_version"]).options == facts["cli_options"]


@pytest.fixture
def next_release() -> changes.Facts:
    facts = copy.deepcopy(EVERY[-1])
    facts["vllm_version"] = "99.0.0"
    return facts


def test_a_release_without_changes_adds_only_its_peak_rows(next_release: changes.Facts) -> None:
    lines = changes.page([EVERY[-1], next_release]).splitlines()
    assert sum(line.startswith("| 99.0.0") for line in lines) == len(changes.POINTS) + 1  # and its line of options


def test_changed_default_text_and_option_are_named(next_release: changes.Facts) -> None:
    column = next_release["defaults"]["columns"].index("max_num_seqs")
    next_release["defaults"]["rows"][0][column] = 77
    next_release["texts"]["no_cache_blocks"] = "No room | at all"
    next_release["cli_options"]["--new-switch"] = {"dest": "new_switch", "type": "flag"}
    del next_release["cli_options"]["--max-num-seqs"]
    page = changes.page([EVERY[-1], next_release])
    device = next_release["defaults"]["rows"][0][0]
    assert f"| 99.0.0 | {device}: max_num_seqs | `1024` | `77` |" in page
    assert "| 99.0.0 | no_cache_blocks | `No room / at all` |" in page
    assert "| 99.0.0 | `--new-switch` | `--max-num-seqs` |" in page


def test_a_device_that_was_not_asked_is_no_change(next_release: changes.Facts) -> None:
    next_release["defaults"]["rows"] = next_release["defaults"]["rows"][:1]
    page = changes.page([EVERY[-1], next_release])
    assert not any("99.0.0" in line and "max_num_seqs" in line for line in page.splitlines())


def test_gaps_are_shown(next_release: changes.Facts) -> None:
    next_release["provenance"]["gaps"] = [
        {"part": "profile", "platform": "cuda-9.0", "reason": "ImportError: nothing there", "tasks": 3}
    ]
    assert "| 99.0.0 | profile | cuda-9.0 | ImportError: nothing there |" in changes.page([next_release])


def test_releases_are_sorted_by_number() -> None:
    versions = [facts["vllm_version"] for facts in EVERY]
    assert versions == sorted(versions, key=changes.version_key)
