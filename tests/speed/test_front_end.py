"""The front end's laws: what it holds it works on by turns, and it loses no time and no request."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.speed.profile import engine_profile
from planner.speed.requests import Client, Requests

EACH_S, FIXED_S = 0.001, 0.01
PROFILE = replace(
    engine_profile("cuda-bf16-hopper"), frontend_s=EACH_S, first_token_s=FIXED_S, streaming_s=0.0
)  # fmt: skip


def client(ready_s: list[float], processes: int = 1) -> tuple[Client, Requests]:
    count = len(ready_s)
    requests = Requests(
        prompt=[8] * count, output=[8] * count, ready_s=ready_s, hit=[0] * count, shared=0, concurrency=count
    )
    made = Client(requests, PROFILE, processes)
    made.send(0.0, ended=(), streaming=0)
    return made, requests


def arrivals(made: Client) -> dict[int, float]:
    """When each request arrives, found by asking again whenever the next is expected."""
    seen: dict[int, float] = {}
    while (now := made.next_arrival_s) < float("inf"):
        for index in made.arrived(now):
            seen[index] = now
    return seen


@given(st.integers(1, 50), st.integers(1, 4))
def test_a_wave_that_was_sent_at_once_arrives_at_once(count: int, processes: int) -> None:
    made, _ = client([0.0] * count, processes)
    seen = arrivals(made)
    assert len(seen) == count
    last = FIXED_S + EACH_S * max(1.0, count / processes)
    assert list(seen.values()) == pytest.approx([last] * count)


@given(st.lists(st.floats(0.0, 0.02), min_size=1, max_size=30).map(sorted), st.integers(1, 4))
def test_no_request_is_lost_overtaken_or_taken_in_less_than_its_work(ready_s: list[float], processes: int) -> None:
    made, requests = client(ready_s, processes)
    seen = arrivals(made)
    assert sorted(seen) == list(range(len(ready_s)))
    times = [seen[index] for index in range(len(ready_s))]
    assert times == sorted(times)
    assert all(arrived - sent >= EACH_S + FIXED_S - 1e-9 for arrived, sent in zip(times, requests.sent_s, strict=True))


@given(st.lists(st.floats(0.0, 0.02), min_size=1, max_size=30).map(sorted))
def test_one_process_is_never_idle_while_it_has_work(ready_s: list[float]) -> None:
    """The last request leaves when a server of any order would be done."""
    done = 0.0
    for sent in ready_s:
        done = max(done, sent) + EACH_S
    assert max(arrivals(client(ready_s)[0]).values()) == pytest.approx(done + FIXED_S)


@given(st.lists(st.floats(0.0, 0.02), min_size=2, max_size=30).map(sorted), st.integers(1, 200))
def test_asking_earlier_changes_nothing(ready_s: list[float], looks: int) -> None:
    often, _ = client(ready_s)
    seen: dict[int, float] = {}
    for look in range(looks + 1):
        for index in often.arrived(0.2 * look / looks):
            seen[index] = 0.2 * look / looks
    assert sorted(seen) == list(range(len(ready_s)))
    exact = arrivals(client(ready_s)[0])
    assert all(exact[index] <= when + 1e-9 and when < exact[index] + 0.2 / looks + 1e-9 for index, when in seen.items())
