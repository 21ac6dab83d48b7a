"""What the engine's steps took on H200, against what cannot be otherwise."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from planner.facts import load

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
