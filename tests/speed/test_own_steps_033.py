"""What the engine's steps took on H200, against what cannot be otherwise."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from planner.facts import load
from planner.facts.speed import speed_facts
from planner.speed.measurement import measured_model
from planner.speed.profile import engine_profile
from scripts.speed_replay import figures, measurements

KINDS = ("", "-loads", "-tp2", "-one")
SERVERS: list[dict[str, Any]] = [
    server for kind in KINDS for server in load(f"measured/steps-h200-0.33{kind}.json")["servers"]
]
STARTS = {row["name"]: row for kind in KINDS for row in load(f"measured/startups-h200-0.33{kind}.json")["startups"]}
MIXED = frozenset({"dense-8b-loads", "cut24-text-loads", "cut24-tp2-text-loads"})
"""Servers whose steps are of prompts of several lengths: more requests of shorter prompts may take less time."""


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server["startup"])
def test_a_step_is_longer_than_its_host_part_and_grows_with_requests(server: dict[str, Any]) -> None:
    assert STARTS[server["startup"]]["bench"]
    for here, further in pairwise(server["decode_only"]):
        # Few and one request cost the same, and two measurements of one length differ by chance.
        if server["startup"] not in MIXED:
            assert further["median_s"] > 0.98 * here["median_s"]
    for step in server["decode_only"]:
        assert step["schedule_s"] + step["update_s"] < step["median_s"]


def alone(server: dict[str, Any]) -> dict[str, Any] | None:
    """The load of one request at a time, where the server had one."""
    return next((one for one in STARTS[server["startup"]]["bench"] if one["max_concurrency"] == 1), None)


@pytest.mark.parametrize(
    "server", [server for server in SERVERS if alone(server)], ids=lambda server: server["startup"]
)
def test_one_request_gets_its_tokens_a_step(server: dict[str, Any]) -> None:
    """The load generator's time between tokens is the engine's step: nothing hides between them.

    Median beside median. The mean is the same where graphs run the step and it gives one token; without graphs the
    host sets each step's pace, and some are slower.
    """
    load, start = alone(server), STARTS[server["startup"]]
    assert load is not None
    step_ms = 1e3 * server["decode_only"][0]["median_s"]
    assert load["median_itl_ms"] == pytest.approx(step_ms, rel=0.02)
    if "graphs_estimated_bytes" in start["stages"][0] and load.get("spec_decode_acceptance_length", 1.0) == 1.0:
        assert load["median_tpot_ms"] == pytest.approx(step_ms, rel=0.02)


NVIDIA = sorted(name for name, build in speed_facts().profile.items() if build.vendor == "nvidia")


def lone_step_s(startup: str) -> float:
    """Seconds of a step of one request's one token."""
    (server,) = (server for server in SERVERS if server["startup"] == startup)
    return float(server["decode_only"][0]["median_s"])


@pytest.mark.parametrize("profile_id", NVIDIA)
def test_the_bounds_of_launching_hold_what_one_host_takes(profile_id: str) -> None:
    """Graphs run the same step in less than half of the time, so without them launching alone sets its length."""
    eager, compiled = lone_step_s("dense-8b-eager"), lone_step_s("dense-8b-no-graphs")
    assert 2 * lone_step_s("dense-8b-servers1") < compiled < eager
    said = speed_facts().profile[profile_id].values
    layer, share = said["eager_layer_s"], said["compiled_launch"]
    assert layer.low <= eager / measured_model("llama-3.1-8b").num_hidden_layers <= layer.high
    assert share.low <= compiled / eager <= share.high


def test_the_share_of_one_host_is_not_every_hosts() -> None:
    """Four B200 show why what one H200 leaves of its launches is a bound and not what is expected."""
    share = lone_step_s("dense-8b-no-graphs") / lone_step_s("dense-8b-eager")
    runs = [record for record in measurements() if record.id in ("V20759/q5", "V20759/q10", "V20691/q5")]
    assert len(runs) == 3
    for run in runs:
        expected = engine_profile(run.profile)
        said, as_h200 = (figures(run, one)["ttft_ms"] for one in (expected, replace(expected, compiled_launch=share)))
        assert as_h200 > 2 * run.result["ttft_ms"] > 1.5 * said
