"""What the fake server knows, and how it is broken."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import Any

ANSWERS = (
    (r"What is (\d+) plus (\d+)\?.*as JSON", lambda found: json.dumps({"sum": int(found[1]) + int(found[2])})),
    (r"What is (\d+) plus (\d+)\?", lambda found: str(int(found[1]) + int(found[2]))),
    (r"into German, one word only: house", lambda _found: "Haus"),
    (r"The code of the blue cabinet is (\d+)\.", lambda found: found[1]),
    (r"code of the green cabinet.*number of my locker", lambda _found: "5187 and 6204."),
    (r"Repeat this number and nothing else: (\d+)", lambda found: found[1]),
    (r"Count from 1", lambda _found: "1\n2\n3\n4\n5\n6\n7\n8\n"),
    (r"every number from 1 to (\d+)", lambda found: " ".join(map(str, range(1, int(found[1]) + 1)))),
    (r"celsius", lambda _found: "It is sunny in Paris, 21 degrees."),
    (r"three primary colours", lambda _found: "Red, yellow and blue."),
)
"""What a model knows."""

GARBAGE = {
    "hashes": "#" * 60,
    "words": "the same the same the same the same the same the same the same the same the same ",
    "salad": "ethicalplayers(QString bardziej\u0432\u0430\u043d\u0438\u044f \u5927\u5b66 ])){getAttribute",
    "glued": "inheritTotalWHERE ofSetting(foo)]]; returnValueElse ItemStackOf cutTheWord toString()))",
    "broken-bytes": "Hel\ufffd\ufffdo there my \ufffd friend",
    "template": "Hello.<|im_end|>\n<|im_start|>user",
}


def logprobs(content: str, fault: str) -> list[dict[str, Any]]:
    tokens = re.findall(r"\s?\w+|\W", content)
    if fault == "shifted":
        tokens = [*tokens[1:], "?"]
    value = {"nan": float("nan"), "unlikely": -9999.0}.get(fault, -0.25)
    best = float("nan") if fault == "top-nan" else value
    return [{"token": one, "logprob": value, "top_logprobs": [{"token": one, "logprob": best}]} for one in tokens]


def choices_of(choice: dict[str, Any], body: dict[str, Any], fault: str) -> list[dict[str, Any]]:
    """As many answers as were asked for; above temperature 0 they differ."""
    content = choice["message"].get("content")
    count, warm = 1 if fault == "one-answer" else body.get("n", 1), body.get("temperature") and fault != "cold"
    varied = [f"{content} ({place})" if warm else content for place in range(count)]
    return [{**choice, "message": {**choice["message"], "content": one}} for one in varied]


def colour_of(content: list[dict[str, Any]]) -> str:
    """The colour of the first pixel of the image in a message."""
    url = next(part["image_url"]["url"] for part in content if part["type"] == "image_url")
    picture = base64.b64decode(url.partition(",")[2])
    at = picture.index(b"IDAT")
    pixels = zlib.decompress(picture[at + 4 : at + 4 + int.from_bytes(picture[at - 4 : at], "big")])
    return {b"\xff\x00\x00": "Red.", b"\x00\x00\xff": "Blue."}.get(pixels[1:4], "White.")
