"""Starts a real vLLM server again and again, each time with other flags, and keeps what every start says.

Reads ``runs.toml``; weights are random (``--load-format dummy``), sizes are real. Made for a machine rented by the
minute: runs stand in order of value, one that cannot finish in the time left is skipped, and everything known is on
disk after every run. Called again with the same ``--work`` it goes on where it stopped. Standard library only, so
that it runs on a bare machine; it never decides what a figure means (``harvest.py`` does).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

HERE = Path(__file__).resolve().parent
SERVED = "mistralai/Mistral-Medium-3.5-128B"
PORT = 8035
READY_SHARE = 2.0
"""A start may take this many times its estimate before it is given up."""
CLIENT_S = 45.0
"""The load generator imports the engine too; a zygote saves that."""

TELLING = re.compile(
    r"Model loading took|Available KV cache memory|Estimated CUDA graph memory|CUDA graph pool memory|"
    r"Free memory on device|GPU KV cache size|Maximum concurrency|init engine|torch\.compile took|Encoder cache will"
)
WRONG = re.compile(r"(?:\] |\) |^)[\w.]*(?:Error|Exception)\b: |CUDA out of memory|error: ")
METRICS = re.compile(
    r"^vllm:(cache_config_info|prompt_tokens_total|generation_tokens_total|num_preemptions_total|"
    r"spec_decode_num_(?:drafts|draft_tokens|accepted_tokens)_total|kv_cache_usage_perc)"
)


@dataclass
class Settings:
    """What one call was told."""

    work: Path
    out: Path
    python: str
    site: str
    deadline: float
    device: str
    plain: bool
    weights: bool

    @property
    def left_s(self) -> float:
        return self.deadline - time.monotonic()

    def environment(self, run: dict[str, Any]) -> dict[str, str]:
        """Environment of a run's processes, without what this process inherits."""
        environment = {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CACHE_ROOT": str(self.work / "cache"),
            "FLASHINFER_WORKSPACE_BASE": str(self.work / "flashinfer"),
            "TRITON_CACHE_DIR": str(self.work / "triton"),
            "VLLM_LOGGING_CONFIG_PATH": str(self.work / "logging.json"),
            "VLLM_LOG_STATS_INTERVAL": "1",
        }
        if self.site:
            environment["PYTHONPATH"] = self.site
        if self.device == "cpu":
            environment["VLLM_CPU_KVCACHE_SPACE"] = "1"
        else:
            # A forked engine process could not initialise CUDA: the API server's process has counted the devices.
            environment["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
        environment["M35_PROBE_FILE"] = str(self.work / "runs" / f"{run['name']}.probe.jsonl")
        environment["M35_PROBE_WEIGHTS"] = "1" if self.weights else "0"
        environment["M35_PROBE_PHASES"] = "1" if run.get("phases") else "0"
        environment.update({key: str(value) for key, value in run.get("env", {}).items()})
        return environment


@dataclass
class Process:
    """A started command, its own process group."""

    pid: int
    popen: subprocess.Popen[bytes] | None = None
    code: int | None = None

    def poll(self) -> int | None:
        """Exit code, None while it runs."""
        if self.popen is not None:
            self.code = self.popen.poll()
        return self.code

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


@dataclass
class Launcher:
    """Starts ``vllm`` commands: forked from a process that has imported the engine, or one by one."""

    settings: Settings
    plain: bool
    zygote: subprocess.Popen[str] | None = None
    processes: dict[int, Process] = field(default_factory=dict)
    answers: list[int] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)
    news: threading.Condition = field(default_factory=threading.Condition)

    def open(self) -> None:
        if self.plain:
            return
        environment = os.environ | self.settings.environment({"name": "zygote"})
        # The probe decides per run: the copy that is forked gets its own file and switches.
        for name in [key for key in environment if key.startswith("M35_PROBE")]:
            environment.pop(name)
        command = [self.settings.python, str(HERE / "zygote.py")]
        log = (self.settings.work / "zygote.log").open("ab")
        self.zygote = subprocess.Popen(
            command,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, text=True, bufsize=1,
        )  # fmt: skip
        assert self.zygote.stdout is not None
        threading.Thread(target=self._listen, args=(self.zygote.stdout,), daemon=True).start()
        if not self.ready.wait(timeout=180):
            print("zygote is not ready, runs start one by one", flush=True)
            self.plain = True

    def _listen(self, stream: TextIO) -> None:
        for line in stream:
            if not line.startswith("{"):
                continue
            message = json.loads(line)
            if message.get("ready"):
                print(f"zygote ready, CUDA initialised there: {message['cuda_initialized']}", flush=True)
                self.ready.set()
            with self.news:
                if "pid" in message:
                    self.processes[message["pid"]] = Process(message["pid"])
                    self.answers.append(message["pid"])
                elif "exited" in message and message["exited"] in self.processes:
                    self.processes[message["exited"]].code = message["code"]
                self.news.notify_all()

    def start(self, argv: list[str], *, env: dict[str, str], log: Path) -> Process:
        """Start ``vllm`` with `argv`, its output appended to `log`."""
        if self.plain:
            with log.open("ab") as stream:
                popen = subprocess.Popen(
                    [self.settings.python, "-m", "vllm.entrypoints.cli.main", *argv],
                    stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=os.environ | env,
                    start_new_session=True,
                )  # fmt: skip
            return Process(popen.pid, popen)
        assert self.zygote is not None
        assert self.zygote.stdin is not None
        self.zygote.stdin.write(json.dumps({"argv": ["vllm", *argv], "env": env, "log": str(log)}) + "\n")
        self.zygote.stdin.flush()
        with self.news:
            if not self.news.wait_for(lambda: bool(self.answers), timeout=30):
                raise RuntimeError("the zygote did not answer")
            return self.processes[self.answers.pop(0)]

    def close(self) -> None:
        for process in self.processes.values():
            if process.code is None:
                process.kill()
        if self.zygote is not None:
            self.zygote.kill()


def used_mib() -> list[int]:
    """Memory in use on every GPU as the driver says, MiB; empty without a driver."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [int(line) for line in text.split()]


def get(path: str, *, timeout_s: float = 2.0) -> str | None:
    """Body of a 200 answer of the server, else None."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=timeout_s) as answer:
            return str(answer.read().decode()) if answer.status == 200 else None
    except (OSError, ValueError):
        return None


def ask(prompt: str) -> dict[str, Any]:
    """One greedy completion; the answer's usage, or the error."""
    body = {"model": SERVED, "prompt": prompt, "max_tokens": 8, "temperature": 0, "ignore_eos": True}
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return dict(json.load(answer)["usage"])
    except (OSError, ValueError, KeyError) as error:
        return {"error": repr(error)}


def metrics() -> list[str]:
    return [line for line in (get("/metrics", timeout_s=10) or "").splitlines() if METRICS.match(line)]


def serve_argv(run: dict[str, Any], models: Path) -> list[str]:
    """The run's ``serve`` command line, without the program."""
    argv = [
        "serve", str(models / run["model"] / "model"), "--host", "127.0.0.1", "--port", str(PORT),
        "--served-model-name", SERVED, "--tokenizer-mode", "mistral", "--config-format", "mistral",
        "--load-format", "dummy", *map(str, run.get("flags", [])),
    ]  # fmt: skip
    if run.get("draft"):
        speculation = {"model": str(models / run["model"] / "draft"), "num_speculative_tokens": 3, "method": "eagle"}
        argv += ["--speculative-config", json.dumps(speculation)]
    return argv


def bench_argv(run: dict[str, Any], load: dict[str, Any], models: Path, result: Path) -> list[str]:
    return [
        "bench", "serve", "--backend", "openai", "--base-url", f"http://127.0.0.1:{PORT}", "--model", SERVED,
        "--tokenizer", str(models / run["model"] / "model"), "--tokenizer-mode", "mistral", "--dataset-name", "random",
        "--random-input-len", str(load["input"]), "--random-output-len", str(load["output"]), "--ignore-eos",
        "--temperature", "0", "--max-concurrency", str(load["concurrency"]), "--num-prompts", str(load["prompts"]),
        "--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "5,50,95", "--disable-tqdm",
        "--save-result", "--result-dir", str(result.parent), "--result-filename", result.name,
    ]  # fmt: skip


class Campaign:
    """One call: runs in order, state and results on disk after each."""

    def __init__(self, settings: Settings, runs: list[dict[str, Any]]) -> None:
        self.settings = settings
        self.runs = runs
        self.models = settings.work / "models"
        self.state_file = settings.work / "state.json"
        self.state: dict[str, str] = json.loads(self.state_file.read_text()) if self.state_file.exists() else {}
        (settings.work / "runs").mkdir(parents=True, exist_ok=True)
        settings.out.mkdir(parents=True, exist_ok=True)
        self.launcher = Launcher(settings, settings.plain)

    def go(self) -> int:
        """Run what is pending; 3 when a gate failed."""
        self.launcher.open()
        self.idle_mib = used_mib()
        try:
            for run in self.runs:
                name = run["name"]
                if self.state.get(name) in {"ready", "failed"}:
                    continue
                if self.settings.left_s < run["seconds"]:
                    print(f"{name}: skipped, {self.settings.left_s:.0f} s left, needs {run['seconds']}", flush=True)
                    continue
                record = self.run(run)
                if run.get("gate") and record["status"] != "ready" and not self.launcher.plain:
                    print("gate failed, once more without the zygote", flush=True)
                    self.launcher.close()
                    self.settings.plain = True
                    self.launcher = Launcher(self.settings, plain=True)
                    record = self.run(run)
                if run.get("gate") and record["status"] != "ready":
                    print("gate failed, stopping", flush=True)
                    return 3
        finally:
            self.launcher.close()
        return 0

    def run(self, run: dict[str, Any]) -> dict[str, Any]:
        name = run["name"]
        log = self.settings.work / "runs" / f"{name}.log"
        log.unlink(missing_ok=True)
        probe = self.settings.work / "runs" / f"{name}.probe.jsonl"
        probe.unlink(missing_ok=True)
        env = self.settings.environment(run)
        argv = serve_argv(run, self.models)
        began = time.monotonic()
        record: dict[str, Any] = {
            "name": name, "model": run["model"], "draft": bool(run.get("draft")), "flags": run.get("flags", []),
            "env": run.get("env", {}), "purpose": run["purpose"], "argv": ["vllm", *argv],
            "used_before_mib": used_mib(), "zygote": not self.launcher.plain,
        }  # fmt: skip
        server = self.launcher.start(argv, env=env, log=log)
        try:
            status = self.wait(server, limit_s=min(run["seconds"] * READY_SHARE, self.settings.left_s - 5))
            record |= {"status": status, "exit_code": server.code, "ready_s": round(time.monotonic() - began, 2)}
            if status == "ready":
                record["used_ready_mib"] = used_mib()
                record["answer"] = ask("one two three")
                record["bench"] = [self.bench(run, load, env) for load in run.get("bench", [])]
                record["used_after_mib"] = used_mib()
                record["metrics"] = metrics()
        finally:
            server.kill()
            self.settle()
        record["total_s"] = round(time.monotonic() - began, 2)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        record["probe"] = [json.loads(line) for line in probe.read_text().splitlines()] if probe.exists() else []
        self.keep(record, lines)
        return record

    def wait(self, server: Process, *, limit_s: float) -> str:
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if server.poll() is not None:
                return "failed"
            if get("/health") is not None:
                return "ready"
            time.sleep(0.15)
        return "timeout"

    def bench(self, run: dict[str, Any], load: dict[str, Any], env: dict[str, str]) -> dict[str, Any]:
        if self.settings.left_s < load.get("seconds", 15) + 5:
            return load | {"status": "skipped"}
        label = f"{run['name']}-c{load['concurrency']}-i{load['input']}-o{load['output']}"
        result = self.settings.work / "runs" / f"{label}.json"
        log = self.settings.work / "runs" / f"{label}.log"
        began = time.monotonic()
        before = metrics()
        client_env = {key: value for key, value in env.items() if not key.startswith("M35_PROBE")}
        client = self.launcher.start(bench_argv(run, load, self.models, result), env=client_env, log=log)
        until = began + min(max(load.get("seconds", 15) * READY_SHARE, CLIENT_S), self.settings.left_s - 5)
        while client.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        client.kill()
        if not result.exists():
            tail = log.read_text(errors="replace").splitlines()[-6:] if log.exists() else []
            print("  bench failed:", *tail, sep="\n  | ", flush=True)
            return load | {"status": "failed", "log_tail": tail}
        figures = {key: value for key, value in json.loads(result.read_text()).items() if not isinstance(value, list)}
        figures.pop("date", None)
        print(
            f"  bench c={load['concurrency']} in={load['input']} out={load['output']}: "
            f"ttft p50 {figures.get('median_ttft_ms', 0):.1f} ms, tpot p50 {figures.get('median_tpot_ms', 0):.2f} ms, "
            f"{figures.get('output_throughput', 0):.0f} tok/s, {figures.get('completed')} done, "
            f"{time.monotonic() - began:.1f} s",
            flush=True,
        )
        return load | {"status": "done", "figures": figures, "metrics_before": before, "metrics_after": metrics()}

    def settle(self) -> None:
        """Wait until the driver has the memory back."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            used = used_mib()
            if all(now <= idle + 64 for now, idle in zip(used, self.idle_mib, strict=False)):
                return
            time.sleep(0.2)

    def keep(self, record: dict[str, Any], lines: list[str]) -> None:
        self.state[record["name"]] = record["status"]
        self.state_file.write_text(json.dumps(self.state))
        with (self.settings.out / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        with (self.settings.out / "logs.txt").open("a", encoding="utf-8") as file:
            file.write(f"===== {record['name']} =====\n" + "\n".join(lines) + "\n")
        print(
            f"{record['name']}: {record['status']} after {record.get('ready_s')} s, {record['total_s']} s in all, "
            f"used {record.get('used_ready_mib')} MiB, answer {record.get('answer')}, "
            f"{self.settings.left_s:.0f} s left",
            flush=True,
        )
        if record["status"] == "ready":
            told = [re.sub(r"^.*?\] ", "", line) for line in lines if TELLING.search(line)]
            print(*(f"  {line[:240]}" for line in told), sep="\n", flush=True)
        else:
            wrong = [line for line in lines if WRONG.search(line)][:6] + lines[-4:]
            print(*(f"  ! {line[:300]}" for line in wrong), sep="\n", flush=True)
        for event in record["probe"]:
            if event["event"] == "probe_error":
                print(f"  probe: {event}", flush=True)


def logging_config() -> dict[str, Any]:
    """The engine's own log format at INFO, with DEBUG where it tells its memory figures."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "vllm": {
                "class": "vllm.logging_utils.NewLineFormatter",
                "datefmt": "%m-%d %H:%M:%S",
                "format": "%(levelname)s %(asctime)s [%(fileinfo)s:%(lineno)d] %(message)s",
            }
        },
        "handlers": {"vllm": {"class": "logging.StreamHandler", "formatter": "vllm", "stream": "ext://sys.stdout"}},
        "loggers": {
            "vllm": {"handlers": ["vllm"], "level": "INFO", "propagate": False},
            "vllm.v1.worker.gpu_worker": {"level": "DEBUG"},
            "vllm.v1.worker.gpu_model_runner": {"level": "DEBUG"},
        },
    }


def install_probe(site: Path) -> None:
    """Put the probe and its entry point where the engine's Python finds it."""
    site.mkdir(parents=True, exist_ok=True)
    (site / "m35_probe.py").write_text((HERE / "m35_probe.py").read_text(encoding="utf-8"), encoding="utf-8")
    info = site / "m35_probe-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: m35-probe\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vllm.general_plugins]\nm35_probe = m35_probe:register\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="state, caches and logs; the same for every call")
    parser.add_argument("--out", type=Path, required=True, help="results of this call")
    parser.add_argument("--seconds", type=float, required=True, help="time this call may take")
    parser.add_argument("--runs", type=Path, default=HERE / "runs.toml")
    parser.add_argument("--group", default="", help="only runs of this group; empty: those of no group")
    parser.add_argument("--only", default="", help="only runs whose name matches this expression")
    parser.add_argument("--site", default="", help="folder with the engine's packages, put on PYTHONPATH")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has torch")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--plain", action="store_true", help="no zygote: every run imports the engine itself")
    parser.add_argument("--engine-weights", action="store_true", help="keep vLLM's own dummy weights (FP8 zeros)")
    args = parser.parse_args()
    deadline = time.monotonic() + args.seconds
    args.work.mkdir(parents=True, exist_ok=True)
    probe = args.work / "probe"
    install_probe(probe)
    (args.work / "logging.json").write_text(json.dumps(logging_config()))
    sites = [str(probe), *([args.site] if args.site else [])]
    settings = Settings(
        work=args.work, out=args.out, python=args.python, site=os.pathsep.join(sites), deadline=deadline,
        device=args.device, plain=args.plain, weights=not args.engine_weights,
    )  # fmt: skip
    document = tomllib.loads(args.runs.read_text(encoding="utf-8"))
    runs = [
        {**document.get("defaults", {}), **run}
        for run in document["run"]
        if run.get("group", "") == args.group and re.search(args.only, run["name"])
    ]
    return Campaign(settings, runs).go()


if __name__ == "__main__":
    sys.exit(main())
