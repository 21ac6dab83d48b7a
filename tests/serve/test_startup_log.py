# ruff: noqa: E501 - log lines are as long as they are
from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.rendering.document import to_json_value
from planner.serve.log.events import (
    ENDINGS,
    PHASES,
    Event,
    FailureSeen,
    Figure,
    PhaseStarted,
    Progress,
    TracebackSeen,
)
from planner.serve.log.parser import MAX_LINE_BYTES, StartupLog, parse_log
from planner.serve.log.patterns import log_patterns

from .logs import ALL, LOGS, PUBLIC, REAL, RECONSTRUCTED, read

pytestmark = pytest.mark.slow

ORDER = (*PHASES, *ENDINGS)
V2 = read(RECONSTRUCTED, "v2-8xh200-0.33.0.log")
MIXED = b"".join(
    (
        V2,
        read(REAL, "fp8-kernel-missing.log"),
        read(REAL, "draft-longer-than-target.log"),
        read(PUBLIC, "moe-tp4-weights-form.log"),
    )
)


def phases(events: tuple[Event, ...]) -> list[str]:
    return [event.phase for event in events if isinstance(event, PhaseStarted)]


def figures(events: tuple[Event, ...], name: str) -> list[int | float | str]:
    return [event.value for event in events if isinstance(event, Figure) and event.name == name]


def feed_in(pieces: list[bytes]) -> tuple[Event, ...]:
    log = StartupLog()
    events = [event for piece in pieces for event in log.feed(piece)]
    return (*events, *log.finish())


# ---------------------------------------------------------------- laws


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_chunking_gives_the_same_events(data: st.DataObject) -> None:
    text = MIXED[:60_000]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=40)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert feed_in(pieces) == parse_log(text)


def test_one_byte_at_a_time_gives_the_same_events() -> None:
    assert feed_in([V2[i : i + 1] for i in range(len(V2))]) == parse_log(V2)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_phases_never_go_back_whatever_the_order_of_lines(data: st.DataObject) -> None:
    lines = MIXED.splitlines(keepends=True)
    chosen = data.draw(st.lists(st.sampled_from(lines), max_size=120))
    seen = [ORDER.index(phase) for phase in phases(parse_log(b"".join(chosen)))]
    assert seen == sorted(set(seen))
    assert len([phase for phase in seen if phase >= len(PHASES)]) <= 1


@settings(deadline=None)
@given(
    before=st.text(alphabet="0429 -/ab", max_size=12),
    text=st.sampled_from(log_patterns().failing.texts),
    after=st.text(alphabet="0429 -/ab", max_size=12),
    cut=st.integers(0, 2),
)
def test_a_line_is_searched_as_if_for_each_text_alone(before: str, text: str, after: str, cut: int) -> None:
    line = before + text[cut:] + after
    for ready, mentioned in ((False, False), (False, True), (True, False), (True, True)):
        needles = log_patterns().needles(ready=ready, mentioned=mentioned)
        assert needles.in_line(line) == any(one in line for one in needles.texts)


@settings(max_examples=60, deadline=None)
@given(
    noise=st.lists(
        st.text(alphabet=st.characters(codec="ascii", exclude_characters="\r\n\x1b("), min_size=1, max_size=60).filter(
            lambda text: not text.startswith("Traceback") and not log_patterns().failing.in_line(text)
        ),
        max_size=10,
    ),
    where=st.integers(0, 80),
)
def test_unknown_lines_change_nothing_but_line_numbers(noise: list[str], where: int) -> None:
    def strip(events: tuple[Event, ...]) -> list[dict[str, object]]:
        return [{k: v for k, v in to_json_value(e).items() if k not in ("line", "last_line")} for e in events]

    lines = V2.splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    mixed = whole[:where] + [text.encode() + b"\n" for text in noise] + whole[where:]
    assert strip(parse_log(b"".join(mixed))) == strip(parse_log(b"".join(whole)))


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=4000))
def test_garbage_never_raises(data: bytes) -> None:
    parse_log(data)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_garbled_logs_never_raise_and_keep_the_order(data: st.DataObject) -> None:
    text = bytearray(V2)
    for position in data.draw(st.lists(st.integers(0, len(text) - 1), max_size=200)):
        text[position] = data.draw(st.integers(0, 255))
    seen = [ORDER.index(phase) for phase in phases(parse_log(bytes(text)))]
    assert seen == sorted(set(seen))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_a_truncated_log_gives_the_beginning_of_the_events(path: Path) -> None:
    data = path.read_bytes()
    log = StartupLog()
    whole = log.feed(data)
    for end in range(0, len(data), max(1, len(data) // 6)):
        part = StartupLog().feed(data[:end])
        assert whole[: len(part)] == part


def test_a_line_without_end_is_cut_and_forgotten() -> None:
    log = StartupLog()
    for _ in range(40):
        assert log.feed(b"x" * 10_000) == ()
    assert log.feed(b"Application startup complete.\n") == ()
    assert len(log.last_text) <= 400 < MAX_LINE_BYTES
    assert phases(log.feed(b"INFO:     Application startup complete.\n")) == ["ready"]


# ---------------------------------------------------------------- real logs


def test_a_real_text_only_start() -> None:
    events = parse_log(read(REAL, "text-only.log"))
    assert phases(events) == ["configure", "load", "profile", "kv", "capture", "ready", "stopped"]
    assert figures(events, "vllm_version")[0] == "0.32.0"
    assert figures(events, "kv_cache_tokens") == [2_097_152]
    assert figures(events, "kv_available_bytes") == [2**30]
    assert figures(events, "max_model_len") == [8192]
    assert figures(events, "init_engine_s") == [15.9]
    assert figures(events, "url") == ["http://127.0.0.1:8101"]
    assert not [event for event in events if isinstance(event, (FailureSeen, TracebackSeen))]


def test_a_real_start_with_draft_knows_its_length() -> None:
    events = parse_log(read(REAL, "fp8-eagle-vision.log"))
    assert figures(events, "num_speculative_tokens") == [3]
    assert figures(events, "max_num_seqs") == [128]
    assert phases(events)[-2:] == ["ready", "stopped"]


def test_a_real_missing_kernel_keeps_the_root_traceback() -> None:
    events = parse_log(read(REAL, "fp8-kernel-missing.log"))
    assert phases(events)[-1] == "failed"
    first = next(event for event in events if isinstance(event, TracebackSeen))
    assert first.rank == "Worker" and first.exception.startswith("RuntimeError: _C::static_scaled_fp8_quant()")
    assert any('File "/srv/gpu_worker.py"' in line for line in first.lines)
    assert [event.code for event in events if isinstance(event, FailureSeen)] == ["kernel-or-driver"]


def test_a_real_death_of_the_main_process_is_a_failure() -> None:
    events = parse_log(read(REAL, "draft-longer-than-target.log"))
    failure = next(event for event in events if isinstance(event, FailureSeen) and event.weight == "cause")
    assert failure.code == "draft-length"
    assert dict(failure.values) == {"speculative_max_model_len": 65536, "model": "target", "limit": 8192}
    assert phases(events) == ["configure", "failed"]


def test_eight_interleaved_ranks() -> None:
    events = parse_log(V2)
    assert phases(events) == ["configure", "download", "load", "profile", "kv", "compile", "capture", "ready"]
    assert len(figures(events, "weights_bytes")) == 8
    assert figures(events, "kv_cache_tokens") == [2_558_592]
    bars = [event for event in events if isinstance(event, Progress)]
    assert [bar.phase for bar in bars if bar.label == "PIECEWISE"] == ["profile", "profile", "capture", "capture"]
    assert (bars[0].phase, bars[0].label, bars[0].done) == (
        "download",
        "consolidated-00001-of-00027.safetensors",
        600_000_000,
    )
    assert [bar.done for bar in bars if bar.phase == "load"] == [*range(0, 28, 3)]


def test_the_two_forms_of_the_budget_line_are_kept_apart() -> None:
    weights = parse_log(read(PUBLIC, "moe-tp4-weights-form.log"))
    assert figures(weights, "peak_activation_bytes") and not figures(weights, "peak_with_estimate_bytes")
    for name in ("llama-3.1-8b-a100-tp1-0.31.0.log", "qwen-27b-rocm-tp1.log"):
        consumed = parse_log(read(PUBLIC, name))
        assert figures(consumed, "peak_with_estimate_bytes") and not figures(consumed, "peak_activation_bytes")


def test_a_release_that_cannot_print_a_line_is_not_believed_to() -> None:
    line = b"Auto-fit\nThe draft model's max_model_len (65536) is smaller than the target model's (262144) and so on; reducing max_model_len to 65536.\n"
    old = b"Initializing a V1 LLM engine (v0.30.0) with config:\n"
    new = b"Initializing a V1 LLM engine (v0.33.0) with config:\n"
    nightly = b"Initializing a V1 LLM engine (v0.1.dev1+gabc) with config:\n"
    assert figures(parse_log(old + line), "max_model_len") == []
    assert figures(parse_log(new + line), "max_model_len") == [65536]
    assert figures(parse_log(nightly + line), "max_model_len") == [65536]


@pytest.mark.parametrize(
    ("text", "code", "values"),
    [
        (
            "ValueError: Free memory on device cuda:0 (108.44/119.7 GiB) on startup is less than desired GPU memory utilization (0.915, 109.52 GiB). Decrease",
            "free-memory",
            {"device": "cuda:0", "gpu_memory_utilization_fraction": 0.915, "free_bytes": round(108.44 * 2**30)},
        ),
        (
            "ValueError: To serve at least one request with the model's max seq len (262144), (88.0 GiB KV cache is needed, which is larger than the available KV cache memory (49.99 GiB). Based on the available memory, the estimated maximum model length is 148928. Try",
            "max-model-len",
            {"max_model_len": 262144, "estimated_max_model_len": 148928, "kv_needed_bytes": 88 * 2**30},
        ),
        (
            "ValueError: To serve at least one request with the models's max seq len (262144), (88.0 GiB KV cache is needed, which is larger than the available KV cache memory (-1.2 GiB). Try",
            "max-model-len",
            {"kv_available_bytes": round(-1.2 * 2**30)},
        ),
        (
            "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 256.00 GiB. GPU 0 has a total capacity of 80.00 GiB of which 25.38 GiB is free. Of",
            "out-of-memory",
            {"runtime": "HIP", "tried": "256.00 GiB", "gpu": 0},
        ),
        (
            "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': -9}",
            "death",
            {"exit": -9},
        ),
        ("vllm serve: error: unrecognized arguments: --enable-mn", "bad-arguments", {}),
        ("OSError: [Errno 98] Address already in use", "port-in-use", {}),
        ("OSError: [Errno 28] No space left on device", "disk-full", {}),
        (
            "World size (8) is larger than the number of available GPUs (4) in this node.",
            "world-size",
            {"world_size": 8, "available_gpus": 4},
        ),
    ],
)
def test_each_known_failure_is_named_with_its_numbers(text: str, code: str, values: dict[str, object]) -> None:
    for prefix in ("", "(EngineCore pid=12) ERROR 11-20 09:00:00 [core.py:1510] "):
        seen = [event for event in parse_log(f"{prefix}{text}\n".encode()) if isinstance(event, FailureSeen)]
        assert code in [event.code for event in seen]
        got = dict(next(event for event in seen if event.code == code).values)
        assert values.items() <= got.items()


def test_what_is_said_while_stopping_is_no_failure() -> None:
    text = b"INFO:     Application startup complete.\n[shutdown] API server: shutdown triggered\nEngineDeadError: x\nNo space left on device\n"
    assert phases(parse_log(text)) == ["ready", "stopped"]
    assert not [event for event in parse_log(text) if isinstance(event, FailureSeen)]


# ---------------------------------------------------------------- the table and the fixtures


def test_every_pattern_says_how_it_is_known() -> None:
    table = tomllib.loads((Path(__file__).parents[2] / "planner/facts/log_patterns.toml").read_text())
    for entry in (*table["line"], *table["fatal"]):
        assert entry["basis"] in ("measured", "assumed")
        assert entry["needle"]
    for pattern in log_patterns().lines:
        assert pattern.phase in ("", *ORDER) and pattern.early in ("", *ORDER)


def test_every_fixture_says_where_it_comes_from() -> None:
    for folder in {path.parent for path in ALL}:
        listed = tomllib.loads((folder / "PROVENANCE.toml").read_text())["files"]
        assert set(listed) == {path.name for path in folder.glob("*.log")}
    assert len(ALL) == len(list(LOGS.rglob("*.log"))) >= 9
