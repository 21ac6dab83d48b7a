"""``python -m tests.fuzz [SECONDS] [SEED]``: every door for so long, in turn; breaking inputs go into the corpus."""

from __future__ import annotations

import hashlib
import sys

from tests.fuzz.doors import CORPUS, DOORS, fuzz

seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
for door in DOORS:
    tries, bad = fuzz(door, seconds=seconds, seed=seed)
    kinds = {f"{type(error).__name__}: {error}"[:80]: data for data, error in reversed(bad)}
    print(f"{door:<10} {tries:>9,} tries {len(bad):>6,} broke", flush=True)
    for words, data in kinds.items():
        name = f"broke-{hashlib.sha256(data).hexdigest()[:8]}"
        (CORPUS / door / name).write_bytes(data)
        print(f"    {name}: {words}", flush=True)
