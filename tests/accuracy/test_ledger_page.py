"""The page that teaches the ledger has the planner's numbers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from planner.rendering.report import LABELS

ROOT = Path(__file__).parents[2]


def test_the_page_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/memory_ledger.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_table_sums_to_the_gpu() -> None:
    page = (ROOT / "docs/explanation/memory-ledger.md").read_text(encoding="utf-8")
    lines = [float(size) for size in re.findall(r"^\| `[\w.]+` \| ([\d.,-]+) \| .* \| \w+ \|$", page, flags=re.M)]
    total = re.search(r"The lines sum to the ([\d.]+) GiB", page)
    assert total is not None and len(lines) == len(LABELS)
    assert abs(sum(lines) - float(total[1])) < 0.06
