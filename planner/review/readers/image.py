"""What a container image's name says: the release, the vendor, and whether its tag stands still."""

from __future__ import annotations

import re

from planner.facts.review import review_facts
from planner.review.server import Image
from planner.review.text import Text

_RELEASE = re.compile(r"^v?(\d+\.\d+\.\d+)(?:\.post\d+)?(?:[-+].*)?$")
_INSIDE = re.compile(r"vllm[_-]v?(\d+\.\d+\.\d+)")
_MOVING = re.compile(
    r"^(latest|nightly|main|master|dev|edge|stable|head|gfx\w+|.*-latest|latest-.*|.*nightly.*)$", re.I
)

_PIN = re.compile(r"""vllm(?:\[[\w,]*\])?==(\d+\.\d+(?:\.\d+)?)""")
_STANDS_IN = re.compile(r"[<>{}\s]")
"""What no reference holds: somebody is to put one in its place."""


def read_image(name: Text, tag: Text | None = None) -> Image:
    """Return the parts of an image reference; `tag` where it is written apart from the repository."""
    value, digest = name.value, False
    if "@" in value:
        value, digest = value.partition("@")[0], True
    if tag is not None:
        return Image(name=name, repository=value, tag=tag.value, tag_at=tag, digest=digest)
    head, colon, rest = value.rpartition(":")
    if not colon or "/" in rest:
        return Image(name=name, repository=value, tag="", tag_at=name, digest=digest)
    start = len(head) + 1
    return Image(
        name=name, repository=head, tag=rest, tag_at=name.cut(start, start + len(rest)) if rest else name, digest=digest
    )


def serves(image: Image) -> bool:
    """Whether the image's own entry point is ``vllm serve`` or the API server it replaced."""
    return image.repository.rpartition("/")[2] in ("vllm-openai", "vllm-openai-rocm")


def holds_engine(image: Image) -> bool:
    """Whether the image is one of vLLM's or of a relative's."""
    return "vllm" in image.repository.rpartition("/")[2].lower() or "llm-d" in image.repository.lower()


def release_of(image: Image) -> str | None:
    """The vLLM release that the tag names; None where it names none."""
    found = _INSIDE.search(image.tag)
    if found is not None:
        return found[1]
    last = image.repository.rpartition("/")[2].lower()
    if last in ("vllm-openai", "vllm-openai-rocm", "vllm"):
        match = _RELEASE.match(image.tag)
        if match is not None and not image.repository.startswith("nvcr.io"):
            return match[1]
    return None


def vendor_of(image: Image) -> str | None:
    """``nvidia``, ``amd`` or ``other``; None where the name does not say."""
    name = image.repository.lower()
    if "rocm" in name or "amd" in name.split("/")[0]:
        return "amd"
    if any(word in name + ":" + image.tag.lower() for word in review_facts().other_images.names):
        return "other"
    if name.rpartition("/")[2] == "vllm-openai" or "nvcr.io" in name or "cuda" in name:
        return "nvidia"
    return None


def moving(image: Image) -> bool:
    """Whether the tag may mean another image tomorrow."""
    if image.digest or not image.name.known or _STANDS_IN.search(image.repository):
        return False
    return not image.tag or bool(_MOVING.match(image.tag))


def pin_of(text: Text) -> Text | None:
    """The release that ``pip install vllm==…`` pins, at its place."""
    match = _PIN.search(text.value)
    return None if match is None else text.cut(match.start(1), match.end(1))
