"""What is put beside the engine of a campaign: the probe as a plugin, and how the engine logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


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
            "vllm.distributed.device_communicators.flashinfer_all_reduce": {"level": "DEBUG"},
            "vllm.v1.worker.gpu_model_runner": {"level": "DEBUG"},
        },
    }


def install_probe(site: Path) -> None:
    """Put the probe and its entry point where the engine's Python finds it."""
    site.mkdir(parents=True, exist_ok=True)
    for name in ("m35_probe.py", "m35_watch.py", "m35_fork.py"):
        (site / name).write_text((HERE / name).read_text(encoding="utf-8"), encoding="utf-8")
    info = site / "m35_probe-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: m35-probe\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vllm.general_plugins]\nm35_probe = m35_probe:register\n")
