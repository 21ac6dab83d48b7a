"""A load of agents: each asks again and again, with everything that was said before in its prompt.

    python agents.py URL MODEL RESULT.json --agents 8 --turns 6 --system 2000 --turn 300 --answer 128

All begin with the same `--system` tokens; each turn adds `--turn` new ones and the last answer's. Tokens are random.
The result has TTFT, TPOT and lengths of every request, and what share of the prompt tokens could have been found in a
prefix cache of 16-token blocks: everything that any earlier request of the load had in the same place.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK_TOKENS = 16
TOKENS = (1_000, 120_000)
"""Random tokens are drawn from these: past the control tokens, inside every vocabulary."""


@dataclass
class Load:
    """What all agents share."""

    url: str
    model: str
    turns: int
    turn: int
    answer: int
    system: list[int]
    done: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, prompt: list[int]) -> dict[str, Any]:
        """Send one request and read its stream; times in seconds since it was sent."""
        address = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
        body = {
            "model": self.model, "prompt": prompt, "max_tokens": self.answer, "temperature": 0, "ignore_eos": True,
            "stream": True, "return_token_ids": True,
        }  # fmt: skip
        sent = time.perf_counter()
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise OSError(f"{response.status}: {response.read()[:300]!r}")
        first, last, answer = 0.0, 0.0, []
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            choice = json.loads(line[6:])["choices"][0]
            if new := choice.get("token_ids"):
                last = time.perf_counter() - sent
                first = first or last
                answer += new
        connection.close()
        return {"sent_s": sent, "ttft_s": first, "e2el_s": last, "answer": answer}

    def converse(self, seed: int) -> None:
        """One agent, turn after turn."""
        draw = random.Random(seed)
        prompt = list(self.system)
        for turn in range(self.turns):
            prompt += [draw.randrange(*TOKENS) for _ in range(self.turn)]
            one = self.ask(prompt)
            answer = one.pop("answer")
            # The turn before was this prompt's beginning, with all of its answer but the last token.
            seen = len(self.system) if turn == 0 else len(prompt) - self.turn - 1
            shared = seen // BLOCK_TOKENS * BLOCK_TOKENS
            with self.lock:
                self.done.append(
                    {"turn": turn, "prompt": len(prompt), "answer": len(answer), "could_hit": shared, **one}
                )
            prompt += answer


def expected(load: dict[str, Any]) -> tuple[int, float]:
    """Mean prompt of a load, tokens, and the share of all prompts that the cache can hold; the first starts cold."""
    prompts = [load["system"] + load["turn"] * (turn + 1) + load["answer"] * turn for turn in range(load["turns"])]
    found = [load["system"], *(prompt - load["turn"] - 1 for prompt in prompts[1:])]
    hits = load["agents"] * sum(one // BLOCK_TOKENS * BLOCK_TOKENS for one in found) - load["system"]
    return round(statistics.mean(prompts)), hits / (load["agents"] * sum(prompts))


def summary(done: list[dict[str, Any]], duration_s: float) -> dict[str, Any]:
    """Means over all requests, and by turn."""

    def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
        tpot = [(row["e2el_s"] - row["ttft_s"]) / (row["answer"] - 1) for row in rows if row["answer"] > 1]
        return {
            "requests": len(rows),
            "mean_prompt_tokens": statistics.mean(row["prompt"] for row in rows),
            "could_hit": sum(row["could_hit"] for row in rows) / sum(row["prompt"] for row in rows),
            "mean_ttft_ms": 1e3 * statistics.mean(row["ttft_s"] for row in rows),
            "median_ttft_ms": 1e3 * statistics.median(row["ttft_s"] for row in rows),
            "mean_tpot_ms": 1e3 * statistics.mean(tpot) if tpot else 0.0,
        }

    turns = sorted({row["turn"] for row in done})
    answered = sum(row["answer"] for row in done)
    return {
        "completed": len(done),
        "duration": duration_s,
        "output_throughput": answered / duration_s,
        **figures(done),
        "by_turn": [figures([row for row in done if row["turn"] == turn]) for turn in turns],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("result", type=Path)
    for name in ("agents", "turns", "system", "turn", "answer"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    system = [draw.randrange(*TOKENS) for _ in range(args.system)]
    load = Load(args.url, args.model, args.turns, args.turn, args.answer, system)
    began = time.perf_counter()
    with ThreadPoolExecutor(args.agents) as pool:
        # An agent that was refused ends the run: a load with fewer agents is another load.
        list(pool.map(load.converse, range(args.seed + 1, args.seed + 1 + args.agents)))
    duration_s = time.perf_counter() - began
    args.result.write_text(json.dumps({**summary(load.done, duration_s), "requests_done": load.done}), encoding="utf-8")


if __name__ == "__main__":
    main()
