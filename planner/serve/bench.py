"""The engine's own benchmark, ``vllm bench serve``: its command, its result, and what was kept of it.

It measures nothing itself: the engine's tool does, and this module reads what the tool wrote.
"""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw_specs.errors import shown
from hw_specs.parsing import parse_json
from hw_specs.reading import read_text
from planner.errors import InvalidRequest, LogNotUnderstood, PlannerError
from planner.rendering.envelope import plain
from planner.rendering.secrets import API_KEY
from planner.serve.process.scratch import scratch_folder
from planner.serve.prometheus import MOST
from planner.speed.answer import SpeedCalibration
from planner.speed.workload import Workload
from planner.state import append_records, read_kept, state_dir

HEAD = ("speed-calibration", "1.0")
"""Of a kept benchmark, see :mod:`planner.rendering.envelope`."""
_OLDER: Mapping[int, Mapping[str, Any]] = {1: {}}
"""Numbered forms of before, see :func:`planner.state.read_kept`."""


def _figure(key: str, label: str, *, required: bool = False) -> Any:
    """A figure under the key of the tool's JSON, and the label of its table."""
    names = {"key": key, "label": label}
    return dataclasses.field(metadata=names) if required else dataclasses.field(default=None, metadata=names)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """What the benchmark reported; a figure it did not report is None. Times in milliseconds, the run in seconds."""

    completed: int = _figure("completed", "Successful requests", required=True)
    output_tokens_per_s: float = _figure("output_throughput", "Output token throughput (tok/s)", required=True)
    ttft_ms: float = _figure("mean_ttft_ms", "Mean TTFT (ms)", required=True)
    duration_s: float | None = _figure("duration", "Benchmark duration (s)")
    total_prompt_tokens: int | None = _figure("total_input_tokens", "Total input tokens")
    total_output_tokens: int | None = _figure("total_output_tokens", "Total generated tokens")
    requests_per_s: float | None = _figure("request_throughput", "Request throughput (req/s)")
    total_tokens_per_s: float | None = _figure("total_token_throughput", "Total token throughput (tok/s)")
    ttft_p99_ms: float | None = _figure("p99_ttft_ms", "P99 TTFT (ms)")
    tpot_ms: float | None = _figure("mean_tpot_ms", "Mean TPOT (ms)")
    tpot_p99_ms: float | None = _figure("p99_tpot_ms", "P99 TPOT (ms)")
    itl_ms: float | None = _figure("mean_itl_ms", "Mean ITL (ms)")
    itl_p99_ms: float | None = _figure("p99_itl_ms", "P99 ITL (ms)")
    acceptance_length: float | None = _figure("spec_decode_acceptance_length", "Acceptance length")
    """Mean tokens of a step with a draft, as the tool read it off the server's ``/metrics``; None without a draft."""

    def figures(self) -> dict[str, float]:
        """The figures that a forecast has too, by its names."""
        values = dataclasses.asdict(self)
        return {name: float(value) for name, value in values.items() if value is not None and "total_" not in name[:6]}


_FIGURES = dataclasses.fields(BenchResult)
_COUNTS = ("completed", "total_prompt_tokens", "total_output_tokens")


def bench_argv(
    workload: Workload,
    *,
    model: str,
    url: str,
    executable: str = "vllm",
    tokenizer: str | None = None,
    result_path: Path | None = None,
) -> tuple[str, ...]:
    """Return the ``vllm bench serve`` call that plays `workload` against the server at `url`.

    `tokenizer` is a folder or repository, for when `model` is only a name the server answers to.

    Raises:
        InvalidRequest: for chats of several turns, which the tool does not play.
    """
    if workload.turns > 1:
        raise InvalidRequest(
            "turns", "vllm bench serve plays no chats of several turns", hint="leave turns out, or forecast them only"
        )
    cached = int(workload.prompt_tokens * workload.prefix_cache_hit_rate)
    shared = workload.system_tokens + cached
    argv = [
        executable, "bench", "serve", "--backend", "openai", "--base-url", url, "--endpoint", "/v1/completions",
        "--model", model, "--tokenizer-mode", "mistral", "--dataset-name", "random",
        "--random-input-len", str(workload.prompt_tokens - cached), "--random-output-len", str(workload.output_tokens),
        "--random-range-ratio", f"{workload.length_range_ratio:g}", "--num-prompts", str(workload.total_requests),
        "--ignore-eos", "--seed", str(workload.seed), "--percentile-metrics", "ttft,tpot,itl,e2el",
        "--metric-percentiles", "50,99",
    ]  # fmt: skip
    if shared:
        argv += ["--random-prefix-len", str(shared)]
    if tokenizer is not None:
        argv += ["--tokenizer", tokenizer]
    if workload.concurrency is not None:
        argv += ["--max-concurrency", str(workload.concurrency)]
    if workload.request_rate is not None:
        argv += ["--request-rate", f"{workload.request_rate:g}"]
    if result_path is not None:
        argv += ["--save-result", "--result-dir", str(result_path.parent), "--result-filename", result_path.name]
    return tuple(argv)


def gsm8k_argv(*, model: str, url: str) -> tuple[str, ...]:
    """Return the ``lm_eval`` call for GSM8K, 5-shot, as the public figures of this model were made."""
    arguments = {
        "model": model, "base_url": f"{url.rstrip('/')}/v1/completions", "num_concurrent": 32,
        "max_retries": 3, "tokenized_requests": False, "fix_mistral_regex": True,
    }  # fmt: skip
    return (
        "lm_eval", "--model", "local-completions", "--tasks", "gsm8k", "--num_fewshot", "5",
        "--model_args", ",".join(f"{name}={value}" for name, value in arguments.items()),
    )  # fmt: skip


def run_bench(
    workload: Workload, *, model: str, url: str, executable: str = "vllm", tokenizer: str | None = None,
    timeout_s: float | None = None,
) -> BenchResult:  # fmt: skip
    """Run the benchmark and return its result; its narration goes to our stderr.

    The API key travels by environment only: ``VLLM_API_KEY`` is handed on as the ``OPENAI_API_KEY`` the tool reads.

    Raises:
        PlannerError: when the tool is missing, fails or takes longer than `timeout_s`.
        LogNotUnderstood: when its result cannot be read.
    """
    environment = dict(os.environ)
    if API_KEY in environment:
        environment.setdefault("OPENAI_API_KEY", environment[API_KEY])
    with scratch_folder("m35-bench-") as folder:
        path = folder / "result.json"
        argv = bench_argv(
            workload,
            model=model,
            url=url,
            executable=executable,
            tokenizer=tokenizer,
            result_path=path,
        )
        try:
            done = subprocess.run(argv, env=environment, stdout=2, timeout=timeout_s, check=False)
        except FileNotFoundError:
            raise PlannerError(
                f"there is no executable `{executable}`",
                hint="install vLLM next to the server, or use --print and run the command where it is",
            ) from None
        except subprocess.TimeoutExpired:
            raise PlannerError(
                f"the benchmark took longer than {timeout_s:g} s", hint="ask for fewer requests"
            ) from None
        if done.returncode:
            raise PlannerError(
                f"the benchmark ended with code {done.returncode}", hint="its own words are above; is the server ready?"
            )
        return read_result(read_text(path) if path.exists() else "")


def read_result(text: str) -> BenchResult:
    """Return the result in `text`: the JSON that ``--save-result`` writes, or the table the tool prints.

    Raises:
        LogNotUnderstood: when it is neither, or lacks the figures every release has.
    """
    values = _from_json(text) if text.lstrip().startswith("{") else _from_table(text)
    needed = [one.name for one in _FIGURES if one.default is dataclasses.MISSING]
    missing = [name for name in needed if values.get(name) is None]
    if missing:
        raise LogNotUnderstood(
            f"the benchmark's result lacks {' and '.join(missing)}",
            hint="give the JSON of --save-result or the whole table that vllm bench serve prints",
        )
    if not values["completed"]:
        raise LogNotUnderstood(
            "the benchmark completed no request", hint="does the server answer, under this model name?"
        )
    return BenchResult(**values)


def _from_json(text: str) -> dict[str, Any]:
    try:
        # The file may hold one run per line; the last is the newest.
        text = text.strip()
        newest = "{" + text.rpartition("\n{")[2] if "\n{" in text else text
        # Python's writer puts NaN where a mean of nothing was taken.
        document = parse_json(newest, constants=True)
    except ValueError:
        raise LogNotUnderstood("the benchmark's result is not JSON", hint="was the run cut short?") from None
    if not isinstance(document, dict):
        return {}
    found = {one.name: document.get(one.metadata["key"]) for one in _FIGURES}
    return {name: value for name, value in found.items() if isinstance(value, int | float) and abs(value) <= MOST}


def _from_table(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    number = r"([0-9][0-9,]{0,20}(?:\.[0-9]{0,20})?)"
    for one in _FIGURES:
        label = re.escape(one.metadata["label"])
        match = re.search(rf"^\s*{label}:\s+{number}\s*$", text, re.MULTILINE | re.IGNORECASE)
        if match:
            value = float(match[1].replace(",", ""))
            found[one.name] = int(value) if one.name in _COUNTS else value
    return found


def benchmarks_path() -> Path:
    """Where benchmarks of this machine are kept."""
    return state_dir() / "benchmarks.jsonl"


def keep_benchmark(calibration: SpeedCalibration) -> None:
    """Keep how a benchmark compared with its forecast, for later forecasts on this machine."""
    append_records(benchmarks_path(), [{"kind": HEAD[0], "schema_version": HEAD[1], **plain(calibration)}])


def speed_calibrations() -> tuple[SpeedCalibration, ...]:
    """Return how the benchmarks of this machine compared with their forecasts, oldest first."""
    return kept_benchmarks()[0]


def kept_benchmarks() -> tuple[tuple[SpeedCalibration, ...], tuple[str, ...]]:
    """Return what was kept, oldest first, and why some of it is left out; another version's records are not listed."""
    names = [one.name for one in dataclasses.fields(SpeedCalibration)]

    def made(record: dict[str, Any]) -> SpeedCalibration:
        return SpeedCalibration(**{name: record[name] for name in names})

    return read_kept(benchmarks_path(), made, head=HEAD, fault=_fault, older=_OLDER)


def _fault(record: dict[str, Any]) -> str | None:
    for field in dataclasses.fields(SpeedCalibration):
        if not _right(field.name, record.get(field.name)):
            return f"{field.name} is `{shown(str(record.get(field.name)))}`"
    return None


def _right(name: str, value: object) -> bool:
    if name == "ratios":
        return isinstance(value, dict) and all(type(one) in (int, float) and one > 0 for one in value.values())
    return type(value) is (int if name.endswith("_size") else str)
