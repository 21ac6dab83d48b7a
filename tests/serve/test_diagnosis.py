# ruff: noqa: E501 - log lines are as long as they are
from __future__ import annotations

import io
import re
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_specs import parse_gpus
from planner.planning.answer import Plan
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest
from planner.serve.log.diagnosis import diagnose
from planner.serve.log.events import TimedOut
from planner.serve.log.excerpt import read_excerpt

from .logs import LOGS, PUBLIC, REAL, RECONSTRUCTED, read

pytestmark = pytest.mark.slow

V2 = read(RECONSTRUCTED, "v2-8xh200-0.33.0.log")
LOADING = V2[: V2.index(b"Model loading took")]
BEFORE_KV = V2[: V2.index(b"Available KV")]
PREFIX = "(Worker_TP0 pid=300) ERROR 11-20 09:03:00 [multiproc_executor.py:953] "


def one_gpu(**more: int) -> Plan:
    return make_plan(PlanRequest(gpus=parse_gpus("1xMI300X"), max_model_len=262144, **more))


def after(text: str, *, log: bytes = b"") -> bytes:
    return log + f"\n{PREFIX}{text}\n".encode()


F3 = "ValueError: To serve at least one request with the model's max seq len (262144), (88.0 GiB KV cache is needed, which is larger than the available KV cache memory (36.5 GiB). Based on the available memory, the estimated maximum model length is 108720. Try"
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 139.80 GiB of which 1.25 GiB is free. Of"


@pytest.mark.parametrize(
    ("text", "log", "code", "term"),
    [
        (
            "ValueError: Free memory on device cuda:0 (100.0/139.8 GiB) on startup is less than desired GPU memory utilization (0.92, 128.62 GiB). Decrease",
            b"",
            "free-memory",
            "slack",
        ),
        ("ValueError: No available memory for the cache blocks. Try", b"", "no-kv-memory", "kv_cache"),
        ("ValueError: Cannot auto-fit max_model_len: not enough GPU memory available", b"", "no-kv-memory", "kv_cache"),
        (F3, b"", "max-model-len", "kv_cache"),
        (OOM, b"", "out-of-memory", ""),
        (OOM, LOADING, "oom-load", "weights.text"),
        (OOM.replace("CUDA", "HIP"), BEFORE_KV, "oom-profile", "activations"),
        (OOM, V2[: V2.index(b"Starting vLLM")], "oom-capture", "slack"),
        (OOM, V2, "oom-serve", "slack"),
    ],
)
def test_a_cause_of_memory_is_named_by_its_phase_with_its_line_and_a_cure(
    text: str, log: bytes, code: str, term: str
) -> None:
    found = diagnose(after(text, log=log), plan=one_gpu())
    assert (found.code, found.term) == (code, term)
    assert found.evidence and text[:60] in found.evidence[0].text
    assert found.evidence[0].number == log.count(b"\n") + 2
    assert found.cures and all(found.cures)
    assert not re.search(r"\{\w+\}", " ".join(found.cures))


def test_the_first_cause_wins_and_the_others_are_named() -> None:
    log = after("Address already in use", log=after("OSError: [Errno 28] No space left on device"))
    found = diagnose(log)
    assert found.code == "disk-full" and found.also == ("port-in-use",)


def test_a_collective_that_fails_after_an_oom_is_only_a_consequence() -> None:
    found = diagnose(after(OOM, log=after("RuntimeError: NCCL error: remote process exited", log=BEFORE_KV)))
    assert found.code == "oom-profile"


def test_the_engine_s_own_word_for_the_moment_beats_the_phase_lines() -> None:
    words = "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests. Please try"
    assert diagnose(after(words, log=after(OOM))).code == "oom-profile"


def test_lengths_come_from_the_engine_and_from_planning_again() -> None:
    found = diagnose(after(F3), plan=one_gpu())
    assert "108704" in found.cures[0]  # one block less: the release is unknown, and old ones would wait forever
    assert "36.50 GiB" in found.note and "booked as memory outside torch" in found.note
    again = int(re.search(r"--max-model-len (\d+)`: it fits", " ".join(found.cures))[1])  # type: ignore[index]
    assert 0 < again <= 108704
    assert "108720" in diagnose(V2[:2000] + after(F3)).cures[0]


def test_without_a_plan_the_engine_s_own_numbers_are_still_there() -> None:
    found = diagnose(
        after(
            "ValueError: Free memory on device cuda:0 (100.0/139.8 GiB) on startup is less than desired GPU memory utilization (0.92, 128.62 GiB). Decrease"
        )
    )
    assert "28.62 GiB are missing" in found.cures[0]
    assert "`--gpu-memory-utilization 0.71`" in found.cures[1]
    assert diagnose(after("No available memory for the cache blocks")).cures[0].startswith("a larger `--tensor")


def test_a_utilization_is_lowered_by_what_was_missing() -> None:
    found = diagnose(after(OOM, log=V2))
    assert "`--gpu-memory-utilization 0.9`" in found.cures[0]


def test_memory_cures_are_planned_again() -> None:
    eight = make_plan(PlanRequest(gpus=parse_gpus("8xH200"), tensor_parallel_size=2, replicas=1))
    load = " ".join(diagnose(after(OOM, log=LOADING), plan=eight).cures)
    assert "`--tensor-parallel-size 4`: 31.37 GiB of weights per GPU" in load and "on 8 GPUs" not in load
    peak = diagnose(after(OOM, log=BEFORE_KV), plan=eight).cures
    assert any(text.startswith("`--max-num-seqs 256`: ") and "GiB less per GPU" in text for text in peak)
    free = "ValueError: Free memory on device cuda:0 (100.0/139.8 GiB) on startup is less than desired GPU memory utilization (0.92, 128.62 GiB). Decrease"
    assert "tokens fit at the low bound then" in diagnose(after(free), plan=eight).cures[-1]


def test_a_free_port_is_offered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        found = diagnose(after("OSError: [Errno 98] Address already in use"), port=port)
    offered = int(re.search(r"--port (\d+)", found.cures[0])[1])  # type: ignore[index]
    assert port < offered <= port + 100


PLACE = """Traceback (most recent call last):
  File "/usr/lib/vllm/v1/worker/gpu_worker.py", line 311, in load_model
    self.model_runner.load_model()
  File "/usr/lib/aiter/ops/norm.py", line 7, in rms_norm
    raise RuntimeError("nobody has seen this")
RuntimeError: nobody has seen this"""


def raised(text: str) -> bytes:
    return V2[:2000] + "".join(f"\n{PREFIX}{line}" for line in text.split("\n")).encode() + b"\n"


def test_where_it_was_raised_speaks_weakly_where_nothing_else_does() -> None:
    found = diagnose(raised(PLACE))
    assert (found.code, found.phase) == ("aiter", "load")
    assert "raised in `rms_norm`, /usr/lib/aiter/ops/norm.py line 7" in found.note and "only the part" in found.note
    cut = diagnose(raised(PLACE.partition("\n")[2]))
    assert (cut.code, cut.note) == (found.code, found.note)
    told = diagnose(raised(PLACE.replace("nobody has seen this", "CUDA error: invalid device ordinal")))
    assert told.code == "device-number" and not told.note
    elsewhere = diagnose(raised(PLACE.replace("/aiter/", "/nowhere/")))
    assert elsewhere.code == "unknown" and "nobody has seen this" in elsewhere.evidence[0].text
    assert elsewhere.note.startswith(
        "it was raised in `rms_norm`, /usr/lib/nowhere/ops/norm.py line 7, for /usr/lib/vllm/"
    )


def test_an_answer_of_a_kind_alone_says_so() -> None:
    found = diagnose(after("RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)"))
    assert found.code == "collective" and "of what kind" in found.note
    assert not diagnose(after("OSError: [Errno 98] Address already in use")).note


def test_a_traceback_that_the_start_survived_names_no_place() -> None:
    going_on = raised(PLACE) + V2[V2.index(b"Model loading took") - 80 :]
    assert diagnose(going_on).code == "none"


def test_the_frames_of_an_excerpt_tell_the_phase_of_an_out_of_memory_error() -> None:
    frames = ['  File "/usr/lib/vllm/v1/worker/gpu_worker.py", line 3, in determine_available_memory', "    run()", OOM]
    log = "".join(f"{PREFIX}{line}\n" for line in frames).encode()
    assert (diagnose(log).code, diagnose(log).phase) == ("oom-profile", "profile")
    bare = diagnose(f"{PREFIX}{OOM}\n".encode())
    assert (bare.code, bare.phase) == ("out-of-memory", "") and "holds it" in bare.cures[0]


def test_mistral_common_is_answered_with_the_release_s_own_pin() -> None:
    text = "ImportError: cannot import name 'ReasoningEffort' from 'mistral_common.protocol.instruct.request' (/x.py)"
    pinned = diagnose(after(text, log=V2[:2000])).cures[0]
    assert "mistral_common[image]>=1.11.6,<1.13.0" in pinned and "0.33.0" in pinned
    assert "check" in diagnose(after(text)).cures[0]


def test_errors_of_requests_are_no_failed_start_and_are_shown() -> None:
    words = "Error in preprocessing prompt inputs\nTypeError: unexpected keyword argument 'odd'"
    said = "".join(f"(APIServer pid=1) ERROR 11-20 09:13:00 [serving.py:9] {line}\n" for line in words.split("\n"))
    assert b"Application startup complete" in V2
    found = diagnose(V2 + said.encode())
    assert found.code == "none" and found.title.endswith("the server was ready, and reported 1 error since")
    assert "Error in preprocessing" in found.evidence[0].text and not found.cures
    assert diagnose(V2).title == "the log shows no failure; the server was ready" and not diagnose(V2).evidence


def test_an_unknown_failure_shows_the_root_not_the_last_line() -> None:
    log = read(REAL, "fp8-kernel-missing.log").replace(b"expected at most 0 argument(s)", b"went wrong")
    found = diagnose(log)
    assert found.code == "unknown" and not found.known
    assert found.traceback[0].text.startswith("Traceback") and "went wrong" in found.traceback[-1].text
    assert found.phase == "load" and "went wrong" in found.evidence[0].text
    lines = log.decode().split("\n")
    assert all(line.text in lines[line.number - 1] for line in found.traceback)


@pytest.mark.parametrize(
    ("name", "code", "phase"),
    [
        ("fp8-kernel-missing", "kernel-or-driver", "load"),
        ("draft-longer-than-target", "draft-length", "configure"),
        ("cache-too-small", "max-model-len", "kv"),
        ("cache-beyond-machine", "host-memory", "profile"),
        ("batch-below-length", "batch-length", "configure"),
        ("context-beyond-model", "context-limit", "configure"),
        ("mixed-formats", "format-mix", "configure"),
        ("unknown-tool-parser", "unknown-parser", "configure"),
        ("unknown-reasoning-parser", "unknown-parser", "configure"),
        ("unknown-flag", "bad-arguments", "configure"),
        ("model-not-cached", "missing-model", "configure"),
        ("no-main-guard", "no-main-guard", "configure"),
        ("kernel-image-invalid", "kernel-or-driver", "profile"),
        ("launch-engine-killed", "died", "ready"),
    ],
)
def test_real_failures_are_known(name: str, code: str, phase: str) -> None:
    (path,) = LOGS.rglob(f"{name}.log")
    found = diagnose(path.read_bytes())
    assert (found.code, found.phase, found.also) == (code, phase, ())
    assert found.evidence and found.cures


def test_the_engine_s_own_estimate_is_the_first_cure() -> None:
    assert diagnose(read(REAL, "cache-too-small.log")).cures[0].startswith("`--max-model-len 8064` or less")


def test_a_log_without_failure_says_so() -> None:
    assert diagnose(read(REAL, "text-only.log")).code == "none"
    assert "ends in capture" in diagnose(read(PUBLIC, "qwen-27b-rocm-tp1.log")).title


def test_causes_that_leave_no_line() -> None:
    assert diagnose(BEFORE_KV, exit_code=137).code == "killed"
    timed = TimedOut(phase="load", waited_s=9.0, last_seen="Loading …", health="nothing listens yet")
    assert diagnose(BEFORE_KV, timed_out=timed).code == "timeout"
    assert diagnose(b"", exit_code=1).code == "unknown"
    assert diagnose(b"the last words\n", exit_code=1).traceback[-1].text == "the last words"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (b"", "the log is empty"),
        (b" \n\n", "the log is empty"),
        (b"root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/sbin/nologin\n", "does not look like a log of"),
        (b"nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)\n", "does not look like a log of"),
        (b"rsync: write failed: No space left on device (28)\n", "does not look like a log of"),
        (bytes(range(256)) * 20, "does not look like a log of"),
    ],
)
def test_a_log_that_is_not_the_engine_s_names_no_cause(log: bytes, words: str) -> None:
    found = diagnose(log)
    assert found.code == "unknown" and words in found.title and found.also == ()
    assert "traceback" not in " ".join(found.cures)


def test_an_excerpt_of_the_engine_s_own_words_is_enough() -> None:
    assert diagnose(f"{F3}\n".encode()).code == "max-model-len"
    assert diagnose(b"OSError: [Errno 98] Address already in use", exit_code=1).code == "port-in-use"


def test_no_control_character_of_the_log_comes_out() -> None:
    evil = "\x1b]0;title\x07\x9b31m\x00\u202e"
    unknown = diagnose(f'{PREFIX}Traceback (most recent call last):\n  File "x", line 1\nOops: {evil}\n'.encode())
    named = diagnose(after(f"invalid tool call parser: x{evil} OSError: [Errno 28] No space left on device {evil}"))
    bare = diagnose(f"words {evil}\n".encode(), exit_code=1)
    for found in (unknown, named, bare):
        texts = [found.title, *found.cures, *(line.text for line in (*found.evidence, *found.traceback))]
        assert texts and all(one.isprintable() for text in texts for one in text)


def test_a_long_log_is_thinned_to_what_tells_and_keeps_its_line_numbers() -> None:
    chatter = b'(APIServer pid=1) INFO:     127.0.0.1:5000 - "POST /v1/chat/completions HTTP/1.1" 200 OK\n' * 40_000
    crash = f"{PREFIX}Traceback (most recent call last):\n{PREFIX}{OOM}\n".encode()
    log = V2 + chatter + chatter + crash + chatter + chatter
    excerpt = read_excerpt(io.BytesIO(log))
    assert len(log) > 12 << 20 > len(excerpt.text) and excerpt.text.count(b"\n") < log.count(b"\n") / 2
    assert excerpt.text.startswith(V2) and excerpt.text.endswith(chatter[-(1 << 19) :])
    found = excerpt.renumbered(diagnose(excerpt.text))
    assert found.code == "oom-serve" and log.split(b"\n")[found.evidence[0].number - 1].endswith(b"is free. Of")
    assert read_excerpt(io.BytesIO(V2)).text == V2


@given(
    st.lists(st.sampled_from([b"word\n", b"x" * 90 + b"\n", b"\n", b"Traceback (most recent call last)\n", b"tail"]))
)
def test_an_excerpt_knows_where_each_of_its_lines_stands(lines: list[bytes]) -> None:
    log = b"".join(lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("planner.serve.log.excerpt.HEAD_BYTES", 64)
        patch.setattr("planner.serve.log.excerpt.CHUNK_BYTES", 32)
        patch.setattr("planner.serve.log.excerpt._BEHIND_BYTES", 16)
        excerpt = read_excerpt(io.BytesIO(log))
    assert excerpt.head == log[:64]
    whole = log.split(b"\n")
    for number, line in enumerate(excerpt.text.split(b"\n"), start=1):
        # A gap may leave an empty line, and a very long line may be cut at either end.
        assert line in whole[excerpt.line(number) - 1]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2000))
def test_no_log_makes_it_raise(data: bytes) -> None:
    diagnose(data)
    diagnose(V2[: len(data) * 7] + data, exit_code=1)
