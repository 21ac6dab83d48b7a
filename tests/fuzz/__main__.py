"""``python -m tests.fuzz [SECONDS] [SEED]``: every door for so long, in turn; breaking inputs go into the corpus."""

from __future__ import annotations

import argparse
import hashlib

from tests.fuzz.doors import CORPUS, DOORS, fuzz

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("seconds", nargs="?", type=float, default=60.0, help="for each door")
parser.add_argument("seed", nargs="?", type=int, default=1)
given = parser.parse_args()
for door in DOORS:
    tries, bad = fuzz(door, seconds=given.seconds, seed=given.seed)
    kinds = {f"{type(error).__name__}: {error}"[:80]: data for data, error in reversed(bad)}
    print(f"{door:<10} {tries:>9,} tries {len(bad):>6,} broke", flush=True)
    for words, data in kinds.items():
        name = f"broke-{hashlib.sha256(data).hexdigest()[:8]}"
        (CORPUS / door / name).write_bytes(data)
        print(f"    {name}: {words}", flush=True)
