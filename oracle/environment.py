"""Makes what the oracle runs in: a release's wheel unpacked, and a Python environment it can be imported in.

Nothing is installed from the wheel itself, and its compiled parts are thrown away. Everything lies under one scratch
folder and is reused by the next run.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
TORCH = "2.13.0"
TORCHVISION = "0.28.0"
COMPANIONS = (HERE / "requirements.txt").read_text(encoding="utf-8").split()
"""What vLLM's Python imports at the top of its modules, found by adding what ImportError named."""
DROPPED = ("triton", "numba", "torchaudio", "torchcodec")
"""Heavy packages that are stood in for or never called."""
NEWEST_TRANSFORMERS = {"0.19": "<5", "0.28": "<5.10", "0.31": "<5.11"}
"""Up to that release a newer transformers lacks names which that vLLM imports; its own metadata does not say so."""


class EnvironmentFailure(Exception):
    """The environment could not be made; the message says which step failed and what it printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One unpacked release and the interpreter to run it with."""

    version: str
    source: Path
    wheel: str
    wheel_sha256: str
    python: Path
    packages: dict[str, str]
    flashinfer_folder: Path
    flashinfer_version: str
    guard: Path


def _run(argv: list[str], what: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, env=_clean_environment())
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-4:])
        raise EnvironmentFailure(f"{what} failed: {tail}")
    return done.stdout


def _clean_environment() -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    links = env.get("PIP_FIND_LINKS") or _pip_find_links()
    if links:
        env.setdefault("UV_FIND_LINKS", ",".join(links.split()))
    return env


@cache
def _pip_find_links() -> str:
    """Local wheels that pip is set up to use: uv, which installs faster, does not read pip's settings."""
    argv = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    done = subprocess.run(argv, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def _fetch(python: Path, requirement: str, folder: Path) -> Path:
    """Download one wheel by its package name."""
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    argv = [
        str(python),
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary=:all:",
        "-d",
        str(folder),
        requirement,
    ]
    _run(argv, f"download of {requirement}")
    new = [p for p in folder.iterdir() if p not in before and p.suffix == ".whl"]
    if len(new) != 1:
        raise EnvironmentFailure(f"download of {requirement} gave {len(new)} wheels")
    return new[0]


def _unpack(wheel: Path, target: Path, keep: str) -> None:
    """Unpack the members whose name matches `keep`, never compiled ones."""
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if re.search(keep, member) and not member.endswith((".so", ".cu", ".a")):
                archive.extract(member, part)
    part.rename(target)


def _requirements(source: Path) -> dict[str, str]:
    """The release's own version ranges of the packages that decide behaviour here."""
    metadata = next(source.glob("vllm-*.dist-info")) / "METADATA"
    fields = Parser().parsestr(metadata.read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    for line in fields.get_all("Requires-Dist", []):
        match = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*([^;]*)(;.*)?$", line)
        if match and "extra ==" not in line:
            found[match[1].lower().replace("_", "-")] = match[2].strip()
    return found


def _companions(version: str, wanted: dict[str, str]) -> list[str]:
    transformers = "transformers" + wanted.get("transformers", "")
    for last, bound in NEWEST_TRANSFORMERS.items():
        if version_key(version) < version_key(last + ".999"):
            transformers += ("," if transformers != "transformers" else "") + bound
            break
    # mistral_common 1.13 breaks the chat templates of every release known so far.
    return [
        *COMPANIONS,
        f"torch=={TORCH}",
        f"torchvision=={TORCHVISION}",
        transformers,
        "mistral_common[image]>=1.11.6,<1.13",
    ]


def version_key(version: str) -> tuple[int, ...]:
    """Sortable form of a release number."""
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])


def _make_environment(scratch: Path, companions: list[str]) -> Path:
    """A virtual environment with these packages, named by their hash; torch without CUDA."""
    name = hashlib.sha256("\n".join(sorted(companions)).encode()).hexdigest()[:12]
    folder = scratch / f"env-{name}"
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)], "virtual environment")
    _run([str(python), "-m", "pip", "install", "-q", "uv"], "installation of uv")
    listed = folder / "requirements.txt"
    listed.write_text("\n".join(companions) + "\n", encoding="utf-8")
    dropped = folder / "dropped.txt"
    dropped.write_text("".join(f'{name}; python_version < "3"\n' for name in DROPPED), encoding="utf-8")
    install = [str(folder / "bin" / "uv"), "pip", "install", "-q", "--python", str(python)]
    install += ["--override", str(dropped), "-r", str(listed)]
    try:
        _run([*install, f"torch=={TORCH}+cpu"], "installation")
    except EnvironmentFailure:
        _run([*install, "--torch-backend", "cpu"], "installation with the CPU build of torch")
    (folder / "ready").touch()
    return python


def _build_guard(scratch: Path, python: Path) -> Path:
    """Compile the device guard against this torch (seconds)."""
    torch = Path(_run([str(python), "-c", "import torch; print(torch.__path__[0])"], "import of torch").strip())
    source = HERE / "inside" / "guard.cpp"
    name = hashlib.sha256(source.read_bytes() + str(torch).encode()).hexdigest()[:12]
    target = scratch / f"guard-{name}.so"
    if not target.exists():
        argv = ["g++", "-std=c++20", "-shared", "-fPIC", "-O1", "-DNDEBUG", f"-I{torch / 'include'}", str(source)]
        argv += ["-o", str(target), f"-L{torch / 'lib'}", "-lc10", f"-Wl,-rpath,{torch / 'lib'}"]
        _run(argv, "compilation of the device guard")
    return target


def prepare(version: str, scratch: Path) -> Release:
    """Fetch, unpack and install what `version` needs.

    Raises:
        EnvironmentFailure: when a step fails; the scratch folder can be used again.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    source = scratch / "src" / version
    stamp = scratch / "src" / f"{version}.wheel"
    if not stamp.exists():
        shutil.rmtree(source, ignore_errors=True)
        source.parent.mkdir(parents=True, exist_ok=True)
        wheel = _fetch(Path(sys.executable), f"vllm=={version}", scratch / "wheels")
        _unpack(wheel, source, r"^vllm")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        stamp.write_text(f"{wheel.name} {digest}", encoding="utf-8")
        wheel.unlink()
    name, digest = stamp.read_text(encoding="utf-8").split()
    wanted = _requirements(source)
    python = _make_environment(scratch, _companions(version, wanted))
    flashinfer = wanted.get("flashinfer-python", "").removeprefix("==") or "0.7.2.post1"
    folder = scratch / "flashinfer" / flashinfer
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        wheel = _fetch(Path(sys.executable), f"flashinfer-python=={flashinfer}", scratch / "wheels")
        _unpack(wheel, folder, r"^flashinfer/sampling\.py$")
        wheel.unlink()
    versions = _run(
        [
            str(python),
            "-c",
            "import importlib.metadata as m; print(*(m.version(n) for n in ('torch','transformers','mistral_common')))",
        ],
        "reading package versions",
    ).split()
    packages = dict(zip(("torch", "transformers", "mistral_common"), versions, strict=True))
    return Release(
        version=version,
        source=source,
        wheel=name,
        wheel_sha256=digest,
        python=python,
        packages=packages | {"flashinfer-python": flashinfer},
        flashinfer_folder=folder / "flashinfer",
        flashinfer_version=flashinfer,
        guard=_build_guard(scratch, python),
    )
