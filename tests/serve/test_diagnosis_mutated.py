"""What surrounds a failure in real logs, and how it is passed on: the answer stays, or less is said; never another."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Callable

import pytest

from planner.serve.log.causes import causes
from planner.serve.log.diagnosis import diagnose

from .logs import LOGS

CORPUS = tomllib.loads((LOGS.parent / "failures" / "corpus.toml").read_text())["start"]
TRIED = 25
MOST_OTHERS = 1
"""Of those: a log may hold a second thing that is true of it and did not end it."""
SAYS_LESS = ("unknown", "none", "out-of-memory", "engine-defect", "workers-hang")
EXCEPTION = re.compile(
    r"^(?P<head>(?:\(\w[^)]*\) ?)*(?:[A-Z]+ \d\d-\d\d [\d:]{8} \[?[\w./]+:\d+\] ?)?)"
    r"(?P<said>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception): .*)"
)
WORKER = "(Worker_TP1 pid=902) ERROR 10-22 09:33:49 [multiproc_executor.py:597] "
CORE = "(APIServer pid=1) "
PEER = [
    f"{WORKER}WorkerProc failed to start.",
    f"{WORKER}Traceback (most recent call last):",
    f'{WORKER}  File "/usr/lib/python3/site-packages/torch/distributed/distributed_c10d.py", line 2806, in all_reduce',
    f"{WORKER}RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.4]",
    "node1:901:1099 [1] misc/socket.cc:760 NCCL WARN Net : Connection closed by remote peer node1<41377>",
]
HARMLESS = [
    "WARNING 10-22 09:30:02 [argparse_utils.py:195] argument --disable-log-requests is deprecated",
    "`torch_dtype` is deprecated! Use `dtype` instead!",
    "/usr/lib/python3/site-packages/torch/cuda/__init__.py:61: FutureWarning: The pynvml package is deprecated.",
    "WARNING 10-22 09:30:04 [symm_mem.py:58] SymmMemCommunicator: Device capability 8.9 not supported.",
    "WARNING 10-22 09:30:04 [custom_all_reduce.py:154] Custom allreduce is disabled because your platform lacks P2P",
    "Error getting flash_attn: No module named 'flash_attn'",
]
BESIDE = [
    '10.0.0.7 - - [22/Oct/2026 09:31:00] "GET /metrics HTTP/1.1" 200 -',
    "curl: (7) Failed to connect to localhost port 8000 after 0 ms: Connection refused",
    'prometheus: ts=2026-10-22T09:31:00Z level=warn component="scrape manager" msg="Append failed"',
]
Lines = list[str]


def between(lines: Lines, said: Lines) -> Lines:
    return [one for at, line in enumerate(lines) for one in (said[at % len(said)], line)]


def without_frames(lines: Lines) -> Lines:
    return [line for line in lines if 'File "' not in line]


def handled_badly(lines: Lines) -> Lines:
    """What the handlers raise after it is chained to it."""
    for at, line in enumerate(lines):
        if (said := EXCEPTION.match(line)) is not None:
            head = said["head"]
            chained = [
                "During handling of the above exception, another exception occurred:",
                "Traceback (most recent call last):",
                '  File "/usr/lib/python3/site-packages/vllm/entrypoints/openai/api_server.py", line 100, in run',
                "AttributeError: 'NoneType' object has no attribute 'shutdown'",
            ]
            return [*lines[: at + 1], *(head + one for one in chained), *lines[at + 1 :]]
    return lines


def quoted_by_the_core(lines: Lines) -> Lines:
    """Only the report of the engine's core is left, which drops the class."""
    said = next((said["said"].split(": ", 1)[1] for line in lines if (said := EXCEPTION.match(line))), None)
    if said is None:
        return lines
    return [
        f"{CORE}INFO 05-03 00:18:16 [utils.py:233] non-default args: {{}}",
        f"{CORE}Traceback (most recent call last):",
        f"{CORE}RuntimeError: Worker failed with error '{said}', please check the stack trace above for the root cause",
    ]


CHANGES: dict[str, Callable[[Lines], Lines]] = {
    "a peer that lost it says so first": lambda lines: [*PEER, *lines],
    "a peer that lost it says so": lambda lines: [*lines, *PEER],
    "harmless warnings": lambda lines: [*HARMLESS, *lines],
    "another program's lines": lambda lines: between(lines, BESIDE),
    "frames are lost": without_frames,
    "the handlers failed, too": handled_badly,
    "a restart": lambda lines: [*lines, *lines],
    "a report": quoted_by_the_core,
    "an issue": lambda lines: ["### 🐛 Describe the bug", "I run `vllm serve m`:", "```text", *lines, "```"],
    "the end alone": lambda lines: lines[len(lines) // 2 :],
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_answer_stays_or_less_is_said(change: str) -> None:
    tried, others = 0, []
    for entry in random.Random(change).sample(CORPUS, len(CORPUS)):
        lines = [line for line in entry["log"].split("\n") if line.strip()]
        changed = CHANGES[change](lines)
        if changed == lines or diagnose("\n".join(lines).encode()).code not in entry["causes"]:
            continue
        found = diagnose("\n".join(changed).encode())
        less = found.code in (*entry["causes"], *SAYS_LESS) or causes()[found.code].weight != "cause" or found.note
        others += [] if less else [(entry["url"], found.code)]
        tried += 1
        if tried == TRIED:
            break
    assert tried == TRIED
    assert len(others) <= MOST_OTHERS, others
