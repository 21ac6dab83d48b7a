"""Runs the tasks of one release in child processes, one per platform; it interprets no results."""

from __future__ import annotations

import json
import os
import subprocess
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from oracle import grid
from oracle.environment import HERE, EnvironmentFailure, Release

REPOSITORY = HERE.parent
MODEL_FILES = REPOSITORY / "planner" / "facts" / "models"
MODEL = "mistral-medium-3.5-128b"
DEVICES: dict[str, Any] = tomllib.loads((HERE / "devices.toml").read_text(encoding="utf-8"))
NO_FLASHINFER_SAMPLER = {"VLLM_USE_FLASHINFER_SAMPLER": "0"}
Results = list[dict[str, Any]]


def model_facts() -> dict[str, Any]:
    """The planner's own model files, the draft's under `draft`: one source for the dimensions."""
    facts = tomllib.loads((MODEL_FILES / f"{MODEL}.toml").read_text(encoding="utf-8"))
    draft = (MODEL_FILES / f"{facts['draft']}.toml").read_text(encoding="utf-8")
    return facts | {"draft": tomllib.loads(draft)}


def write_models(release: Release, scratch: Path) -> dict[str, str]:
    """Model folders at every depth that the grid names."""
    facts = model_facts()
    full = (facts["layers"][0]["count"], facts["vision"]["num_hidden_layers"])
    depths = {
        "shallow": (2, 2),
        "text+1": (3, 2),
        "vision+1": (2, 3),
        "full": full,
        "draft": (facts["draft"]["num_hidden_layers"], 0),
    }
    folder = scratch / "models" / release.python.parent.parent.name
    code = (
        "import json,sys;from pathlib import Path;from oracle.inside.models import write_model\n"
        "facts,depths,root=json.loads(sys.stdin.read())\n"
        "for n,(t,v) in depths.items(): write_model(Path(root)/n, facts, text_layers=t, vision_layers=v)"
    )
    argv = [str(release.python), "-c", code]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    text = json.dumps([facts, depths, str(folder)])
    done = subprocess.run(argv, input=text, capture_output=True, text=True, env=env)
    if done.returncode:
        raise EnvironmentFailure(f"writing the models failed: {done.stderr[-400:]}")
    return {name: str(folder / name) for name in depths}


def _hollow_packages(source: Path) -> list[str]:
    """Packages of kernels that this release imports at the top of its modules."""
    quantisation = source / "vllm" / "model_executor" / "layers" / "quantization" / "humming.py"
    guarded = source / "vllm" / "utils" / "humming.py"
    return ["triton", "humming"] if quantisation.exists() and not guarded.exists() else ["triton"]


def child(
    release: Release,
    platform: str,
    tasks: list[grid.Task],
    models: dict[str, str],
    scratch: Path,
    *,
    extra_env: dict[str, str] | None = None,
) -> Results:
    """Ask `tasks` on `platform`; a child that dies leaves its reason in every task."""
    stem = f"{release.version}-{platform}" + ("-plain" if extra_env else "") + f"-{os.getpid()}"
    job_file = scratch / f"{stem}.job.json"
    result_file = scratch / f"{stem}.result.json"
    result_file.unlink(missing_ok=True)
    job = {
        "guard": str(release.guard),
        "device": DEVICES["platforms"][platform],
        "flashinfer": {"folder": str(release.flashinfer_folder), "version": release.flashinfer_version},
        "hollow": _hollow_packages(release.source),
        "models": models,
        "tasks": tasks,
        "verbose": bool(os.environ.get("ORACLE_VERBOSE")),
    }
    job_file.write_text(json.dumps(job), encoding="utf-8")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {
        "PYTHONPATH": f"{release.source}{os.pathsep}{REPOSITORY}",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CACHE_ROOT": str(scratch / "cache"),
        "OMP_NUM_THREADS": "1",
        **(extra_env or {}),
    }
    argv = [
        "nice",
        "-n",
        "2",
        str(release.python),
        "-W",
        "ignore",
        "-m",
        "oracle.inside.job",
        str(job_file),
        str(result_file),
    ]
    log = scratch / f"{stem}.log"
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(argv, env=env, stdout=output, stderr=subprocess.STDOUT, cwd=scratch)
    if not result_file.exists():
        tail = log.read_text(encoding="utf-8").strip().splitlines()[-1:]
        return [{"task": t, "error": f"the child ended with {done.returncode}: {' '.join(tail)[:300]}"} for t in tasks]
    results: Results = json.loads(result_file.read_text(encoding="utf-8"))
    for path in (job_file, result_file, log):
        path.unlink()
    return results


def fused_bytes_per_token(release: Release, scratch: Path) -> dict[int, int]:
    """Peak bytes per token of one compiled decoder piece by tensor parallel size; the same for every release.

    Raises:
        EnvironmentFailure: when Inductor could not compile the piece.
    """
    kept = scratch / f"fused-{release.packages['torch']}.json"
    if not kept.exists():
        facts = model_facts()
        sizes = {
            "hidden": facts["hidden_size"],
            "intermediate": facts["intermediate_size"],
            "kv_width": facts["num_key_value_heads"] * facts["head_dim"],
        }
        argv = ["nice", "-n", "2", str(release.python), "-W", "ignore", "-m", "oracle.inside.fused", json.dumps(sizes)]
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor")}
        done = subprocess.run(argv, capture_output=True, text=True, env=env, cwd=scratch)
        if done.returncode:
            raise EnvironmentFailure(f"compiling the decoder piece failed: {done.stderr[-300:]}")
        kept.write_text(done.stdout.strip().splitlines()[-1], encoding="utf-8")
    return {int(tp): size for tp, size in json.loads(kept.read_text(encoding="utf-8")).items()}


def _cards(platform: str, platforms: tuple[str, ...]) -> dict[str, Any]:
    """Cards whose defaults are asked on `platform`: its own, and those of its vendor that have no platform here."""
    vendor = DEVICES["platforms"][platform]["vendor"]
    first = next(p for p in platforms if DEVICES["platforms"][p]["vendor"] == vendor)
    found: dict[str, Any] = {}
    for name, card in DEVICES["defaults"].items():
        home = card["platform"] if card["platform"] in platforms else first
        if home == platform and DEVICES["platforms"][card["platform"]]["vendor"] == vendor:
            capability = card.get("capability", DEVICES["platforms"][card["platform"]]["capability"])
            found[name] = {"driver_bytes": card["driver_bytes"], "capability": capability}
    return found


def release(release: Release, scratch: Path, *, scope: str, processes: int = 1) -> tuple[dict[str, Results], float]:
    """All platforms of one release; returns results by platform and the seconds it took.

    The key `<platform>/plain-sampler` holds what was run with FlashInfer's sampler switched off.
    """
    began = time.perf_counter()
    models = write_models(release, scratch)
    facts = model_facts()
    draft = (release.source / "vllm/model_executor/models/mistral_eagle.py").exists()
    jobs: dict[str, tuple[str, list[grid.Task], dict[str, str] | None]] = {}
    for platform in grid.PLATFORMS[scope]:
        cards = _cards(platform, grid.PLATFORMS[scope])
        asked = grid.tasks(platform, scope, draft=draft, facts=facts, cards=cards)
        jobs[platform] = (platform, asked, None)
    if scope == "full":
        plain = [t for t in jobs[grid.MAIN][1] if t["kind"] == "profile" and t["enforce_eager"]]
        plain = [t for t in plain if t["tensor_parallel_size"] in (1, 8) and not t.get("items")][:6]
        jobs[f"{grid.MAIN}/plain-sampler"] = (grid.MAIN, plain, NO_FLASHINFER_SAMPLER)

    def one(key: str) -> tuple[str, Results]:
        platform, asked, extra = jobs[key]
        return key, child(release, platform, asked, models, scratch, extra_env=extra)

    with ThreadPoolExecutor(max_workers=processes) as pool:
        answers = dict(pool.map(one, jobs))
    kept = scratch / f"{release.version}-{scope}.results.json"
    kept.write_text(json.dumps(answers), encoding="utf-8")
    return answers, time.perf_counter() - began
