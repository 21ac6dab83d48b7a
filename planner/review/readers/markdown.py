"""Markdown: the fenced blocks and the inline code of a page, each as the artefact that it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from planner.review.text import Source, Text

_FENCE = re.compile(r"^([ \t]*(?:>[ \t]?)*)(`{3,}|~{3,})[ \t]*\{?\.?([\w+#.-]*)[^\n`]*$", re.MULTILINE)
_INLINE = re.compile(r"(?<!`)(`+)(?!`)([^\n]+?)(?<!`)\1(?!`)")
_SHOWN = re.compile(r"vllm", re.IGNORECASE)
_STARTED = re.compile(r"(?:vllm\s+serve|vllm\.entrypoints[\w.]+|\b(?:docker|podman|nerdctl)\s+run)\b.*\s--?\w")
_PROMPT = re.compile(r"^([ \t]*)[$#%>](?= )", re.MULTILINE)
_SHELLS = frozenset({"bash", "sh", "shell", "zsh", "console", "terminal", "shell-session", "text", "txt", "cmd", ""})
_ENDINGS = {
    "yaml": ".yaml", "yml": ".yaml", "python": ".py", "py": ".py", "dockerfile": ".dockerfile", "docker": ".dockerfile",
    "ini": ".service", "systemd": ".service", "service": ".service", "powershell": ".ps1", "ps1": ".ps1",
    "make": ".mk", "makefile": ".mk",
}  # fmt: skip
MOST_BLOCKS = 64
"""Blocks of one page that are read."""


def blocks(source: Source) -> Iterator[Source]:
    """Yield each block that speaks of vLLM, at its own place: all before it is blank."""
    text = source.text
    at, count = 0, 0
    outside: list[tuple[int, int]] = []
    while (match := _FENCE.search(text, at)) is not None and count < MOST_BLOCKS:
        outside.append((at, match.start()))
        start = match.end() + 1
        closing = re.compile(rf"^{re.escape(match[1])}[ \t]*{re.escape(match[2])}+[ \t]*$", re.MULTILINE)
        end = closing.search(text, start)
        stop = end.start() if end is not None else len(text)
        at = end.end() if end is not None else len(text)
        language = match[3].lower()
        ending = ".sh" if language in _SHELLS else _ENDINGS.get(language)
        if ending is not None and _SHOWN.search(text, start, stop):
            count += 1
            yield _alone(source, start, stop, ending)
    outside.append((at, len(text)))


def inline(source: Source) -> Iterator[Text]:
    """Yield each inline code that starts a server with arguments, as shell text."""
    text = source.text
    fenced = False
    start = 0
    for line in text.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced and "`" in line:
            for match in _INLINE.finditer(line):
                if _STARTED.search(match[2]):
                    begin = start + match.start(2)
                    yield Text(match[2], tuple(range(begin, begin + len(match[2]))))
        start += len(line) + 1


def _alone(source: Source, start: int, stop: int, ending: str) -> Source:
    block = source.text[start:stop]
    if ending == ".sh":
        block = _PROMPT.sub(r"\1 ", block)
    before = re.sub(r"[^\n]", " ", source.text[:start])
    return Source(before + block, f"block{ending}")
