"""A server that answers as the fake does, behind a start-up log; what is broken stands in a file, read at each start.

    python restarted_server.py serve MODEL --log FILE --host H --port P

It works in the folder that it was started in: ``fault`` holds a fault of the fake, ``crash``, or the words ``VARIABLE
needed``; each start adds a line with its environment's M35_MARK to ``starts``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.serve.fakes.openai_server import FakeServer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    with Path("starts").open("a", encoding="utf-8") as starts:
        starts.write(f"{os.environ.get('M35_MARK', '')} {os.environ.get('VLLM_API_KEY', '')}\n")
    fault = Path("fault").read_text(encoding="utf-8") if Path("fault").exists() else ""
    for line in options.log.read_bytes().splitlines(keepends=True):
        sys.stdout.buffer.write(line)
        if b"Application startup complete" in line:
            break
    sys.stdout.buffer.flush()
    if fault == "crash":
        print("RuntimeError: Engine core initialization failed.", file=sys.stderr)
        sys.exit(1)
    FakeServer(fault, os.environ.get("VLLM_API_KEY") or None, options.port).serve_forever(poll_interval=0.01)


if __name__ == "__main__":
    main()
