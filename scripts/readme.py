"""Fill the generated blocks of README.md and docs/.

Under ``<!-- golden: FILE, first N lines -->`` a text block is that golden file; under ``<!-- output of: COMMAND -->``
it is what that command prints in the root of the repository; ``<!-- measured -->`` is followed by the table of how
right the ledger is.

python scripts/readme.py           # rewrite README.md and docs/
python scripts/readme.py --check   # exit 1 and name the pages that are stale
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from planner.accuracy import evaluate, own_groups, public_groups

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
BLOCK = re.compile(
    r"(<!-- golden: (?P<file>\S+?)(?:, first (?P<lines>\d+) lines)? -->\n```text\n)(?P<old>.*?)(```)", re.S
)
OUTPUT = re.compile(r"(?P<head><!-- output of: (?P<command>[^\n]+) -->\n```text\n).*?(?P<tail>```)", re.S)
SHOWN = {
    "in scope": "published: seven other dense models, TP1 to TP4, H100, vLLM 0.19",
    "one H200, 0.26: first compiled starts": "our own, 8 to 88 layers of this model, one H200, 0.26, first starts",
    "two and four H100, 0.26": "the same on two and four H100, 0.26",
    "H100 and H200, 0.33: first starts": "the same on one to four H100 and H200, 0.33, first starts",
    "later starts, 0.26 and 0.33": "later starts, which find everything compiled",
    "0.26 and 0.33: starts that no fit saw": "of all our own: starts that no fit saw",
    "public starts: nothing read from them": "strangers' logs, any dense model and GPU: no term read from them",
}
"""Group of the accuracy page → what the table calls it."""
MEASURED = re.compile(r"(?P<head><!-- measured -->\n\n).*?(?=\n\n)", re.S)


@cache
def measured() -> str:
    """The rows of the accuracy page that speak of the KV pool, which is what a plan promises."""
    pools = {
        group.name: group
        for group in (*evaluate().groups, *own_groups(), *public_groups())
        if group.component == "kv_pool"
    }
    head = "| start-ups | count | KV pool off by | low bound held |\n|---|---:|---:|---:|\n"
    rows = []
    for name, said in SHOWN.items():
        pool = pools[name]
        rows.append(f"| {said} | {pool.count} | {pool.mean_absolute_percent:.2f} % | {pool.safe_percent:.0f} % |")
    return head + "\n".join(rows)


@cache
def output(command: str) -> str:
    """What `command` prints at 80 columns on a machine where nothing was kept."""
    with TemporaryDirectory() as state:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "COLUMNS": "80", "NO_COLOR": "1", "XDG_STATE_HOME": state}
        done = subprocess.run(shlex.split(command), cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return done.stdout.rstrip("\n") + "\n"


def filled(text: str) -> str:
    """Return the page with every marked block as it should be."""

    def golden(match: re.Match[str]) -> str:
        lines = (GOLDEN / match["file"]).read_text(encoding="utf-8").splitlines()
        shown = lines[: int(match["lines"])] if match["lines"] else lines
        return match[1] + "\n".join(shown) + "\n" + match[5]

    text = BLOCK.sub(golden, text)
    text = OUTPUT.sub(lambda match: match["head"] + output(match["command"]) + match["tail"], text)
    return MEASURED.sub(lambda match: match["head"] + measured(), text)


def main(*, check: bool) -> int:
    """Rewrite or check README.md and every page of docs/."""
    stale = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        old = path.read_text(encoding="utf-8")
        new = filled(old)
        if new != old:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(new, encoding="utf-8")
    if stale and check:
        print(f"stale: {', '.join(stale)}; run `python scripts/readme.py`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="say what is stale, and write nothing")
    sys.exit(main(check=parser.parse_args().check))
