# ruff: noqa: E501 - log lines are as long as they are
"""Who wrote a line, and whether it was asked to: what whole logs of many processes hold beside the cause."""

from __future__ import annotations

import pytest

from planner.serve.log.diagnosis import diagnose

from .logs import RECONSTRUCTED, read

READY = read(RECONSTRUCTED, "v2-8xh200-0.33.0.log")
LOADING = READY[: READY.rindex(b"\n", 0, READY.index(b"Model loading took")) + 1]
CORE = "(EngineCore pid=293) "
LOGGED = f"{CORE}ERROR 11-20 09:04:06 [core.py:1330] "
TELLING = "RuntimeError: cutlass_gemm_caller, /workspace/csrc/cutlass_gemm_caller.cuh:62, Error Internal"
FRAME = '  File "/usr/lib/python3/somewhere/else.py", line 3, in do'
REPORT = "RuntimeError: Worker failed with error 'it', please check the stack trace above for the root cause"


def block(prefix: str, exception: str) -> list[str]:
    return [f"{prefix}{line}" for line in ("Traceback (most recent call last):", FRAME, "    do()", exception)]


def log(*lines: str, before: bytes = LOADING) -> bytes:
    return before + "".join(f"{line}\n" for line in lines).encode()


def test_a_process_s_bare_output_does_not_end_the_traceback_that_its_logger_writes() -> None:
    logged = block(LOGGED, TELLING)
    torn = log(*logged[:2], f"{CORE}Process EngineCore:", *logged[2:], *block(CORE, TELLING))
    assert diagnose(torn).evidence[0].text == TELLING


def test_carets_that_another_process_tore_in_two_are_not_an_exception() -> None:
    lines = block("", "KeyError: 'odd'")
    found = diagnose(
        log(*lines[:3], "           ^^^^^(Worker_TP0 pid=3) INFO 11-20 09:04:07 [x.py:1] bye", "^^^^^^", lines[3])
    )
    assert found.evidence[0].text == "KeyError: 'odd'"


def test_the_root_is_the_traceback_that_began_first_whichever_is_whole_first() -> None:
    first = "(Worker_TP2 pid=9) ERROR 11-20 09:04:05 [multiproc_executor.py:1007] "
    found = diagnose(log(*block(first, "RuntimeError: odd thing"), *block(LOGGED, REPORT), f"{CORE}INFO end"))
    assert found.evidence[0].text == "RuntimeError: odd thing"


def test_a_death_is_explained_by_what_the_process_raised() -> None:
    death = f"{LOGGED}Worker proc VllmWorker-2 died unexpectedly (exit code: None), shutting down executor."
    found = diagnose(log(*block(LOGGED, "RuntimeError: odd thing"), death))
    assert (found.code, found.evidence[0].text) == ("unknown", "RuntimeError: odd thing")
    assert diagnose(log(death)).code == "died"


@pytest.mark.parametrize("letter", ["W", "I"])
def test_what_native_code_only_warns_of_is_no_cause(letter: str) -> None:
    said = f"[{letter}716 19:11:51.387418683 socket.cpp:764] [c10d] The client socket has failed to connect to [n]:6 (errno: 110 - Connection timed out)."
    assert diagnose(log(said)).code == "none"
    assert diagnose(log(said.replace(f"[{letter}", "[E"))).code == "rendezvous"


def test_an_address_family_that_is_not_there_is_tried_by_every_rank_and_hangs_none() -> None:
    said = "[W716 19:11:51.387418683 socket.cpp:764] [c10d] The client socket cannot be initialized to connect to [localhost]:60109 (errno: 97 - Address family not supported by protocol)."
    assert diagnose(log(*[said] * 8)).code == "none"


def test_processes_that_were_told_to_stop_may_die() -> None:
    death = f"{LOGGED}Worker proc VllmWorker-0 died unexpectedly, shutting down executor."
    told = f"{CORE}INFO 11-20 09:09:55 [core.py:1363] Shutdown initiated (timeout=0)"
    assert diagnose(log(told, death)).code == "none"
    assert diagnose(log(death, told)).code == "died"


def test_a_server_whose_ready_line_went_elsewhere_is_ready_when_it_serves() -> None:
    cut = READY[: READY.rindex(b"\n", 0, READY.index(b"Application startup complete")) + 1]
    served = "(APIServer pid=1) INFO 11-20 09:10:24 [loggers.py:310] Engine 000: Avg prompt throughput: 0.0 tokens/s, Avg generation throughput: 1.3 tokens/s"
    stop = "(APIServer pid=1) INFO 11-20 09:10:29 [launcher.py:100] [shutdown] API server: shutdown triggered"
    dead = block(
        "(APIServer pid=1) ERROR 11-20 09:10:29 [async_llm.py:704] ",
        "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause.",
    )
    found = diagnose(log(served, stop, *dead, before=cut))
    assert (found.code, found.title) == ("none", "the log shows no failure; the server was ready")


def test_a_kind_is_answered_by_the_part_that_raised_it() -> None:
    frame = '  File "/usr/lib/python3/aiter/jit/core.py", line 1010, in wrapper'
    head, _, call, exception = block(LOGGED, "RuntimeError: This GEMM is not supported!")
    assert diagnose(log(head, f"{LOGGED}{frame}", call, exception)).code == "aiter"
    assert diagnose(log(exception)).code == "unsupported"


def test_a_reason_of_kubernetes_is_only_the_kind_of_what_its_message_says() -> None:
    reason = "Reason:         UnexpectedAdmissionError"
    lost = "Message:        Pod Allocate failed due to error creating nvml.Device 5: nvml: GPU is lost, which is unexpected"
    assert diagnose(log(reason, lost, before=b"vllm\n")).code == "gpu-lost"
    assert diagnose(log(reason, before=b"vllm\n")).code == "unschedulable"


def test_a_service_of_nccl_that_finds_no_port_ends_nothing() -> None:
    said = "host:1:1 [0] ras/client_support.cc:160 NCCL WARN Call to bind failed: Address already in use"
    assert diagnose(log(said)).code == "none"
    assert diagnose(log(said.replace("ras/client_support", "misc/socket"))).code == "rendezvous-port"


EVENTS = """Events:
  Warning  FailedScheduling  12m (x2 over 13m)  default-scheduler  0/4 nodes are available: 4 Insufficient nvidia.com/gpu.
  Normal   Scheduled         9m                 default-scheduler  Successfully assigned default/vllm-0 to gpu-1
  Warning  FailedMount       9m                 kubelet            MountVolume.SetUp failed for volume "models" : timed out
  Normal   Started           2m (x5 over 8m)    kubelet            Started container vllm
"""
REFUSED = "ValueError: No available memory for the cache blocks. Try increasing"


def test_what_a_later_step_of_the_pod_shows_to_be_over_is_no_cause() -> None:
    assert diagnose(EVENTS.encode()).code == "none"
    back_off = "  Warning  BackOff  8s  kubelet  Back-off restarting failed container vllm in pod vllm-0\n"
    assert diagnose((EVENTS + back_off).encode()).code == "restarts"
    assert diagnose((EVENTS + f"{LOGGED}{REFUSED}\n").encode()).code == "no-kv-memory"


@pytest.mark.parametrize(("lines", "code"), [(2, "unschedulable"), (4, "mount")])
def test_what_no_step_has_followed_is_the_cause(lines: int, code: str) -> None:
    assert diagnose("".join(EVENTS.splitlines(keepends=True)[:lines]).encode()).code == code


def test_a_probe_that_failed_while_the_start_went_on_is_not_the_cause_of_its_end() -> None:
    failed = "  Warning  Unhealthy  3m (x20 over 8m)  kubelet  Startup probe failed: connection refused\n"
    assert diagnose((EVENTS + failed + f"{LOGGED}{REFUSED}\n").encode()).code == "no-kv-memory"
    ended = "  Normal  Killing  2m  kubelet  Container vllm failed startup probe, will be restarted\n"
    assert diagnose((EVENTS + failed + ended).encode()).code == "probe"


def test_a_logger_s_head_without_a_date_is_read() -> None:
    assert diagnose(f"vllm\nERROR [multiproc_executor.py:511] {REFUSED}\n".encode()).evidence[0].text == REFUSED


def test_a_wait_for_a_worker_that_has_raised_is_no_hang() -> None:
    wait = (
        CORE
        + "INFO 11-20 09:1%d:39 [shm_broadcast.py:542] No available shared memory broadcast block found in 60 seconds."
    )
    waits = [wait % minute for minute in range(4)]
    worker = "(Worker_TP3 pid=310) ERROR 11-20 09:09:30 [multiproc_executor.py:822] "
    found = diagnose(log(*block(worker, "RuntimeError: odd thing"), *waits))
    assert (found.code, found.evidence[0].text) == ("unknown", "RuntimeError: odd thing")
    assert diagnose(log(*waits)).code == "workers-hang"


def test_what_the_core_tells_of_a_worker_s_exception_is_read() -> None:
    told = REPORT.replace("'it'", "'shape mismatch: value tensor of shape [5] cannot be broadcast'")
    assert diagnose(log(*block(LOGGED, told))).code == "engine-defect"
    assert diagnose(log(*block(LOGGED, REPORT))).code == "unknown"


@pytest.mark.parametrize(
    ("path", "code"),
    [("vllm/platforms/cpu.py", "unknown"), ("vllm/transformers_utils/config.py", "damaged-checkpoint")],
)
def test_words_about_a_file_are_not_about_what_another_part_reads(path: str, code: str) -> None:
    frames = [f'  File "/usr/lib/python3/{one}", line 9, in read' for one in (path, "json/decoder.py")]
    said = ["Traceback (most recent call last):", *frames, "json.decoder.JSONDecodeError: Expecting value: line 1"]
    found = diagnose(log(*(LOGGED + line for line in said)))
    assert found.code == code
    assert found.known or found.note.endswith(f"json/decoder.py line 9, for /usr/lib/python3/{path} line 9")


DESCRIBE = """Name:             vllm-{name}
    Ready:          {ready}
    Restart Count:  0
Conditions:
  Type              Status
  Initialized       True
  Ready             {ready}
  ContainersReady   {ready}
Events:
  Normal   Started    9m                 kubelet  Started container vllm
  Warning  Unhealthy  5m (x8 over 9m)    kubelet  Startup probe failed: connection refused
  Normal   Killing    4m                 kubelet  Container vllm failed startup probe, will be restarted
"""


def test_a_ready_pod_is_not_blamed_for_what_its_events_tell_of_before() -> None:
    healthy, waiting = (DESCRIBE.format(name=at, ready=ready) for at, ready in enumerate(("True", "False")))
    found = diagnose(healthy.encode())
    assert (found.code, found.phase) == ("none", "")
    assert diagnose(waiting.encode()).code == "probe"
    assert diagnose((healthy + waiting).encode()).code == diagnose((waiting + healthy).encode()).code == "probe"
    assert diagnose((healthy + f"{LOGGED}{REFUSED}\n").encode()).code == "no-kv-memory"
    killed = healthy.replace(
        "Conditions:", "    Last State:  Terminated  Reason: OOMKilled  Exit Code: 137\nConditions:"
    )
    assert diagnose(killed.encode()).code == "oom-killed"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("python3: can't open file '/vllm-workspace/vllm': [Errno 2] No such file or directory", "wrong-program"),
        ("srun: error: gpu-7: task 0: Exited with exit code 1", "exited"),
        ("srun: error: gpu-7: tasks 0-3: Exited with exit code 127", "wrong-program"),
        ("srun: error: gpu-7: task 0: Exited with exit code 139", "segfault"),
        ("vllm-1 exited with code 2", "exited"),
        ("/entrypoint.sh: line 67: exec: vllm: not found", "not-installed"),
        ("/bin/sh: 1: vllm: not found", "not-installed"),
        ("env: 'vllm': No such file or directory", "not-installed"),
    ],
)
def test_a_bare_last_word_is_named_as_far_as_it_tells(said: str, code: str) -> None:
    assert diagnose(f"{said}\n".encode()).code == code


def test_an_exit_code_yields_to_what_was_raised() -> None:
    left = "srun: error: gpu-7: task 0: Exited with exit code 1"
    assert diagnose(log(*block(LOGGED, "RuntimeError: odd thing"), left)).code == "unknown"
    assert diagnose(log(f"{LOGGED}{REFUSED}", left)).code == "no-kv-memory"


def test_what_is_said_again_once_the_server_runs_is_a_cause_then() -> None:
    said = f"{LOGGED}{REFUSED}\n"
    assert diagnose(LOADING + said.encode() + READY[len(LOADING) :]).code == "none"
    assert diagnose(LOADING + said.encode() + READY[len(LOADING) :] + said.encode()).code == "no-kv-memory"


def test_what_ray_s_own_code_says_calmly_is_not_a_cause() -> None:
    said = "core_worker.cc:496: Failed to register worker to Raylet: IOError"
    heads = {letter: f"[2025-02-19 13:33:40,672 {letter} 15244 15244] {said}\n" for letter in "DIWEC"}
    assert [letter for letter, text in heads.items() if diagnose(text.encode()).code == "ray-connection"] == ["E", "C"]


def test_a_volume_that_a_refused_pod_lost_is_not_why_it_was_refused() -> None:
    refused = "Warning  UnexpectedAdmissionError  9m  kubelet  Allocate failed due to no healthy devices present, which is unexpected\n"
    gone = 'Warning  FailedMount  9m  kubelet  MountVolume.SetUp failed for volume "x" : object "m35"/"kube-root-ca.crt" not registered\n'
    assert diagnose((refused + gone).encode()).code == "unschedulable"


def test_a_task_that_ended_does_not_hide_why_its_container_did_not_start() -> None:
    plugin = "slurmstepd: error: pyxis: seccomp filter failed: Function not implemented\n"
    assert diagnose(f"{plugin}srun: error: n1: task 0: Exited with exit code 1\n".encode()).code == "container-setup"
