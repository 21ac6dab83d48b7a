"""`python -m oracle`: read a release's facts off its own code, compare it with measurements, write what changed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from oracle import environment, facts_file, run


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m oracle", description=__doc__)
    parser.add_argument("--vllm", metavar="VERSION", action="append", required=True, help="release to read, repeatable")
    parser.add_argument("--scope", choices=("full", "core", "slice"), default="full", help="how many points (full)")
    parser.add_argument("--processes", type=int, default=1, help="platforms to run at once, 3 GiB each (1)")
    parser.add_argument("--scratch", type=Path, default=Path("~/.cache/m35-oracle").expanduser(), help="work folder")
    parser.add_argument("--out", type=Path, default=facts_file.FOLDER, help="where the facts file goes")
    given = parser.parse_args(argv)
    status = 0
    for version in given.vllm:
        try:
            release = environment.prepare(version, given.scratch.resolve())
            results, seconds = run.release(
                release, given.scratch.resolve(), scope=given.scope, processes=given.processes
            )
            document = facts_file.assemble(release, results, scope=given.scope, seconds=seconds)
            path = facts_file.write(document, given.out)
        except (environment.EnvironmentFailure, ValueError) as error:
            print(f"error: vLLM {version}: {error}", file=sys.stderr)
            status = 1
            continue
        gaps = document["provenance"]["gaps"]
        print(f"{path}  {path.stat().st_size} bytes, {seconds:.0f} s, {len(gaps)} gaps")
        for gap in gaps:
            print(f"  gap: {gap['part']} on {gap['platform']} ({gap['tasks']}): {gap['reason']}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
