"""Where text and bytes from outside come in: each door, what it may raise, and how seeds are changed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hw_specs.detect.snapshot import from_json
from hw_specs.errors import M35Error
from hw_specs.gpu_set import parse_gpus
from hw_specs.inventory import read_hosts
from hw_specs.parsing import BadJson, parse_json
from hw_specs.units import parse_count, parse_memory
from planner.checkpoint.document import parse_object
from planner.checkpoint.huggingface import read_huggingface
from planner.checkpoint.mistral import read_mistral
from planner.planning.choose import make_plan
from planner.planning.request import PlanRequest
from planner.rendering.argv import read_command
from planner.rendering.document import read_document
from planner.rendering.secrets import concealed, secrets_in
from planner.review import review
from planner.serve.bench import read_result
from planner.serve.log.diagnosis import diagnose
from planner.serve.log.measured import read_measured
from planner.serve.log.parser import parse_log
from planner.serve.process.keys import refuse_secrets
from planner.serve.prometheus import samples
from planner.serve.verification.checks.server import normal_url
from planner.serve.verification.live_metrics import live_metrics, read_counters

CORPUS = Path(__file__).parent / "corpus"


def _text(door: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: door(data.decode("utf-8", "replace"))


def _config(data: bytes) -> object:
    return read_huggingface(parse_object(data, origin="config.json"), name="m")


def _params(data: bytes) -> object:
    return read_mistral(parse_object(data, origin="params.json"), name="m")


def _log(data: bytes) -> object:
    return diagnose(data), read_measured(parse_log(data))


def _dashboard(text: str) -> object:
    first = read_counters(text, at_s=1.0)
    return live_metrics(first, None), live_metrics(read_counters(text[::-1], at_s=2.0), first)


def _secrets(text: str) -> object:
    concealed(text)
    secrets_in(text)
    return refuse_secrets(text.split(), {})


def _command(text: str) -> object:
    return read_command(text, plan=_PLAN[0])


_PLAN = [make_plan(PlanRequest(gpus=parse_gpus("8xH200")))]

DOORS: Mapping[str, Callable[[bytes], object]] = {
    "json": parse_json,
    "gpus": _text(parse_gpus),
    "count": _text(parse_count),
    "memory": _text(parse_memory),
    "address": _text(normal_url),
    "command": _text(_command),
    "secrets": _text(_secrets),
    "metrics": _text(samples),
    "dashboard": _text(_dashboard),
    "result": _text(read_result),
    "config": _config,
    "params": _params,
    "snapshot": from_json,
    "inventory": read_hosts,
    "plan": read_document,
    "log": _log,
    "review": _text(lambda text: review(text, name="")),
    "manifest": _text(lambda text: review(text, name="x.yaml")),
    "dockerfile": _text(lambda text: review(text, name="Dockerfile")),
    "page": _text(lambda text: review(text, name="page.md")),
    "makefile": _text(lambda text: review(text, name="Makefile")),
}

EXPECTED = (M35Error, BadJson)
"""What a door may raise: errors in words."""

HOSTILE = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[31m", "\u202e".encode(), "\u2028".encode(), b"\r", b"\x0b", b"9" * 310,
    b"9" * 5000, "²".encode(),
    b"1e999", b"-1", b"NaN", b"Infinity", b"[" * 300, b'{"a":' * 120, b'"' * 3, b"'", b"\\", b"$(", b"`", b"{{", b"}}",
    b"%s%n", b"../" * 9, b"n" * 256, b"&a [*a]", b"!!python/object", b"true", b"null", b"\t", b"---\n", b": ", b"=",
)  # fmt: skip
"""Pieces that broke something once, here or elsewhere."""


def seeds(door: str) -> list[bytes]:
    """Return the seeds of a door, in a fixed order."""
    return [path.read_bytes() for path in sorted((CORPUS / door).iterdir())]


def changed(data: bytes, dice: random.Random) -> bytes:
    """Return `data` with a few bytes, pieces or stretches changed."""
    text = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 3, 8))):
        at = dice.randrange(len(text) + 1)
        way = dice.randrange(7)
        if way == 0 and text:
            text[at % len(text)] ^= 1 << dice.randrange(8)
        elif way == 1:
            text[at:at] = dice.choice(HOSTILE)
        elif way == 2:
            del text[at : at + dice.choice((1, 4, 40, 400))]
        elif way == 3:
            other = dice.randrange(len(text) + 1)
            text[at:at] = text[other : other + dice.choice((1, 10, 100))]
        elif way == 4:
            del text[at:]
        elif way == 5:
            end = at + dice.choice((1, 3, 12))
            text[at:end] = dice.choice(HOSTILE)
        else:
            digits = [i for i, one in enumerate(text) if 48 <= one <= 57]
            if digits:
                i = dice.choice(digits)
                text[i : i + 1] = dice.choice((b"9" * 40, b"0", b"-1", b"1e308", b'"x"', b"4294967296"))
    return bytes(text)


def fuzz(door: str, *, seconds: float, seed: int) -> tuple[int, list[tuple[bytes, BaseException]]]:
    """Return how many inputs were tried in so many seconds, and those that raised what no door may raise."""
    dice, inputs, bad, tries = random.Random(seed), seeds(door), [], 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or tries < len(inputs):
        data = inputs[tries] if tries < len(inputs) else changed(dice.choice(inputs), dice)
        tries += 1
        # Of the processor: a door waits for nothing, and a loaded machine says nothing of it.
        begun = time.process_time()
        try:
            DOORS[door](data)
        except EXPECTED:
            pass
        except Exception as error:
            bad.append((data, error))
        if (took := time.process_time() - begun) > 5:
            bad.append((data, TimeoutError(f"{took:.1f} s")))
    return tries, bad
