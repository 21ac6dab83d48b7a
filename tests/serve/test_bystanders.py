"""The kernel's lines about other programs, and warnings that JSON carries, blame no engine."""

from __future__ import annotations

import json

import pytest

from planner.serve.log.diagnosis import diagnose

OTHERS = [
    "[ 1520.115] i915 0000:00:02.0: [drm] GPU HANG: ecode 12:1:85dffffb, in Xorg [1822]",
    "[ 1520.115] i915 0000:00:02.0: [drm] GPU HANG: ecode 12:1:85dffffb",
    "[  820.3] gnome-shell[2210]: segfault at 18 ip 00007f1 sp 00007ffd error 4 in libmutter-14.so.0[7f1+1]",
    "Nov 10 12:00:01 host kernel: traps: chrome[5512] trap invalid opcode ip:55d sp:7ffd error:0 in chrome[55d+1]",
    "[90211.11] Out of memory: Killed process 8812 (chrome) total-vm:33G, anon-rss:1G, file-rss:0kB, shmem-rss:0kB",
    "NVRM: Xid (PCI:0000:01:00): 31, pid=1890, name=firefox, Ch 00000022, intr 00000000. MMU Fault: ENGINE GRAPHICS",
    'audit: type=1400 audit(1731.1:55): apparmor="DENIED" operation="open" profile="snap.x" pid=7 comm="snap-store"',
]
NAMED = {
    "[90211.11] Memory cgroup out of memory: Killed process 4711 (VLLM::EngineCor) total-vm:41G": "oom-killed",
    "[  820.3] VLLM::Worker_TP[2210]: segfault at 18 ip 07f1 sp 07ffd error 4 in libnccl.so.2[7f1+1]": "segfault",
    "NVRM: Xid (PCI:0000:3d:00): 31, pid=90011, name=VLLM::Worker_TP, Ch 00000024. MMU Fault": "device-fault",
    "i915 0000:03:00.0: [drm] GPU HANG: ecode 12:1:85dffffb, in python3 [1822]": "gpu-lost",
    "NVRM: Xid (PCI:0000:41:00): 79, pid=1822, name=Xorg, GPU has fallen off the bus.": "gpu-lost",
}
STARTED = (
    "INFO 11-20 09:00:00 [api_server.py:1]  vLLM API server version 0.33.0\n"
    "INFO 11-20 09:00:09 [launcher.py:1] Starting vLLM server on http://0.0.0.0:8000\n"
)


@pytest.mark.parametrize("line", OTHERS)
def test_another_programs_line_is_no_cause(line: str) -> None:
    """Alone it names nothing, and beside a start that stopped it is not what stopped it."""
    assert diagnose(line.encode()).code == "unknown"
    started = diagnose(f"{STARTED}{line}\n".encode())
    assert started.code in ("none", "unknown")


@pytest.mark.parametrize(("line", "code"), NAMED.items())
def test_the_engines_own_line_is(line: str, code: str) -> None:
    """It names the engine, or a GPU that is lost for whoever used it."""
    assert diagnose(line.encode()).code == code


@pytest.mark.parametrize("key", ["level", "severity", "levelname"])
def test_a_warning_in_json_is_a_warning(key: str) -> None:
    """As it is where the line has vLLM's own head; information is not believed, for carriers call all output so."""
    said = "OSError: [Errno 28] No space left on device: '/root/.cache/vllm'"
    calm = json.dumps({"ts": 1, key: "warning", "msg": said})
    ready = json.dumps({"msg": "INFO:     Application startup complete."})
    assert diagnose(f"{STARTED}{calm}\n{ready}\n".encode()).code == "none"
    assert diagnose(f"{STARTED}{calm}\n".encode()).code == "none"
    assert diagnose(f"{STARTED}{json.dumps({key: 'INFO', 'msg': said})}\n".encode()).code == "disk-full"


def test_a_line_in_json_with_a_head_of_its_own_has_its_own_level() -> None:
    """What a collector says of it does not make it calm."""
    said = "ERROR 11-20 09:00:00 [core.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB."
    assert diagnose(json.dumps({"severity": "WARNING", "message": said}).encode()).code == "out-of-memory"


REQUEST = """\
(APIServer pid=1) INFO:     10.0.0.9:5 - "POST /v1/chat/completions HTTP/1.1" 400 Bad Request
(APIServer pid=1) ERROR:    Exception in ASGI application
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "/usr/lib/python3.12/json/decoder.py", line 353, in raw_decode
(APIServer pid=1) json.decoder.JSONDecodeError: Unterminated string starting at: line 1 column 14 (char 13)
"""


def test_the_traceback_of_one_request_blames_no_server_that_answers_others() -> None:
    """A request that was answered shows that the server was ready, as its own word for it does."""
    answered = '(APIServer pid=1) INFO:     10.0.0.9:5 - "GET /v1/models HTTP/1.1" 200 OK\n'
    assert diagnose(f"{STARTED}{answered}{REQUEST}".encode()).code == "none"
    assert diagnose(f"{STARTED}{REQUEST}".encode()).code != "none"


def test_a_probe_that_failed_blames_no_server_that_became_ready() -> None:
    """Its events may be pasted behind the log."""
    probed = 'Warning  Unhealthy  2m (x30)  kubelet  Startup probe failed: Get "http://10.0.0.5:8000/health": refused\n'
    killed = "Normal  Killing  2m  kubelet  Container vllm failed liveness probe, will be restarted\n"
    ready = f"{STARTED}INFO:     Application startup complete.\n"
    assert diagnose(f"{ready}{probed}".encode()).code == "none"
    assert diagnose(f"{ready}{probed}{killed}".encode()).code == "probe"
    assert diagnose(f"{STARTED}{probed}".encode()).code == "probe"
