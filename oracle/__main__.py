"""`python -m oracle`: read a release's facts off its own code, compare it with measurements, write what changed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from oracle import changes, environment, facts_file, grid, options, run, truth


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m oracle", description=__doc__)
    parser.add_argument("--vllm", metavar="VERSION", action="append", default=[], help="release to read, repeatable")
    parser.add_argument("--truth", action="store_true", help="compare with measured start-ups: writes residuals.json")
    parser.add_argument(
        "--changes",
        action="store_true",
        help="write the page of changes and planner/facts/options.json",
    )
    parser.add_argument("--scope", choices=tuple(grid.PLATFORMS), default="full", help="how many points (full)")
    parser.add_argument("--processes", type=int, default=1, help="platforms to run at once, 3 GiB each (1)")
    parser.add_argument("--scratch", type=Path, default=Path("~/.cache/m35-oracle").expanduser(), help="work folder")
    parser.add_argument("--out", type=Path, default=facts_file.FOLDER, help="where the facts file goes")
    parser.add_argument("--ratchet", action="store_true", help="record how far the planner's closed forms are off")
    given = parser.parse_args(argv)
    if not (given.vllm or given.truth or given.changes or given.ratchet):
        parser.error("nothing to do: name a release with --vllm, or ask for --truth, --changes or --ratchet")
    status = 0
    for version in given.vllm:
        try:
            release = environment.prepare(version, given.scratch.resolve())
            results, seconds = run.release(
                release, given.scratch.resolve(), scope=given.scope, processes=given.processes
            )
            fused = run.fused_bytes_per_token(release, given.scratch.resolve())
            document = facts_file.assemble(release, results, scope=given.scope, seconds=seconds, fused=fused)
            path = facts_file.write(document, given.out)
        except (environment.EnvironmentFailure, ValueError) as error:
            print(f"error: vLLM {version}: {error}", file=sys.stderr)
            status = 1
            continue
        gaps = document["provenance"]["gaps"]
        print(f"{path}  {path.stat().st_size} bytes, {seconds:.0f} s, {len(gaps)} gaps")
        for gap in gaps:
            print(f"  gap: {gap['part']} on {gap['platform']} ({gap['tasks']}): {gap['reason']}", file=sys.stderr)
    if given.truth:
        try:
            print(truth.write(truth.compare(given.scratch.resolve()), given.out))
        except environment.EnvironmentFailure as error:
            print(f"error: truth check: {error}", file=sys.stderr)
            status = 1
    if given.changes:
        print(changes.write(given.out))
        print(options.write(given.out))
    if given.ratchet:
        from oracle import closed_forms  # needs the planner's dependencies, which the rest does not

        print(closed_forms.write())
    return status


if __name__ == "__main__":
    sys.exit(main())
