"""Compares the oracle with start-ups that others measured: the residual is what the oracle cannot see.

The residual (measured - oracle) holds kernel workspaces, allocator rounding and whatever compilation allocates. Its
spread over models is the honest bound of the planner's activation term.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from oracle import environment, facts_file, run
from oracle.environment import HERE, Release
from oracle.inside_names import PHASES

GIB = 1 << 30
COLUMNS = (
    "model", "tensor_parallel_size", "quantization", "measured_weights_bytes", "oracle_weights_bytes",
    "measured_peak_bytes", "oracle_peak_bytes", "oracle_phase", "residual_weights_bytes", "residual_peak_bytes",
)  # fmt: skip
TRUTH: dict[str, Any] = tomllib.loads((HERE / "truth.toml").read_text(encoding="utf-8"))
DEPTHS = (2, 3)


def _folder_name(model: str, quantization: str, layers: int) -> str:
    return f"{model.replace('/', '--')}-{quantization or 'bf16'}-{layers}"


def _write_models(scratch: Path) -> dict[str, str]:
    folders: dict[str, str] = {}
    configs: dict[str, Any] = {}
    for model, _, quantization, *_ in TRUTH["measured"]["rows"]:
        for layers in DEPTHS:
            name = _folder_name(model, quantization, layers)
            config = TRUTH["models"][model] | {
                "num_hidden_layers": layers,
                "torch_dtype": "bfloat16",
                "hidden_act": "silu",
            }
            if quantization:
                config["quantization_config"] = TRUTH[quantization]
            folders[name] = str(scratch / "truth-models" / name)
            configs[folders[name]] = config
    for folder, config in configs.items():
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    return folders


def _tasks() -> list[dict[str, Any]]:
    return [
        {
            "kind": "profile",
            "model": _folder_name(model, quantization, layers),
            "mistral_format": False,
            "tensor_parallel_size": tp,
            "enforce_eager": False,
            "extra": {"max_model_len": 8192},
        }
        for model, tp, quantization, *_ in TRUTH["measured"]["rows"]
        for layers in DEPTHS
    ]


def compare(scratch: Path) -> dict[str, Any]:
    """Run the measured start-ups through the oracle and subtract.

    Raises:
        EnvironmentFailure: when the release cannot be prepared or a task fails.
    """
    release = environment.prepare(TRUTH["vllm_version"], scratch)
    answers = run.child(release, TRUTH["platform"], _tasks(), _write_models(scratch), scratch)
    failed = [a for a in answers if "error" in a]
    if failed:
        raise environment.EnvironmentFailure(f"{failed[0]['task']['model']}: {failed[0]['error']}")
    return document(release, answers)


def document(release: Release, answers: run.Results) -> dict[str, Any]:
    """The residuals of measured start-ups against the answers of `_tasks`."""
    rows = []
    for measured, two, three in zip(TRUTH["measured"]["rows"], answers[::2], answers[1::2], strict=True):
        rows.append(_row(measured, two["result"], three["result"]))
    peaks = [row[COLUMNS.index("residual_peak_bytes")] for row in rows]
    weights = [row[COLUMNS.index("residual_weights_bytes")] for row in rows]
    return {
        "schema_version": facts_file.SCHEMA_VERSION,
        "vllm_version": TRUTH["vllm_version"],
        "provenance": {
            "source": TRUTH["source"],
            "gpu": TRUTH["gpu"],
            "command": "python -m oracle --truth",
            "wheel": release.wheel,
            "wheel_sha256": release.wheel_sha256,
            "packages": release.packages,
            "resolution_bytes": round(0.005 * GIB),
            "forward": "the language model's forward pass was run operation by operation, not as Inductor fuses it",
        },
        "summary": {
            "points": len(rows),
            "peak_lowest_bytes": min(peaks),
            "peak_highest_bytes": max(peaks),
            "peak_mean_bytes": round(sum(peaks) / len(peaks)),
            "weights_lowest_bytes": min(weights),
            "weights_highest_bytes": max(weights),
        },
        "rows": {"columns": list(COLUMNS), "rows": rows},
    }


def _row(measured: list[Any], two: dict[str, Any], three: dict[str, Any]) -> list[Any]:
    model, tp, quantization, weights_gib, peak_gib = measured
    layers = TRUTH["models"][model]["num_hidden_layers"]
    loaded = two["loaded"] + (layers - 2) * (three["loaded"] - two["loaded"])
    phase = max(PHASES, key=lambda name: two[name])
    weights, peak = round(weights_gib * GIB), round(peak_gib * GIB)
    predicted = two[phase]
    residuals = [weights - loaded, peak - predicted]
    return [model, tp, quantization or "none", weights, loaded, peak, predicted, phase, *residuals]


def write(document: dict[str, Any], folder: Path = facts_file.FOLDER) -> Path:
    """Write `residuals.json` atomically."""
    path = folder / "residuals.json"
    part = path.with_suffix(".part")
    part.write_text(facts_file.dump(document), encoding="utf-8")
    part.replace(path)
    return path
