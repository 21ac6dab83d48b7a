"""Put golden output into Markdown: a text block under ``<!-- golden: FILE, first N lines -->`` is that file.

python scripts/readme.py           # rewrite README.md and docs/
python scripts/readme.py --check   # exit 1 and name the pages that are stale
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
BLOCK = re.compile(
    r"(<!-- golden: (?P<file>\S+?)(?:, first (?P<lines>\d+) lines)? -->\n```text\n)(?P<old>.*?)(```)", re.S
)


def filled(text: str) -> str:
    """Return the page with every marked block replaced by its golden file."""

    def block(match: re.Match[str]) -> str:
        lines = (GOLDEN / match["file"]).read_text(encoding="utf-8").splitlines()
        shown = lines[: int(match["lines"])] if match["lines"] else lines
        return match[1] + "\n".join(shown) + "\n" + match[5]

    return BLOCK.sub(block, text)


def main() -> int:
    """Rewrite or check README.md and every page of docs/."""
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        old = path.read_text(encoding="utf-8")
        new = filled(old)
        if new != old:
            stale.append(str(path.relative_to(ROOT)))
            if "--check" not in sys.argv[1:]:
                path.write_text(new, encoding="utf-8")
    if stale and "--check" in sys.argv[1:]:
        print(f"stale: {', '.join(stale)}; run `python scripts/readme.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
