"""Chats and agents: a turn finds in the prefix cache what the engine's own rules leave there, and no more."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from planner.errors import InvalidRequest
from planner.speed.pool import Pool
from planner.speed.simulation import draw_lengths, whole_prompts
from planner.speed.trace import mean
from planner.speed.workload import Workload
from tests.speed.test_simulation import LIMITS, run

BLOCK = 16


class QueueOfBlocks:
    """The engine's pool block by block (v1/core/block_pool.py): a queue of free blocks that keep what they hold."""

    def __init__(self, num_blocks: int) -> None:
        self.free: list[Hashable] = [("never used", number) for number in range(num_blocks)]

    def allocate(self, wanted: list[Hashable]) -> int:
        """Hold these blocks; how many of them, from the first on, were still there."""
        found = 0
        while found < len(wanted) and wanted[found] in self.free:
            self.free.remove(wanted[found])
            found += 1
        del self.free[: len(wanted) - found]
        return found

    def give_back(self, blocks: list[Hashable]) -> None:
        self.free += reversed(blocks)


@settings(max_examples=200, deadline=None)
@given(
    num_blocks=st.integers(12, 40),
    turns=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4), st.integers(0, 3)), max_size=60),
)
def test_what_is_left_of_a_chat_is_what_a_queue_of_blocks_leaves(
    num_blocks: int, turns: list[tuple[int, int, int]]
) -> None:
    """Chats take turns in any order; each gives back its blocks before others run, or after some of them."""
    queue, pool = QueueOfBlocks(num_blocks), Pool(num_blocks, BLOCK, 0)
    grown = dict.fromkeys(range(5), 0)
    last: dict[int, int] = {}
    running: list[tuple[int, int, list[Hashable]]] = []
    for number, (chat, more, others) in enumerate(turns):
        while running and (len(running) > others or any(one[1] == chat for one in running)):
            owner, _, blocks = running.pop(0)
            queue.give_back(blocks)
            pool.give_back(len(blocks), owner)
        wanted: list[Hashable] = [(chat, place) for place in range(grown[chat] + more)]
        if len(wanted) > pool.free:
            continue
        left = pool.left_by(last.get(chat, -1))
        pool.take_again(last.get(chat, -1), left)
        pool.take(len(wanted) - left)
        assert queue.allocate(wanted) == left
        assert len(queue.free) == pool.free
        grown[chat], last[chat] = len(wanted), number
        running.append((number, chat, wanted))


CHATS = st.builds(
    Workload,
    prompt_tokens=st.integers(1, 300), output_tokens=st.integers(1, 60), turns=st.integers(1, 6),
    system_tokens=st.integers(0, 500), pause_s=st.just(0.0), concurrency=st.integers(1, 8),
    num_requests=st.integers(1, 40), length_range_ratio=st.sampled_from([0.0, 0.5]),
    request_rate=st.sampled_from([None, 5.0]),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(CHATS)
def test_with_room_for_all_a_turn_computes_what_is_new_and_its_last_block(load: Workload) -> None:
    trace = run(load)
    new, output = draw_lengths(load)
    prompts = whole_prompts(load, new, output)
    assert list(trace.prompt_tokens) == prompts
    shared = min(load.system_tokens, min(prompts) - 1) // BLOCK * BLOCK
    found = 0
    for index, prompt in enumerate(prompts):
        if index % load.turns:
            # The last token of the answer before was given, but never read.
            found += min(prompts[index - 1] + output[index - 1] - 1, prompt - 1) // BLOCK * BLOCK
        elif index:
            found += shared
    assert trace.prefix_cache_hit_rate == pytest.approx(found / sum(prompts))


@settings(max_examples=60, deadline=None)
@given(CHATS, st.integers(150, 400), st.booleans())
def test_every_turn_waits_for_the_answer_before_it(load: Workload, blocks: int, skip_ahead: bool) -> None:
    new, output = draw_lengths(load)
    longest = max(map(sum, zip(whole_prompts(load, new, output), output, strict=True)))
    assume(longest <= blocks * BLOCK)
    trace = run(load, replace(LIMITS, num_blocks=blocks), skip_ahead=skip_ahead)
    assert trace.kv_peak_blocks <= blocks
    for index in range(len(trace.sent_s)):
        assert trace.sent_s[index] <= trace.first_token_s[index] <= trace.finished_s[index]
        if index % load.turns:
            assert trace.sent_s[index] == trace.finished_s[index - 1]
    for moment in trace.sent_s:
        inside = [sent <= moment < end for sent, end in zip(trace.sent_s, trace.finished_s, strict=True)]
        assert sum(inside) <= (load.concurrency or 0)


def test_a_pause_lets_others_push_a_chat_out_of_a_small_cache() -> None:
    load = Workload(prompt_tokens=400, output_tokens=100, turns=8, concurrency=12, num_requests=96, pause_s=5.0)
    roomy, tight = run(load), run(load, replace(LIMITS, num_blocks=600))
    assert roomy.prefix_cache_hit_rate > 0.7
    assert tight.prefix_cache_hit_rate < roomy.prefix_cache_hit_rate - 0.1
    assert mean(tight.ttft_s) > mean(roomy.ttft_s)


def test_a_shared_head_is_held_once_and_its_first_fill_is_paid() -> None:
    load = Workload(prompt_tokens=100, output_tokens=8, system_tokens=8000, concurrency=1, num_requests=3)
    trace = run(load)
    first, second, third = trace.ttft_s
    assert first > 5 * second
    assert second == pytest.approx(third)
    crowd = run(replace(load, concurrency=16, num_requests=16))
    assert crowd.kv_peak_blocks == 500 + 16 * 7


def test_a_default_run_has_whole_chats_and_a_replica_whole_ones_too() -> None:
    load = Workload(turns=7, concurrency=10)
    assert load.total_requests % 7 == 0
    shares = [load.share(4, index) for index in range(4)]
    assert all(one is not None and one.total_requests % 7 == 0 for one in shares)
    assert sum(one.total_requests for one in shares if one is not None) == load.total_requests


@pytest.mark.parametrize(
    "wrong",
    [
        {"turns": 0}, {"turns": 1001}, {"system_tokens": -1}, {"pause_s": 2.0}, {"turns": 2, "pause_s": -1.0},
        {"turns": 2, "prefix_cache_hit_rate": 0.5}, {"system_tokens": 5, "prefix_cache_hit_rate": 0.5},
        {"turns": 1000, "prompt_tokens": 2**30}, {"turns": 2, "pause_s": float("nan")},
    ],
)  # fmt: skip
def test_chats_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest):
        Workload(**wrong)  # type: ignore[arg-type]
