"""Puts the one tokenizer that travelled into every model folder; the dense model's has a smaller vocabulary."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    folder = Path(sys.argv[1])
    whole = folder / "tekken.json"
    document = json.loads(whole.read_text(encoding="utf-8"))
    for parameters in folder.glob("*/*/params.json"):
        target = parameters.with_name("tekken.json")
        size = json.loads(parameters.read_text(encoding="utf-8")).get("vocab_size")
        if size in {None, document["config"]["default_vocab_size"]}:
            target.unlink(missing_ok=True)
            target.hardlink_to(whole)
        else:
            smaller = document | {"config": document["config"] | {"default_vocab_size": size}}
            target.write_text(json.dumps(smaller), encoding="utf-8")


if __name__ == "__main__":
    main()
