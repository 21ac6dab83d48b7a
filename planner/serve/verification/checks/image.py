"""One image as a data URL: read where vision is served, refused where it is not."""

from __future__ import annotations

import base64
import struct
import zlib

from planner.serve.check import Failed, Skipped
from planner.serve.verification.checks.probe import CHAT, Answer, Probe
from planner.serve.verification.checks.server import Reply, brief

SIDE_PIXELS = 224
COLOUR = "red"
RED = (255, 0, 0)
QUESTION = "Which colour fills this image? Answer with one word."


def png(side_pixels: int, rgb: tuple[int, int, int]) -> bytes:
    """Return a square PNG of one colour (8-bit RGB, W3C PNG specification, third edition)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\x00" + bytes(rgb) * side_pixels) * side_pixels
    head = struct.pack(">IIBBBBB", side_pixels, side_pixels, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def image(probe: Probe) -> str:
    """A red square is called red; a text-only server says that it takes no image."""
    url = "data:image/png;base64," + base64.b64encode(png(SIDE_PIXELS, RED)).decode()
    content = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": url}}]
    reply = probe.server.post(CHAT, probe.body(content))
    if probe.expect.vision is False:
        return _refused(reply)
    if reply.status == 400 and probe.expect.vision is None and _says_text_only(reply):
        raise Skipped(f"the server is text-only: {reply.error_message}")
    answer = Answer.of(reply)
    if COLOUR not in answer.content.lower():
        raise Failed(f"a {COLOUR} square was called {brief(answer.content, 60)!r}")
    return f"a {COLOUR} square was called {brief(answer.content, 40)!r}, {answer.prompt_tokens} prompt tokens"


def _refused(reply: Reply) -> str:
    if reply.status == 200:
        raise Failed("an image was accepted, planned was text only", "start the server with --language-model-only")
    if reply.status >= 500 or not _says_text_only(reply):
        raise Failed(f"answered {reply.status}, which is no clear refusal: {reply.error_message}")
    return f"refused with {reply.status}: {reply.error_message}"


def _says_text_only(reply: Reply) -> bool:
    words = reply.error_message.lower()
    return "image" in words or "multimodal" in words
