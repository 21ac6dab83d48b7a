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
    while (match := _FENCE.search(text, at)) is not None and count < MOST_BLOCKS:
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


def inline(source: Source) -> Iterator[Text]:
    """Yield each inline code that starts a server with arguments, as shell text."""
    text = source.text
    fence = ""
    start = 0
    for line in text.split("\n"):
        if (match := _FENCE.match(line)) is not None and match[2].startswith(fence):
            # A block ends with its own sign, at least as long as it began.
            fence = "" if fence else match[2]
        elif not fence and "`" in line:
            for code in _INLINE.finditer(line):
                if _STARTED.search(code[2]):
                    begin = start + code.start(2)
                    yield Text(code[2], tuple(range(begin, begin + len(code[2]))))
        start += len(line) + 1


def _alone(source: Source, start: int, stop: int, ending: str) -> Source:
    block = source.text[start:stop]
    if ending == ".sh":
        block = _PROMPT.sub(r"\1 ", block)
    before = re.sub(r"[^\n]", " ", source.text[:start])
    return Source(before + block, f"block{ending}")
