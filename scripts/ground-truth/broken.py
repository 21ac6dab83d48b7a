"""Breaks starts of a real vLLM on purpose, one thing each, and keeps log, exit code and what `check` said before.

    python broken.py broken.toml WORK OUT --vllm BIN/vllm --m35-plan BIN/m35-plan --seconds 600 [--only REGEX] [--gpu]
    python broken.py broken.toml WORK OUT --score

The cause is known beforehand, for it was made here. First go the starts that need the GPU alone because another
process takes its memory, beside them those that never come to it, then those that share it. A start that OUT knows is
not made again. Everything known is in OUT after every start. The second form says what `diagnose` makes of the logs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broken_models import write_model

HERE = Path(__file__).resolve().parent
FIRST_PORT = 8300
LIMIT_S = 120.0
CHECK_S = 60
AFTER_S = 40.0
"""So long a server may live on after it was broken, before it counts as a hang."""
LANES = {"alone": 1, "early": 8, "shared": 10}
PHASES = {
    "configure": rb"Initializing a V1 LLM engine",
    "load": rb"Loading model from scratch|Starting to load model",
    "loaded": rb"Model loading took",
    "compile": rb"Using cache directory: \S+ for vLLM's torch.compile|Start compiling function",
    "capture": rb"Capturing CUDA graphs|Profiling CUDA graph memory",
    "ready": rb"Application startup complete",
}
COMMON = ["--host", "127.0.0.1", "--served-model-name", "m", "--tokenizer-mode", "mistral"]
SMALL = ["--max-model-len", "2048", "--gpu-memory-utilization", "0.05", "--kv-cache-memory-bytes", "1G"]


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the campaign was told."""

    work: Path
    out: Path
    vllm: str
    m35_plan: str
    deadline: float
    gpu: bool


class Start:
    """One start, broken as its entry says."""

    def __init__(self, told: Told, case: dict[str, Any], number: int) -> None:
        self.told, self.case, self.port = told, case, case.get("port", FIRST_PORT + number)
        self.name: str = case["name"]
        self.folder = told.work / "starts" / self.name
        self.cache = told.work / "cache" / case.get("cache", self.name)
        self.log = self.folder / "log"
        self.hog: subprocess.Popen[str] | None = None

    def argv(self) -> list[str]:
        """The start's command."""
        case = self.case
        own_model = write_model(self.folder / "model", case.get("spoil", ""), case.get("config", {}))
        for name, text in case.get("files", {}).items():
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        model = self._places(case.get("model", str(own_model)))
        flags = [*COMMON, *([] if case.get("plain") else SMALL), *([] if case.get("graphs") else ["--enforce-eager"])]
        own = [self._places(str(one)) for one in case.get("flags", [])]
        return ["vllm", "serve", model, "--port", str(self.port), *flags, *own]

    def _places(self, text: str) -> str:
        """The text with the places of this start, its port and the folder of `vllm`."""
        for word, place in (
            ("HERE", self.folder), ("MODELS", self.told.work / "models"), ("BIN", Path(self.told.vllm).parent),
            ("PYTHONPATH", os.environ.get("PYTHONPATH", "")),
        ):  # fmt: skip
            text = re.sub(rf"(?<![A-Z$_{{]){word}(?![A-Z_])", str(place), text)
        return text

    def script(self, argv: list[str]) -> list[str]:
        """The shell that spoils the machine for this start alone, asks `check`, and becomes the start."""
        serve, wrap = shlex.join(argv), self.case.get("wrap", "")
        before = self._places(self.case.get("before", "")).replace("PORT", str(self.port))
        lines = [
            "set -u",
            f"cd {self.folder}",
            before,
            f"/usr/bin/timeout {CHECK_S} {wrap} {self.told.m35_plan} check --json -- {serve} > check.json 2> check.err"
            if self.case.get("check", True)
            else "echo '{\"checks\": []}' > check.json",
            f"exec {wrap} {serve} > log 2>&1 < /dev/null",
        ]
        (self.folder / "start.sh").write_text("\n".join(lines) + "\n")
        apart = ["/usr/bin/unshare", "--mount", "--propagation", "private"] if "mount " in before else []
        return [*apart, "/bin/bash", str(self.folder / "start.sh")]

    def environment(self) -> dict[str, str]:
        """Its variables: those of this process with its own; one that is "-" is taken away."""
        given = os.environ | {
            "PATH": f"{Path(self.told.vllm).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1", "VLLM_CACHE_ROOT": str(self.cache), "HOME": str(self.folder / "home"),
            "TRITON_CACHE_DIR": str(self.cache / "triton"), "TORCHINDUCTOR_CACHE_DIR": str(self.cache / "inductor"),
        }  # fmt: skip
        for name, value in self.case.get("env", {}).items():
            given[name] = self._places(value)
        return {name: value for name, value in given.items() if value != "-"}

    def run(self) -> dict[str, Any]:
        """Start, break, wait, clean up; the record."""
        for folder in (self.folder / "home", self.cache):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o777)
        self.folder.chmod(0o777)
        # What the engine finds out about a model's class costs a process each time.
        shutil.copytree(self.told.work / "modelinfos", self.cache / "modelinfos", dirs_exist_ok=True)
        self.log.unlink(missing_ok=True)
        if "hog" in self.case:
            self._open_hog()
        argv = self.argv()
        began = time.monotonic()
        process = subprocess.Popen(self.script(argv), env=self.environment(), start_new_session=True)
        try:
            outcome = self._wait(process)
        finally:
            self._end(process)
        check = self.folder / "check.json"
        try:
            checked = [one for one in json.loads(check.read_text())["checks"] if one["status"] not in ("pass", "skip")]
        except (OSError, ValueError, KeyError):
            checked = [{"name": "check", "status": "broken", "seen": _tail(self.folder / "check.err")}]
        return {
            "name": self.name, "outcome": outcome, "exit_code": process.returncode if outcome == "ended" else None,
            "seconds": round(time.monotonic() - began, 1), "check": checked, "argv": argv,
        }  # fmt: skip

    def _wait(self, process: subprocess.Popen[bytes]) -> str:
        # The check comes first; the limit is the start's own.
        at = self.case.get("at", "")
        while not self.log.exists() and process.poll() is None:
            time.sleep(0.01)
        began = time.monotonic()
        limit_s = min(self.case.get("limit_s", LIMIT_S), self.told.deadline - began - 5)
        broken: float | None = None
        while time.monotonic() - began < limit_s:
            if process.poll() is not None:
                return "ended"
            seen = _read(self.log)
            if at and broken is None and re.search(PHASES[at], seen):
                broken = time.monotonic()
                self._break(process)
            ready = re.search(PHASES["ready"], seen) is not None
            if broken is None and ready:
                return "ready"
            if broken is not None and time.monotonic() - broken > AFTER_S:
                return "ready" if ready and at != "ready" else "hang"
            time.sleep(0.01)
        return "hang"

    def _break(self, process: subprocess.Popen[bytes]) -> None:
        self._tell_hog()
        if "then" in self.case:
            subprocess.run(["/bin/bash", "-c", self._places(self.case["then"])], check=False)
        if "signal" in self.case:
            for pid in self._pids(process.pid, self.case["to"]):
                os.kill(pid, getattr(signal, f"SIG{self.case['signal']}"))
        if "ask" in self.case:
            threading.Thread(target=self._ask, args=(self.case["ask"],), daemon=True).start()

    def _pids(self, leader: int, who: str) -> list[int]:
        """The processes that are meant: the server itself, or by their titles a front end, the core or the workers."""
        if who == "server":
            return [leader]
        title = {"core": b"EngineCore", "worker": b"Worker", "api": b"APIServer"}[who]
        found = [pid for pid in _session(leader) if title in _read(Path(f"/proc/{pid}/cmdline"))]
        if not found:
            print(f"{self.name}: nobody is called {who}", flush=True)
        return found

    def _ask(self, body: dict[str, Any]) -> None:
        sent = {"model": "m"} | body
        if isinstance(sent.get("prompt"), int):
            sent["prompt"] = [1000 + one for one in range(sent["prompt"])]
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/completions",
            json.dumps(sent).encode(),
            {"Content-Type": "application/json"},
        )
        with contextlib.suppress(OSError, ValueError):
            urllib.request.urlopen(request, timeout=AFTER_S).read()

    def _open_hog(self) -> None:
        hog = self.case["hog"]
        argv = [sys.executable, str(HERE / "hog.py"), str(hog["leave_mib"]), hog.get("do", "take")]
        self.hog = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.hog.stdout is not None
        self.hog.stdout.readline()
        if "at" not in self.case:
            self._tell_hog()

    def _tell_hog(self) -> None:
        if self.hog is None:
            return
        assert self.hog.stdin is not None
        assert self.hog.stdout is not None
        self.hog.stdin.write("go\n")
        self.hog.stdin.flush()
        print(f"{self.name}: {self.hog.stdout.readline().strip()}", flush=True)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        for pid in _session(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        if self.hog is not None:
            self.hog.kill()
            self.hog.wait()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _tail(path: Path) -> str:
    return _read(path).decode(errors="replace")[-300:]


def _session(leader: int) -> list[int]:
    """Every process of the leader's session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        words = _read(stat).rpartition(b")")[2].split()
        if len(words) > 3 and int(words[3]) == leader:
            found.append(int(stat.parent.name))
    return found


def campaign(told: Told, cases: list[dict[str, Any]]) -> None:
    """Run every case in its lane."""
    lock = threading.Lock()
    (told.out / "logs").mkdir(parents=True, exist_ok=True)
    gpu_free = threading.Barrier(sum(LANES.values()))

    def work(lane: str, waiting: list[tuple[int, dict[str, Any]]]) -> None:
        if lane == "shared":
            gpu_free.wait()
        while True:
            with lock:
                if not waiting or told.deadline - time.monotonic() < 30:
                    break
                number, case = waiting.pop(0)
            try:
                start = Start(told, case, number)
                record = start.run()
            except Exception as error:
                print(f"{case['name']}: {error!r}", flush=True)
                continue
            with lock:
                (told.out / "logs" / f"{case['name']}.log").write_bytes(_read(start.log))
                with (told.out / "results.jsonl").open("a") as file:
                    file.write(json.dumps(record) + "\n")
                said = ", ".join(f"{one['name']} {one['status']}" for one in record["check"])
                print(
                    f"{record['name']}: {record['outcome']} {record['exit_code']} {record['seconds']} s; check: {said}",
                    flush=True,
                )
        if lane != "shared":
            gpu_free.wait()

    numbered = list(enumerate(cases))
    threads = []
    for lane, wide in LANES.items():
        waiting = [one for one in numbered if one[1].get("lane", "early") == lane and (told.gpu or lane == "early")]
        threads += [threading.Thread(target=work, args=(lane, waiting)) for _ in range(wide)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def score(cases: list[dict[str, Any]], out: Path) -> None:
    """Print what `diagnose` says of every log beside what was broken."""
    sys.path.insert(0, str(HERE.parents[1]))
    from planner.serve.log.diagnosis import diagnose

    by_name = {case["name"]: case for case in cases}
    counts: Counter[str] = Counter()
    for line in (out / "results.jsonl").read_text().splitlines():
        record = json.loads(line)
        case = by_name.get(record["name"])
        if case is None:
            continue
        said = diagnose(_read(out / "logs" / f"{case['name']}.log"), exit_code=record["exit_code"])
        named = {"none": "no failure", "unknown": "unnamed"}.get(said.code, "wrong")
        if said.code in case["causes"]:
            named = "right" if re.search(case.get("cure", ""), " ".join(said.cures)) else "cure"
        if record["outcome"] == "ready":
            named = "not broken"
        counts[named] += 1
        warned = ", ".join(f"{one['name']} {one['status']}" for one in record["check"]) or "-"
        ended = f"{record['outcome']:<6}{record['exit_code']!s:<6}"
        print(f"{named:<11}{case['name']:<28}{ended}{said.code:<22}check: {warned}")
    print(dict(counts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--vllm")
    parser.add_argument("--m35-plan")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--only", default="")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--score", action="store_true")
    args = parser.parse_args()
    cases = [one for one in tomllib.loads(args.cases.read_text())["start"] if re.search(args.only, one["name"])]
    if args.score:
        score(cases, args.out)
        return
    deadline = time.monotonic() + args.seconds
    told = Told(work=args.work, out=args.out, vllm=args.vllm, m35_plan=args.m35_plan, deadline=deadline, gpu=args.gpu)
    known = args.out / "results.jsonl"
    done = {json.loads(line)["name"] for line in known.read_text().splitlines()} if known.exists() else set()
    campaign(told, [one for one in cases if one["name"] not in done])


if __name__ == "__main__":
    main()
