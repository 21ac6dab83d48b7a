"""Pick the cheapest machine of an offer list that serves the wanted context, by your own prices.

python examples/pick_gpus.py --context 131072 --offer 8xH200=22.00 --offer 4xB200=16.80 --offer 8xH100=16.00
"""

from __future__ import annotations

import argparse
import math
import sys

from hw_specs import parse_gpus
from planner import M35Error, PlanRequest, plan


def offer(text: str) -> tuple[str, float]:
    """Read ``GPUS=PRICE``."""
    gpus, _, price = text.partition("=")
    try:
        value = float(price)
    except ValueError:
        value = math.nan
    if not gpus or not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"`{text}` is not GPUS=PRICE_PER_HOUR, such as 8xH200=22.00")
    return gpus, value


def main() -> int:
    """Print the cheapest offer that fits at the low bound; exit 3 when none does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", type=int, default=131072)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--offer", type=offer, action="append", required=True, metavar="GPUS=PRICE_PER_HOUR")
    arguments = parser.parse_args()

    fitting = []
    for gpus, price in arguments.offer:
        try:
            answer = plan(
                PlanRequest(gpus=parse_gpus(gpus), max_model_len=arguments.context, concurrency=arguments.concurrency)
            )
        except M35Error as error:
            print(f"{gpus}: {error}" + (f" ({error.hint})" if error.hint else ""), file=sys.stderr)
            continue
        print(f"{gpus:<12}{answer.verdict:<14}{answer.kv_cache.tokens:>12,} tokens", file=sys.stderr)
        if answer.verdict == "fits":
            fitting.append((price, gpus))
    if not fitting:
        return 3
    print(min(fitting)[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
