"""One line of a log, taken out of what carried it here; it knows no meaning.

journald, syslog, kubectl, docker compose, CRI, slurm and torchrun put words before a line; several processes glue
theirs to one. What is left is who said it, how loud, when and what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

_ANSI = re.compile(
    r"(?:\x1b|#033|\^\[|\\x1b|\\033|\\u001b)\[[0-9;?]*[ -/]*[@-~]"  # as it is, and as syslog and pagers write it
    r"|\[(?:0|[01]?;?[349]\d|[01];\d{1,2}(?:;\d{1,3})*)m(?!\])"  # what is left of it where the escape was lost
)
_DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
_ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?"
_CARRIER = re.compile(
    rf"^(?:\[pod/[^\]]+\] ?"  # kubectl logs --prefix
    rf"|{_ISO} (?:stdout|stderr) [FP] ?"  # CRI
    rf"|(?:[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d|{_ISO}) [\w.-]+ [\w@./-]+(?:\[\d+\])?: ?"  # journald, syslog
    rf"|{_ISO}(?: |\t|$)"  # kubectl logs --timestamps
    r"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:[.,]\d+)? *\| ?"  # Docker Desktop
    r"|\[\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[\d.,]*Z?\](?: \[[^\]]+\]:)? ?"  # build logs, program starters
    rf"|{_DATE}(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)? (?!(?:- |\| )?\[?(?:DEBUG|INFO|WARN))"  # a time alone
    r"|\d{13},(?=\S| )"  # CloudWatch, as CSV
    r"|[\w.-]+(?:[-_]\d+ +\| ?| +\| )"  # docker compose, by number or by the name that it was given
    r"|\d{1,4}: "  # srun --label
    r"|\[rank\d+\]: ?"  # torch
    r"|\[\d+,\d+\]<std(?:out|err)>: ?"  # mpirun
    r"|(?:<\d{1,3}>)?\[(?: *\d+\.\d+|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4})\] "  # dmesg
    r"|kern +: *\w+ *: )"  # dmesg -x
)
_MOST_CARRIERS = 3
_ADDRESS = re.compile(r"(?:(?<=: )|(?<=  ))\[address=[\w.:-]+, pid=\d+\] ")
"""What xoscar puts into an exception's text."""
_MARGIN = re.compile(r"^(?:\s*(?:>|&gt;|[|│]))+ ?(?![-=+\s]*[|│])|^E {3,}(?=\S)|^\s*\+ (?=Exception Group Traceback)")
"""A quotation, the frame of a box, an exception group, pytest's mark."""
_BOX = re.compile(r"^\s*[╭╰┌└][─ ]*|(?:(?<![─ ])[─ ]+)?[╮╯┐┘]\s*$|(?<!\s)\s+│$")
_HEAD_WORDS = re.compile(r"^(?:\w[\w.]*\s{3,}|Exception Group )?Traceback \(most recent call last\):?$")
_INDENTED = re.compile(
    r"^[ \t]+(?=(?:\([A-Za-z][^)]* pid=\d+|(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:)"
    r"|(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception): \S)"
)
"""A message or an exception of a text that was indented as a whole."""
_MARGINS = "> |│&E+╭╰┌└\t"
_JSON_TEXT = ("log", "message", "msg", "textPayload", "MESSAGE", "event", "text", "body", "line", "@message")
_JSON_TRACE = ("exc_info", "exception", "stack_trace", "stacktrace", "traceback")
_JSON_LEVEL = ("level", "levelname", "severity", "lvl", "log_level", "@level")
_WARNED = "WARNING [json:1] "
"""What stands before a line whose JSON calls it a warning, as vLLM's logger would write it. That a line is calm is not
believed otherwise, for carriers call what comes from standard output information, whatever it says."""
_PROCESS = re.compile(r"\((?P<rank>[A-Za-z][\w-]*(?: [\w=-]+)*) pid=(?P<pid>\d+)(?:, ip=[\w.:]+)?\)[ \t]?")
_HEAD = re.compile(
    r"^(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL)\s+"
    r"(?:(?P<stamp>\d\d-\d\d \d\d:\d\d:\d\d)\s+\[?|\[)[\w./<>-]+:\d+\] ?"
)
_NATIVE = re.compile(r"^\[(?P<letter>[DIWEF])\d{3,4} \d\d:\d\d:\d\d[.\d]* [\w./-]+\.(?:cpp|cc|cuh?|hpp|h):\d+\] ?")
"""The head that torch's own C++ code writes; the brackets stay in the text, for the file in them tells something."""
_OTHERS = re.compile(
    r"^(?:\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]*Z?\]?(?: - |:? +)\[?(?:DEBUG|INFO|WARN|WARNING)\]?(?: - |:? )"
    r"| *(?:DEBUG|INFO|WARN) +[\w.:]+: "
    r"|(?:DEBUG: {4}|INFO: {5})(?! )"  # uvicorn; Apptainer has four spaces behind its INFO
    r'|time="[^"]*" level=(?:debug|info|warning) '  # containerd, docker, Podman
    r"|[\w.]+ - (?:DEBUG|INFO|WARNING) - "  # Python's logging, as its documentation sets it up
    r"|[\d:()-]+ ?\|CCL_(?:DEBUG|INFO|WARN)\| "
    r"|[\w.-]+:\d+:\d+ \[\d+\] (?:NCCL|RCCL) INFO "
    r"|\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ [DIW] \d+ \d+\] )"
)
"""Heads of other loggers, of NCCL's, oneCCL's and Ray's, where they are calm; they stay in the text."""
_LETTERS = {"D": "DEBUG", "I": "INFO", "W": "WARNING", "E": "ERROR", "F": "CRITICAL"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one process said in one line."""

    rank: str
    """``APIServer``, ``Worker_TP0`` …; empty where the line does not say."""
    pid: str
    level: str
    """Empty where the line has no head."""
    stamp: str
    text: str
    logged: bool = False
    """Whether vLLM's logger wrote it: the line has its head."""

    @property
    def stream(self) -> str:
        """What only one writer writes to, line by line: a process's logger and its bare output are two."""
        return f"{self.rank} {self.pid} {self.logged}"

    @property
    def calm(self) -> bool:
        """Whether its writer did not take it for an error."""
        return self.level in ("DEBUG", "INFO", "WARNING")


def plain_lines(data: bytes) -> list[str]:
    """Return a raw line as text, without colours and without what carried it; a JSON line may hold several."""
    text = _uncoloured(data.decode("utf-8", "replace")).rstrip()
    said = _json_lines(text) if text.startswith("{") and text.endswith("}") else None
    if said is None:
        return [_uncarried(text)]
    return [_uncarried(_uncoloured(one).rstrip()) for one in said]


def begins_anew(line: str) -> bool:
    """Whether a line begins with what carried it or with the head of a message: no other line goes on in it."""
    plain = _uncoloured(line)
    return any(head.match(plain) is not None for head in (_CARRIER, _PROCESS, _HEAD, _NATIVE, _OTHERS))


def _uncoloured(text: str) -> str:
    return _ANSI.sub("", text) if "[" in text else text


def _uncarried(text: str) -> str:
    if text[:1] in (">", "&"):
        text = _MARGIN.sub("", text)
    if "[address=" in text:
        text = _ADDRESS.sub("", text)
    for _ in range(_MOST_CARRIERS):
        carrier = _CARRIER.match(text)
        if carrier is None:
            break
        text = text[carrier.end() :]
        if carrier[0].endswith(",") and len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1].replace('""', '"')
    if text[:1] in _MARGINS:
        text = _BOX.sub("", _MARGIN.sub("", text))
        text = _INDENTED.sub("", text)
    return "Traceback (most recent call last):" if "Traceback (" in text and _HEAD_WORDS.match(text) else text


def messages(text: str) -> Iterator[Message]:
    """Yield the messages of one plain line: a progress bar without a line end glues the next one to itself."""
    heads = list(_PROCESS.finditer(text)) if " pid=" in text else []
    first = heads[0].start() if heads else len(text)
    if text[:first].strip():
        yield _message("", "", text[:first])
    for index, head in enumerate(heads):
        end = heads[index + 1].start() if index + 1 < len(heads) else len(text)
        yield _message(head["rank"], head["pid"], text[head.end() : end])


def _message(rank: str, pid: str, text: str) -> Message:
    head = _HEAD.match(text)
    if head is None:
        native = _NATIVE.match(text)
        level = _LETTERS[native["letter"]] if native is not None else "INFO" if _OTHERS.match(text) is not None else ""
        return Message(rank=rank, pid=pid, level=level, stamp="", text=text)
    said = text[head.end() :]
    return Message(rank=rank, pid=pid, level=head["level"], stamp=head["stamp"] or "", text=said, logged=True)


def _json_lines(text: str) -> list[str] | None:
    """What a JSON line says; None where it is not one that carries a message."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    carrier = fields
    if isinstance(inner := fields.get("jsonPayload"), dict):
        fields = inner
    levels = [one.lower() for key in _JSON_LEVEL for one in (fields.get(key), carrier.get(key)) if isinstance(one, str)]
    said = [one for key in _JSON_TEXT if isinstance(one := fields.get(key), str)][:1]
    traces = [one for key in _JSON_TRACE if isinstance(one := fields.get(key), str)]
    if not said:
        return None
    lines = "\n".join(said + traces).split("\n")
    if levels[:1] in (["warn"], ["warning"]):
        lines = [line if begins_anew(line) else _WARNED + line for line in lines]
    return lines
