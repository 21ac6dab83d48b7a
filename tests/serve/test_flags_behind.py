"""Flags behind `--`: those of the plan are refused in every spelling, and those that change its memory are named."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest

from planner.errors import InvalidRequest
from planner.facts.serve_flags import flag_of, serve_flags
from planner.planning.request import planned_flags
from planner.serve.process.engine_argv import refuse_planned, unmodelled_flags

OPTIONS = json.loads((files("planner.facts") / "options.json").read_text(encoding="utf-8"))["options"]
SPELT = [
    (name, told["dest"].replace("_", "-"))
    for name, history in OPTIONS.items()
    for _, told in history
    if told and told.get("dest") and not name.startswith(("--no-", "--disable-", "--enable-"))
]
"""Every spelling of the engine's parsers, and the setting it is of."""


@pytest.mark.parametrize(("name", "setting"), [one for one in SPELT if one[1] in planned_flags()])
def test_every_spelling_of_a_planned_flag_is_refused(name: str, setting: str) -> None:
    if setting == "compilation-config":
        assert flag_of(name)[0] == setting
        return
    dashes = "--" if name.startswith("--") else "-"
    for words in ([name, "1"], [f"{name}=1"], [dashes + name.removeprefix(dashes).replace("-", "_"), "1"]):
        with pytest.raises(InvalidRequest):
            refuse_planned(words)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["-O0"], "--optimization-level"),
        (["-O", "0"], "--optimization-level"),
        (["--config", "x.yaml"], "--config"),
        (["--cpu_offload_gb=4"], "--cpu-offload-gb"),
    ],
)
def test_what_changes_memory_in_other_words_is_named(words: list[str], named: str) -> None:
    refuse_planned(words)
    assert list(unmodelled_flags(words)) == [named]


SWITCHES = [
    (name, told)
    for name, history in OPTIONS.items()
    for _, told in history
    if told and told.get("type") == "flag" and isinstance(told.get("default"), bool)
]
"""Every flag without a value and what it is by default."""


@pytest.mark.parametrize("name", sorted({name for name, _ in SWITCHES}))
def test_a_switch_is_named_only_where_it_is_turned(name: str) -> None:
    default = next(told["default"] for one, told in reversed(SWITCHES) if one == name)
    as_it_is = name if default else f"--no-{name[2:]}"
    assert not unmodelled_flags([as_it_is])


@pytest.mark.parametrize(
    "word", ["--no-enable-chunked-prefill", "--disable-chunked-prefill", "--no_enable_chunked_prefill"]
)
def test_steps_of_whole_prompts_are_named_in_both_spellings(word: str) -> None:
    assert "steps as long as the longest prompt" in unmodelled_flags([word]).values()
    assert word.replace("_", "-") in OPTIONS and not unmodelled_flags(["--enable-chunked-prefill"])


def test_an_alias_is_a_flag_of_the_engine_that_sets_what_it_stands_for() -> None:
    for alias, flag in serve_flags().aliases.items():
        assert (f"--{alias}", flag) in SPELT
