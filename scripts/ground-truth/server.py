"""One server of a campaign: its address, its command lines, what it answers; and the driver's figures."""

from __future__ import annotations

import json
import math
import re
import subprocess
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVED = "mistralai/Mistral-Medium-3.5-128B"
METRICS = re.compile(
    r"^vllm:(cache_config_info|prompt_tokens_total|generation_tokens_total|num_preemptions_total|"
    r"spec_decode_num_(?:drafts|draft_tokens|accepted_tokens)_total|kv_cache_usage_perc|prefix_cache_(?:queries|hits)_total)"
)


def gpus_needed(run: dict[str, Any]) -> int:
    """GPUs that the run's flags ask for."""
    flags = list(map(str, run.get("flags", [])))
    sizes = ("--tensor-parallel-size", "--pipeline-parallel-size")
    return math.prod(int(flags[flags.index(size) + 1]) for size in sizes if size in flags)


def used_mib(gpus: Sequence[int] | None = None) -> list[int]:
    """Memory in use on every GPU, or on `gpus`, as the driver says, MiB; empty without a driver."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    every = [int(line) for line in text.split()]
    return every if gpus is None else [every[one] for one in gpus]


@dataclass(frozen=True)
class Server:
    """Where a run's server answers."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, *, timeout_s: float = 2.0) -> str | None:
        """Body of a 200 answer, else None."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=timeout_s) as answer:
                return str(answer.read().decode()) if answer.status == 200 else None
        except (OSError, ValueError):
            return None

    def ask(self, prompt: str) -> dict[str, Any]:
        """One greedy completion; the answer's usage, or the error."""
        body = {"model": SERVED, "prompt": prompt, "max_tokens": 8, "temperature": 0, "ignore_eos": True}
        request = urllib.request.Request(
            f"{self.url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return dict(json.load(answer)["usage"])
        except (OSError, ValueError, KeyError) as error:
            return {"error": repr(error)}

    def metrics(self) -> list[str]:
        """The lines of its metrics that a result keeps."""
        return [line for line in (self.get("/metrics", timeout_s=10) or "").splitlines() if METRICS.match(line)]

    def serve_argv(self, run: dict[str, Any], models: Path) -> list[str]:
        """The run's ``serve`` command line, without the program."""
        folder = models / run["model"] / "model"
        form = "hf" if (folder / "config.json").exists() else "mistral"
        argv = [
            "serve", str(folder), "--host", "127.0.0.1", "--port", str(self.port),
            "--served-model-name", SERVED, "--tokenizer-mode", "mistral", "--config-format", form,
            "--load-format", "dummy", *map(str, run.get("flags", [])),
        ]  # fmt: skip
        speculation = dict(run.get("speculation", {}))
        if run.get("draft"):
            own = {"model": str(folder.with_name("draft")), "num_speculative_tokens": 3, "method": "eagle"}
            speculation = own | speculation
        return [*argv, "--speculative-config", json.dumps(speculation)] if speculation else argv

    def bench_argv(self, run: dict[str, Any], load: dict[str, Any], models: Path, result: Path) -> list[str]:
        """A load's command line; without `concurrency` all prompts are sent at once."""
        limit = ["--max-concurrency", str(load["concurrency"])] if "concurrency" in load else []
        return [
            "bench", "serve", "--backend", "openai", "--base-url", self.url, "--model", SERVED,
            "--tokenizer", str(models / run["model"] / "model"), "--tokenizer-mode", "mistral",
            "--dataset-name", "random", "--random-prefix-len", str(load.get("prefix", 0)),
            "--random-input-len", str(load["input"]), "--random-output-len", str(load["output"]),
            "--ignore-eos", "--temperature", "0", *limit,
            "--num-prompts", str(load["prompts"]), "--num-warmups", str(load.get("warmups", 0)),
            # A seed for each load: the same prompts again would be in the prefix cache.
            "--seed", str(100_000 * load["input"] + 1000 * load.get("concurrency", 0) + load["prompts"]),
            "--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "5,50,95,99", "--disable-tqdm",
            "--save-result", "--result-dir", str(result.parent), "--result-filename", result.name,
        ]  # fmt: skip
