# ruff: noqa: E501 - log lines are as long as they are
"""The table of causes against itself, and the laws of choosing one."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from planner.facts.log_lines import Cause, FailureLine, raised_texts
from planner.serve.log.causes import WEIGHTS, cause_of_signal, causes
from planner.serve.log.diagnosis import diagnose
from planner.serve.log.events import FailureSeen, StallSeen, TimedOut
from planner.serve.log.parser import MAX_LINE_BYTES, StartupLog, parse_log
from planner.serve.log.places import raiser_of

from .logs import ALL, RECONSTRUCTED, read
from .shortest import shortest

ENGINE = "(EngineCore pid=210) INFO 05-13 10:40:43 [core.py:97] Initializing a V1 LLM engine (v0.27.0) with config: model='m'\n"
ERROR = "(EngineCore pid=210) ERROR 05-13 10:46:43 [multiproc_executor.py:315] "
LINES = [(code, cause, line) for code, cause in causes().items() for line in cause.lines]
STALLS = [(code, cause, line) for code, cause in causes().items() for line in cause.stalls]
DEATHS = {"killed": -9, "aborted": -6, "segfault": -11, "bus-error": -7, "terminated": -15}


def name(value: object) -> str | None:
    return value if isinstance(value, str) else value.texts[0] if isinstance(value, FailureLine) else ""


@pytest.mark.parametrize(("code", "cause", "line"), LINES, ids=name)
def test_every_example_is_named_alone_and_in_a_log(code: str, cause: Cause, line: FailureLine) -> None:
    """Of all patterns none that tells more may take another's example."""
    for log in (f"{line.example}\n", f"{ENGINE}{line.example}\n"):
        found = diagnose(log.encode())
        if cause.anyones and not log.startswith("(") and found.code == "unknown":
            continue  # other programs say the same
        expected = {code}
        if cause.by_phase:
            expected = {"out-of-memory"}
        elif cause.by_signal:
            expected = set(DEATHS) | {"died"}
        assert found.code in expected, (log, found.code)
        assert found.cures and all(found.cures)
        assert not re.search(r"\{\w+\}", " ".join(found.cures))


@pytest.mark.parametrize(("code", "cause", "line"), LINES + STALLS, ids=name)
def test_no_branch_of_an_expression_lacks_a_text_that_is_looked_for_first(
    code: str, cause: Cause, line: FailureLine
) -> None:
    """A branch that no text leads to never matches."""
    dead = [text for text in shortest(line.expression) if not any(one in text for one in line.texts)]
    assert not dead, (code, line.has)


@pytest.mark.parametrize(("code", "cause", "line"), LINES, ids=name)
def test_what_is_only_listed_as_a_possible_reason_names_nothing(code: str, cause: Cause, line: FailureLine) -> None:
    """Ray and others end a message with what may have been."""
    said = f"(raylet) The peer went away. Possible reasons include: (1) {line.example}\n"
    assert not [event for event in parse_log(said.encode()) if isinstance(event, FailureSeen) and event.code == code]


@pytest.mark.slow
@pytest.mark.parametrize("filling", ["", "a", "/x", "a.b.", "0 ", " ", '"', "'a', "])
def test_no_long_line_holds_the_reading_up(filling: str) -> None:
    """The longest line that is read, around a text that is looked for first, or of nothing else: some milliseconds, not
    its square."""
    slow = []
    for code, _, line in (*LINES, *STALLS):
        repeated = filling or line.texts[0]
        long = repeated * (MAX_LINE_BYTES // len(repeated) // 2)
        began = time.process_time()
        re.compile(line.expression).search(f"{long}{line.texts[0]}{long}")
        slow += [(code, line.expression)] if time.process_time() - began > 1.0 else []
    assert slow == []


@pytest.mark.parametrize(("code", "cause", "line"), STALLS, ids=name)
def test_a_wait_that_is_repeated_is_a_failure_and_once_is_none(code: str, cause: Cause, line: FailureLine) -> None:
    said = f"(EngineCore pid=210) INFO 05-13 10:4%d:43 [x.py:1] {line.example}\n"
    once = [event for event in parse_log((ENGINE + said % 1).encode()) if isinstance(event, StallSeen)]
    assert [event.code for event in once] == [code]
    log = ENGINE + "".join(said % minute for minute in range(1, 5))
    assert diagnose(log.encode()).code == code
    going_on = (
        log + "(Worker_TP0 pid=3) INFO 05-13 10:50:00 [x.py:1] Model loading took 16.1 GiB memory and 9.2 seconds\n"
    )
    assert diagnose(going_on.encode()).code == "none"
    ready = log + "INFO:     Application startup complete.\n"
    assert diagnose(ready.encode()).code == "none"


@pytest.mark.parametrize(("code", "number"), DEATHS.items())
def test_the_exit_code_tells_the_deaths_apart(code: str, number: int) -> None:
    died = f"{ENGINE}{ERROR}Worker proc VllmWorker-0 died unexpectedly (exit code: {number}), shutting down executor.\n"
    found = diagnose(died.encode())
    assert found.code == code
    assert ("out-of-memory" in f"{found.title} {found.cures}") == (number == -9)
    assert diagnose(ENGINE.encode(), exit_code=128 - number).code == code


def test_without_a_code_nobody_is_blamed() -> None:
    died = f"{ENGINE}{ERROR}Worker proc VllmWorker-0 died unexpectedly, shutting down executor.\n"
    assert diagnose(died.encode()).code == "died"
    raised = died.replace("unexpectedly,", "unexpectedly (exit code: 1),")
    assert diagnose(raised.encode(), exit_code=1).code == "exited"


@pytest.mark.parametrize(
    ("native", "code"),
    [
        ("Failed: Cuda error /workspace/csrc/custom_all_reduce.cuh:455 'invalid argument'", "custom-all-reduce"),
        ("Memory access fault by GPU node-2 (Agent handle: 0x1) on address 0x7f. Reason: Unknown.", "device-fault"),
        ("Fatal Python error: Segmentation fault", "segfault"),
        ("Fatal Python error: Bus error", "bus-error"),
        (":0:rocdevice.cpp:2984: aborting with error : HSA_STATUS_ERROR_EXCEPTION: x", "device-fault"),
    ],
)
def test_a_native_message_before_a_death_is_the_cause(native: str, code: str) -> None:
    for number in (-9, -6, -11):
        died = f"{ERROR}Worker proc VllmWorker-0 died unexpectedly (exit code: {number}), shutting down executor.\n"
        assert diagnose(f"{ENGINE}{native}\n{died}".encode()).code == code


def test_a_stop_after_a_hang_is_not_the_cause() -> None:
    wait = "(EngineCore pid=210) INFO 05-13 10:42:40 [shm_broadcast.py:681] No available shared memory broadcast block found in 60 seconds.\n"
    died = f"{ERROR}Worker proc VllmWorker-0 died unexpectedly (exit code: %d), shutting down executor.\n"
    assert diagnose((ENGINE + wait * 4 + died % -15).encode()).code == "workers-hang"
    assert diagnose((ENGINE + wait * 4 + died % -9).encode()).code == "killed"


def test_the_last_words_before_a_silence_name_a_suspect() -> None:
    last = "(Worker_TP0 pid=300) INFO 05-13 10:41:20 [pynccl.py:103] vLLM is using nccl==2.27.3\n"
    waited = TimedOut(phase="configure", waited_s=600.0, last_seen=last.strip(), health="nothing listens yet")
    assert diagnose((ENGINE + last).encode(), timed_out=waited).code == "workers-hang"
    assert diagnose((ENGINE + last).encode(), exit_code=1).code == "unknown"


CARRIERS = [
    "May 13 10:41:43 gpu-7 vllm[4711]: ",
    "2026-05-13T10:41:43+0000 gpu-7 vllm[4711]: ",
    "2026-05-13T10:41:43.123456789Z stderr F ",
    "2026-05-13T10:41:43.123456789Z ",
    "[pod/m35-0/vllm] ",
    "m35-1  | ",
    "3: ",
]


LONG_LOG_BYTES = 12_000
"""From here on a log tells its cause many times over, and two carriers are enough for it."""


@pytest.mark.parametrize(("at", "path"), enumerate(ALL), ids=lambda value: getattr(value, "stem", None))
def test_what_carries_a_log_changes_nothing(at: int, path: Path) -> None:
    """Short logs stand in every carrier; the long ones share them."""
    plain = path.read_bytes()
    if b"\r" in plain:
        return
    bare = diagnose(plain)
    for carrier in (CARRIERS * 2)[at % len(CARRIERS) :][: 2 if len(plain) > LONG_LOG_BYTES else len(CARRIERS)]:
        carried = b"".join(carrier.encode() + line + b"\n" for line in plain.splitlines())
        assert (found := diagnose(carried)).code == bare.code, carrier
        assert [line.text for line in found.evidence] == [line.text for line in bare.evidence]


def test_a_docker_json_line_is_read() -> None:
    line = '{"log":"torch.AcceleratorError: CUDA error: invalid device ordinal\\n","stream":"stderr","time":"2026"}\n'
    assert diagnose(line.encode()).code == "device-number"


def test_what_was_survived_is_no_failure() -> None:
    log = read(RECONSTRUCTED, "v2-8xh200-0.33.0.log")
    early = b"OSError: [Errno 28] No space left on device\n" + log
    assert diagnose(early).code == "none"
    mention = log + b"(APIServer pid=1) WARNING 11-20 09:03:00 [x.py:1] NCCL error: would be unhandled system error\n"
    assert diagnose(mention).code == "none"


def test_a_wait_says_how_long_it_lasts() -> None:
    log = StartupLog()
    log.feed(ENGINE.encode())
    said = (
        "INFO 05-13 10:4%d:40 [shm_broadcast.py:681] No available shared memory broadcast block found in 60 seconds.\n"
    )
    events = [event for minute in (2, 3, 4) for event in log.feed((said % minute).encode())]
    assert [(event.times, event.waited_s) for event in events if isinstance(event, StallSeen)] == [
        (1, 60.0), (2, 120.0), (3, 180.0),
    ]  # fmt: skip


def test_a_log_of_many_starts_is_a_loop() -> None:
    start = f"(APIServer pid=1) INFO 05-13 10:40:40 [utils.py:233] non-default args: {{}}\n{ENGINE}"
    died = f"{ERROR}torch.AcceleratorError: CUDA error: invalid device ordinal\n"
    again = diagnose(((start + died) * 5).encode())
    assert again.code == "device-number"
    assert "the log holds 5 starts" in again.cures[-1] and "--restart=no" in again.cures[-1]
    assert not any("starts" in cure for cure in diagnose((start + died).encode()).cures)


@pytest.mark.parametrize(
    ("exception", "code"),
    [
        ("AttributeError: 'NoneType' object has no attribute 'shape'", "engine-defect"),
        ("TypeError: forward() got an unexpected keyword argument 'sinks'", "engine-defect"),
        ("ValueError: nobody knows this one", "unknown"),
        ("AssertionError", "engine-defect"),
        ("KeyError: 'scale_fmt'", "engine-defect"),
    ],
)
def test_only_an_error_that_no_setting_raises_is_the_code_s_fault(exception: str, code: str) -> None:
    trace = f'{ERROR}Traceback (most recent call last):\n{ERROR}  File "x.py", line 1, in f\n{ERROR}{exception}\n'
    found = diagnose((ENGINE + trace).encode())
    assert found.code == code
    assert found.traceback and found.cures


def test_an_error_that_the_engine_goes_on_from_is_not_the_cause() -> None:
    survived = (
        f"{ERROR}Error retrieving safetensors: Repo id must be in the form 'repo_name': '/models/m'., retrying 1 of 2\n"
    )
    raised = (
        f'{ERROR}Traceback (most recent call last):\n{ERROR}  File "/x/aiter/a.py", line 1, in f\n{ERROR}OSError: odd\n'
    )
    assert diagnose((ENGINE + survived).encode()).code == "none"
    assert diagnose((ENGINE + survived + raised).encode()).code == "aiter"


def test_a_failure_that_speaks_of_retrying_is_one() -> None:
    line = f"{ERROR}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB, retrying after the cache\n"
    assert diagnose((ENGINE + line).encode()).code == "out-of-memory"


def test_a_start_that_says_nothing_after_an_error_is_not_well() -> None:
    odd = f"{ERROR}cuFrobnicate went odd\n"
    assert diagnose((ENGINE + odd).encode()).code == "unknown"
    assert "went odd" in diagnose((ENGINE + odd).encode()).evidence[0].text
    assert diagnose((ENGINE + odd + ENGINE).encode()).code == "none"


def test_every_cause_says_what_to_do() -> None:
    for code, cause in causes().items():
        assert cause.title[0].islower() or cause.title.startswith(
            ("vLLM", "NCCL", "NVLink", "Fl", "Ray", "Kub", "CUDA", "Gloo", "MPS")
        )
        assert cause.weight in WEIGHTS
        assert cause.cures or cause.general_cure or cause.by_phase or cause.by_signal, code
    assert [cause_of_signal(number) for number in (4, 5, 8, 31, 30)] == [
        "processor", "aborted", "arithmetic", "system-call", "died",
    ]  # fmt: skip


@pytest.mark.parametrize("line", causes()["engine-defect"].exceptions, ids=name)
def test_every_exception_that_no_setting_raises_is_the_code_s_fault(line: FailureLine) -> None:
    found = diagnose(f"{ENGINE}{line.example}\n".encode())
    assert found.code == "engine-defect" and found.cures and any(text in line.example for text in line.texts)


def test_an_illegal_instruction_is_the_processor_s() -> None:
    worker = "Worker proc VllmWorker-0 died unexpectedly (exit code: -4), shutting down executor."
    for died in ("vllm-1 exited with code 132", "      Exit Code:    132", f"{ERROR}{worker}"):
        found = diagnose(f"{ENGINE}{died}\n".encode())
        assert found.code == "processor" and found.phase == "" and "AVX512" in found.cures[0]


def test_a_text_that_vllm_raises_names_its_part_without_a_frame() -> None:
    said = "ValueError: The cuDNN MLA prefill backend has been removed. Use --attention-config.mla_prefill_backend=X"
    found = diagnose(f"{ENGINE}{said}\n".encode())
    assert found.code == "attention-backend" and "vllm/config/attention.py" in found.note
    assert diagnose(f"{ENGINE}ValueError: nobody has ever raised such a text before\n".encode()).code == "unknown"


@pytest.mark.slow
def test_most_texts_that_vllm_raises_speak_for_a_cause() -> None:
    """The others stand in files that speak for different causes, or in one that speaks for none."""
    named = [raiser_of(f"ValueError: {text}") for texts in raised_texts().values() for text in texts.split("\n")]
    assert sum(one is not None for one in named) > 0.75 * len(named)


def test_every_cause_stands_in_the_how_to() -> None:
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "diagnose-a-failed-start.md").read_text()
    assert [code for code in causes() if code != "out-of-memory" and code != "death" and f"`{code}`" not in text] == []


def test_a_loop_keeps_what_cures_the_start() -> None:
    once = (
        b"INFO 05-13 10:40:43 [utils.py:233] non-default args: {}\n"
        b"ERROR 05-13 10:41:43 [core.py:870] ValueError: No available memory for the cache blocks. Try increasing "
        b"`gpu_memory_utilization` when initializing the engine.\n"
    )
    alone, often = diagnose(once).cures, diagnose(once * 4).cures
    assert alone and often[: len(alone)] == alone
    assert len(often) == len(alone) + 1 and "4" in often[-1]


TEMPLATE = f"{ERROR}jinja2.exceptions.TemplateSyntaxError: Encountered unknown tag 'generation'.\n"


def test_a_template_that_cannot_be_read_stops_a_start_and_no_server_that_runs() -> None:
    assert diagnose((ENGINE + TEMPLATE).encode()).code == "chat-template"
    ready = ENGINE + "INFO:     Application startup complete.\n"
    assert diagnose((ready + TEMPLATE).encode()).code == "none"


@pytest.mark.parametrize("end", ["", ": {}", ". See stack trace for the root cause."])
def test_a_report_of_another_process_names_no_cause(end: str) -> None:
    for said in ("RuntimeError: Engine process failed to start", "RuntimeError: Engine core initialization failed"):
        found = diagnose(f"{ENGINE}Traceback (most recent call last):\n{said}{end}\n".encode())
        assert found.code == "died"


def test_an_import_asks_nothing_of_the_part_that_is_imported() -> None:
    frame = '  File "/usr/lib/python3/vllm/model_executor/layers/quantization/fp8.py", line 15, in '
    for function, code in (("<module>", "unknown"), ("create_weights", "quantization")):
        log = f"{ENGINE}Traceback (most recent call last):\n{frame}{function}\n    x()\nRuntimeError: never heard\n"
        assert diagnose(log.encode()).code == code


def test_an_exit_code_in_a_description_is_a_failure_until_the_pod_is_ready() -> None:
    last = "    Last State:     Terminated\n      Reason:       Error\n      Exit Code:    1\n"
    assert diagnose(last.encode()).code == "exited"
    again = f"Name:             m35-0\n{last}    Ready:          True\n    Restart Count:  1\n"
    assert diagnose(again.encode()).code == "none"
    assert diagnose(again.replace("True", "False").encode()).code == "exited"


def test_what_a_checkpoint_s_own_code_asks_for_is_its_fault() -> None:
    frame = '  File "/root/.cache/huggingface/modules/transformers_modules/m/modeling_m.py", line 50, in <module>'
    wrong = (
        "ImportError: cannot import name 'x' from 'transformers.pytorch_utils' (/usr/lib/transformers/pytorch_utils.py)"
    )
    for own, code in ((f"{frame}\n    from transformers import x\n", "remote-code"), ("", "missing-package")):
        log = f"{ENGINE}Traceback (most recent call last):\n{own}{wrong}\n"
        assert diagnose(log.encode()).code == code


@pytest.mark.parametrize(
    "calm",
    [
        "2025-06-04 12:23:27,744 - INFO - flashinfer.jit: cubin x not found here, fetched",
        "2025-10-15T08:41:54.790334Z  WARN nixl.check: Error: NIXL is not available",
        "host-1:1639:1915 [0] NCCL INFO Call to ibv_set_ece failed with error Operation not supported errno 95",
    ],
)
def test_what_another_logger_says_calmly_names_nothing_and_takes_no_error_back(calm: str) -> None:
    ready = "INFO:     Application startup complete.\n"
    assert diagnose(f"{ENGINE}{ready}{calm}\n".encode()).code == "none"
    error = "ERROR 05-13 10:46:43 [core.py:1136] EngineCore could not do this\n"
    assert diagnose(f"{ENGINE}{error}{calm}\n".encode()).code == "unknown"
