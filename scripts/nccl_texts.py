"""Makes ``planner/facts/nccl.json``: the warnings of NCCL and RCCL that they go on from, and that name no cause.

    python scripts/nccl_texts.py nccl-2.27.7=FOLDER rccl-2.21.5=FOLDER ...

Read are folders of sources, named by their release. A warning is kept where nothing in its branch, nor in what follows
it, ends the call with an error; of its text the longest part that never changes. A text that ends a call elsewhere, or
in another release, is left out.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

OUT = Path(__file__).parents[1] / "planner" / "facts" / "nccl.json"
SUFFIXES = (".cc", ".cpp", ".h")
WARNING = re.compile(r'\bWARN\s*\(\s*((?:"(?:[^"\\]|\\.)*"|\s|\b[A-Z]\w+\b)+)')
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"|(\w+)')
HOLE = re.compile(r"%[-+ #0-9.*]*(?:hh?|ll?|z|j|t)?[a-zA-Z]|\n")
ENDS = re.compile(
    r"return\s+(?!ncclSuccess|false|true|0\b|NULL|nullptr)\w|goto\s+\w|\b\w+\s*=\s*nccl(?:\w*Error|Invalid\w+)|\babort\(|\bexit\(|"
    r"\b(?:throw|CUDACHECK|NCCLCHECKGOTO)\b|\\\s*(?:return|RES|error_action)"
)
"""What ends a call, or says of it that it failed."""
AFTER = 260
"""How much of what follows is looked at."""
ALWAYS = re.compile(
    r"Failed to (?:CUDA|HIP|execute)|Accept failed|Could not receive|Error encountered progressing|Got async|"
    r"async fatal event(?! on SRQ)|fd fails|Initialize peers|Get peers|Failed to set CUDA device|No algorithm/protocol|"
    r"Poll failed"
)
"""Texts that are logged where they happen and whose failure is handed on by other words."""
LEAST_CHARACTERS, LEAST_WORDS = 16, 3


def warnings(source: str) -> Iterator[tuple[str, bool]]:
    """Yield the kept text of each warning of a C++ file, and whether it ends what was asked for."""
    for match in WARNING.finditer(source):
        text = "".join(said if said or not name else "\n" for said, name in LITERAL.findall(match[1]))
        plain = text.replace('\\"', '"').replace("\\n", "\n").replace("\\t", "\t")
        longest = max((part.strip() for part in HOLE.split(plain)), key=len)
        if len(longest) >= LEAST_CHARACTERS and len(longest.split()) >= LEAST_WORDS:
            follows = source[_end(source, match.start()) :][:AFTER]
            yield longest, ENDS.search(follows) is not None or ALWAYS.search(text) is not None


def _end(source: str, begin: int) -> int:
    """Where the call that begins at `begin` ends."""
    depth, quoted = 0, False
    for at in range(begin, len(source)):
        letter = source[at]
        if letter == '"' and source[at - 1] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (letter == "(") - (letter == ")")
            if letter == ")" and depth == 0:
                return at + 1
    return len(source)


def main(folders: list[str]) -> None:
    """Write the file."""
    goes_on: set[str] = set()
    ends: set[str] = set()
    for folder in folders:
        for path in sorted(Path(folder.partition("=")[2]).rglob("*")):
            if path.suffix in SUFFIXES and not {"windows", "ext-src", "test"} & {
                part.split("_")[0] for part in (*path.parts[:-1], path.stem)
            }:
                for text, end in warnings(path.read_text(errors="replace")):
                    (ends if end else goes_on).add(text)
    kept = sorted(text for text in goes_on if not any(text in end or end in text for end in ends))
    names = ", ".join(folder.partition("=")[0] for folder in folders)
    provenance = {"basis": "derived", "source": f"WARN() in the sources of {names}, where no error follows"}
    document = {"schema_version": 1, "provenance": provenance, "goes_on": kept}
    OUT.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="RELEASE=FOLDER")
    main(parser.parse_args().folders)
