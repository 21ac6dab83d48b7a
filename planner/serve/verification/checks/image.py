"""One image as a data URL: read where vision is served, refused where it is not."""

from __future__ import annotations

import base64
import re
import struct
import zlib

from planner.serve.check import Failed, Skipped
from planner.serve.verification.checks.knowledge import must_know
from planner.serve.verification.checks.probe import CHAT, Answer, Probe
from planner.serve.verification.checks.sanity import must_be_sane
from planner.serve.verification.checks.server import Reply, brief

SIDE_PIXELS = 224
COLOUR = "red"
OTHER_COLOURS = ("blue", "green", "yellow", "black", "purple", "orange")
RED = (255, 0, 0)
NEXT_COLOUR = "blue"
BLUE = (0, 0, 255)
QUESTION = "Which colour fills this image? Answer with one word."


WORD = "HAT"
WORD_QUESTION = "Which word is written in this image? Answer with the word only."
SCALE_PIXELS = 12
MARGIN_PIXELS = 40
LETTERS = {
    "H": ("#...#", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"),
    "A": (".###.", "#...#", "#...#", "#####", "#...#", "#...#", "#...#"),
    "T": ("#####", "..#..", "..#..", "..#..", "..#..", "..#..", "..#.."),
}
"""Letters of five by seven dots."""


def png(side_pixels: int, rgb: tuple[int, int, int]) -> bytes:
    """Return a square PNG of one colour."""
    return _png([bytes(rgb) * side_pixels] * side_pixels)


def written(word: str) -> bytes:
    """Return a PNG with `word` in black on white."""
    lines = [".".join(LETTERS[letter][row] for letter in word) for row in range(7)]
    white, black = b"\xff\xff\xff", b"\x00\x00\x00"
    width = len(lines[0]) * SCALE_PIXELS + 2 * MARGIN_PIXELS
    edge = [white * width] * MARGIN_PIXELS
    rows = []
    for line in lines:
        dots = b"".join((black if dot == "#" else white) * SCALE_PIXELS for dot in line)
        rows += [white * MARGIN_PIXELS + dots + white * MARGIN_PIXELS] * SCALE_PIXELS
    return _png([*edge, *rows, *edge])


def _png(rows: list[bytes]) -> bytes:
    """8-bit RGB, W3C PNG specification, third edition."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", len(rows[0]) // 3, len(rows), 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\x00" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _asked(probe: Probe, question: str, picture: bytes) -> Reply:
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    content = [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": url}}]
    return probe.server.post(CHAT, probe.body(content))


def _seen(probe: Probe, reply: Reply) -> Answer:
    """The sane answer of a server that takes images."""
    if reply.status == 400 and probe.expect.images is None and _says_text_only(reply):
        raise Skipped(f"the server is text-only: {reply.error_message}")
    answer = Answer.of(reply)
    must_be_sane(answer.content)
    return answer


def image(probe: Probe) -> str:
    """A red square is called red; a text-only server says that it takes no image."""
    reply = _asked(probe, QUESTION, png(SIDE_PIXELS, RED))
    if probe.expect.images is False:
        return _refused(reply)
    answer = _seen(probe, reply)
    if re.search(rf"\b{COLOUR}\b", answer.content, re.IGNORECASE) is None:
        raise Failed(f"a {COLOUR} square was called {brief(answer.content, 60)!r}")
    if sum(other in answer.content.lower() for other in OTHER_COLOURS) > 1:
        raise Failed(f"a {COLOUR} square was given every colour: {brief(answer.content, 60)!r}")
    after = _seen(probe, _asked(probe, QUESTION, png(SIDE_PIXELS, BLUE))).content
    if NEXT_COLOUR not in after.lower():
        mixed = COLOUR in after.lower()
        raise Failed(
            f"a {NEXT_COLOUR} square after a {COLOUR} one was called {brief(after, 60)!r}",
            "images of two requests are mixed up: `--mm-processor-cache-gb 0`" if mixed else "",
        )
    return (
        f"a {COLOUR} square was called {brief(answer.content, 40)!r}, a {NEXT_COLOUR} one {brief(after, 40)!r}, "
        f"{answer.prompt_tokens} prompt tokens"
    )


def image_word(probe: Probe) -> str:
    """A word in an image is read."""
    if probe.expect.images is False:
        raise Skipped("images are not served")
    must_know(probe)
    answer = _seen(probe, _asked(probe, WORD_QUESTION, written(WORD)))
    if WORD not in answer.content.upper():
        raise Failed(f"the word {WORD} was read as {brief(answer.content, 60)!r}")
    return f"the word {WORD} was read"


def _refused(reply: Reply) -> str:
    if reply.status == 200:
        raise Failed("an image was accepted, expected text only", "start the server with --language-model-only")
    if reply.status >= 500 or not _says_text_only(reply):
        raise Failed(f"answered {reply.status}, which is not a clear refusal: {reply.error_message}")
    return f"refused with {reply.status}: {reply.error_message}"


def _says_text_only(reply: Reply) -> bool:
    words = reply.error_message.lower()
    return "image" in words or "multimodal" in words
