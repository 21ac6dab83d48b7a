"""Variables of libraries beneath the engine, against sources of a torch and a hub client that are made up here."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.serve import CheckResult, StartOrder, run_preflight
from planner.serve.preflight.subject import Packages, Subject

from .machine import Machine

SOURCES = {
    "torch/_inductor/config.py": """
def threads():
    return int(os.environ.get("TORCHINDUCTOR_COMPILE_THREADS", "1"))
folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
raise SystemExit
""",
    "vllm/envs.py": """
environment_variables = {
    "VLLM_OF_NEXT_YEAR": lambda: int(os.getenv("VLLM_OF_NEXT_YEAR", "1")),
    "VLLM_KV_CACHE_LAYOUT": env_with_choices("VLLM_KV_CACHE_LAYOUT", None, ["NHD", "NEW"]),
}
""",
    "huggingface_hub/constants.py": 'T = _as_int(os.environ.get("HF_HUB_DOWNLOAD_TIMEOUT")) or 10\n',
}


def judged(machine: Machine, check: str = "library_variables", **env: str) -> CheckResult | None:
    order = StartOrder.of_command((str(machine.program), "serve", "M"), env=machine.env | env)
    return next(iter(run_preflight(order, only=[check])), None)


@pytest.fixture
def libraries(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for name, text in SOURCES.items():
        path = machine.site / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    folders = {name: str(machine.site / name) for name in ("torch", "huggingface_hub", "vllm")}
    found = Packages(versions={"vllm": "0.33.0", "httpx": "0.28.1"}, plugins=[], folders=folders)
    monkeypatch.setattr(Subject, "packages", found)
    return machine


@pytest.mark.parametrize(
    ("name", "value", "status", "said"),
    [
        ("TORCHINDUCTOR_COMPILE_THREADS", "many", "fail", "torch/_inductor/config.py makes a number of it"),
        ("TORCHINDUCTOR_COMPILE_THREADS", "4", None, ""),
        ("TORCHINDUCTOR_CACHE_DIR", "/tmp/x", None, ""),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "long", "fail", "huggingface_hub/constants.py makes a number of it"),
        ("TORCH_NCCL_BLOCKING_WAIT", "maybe", "fail", "torch raises for it"),
        ("TORCH_NCCL_BLOCKING_WAIT", "TRUE", None, ""),
        ("TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC", "an hour", "fail", "not a number"),
        ("NCCL_IB_GID_INDEX", "three", "warn", "passed over"),
        ("NCCL_DEBUG", "VERBOSE", "warn", "`verbose` is not among its words"),
        ("NCCL_DEBUG", "info", None, ""),
        ("NCCL_PROTO", "^LL128", None, ""),
        ("NCCL_ALGO", "allreduce:tree,ring;broadcast:ring", None, ""),
        ("NCCL_ALGO", "Rings", "warn", "`rings`"),
        ("NCCL_NET", "Sockets", "warn", "`sockets`"),
        ("NCCL_NET", "AWS Libfabric", None, ""),
        ("NCCL_P2P_LEVEL", "5", None, ""),
        ("OMP_NUM_THREADS", "all", "warn", "passed over"),
        ("VLLM_OF_NEXT_YEAR", "soon", "fail", "vllm/envs.py makes a number of it"),
    ],
)
def test_a_library_s_variable_is_judged_by_what_reads_it(
    libraries: Machine, name: str, value: str, status: str | None, said: str
) -> None:
    result = judged(libraries, **{name: value})
    assert (result.status if result else None) == status, result
    assert result is None or (said in result.seen and name in result.hint)


def test_the_installed_release_s_own_words_count(libraries: Machine) -> None:
    assert judged(libraries, "variable_choices", VLLM_KV_CACHE_LAYOUT="NEW") is None
    result = judged(libraries, "variable_choices", VLLM_KV_CACHE_LAYOUT="HND")
    assert result is not None and result.status == "fail" and "NHD, NEW" in result.hint


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ({"https_proxy": "socks://p:1"}, "begins with socks://"),
        ({"ALL_PROXY": "socks5://p:1"}, "without socksio"),
        ({"http_proxy": "p:3128", "no_proxy": "localhost,127.0.0.1"}, ""),
    ],
)
def test_a_proxy_that_the_hub_s_client_does_not_take(libraries: Machine, proxy: dict[str, str], said: str) -> None:
    result = judged(libraries, "proxy", **proxy)
    assert result is not None and result.status == ("fail" if said else "pass") and said in result.seen


@pytest.mark.parametrize(
    ("value", "said"),
    [('"expandable_segments:True"', "quotes"), ("backend:cuda", "`backend:cuda`"), ("backend:native", "")],
)
def test_an_allocator_s_quotes_and_backend(libraries: Machine, value: str, said: str) -> None:
    result = judged(libraries, "allocator", PYTORCH_CUDA_ALLOC_CONF=value)
    assert (result.status if result else None) == ("fail" if said else None)
    assert result is None or said in result.seen


def test_files_that_git_lfs_left_as_pointers(libraries: Machine, tmp_path: Path) -> None:
    model = tmp_path / "clone"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\nsize 5\n")
    order = StartOrder.of_command((str(libraries.program), "serve", str(model)), env=libraries.env)
    [result] = run_preflight(order, only=["checkpoint"])
    assert result.status == "fail" and "is a pointer of Git LFS" in result.seen and "git lfs pull" in result.hint


def test_a_cache_that_cannot_be_written_stops_a_download(libraries: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    order = StartOrder.of_command(
        (str(libraries.program), "serve", "org/model"), env=libraries.env | {"HF_HUB_CACHE": str(tmp_path / "file")}
    )
    [result] = run_preflight(order, only=["checkpoint"])
    assert result.status == "fail" and "cannot be written" in result.seen
