"""Starts a real vLLM server again and again, each time with other flags, and keeps what every start says.

Reads ``runs.toml``; weights are random (``--load-format dummy``), sizes are real. Made for a machine rented by the
minute: runs stand in order of value, each starts as soon as enough GPUs are free, one that cannot finish in the time
left is skipped, and everything known is on disk after every run. Called again with the same ``--work`` it goes on
where it stopped. Standard library only, so that it runs on a bare machine; it never decides what a figure means
(``harvest.py`` does).
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher import Launcher, Process
from probe_site import install_probe, logging_config
from server import SERVED, Server, gpus_needed, used_mib

HERE = Path(__file__).resolve().parent
FIRST_PORT = 8035
READY_SHARE = 2.0
"""A start may take this many times its estimate before it is given up."""
GIVE_UP_AFTER = 3
"""So many starts without one that became ready, and the rest is not tried."""
CLIENT_S = 45.0
"""The load generator imports the engine too; a zygote saves that."""

AGENTS = ("agents", "turns", "system", "turn", "answer")

TELLING = re.compile(
    r"Model loading took|Available KV cache memory|Estimated CUDA graph memory|CUDA graph pool memory|"
    r"Free memory on device|GPU KV cache size|Maximum concurrency|init engine|torch\.compile took|Encoder cache will"
)
WRONG = re.compile(r"(?:\] |\) |^)[\w.]*(?:Error|Exception)\b: |CUDA out of memory|error: ")


@dataclass
class Settings:
    """What one part of the campaign was told."""

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
        # A first start compiles into an empty cache: no two runs share one, unless the second shall be a later start.
        cache = self.work / "cache" / run.get("cache", run["name"])
        cache.mkdir(parents=True, exist_ok=True)
        # What the engine has found out about a model's class is the same for all, and costs a process to find out.
        (self.work / "modelinfos").mkdir(exist_ok=True)
        if not (cache / "modelinfos").exists():
            (cache / "modelinfos").symlink_to(self.work / "modelinfos")
        environment = {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CACHE_ROOT": str(cache),
            "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
            "TRITON_CACHE_DIR": str(cache / "triton"),
            "FLASHINFER_WORKSPACE_BASE": str(self.work / "flashinfer"),
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
        runs = self.work / "runs"
        environment["M35_PROBE_FILE"] = str(runs / f"{run['name']}.probe.jsonl")
        environment["M35_PIDS"] = str(runs / f"{run['name']}.pids")
        if run.get("steps"):
            environment["M35_PROBE_STEPS"] = str(runs / f"{run['name']}.steps.jsonl")
        environment["M35_PROBE_HISTORY"] = "1" if run.get("history") else "0"
        environment["M35_PROBE_WEIGHTS"] = "1" if self.weights and run.get("weights", True) else "0"
        environment["M35_PROBE_PHASES"] = "1" if run.get("phases") else "0"
        environment["M35_PROBE_GROWTH"] = str(run.get("growth", ""))
        environment.update({key: str(value) for key, value in run.get("env", {}).items()})
        return environment


class Campaign:
    """One part: runs in order on the free GPUs, state and results on disk after each."""

    def __init__(self, settings: Settings, runs: list[dict[str, Any]], *, gpus: int) -> None:
        self.settings = settings
        self.models = settings.work / "models"
        self.state_file = settings.work / "state.json"
        self.state: dict[str, str] = json.loads(self.state_file.read_text()) if self.state_file.exists() else {}
        done = {"ready", "failed"}
        self.pending = [run for run in runs if self.state.get(run["name"]) not in done]
        self.gpus = gpus
        self.free = set(range(gpus))
        self.running: set[str] = set()
        self.changed = threading.Condition()
        (settings.work / "runs").mkdir(parents=True, exist_ok=True)
        settings.out.mkdir(parents=True, exist_ok=True)
        self.launcher = Launcher(
            settings.python, settings.work, settings.environment({"name": "zygote"}), plain=settings.plain
        )
        self.idle_mib: list[int] = []

    def go(self) -> int:
        """Run what is pending; 3 when nothing starts."""
        self.launcher.open()
        self.idle_mib = used_mib()
        threads: list[threading.Thread] = []
        try:
            with self.changed:
                while True:
                    if len(self.state) >= GIVE_UP_AFTER and "ready" not in self.state.values():
                        print("nothing starts, stopping", flush=True)
                        return 3
                    run = self._next()
                    if run is None and not self.running:
                        return 0
                    if run is None:
                        self.changed.wait(timeout=1.0)
                        continue
                    gpus = sorted(self.free)[: _gpus(run)]
                    self.free.difference_update(gpus)
                    self.running.add(run["name"])
                    server = Server(FIRST_PORT + len(threads))
                    threads.append(threading.Thread(target=self._run, args=(run, gpus, server)))
                    threads[-1].start()
        finally:
            for thread in threads:
                thread.join(timeout=max(1.0, self.settings.left_s))
            self.launcher.close()

    def _next(self) -> dict[str, Any] | None:
        """Take the first run that can start now; those without time left are dropped."""
        for run in list(self.pending):
            if self.settings.left_s < run["seconds"] or _gpus(run) > self.gpus:
                print(f"{run['name']}: skipped, {self.settings.left_s:.0f} s left, needs {run['seconds']}", flush=True)
                self.pending.remove(run)
                continue
            if run.get("after") in self.running or any(one["name"] == run.get("after") for one in self.pending):
                continue
            if _gpus(run) > len(self.free):
                # Smaller ones behind it would keep it waiting for ever.
                return None
            self.pending.remove(run)
            return run
        return None

    def _run(self, run: dict[str, Any], gpus: list[int], server: Server) -> None:
        try:
            self.keep(*self.run(run, gpus, server))
        except Exception as error:
            print(f"{run['name']}: {error!r}", flush=True)
        finally:
            with self.changed:
                self.free.update(gpus)
                self.running.discard(run["name"])
                self.changed.notify_all()

    def run(self, run: dict[str, Any], gpus: list[int], server: Server) -> tuple[dict[str, Any], list[str]]:
        """Start, wait, load and stop one server; its record and log."""
        name = run["name"]
        log, probe, pids = (self.settings.work / "runs" / f"{name}.{kind}" for kind in ("log", "probe.jsonl", "pids"))
        for file in (log, probe, pids):
            file.unlink(missing_ok=True)
        env = self.settings.environment(run)
        if self.idle_mib:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
        argv = server.serve_argv(run, self.models)
        began = time.monotonic()
        record: dict[str, Any] = {
            "name": name, "model": run["model"], "draft": bool(run.get("draft")), "flags": run.get("flags", []),
            "env": run.get("env", {}), "purpose": run["purpose"], "argv": ["vllm", *argv], "gpus": gpus,
            "cache": run.get("cache", name), "used_before_mib": used_mib(gpus), "zygote": not self.launcher.plain,
        }  # fmt: skip
        process = self.launcher.start(argv, env=env, log=log)
        try:
            limit_s = min(run["seconds"] * READY_SHARE, self.settings.left_s - 5)
            status = self.wait(process, server, limit_s=limit_s)
            record |= {"status": status, "exit_code": process.code, "ready_s": round(time.monotonic() - began, 2)}
            if status == "ready":
                record["used_ready_mib"] = used_mib(gpus)
                record["answer"] = server.ask("one two three")
                record["bench"] = [self.bench(run, load, env, server) for load in run.get("bench", [])]
                record["used_after_mib"] = used_mib(gpus)
                record["metrics"] = server.metrics()
        finally:
            process.kill()
            for pid in pids.read_text().split() if pids.exists() else []:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(int(pid), signal.SIGKILL)
            self.settle(gpus)
        record["total_s"] = round(time.monotonic() - began, 2)
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        record["probe"] = [json.loads(line) for line in probe.read_text().splitlines()] if probe.exists() else []
        return record, lines

    def wait(self, process: Process, server: Server, *, limit_s: float) -> str:
        """Return how the start ended."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if process.poll() is not None:
                return "failed"
            if server.get("/health") is not None:
                return "ready"
            time.sleep(0.15)
        return "timeout"

    def bench(self, run: dict[str, Any], load: dict[str, Any], env: dict[str, str], server: Server) -> dict[str, Any]:
        """Send one load; its figures."""
        if self.settings.left_s < load.get("seconds", 15) + 5:
            return load | {"status": "skipped"}
        if "agents" in load:
            return self.converse(run, load, server)
        at_once = load.get("concurrency", "all")
        label = (
            f"{run['name']}-c{at_once}-n{load['prompts']}-i{load['input']}-p{load.get('prefix', 0)}-o{load['output']}"
        )
        result = self.settings.work / "runs" / f"{label}.json"
        log = self.settings.work / "runs" / f"{label}.log"
        began = time.monotonic()
        before = server.metrics()
        client_env = {key: value for key, value in env.items() if not key.startswith("M35_P")}
        client = self.launcher.start(server.bench_argv(run, load, self.models, result), env=client_env, log=log)
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
            f"  {run['name']}, at once {at_once}, {load['prompts']} prompts, {load['input']}/{load['output']}: "
            f"ttft p50 {figures.get('median_ttft_ms', 0):.1f} ms, tpot p50 {figures.get('median_tpot_ms', 0):.2f} ms, "
            f"{figures.get('output_throughput', 0):.0f} tok/s, {figures.get('completed')} done, "
            f"{figures.get('duration', 0):.2f} s of {time.monotonic() - began:.1f}",
            flush=True,
        )
        return load | {
            "status": "done",
            "figures": figures,
            "began_s": began,
            "ended_s": time.monotonic(),
            "metrics_before": before,
            "metrics_after": server.metrics(),
        }

    def converse(self, run: dict[str, Any], load: dict[str, Any], server: Server) -> dict[str, Any]:
        """Let agents talk to a server, `agents.py`; its figures."""
        label = f"{run['name']}-agents{load['agents']}-turns{load['turns']}"
        result = self.settings.work / "runs" / f"{label}.json"
        began = time.monotonic()
        before = server.metrics()
        argv = [self.settings.python, str(HERE / "agents.py"), server.url, SERVED, str(result)]
        argv += [part for name in AGENTS for part in (f"--{name}", str(load[name]))]
        argv += ["--seed", str(load["agents"])]
        try:
            subprocess.run(
                argv, timeout=max(1.0, min(load["seconds"] * READY_SHARE, self.settings.left_s - 5)), check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            print(f"  agents failed: {error!r}", flush=True)
            return load | {"status": "failed", "log_tail": [repr(error)]}
        figures = {key: value for key, value in json.loads(result.read_text()).items() if key != "requests_done"}
        print(f"  {label}: {figures}", flush=True)
        return load | {
            "status": "done", "figures": figures, "began_s": began, "ended_s": time.monotonic(),
            "metrics_before": before, "metrics_after": server.metrics(),
        }  # fmt: skip

    def settle(self, gpus: list[int]) -> None:
        """Wait until the driver has the memory back."""
        until = time.monotonic() + 20
        while self.idle_mib and time.monotonic() < until:
            if all(now <= self.idle_mib[one] + 64 for one, now in zip(gpus, used_mib(gpus), strict=True)):
                return
            time.sleep(0.2)

    def keep(self, record: dict[str, Any], lines: list[str]) -> None:
        """Put a run's record and log on disk and its telling lines on the screen."""
        with self.changed:
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
                print(*(f"  {line[:200]}" for line in told), sep="\n", flush=True)
            else:
                wrong = [line for line in lines if WRONG.search(line)][:6] + lines[-4:]
                print(*(f"  ! {line[:300]}" for line in wrong), sep="\n", flush=True)
            for event in record["probe"]:
                if event["event"] == "probe_error":
                    print(f"  probe: {event}", flush=True)


def _gpus(run: dict[str, Any]) -> int:
    """GPUs that a run holds: more than it needs where it shall have the machine for itself."""
    return max(gpus_needed(run), int(run.get("gpus", 1)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="state, caches and logs; the same for every part")
    parser.add_argument("--out", type=Path, required=True, help="results of this part")
    parser.add_argument("--seconds", type=float, required=True, help="time this part may take")
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
    return Campaign(settings, runs, gpus=len(used_mib()) or 1).go()


if __name__ == "__main__":
    sys.exit(main())
