"""Reads log and error templates out of a release's source text; it imports nothing of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ANCHORS: dict[str, str] = {
    "startup_free_memory": "is less than desired GPU memory utilization",
    "no_cache_blocks": "No available memory for the cache blocks",
    "needs_more_kv_cache": "To serve at least one request with the model",
    "auto_fit_failed": "Cannot auto-fit max_model_len",
    "auto_fit_full": "Auto-fit max_model_len: full model context length",
    "auto_fit_reduced": "Auto-fit max_model_len: reduced from",
    "kv_cache_size": "KV cache size:",
    "max_concurrency": "Maximum concurrency for",
    "available_kv_cache": "Available KV cache memory:",
    "model_loading_took": "Model loading took",
    "free_memory_on_device": "Free memory on device (",
    "graph_capturing_finished": "Graph capturing finished in",
    "graph_pool_memory": "CUDA graph pool memory:",
    "graph_profiling_enabled": "CUDA graph memory profiling is enabled",
    "memory_profiling_error": "Error in memory profiling",
    "encoder_cache_profiled": "Encoder cache will be initialized with a budget",
    "text_only_mode": "running in text-only mode",
    "encoder_tp_mode_ignored": "This model does not support `--mm-encoder-tp-mode data`",
    "draft_limits_target": "reducing max_model_len to",
    "draft_len_too_large": "cannot be larger than",
    "heads_not_divisible": "must be divisible by tensor parallel size",
    "world_size_too_large": "is larger than the number of available GPUs",
    "max_len_too_large": "User-specified max_model_len",
    "tokens_below_seqs": "must be greater than or equal to max_num_seqs",
    "kv_memory_bytes_used": "reserved",
    "fp8_weight_only": "Your GPU does not have native support for FP8 computation",
    "v2_runner": "Using V2 Model Runner",
    "e5m2_refused": "kv-cache is not supported with fp8 checkpoints",
}
"""Name of a text → a piece of it that has stayed the same; the whole literal is what is recorded."""
ALSO = {
    "kv_memory_bytes_used": "as specified by kv_cache_memory_bytes",
    "draft_len_too_large": "speculative_max_model_len",
}
FOLDERS = (
    "v1",
    "config",
    "engine",
    "utils",
    "model_executor/layers/quantization",
    "model_executor/models/vision.py",
    "multimodal",
    "platforms",
)


def _literals(tree: ast.AST) -> Iterator[str]:
    """Every string constant, with formatted values written as `{source}`."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            pieces = []
            for value in node.values:
                inside.add(id(value))
                if isinstance(value, ast.Constant):
                    pieces.append(str(value.value))
                elif isinstance(value, ast.FormattedValue):
                    pieces.append("{" + ast.unparse(value.value) + "}")
            yield "".join(pieces)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def read(source: Path) -> dict[str, str | None]:
    """Texts of the unpacked release at `source`; None where it has none."""
    found: dict[str, str | None] = dict.fromkeys(ANCHORS)
    for folder in FOLDERS:
        root = source / "vllm" / folder
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root] if root.exists() else []:
            text = path.read_text(encoding="utf-8", errors="replace")
            wanted = [n for n, anchor in ANCHORS.items() if found[n] is None and _first_words(anchor) in text]
            if not wanted:
                continue
            for literal in _literals(ast.parse(text)):
                for name in wanted:
                    if found[name] is None and ANCHORS[name] in literal and ALSO.get(name, "") in literal:
                        found[name] = literal.strip()
    return found


def _first_words(anchor: str) -> str:
    # A literal may be broken over source lines anywhere; its first word is never.
    return anchor.split(" ", maxsplit=1)[0]
