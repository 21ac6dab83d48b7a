"""Which points of a release are looked at; it runs nothing.

A point costs one to three seconds once vLLM is imported. Scope `full` is for the newest release, `core` (one platform
of each vendor) for older ones, `brief` (CUDA, mostly TP 8) for a release whose neighbours have more, `slice` for the
continuous check of the harness itself.
"""

from __future__ import annotations

from typing import Any

Task = dict[str, Any]

POINTS = ((2048, 256), (8192, 1024), (8192, 256), (16384, 1024), (16384, 128), (8192, 16))
"""(max_num_batched_tokens, max_num_seqs): the default tiers, the model card's command, and few sequences."""
CORNERS = ((2048, 256), (8192, 1024), (16384, 128))
DRAFT_TOKENS = 3
KV_AVAILABLE = 40 << 30
MAIN = "cuda-9.0"
ROCM = "rocm-gfx942"
PLATFORMS = {
    "full": ("cuda-9.0", "cuda-10.0", "rocm-gfx942", "rocm-gfx950"),
    "core": (MAIN, ROCM),
    "brief": (MAIN,),
    "slice": (MAIN,),
}
WEIGHT_MODELS = ("shallow", "text+1", "vision+1")
"""Two layers of each kind, and one more of one kind: their differences give a layer's bytes."""


def _point(tp: int, t: int, s: int, **more: Any) -> Task:
    return {
        "kind": "profile",
        "tensor_parallel_size": tp,
        "max_num_batched_tokens": t,
        "max_num_seqs": s,
        "enforce_eager": True,
        **more,
    }


def _peaks(points: Any, sizes: Any, **more: Any) -> list[Task]:
    return [_point(tp, t, s, **more) for t, s in points for tp in sizes]


def _weights(sizes: Any, *, draft: bool) -> list[Task]:
    speculative = DRAFT_TOKENS if draft else 0
    return [
        {"kind": "weights", "model": model, "tensor_parallel_size": tp, "speculative_tokens": speculative}
        for tp in sizes
        for model in WEIGHT_MODELS
    ]


def _after(points: Any, sizes: Any) -> list[Task]:
    return [{**_point(tp, t, s), "kind": "after_profile", "available": KV_AVAILABLE} for t, s in points for tp in sizes]


def vectors(head_dim: int, max_model_len: int, layers: int) -> list[Task]:
    """Plain numbers for the KV planner: fits, edges, and failures."""
    gib = 1 << 30
    rows = [(1, 40, max_model_len), (8, 50, max_model_len), (8, 50, -1), (1, 11, max_model_len), (1, 11, -1)]
    rows += [(8, -5, max_model_len), (2, 30, 100001), (4, 44, 131072), (1, 44, 65537), (8, 1, -1), (8, 0, -1)]
    return [
        {
            "layers": layers,
            "kv_heads": heads,
            "head_dim": head_dim,
            "dtype": "bfloat16",
            "available": size * gib,
            "max_model_len": length,
            "original_len": max_model_len,
        }
        for heads, size, length in rows
    ]


def tasks(platform: str, scope: str, *, draft: bool, facts: dict[str, Any], cards: dict[str, Any]) -> list[Task]:
    """Everything to ask on one platform."""
    if scope == "slice":
        return _peaks(((2048, 256),), (8,)) + _peaks(((8192, 1024),), (2,))
    asked: list[Task] = [{"kind": "defaults", "card": {"name": n, **c}} for n, c in cards.items()]
    numbers = vectors(facts["head_dim"], facts["max_position_embeddings"], facts["layers"][0]["count"])
    whole: list[Task] = [{"kind": "options"}, {"kind": "kv_vectors", "vectors": numbers}]
    points = {"full": _full, "core": _core, "brief": _brief}[scope]
    return asked + (whole if platform == MAIN else []) + points(platform, draft=draft)


def _full(platform: str, *, draft: bool) -> list[Task]:
    if platform != MAIN:
        asked = _peaks(CORNERS, (1, 8)) + _peaks(CORNERS, (1, 8), enforce_eager=False)
        asked += _peaks(((8192, 1024),), (2, 4))
        asked += _peaks(CORNERS[1:], (1, 8), language_model_only=True)
        asked += _after(CORNERS[1:], (1, 4, 8))
        return asked + (_weights((1, 2, 4, 8, 16), draft=draft) if platform.startswith("rocm") else [])
    asked = _peaks(((8192, 1024),), (2,), items=True)
    asked += _peaks(POINTS, (1, 2, 4, 8)) + _peaks(((8192, 1024),), (16,))
    asked += _peaks(POINTS, (1, 2, 4, 8), enforce_eager=False)
    asked += _peaks(CORNERS, (1, 2, 4, 8), language_model_only=True)
    asked += _weights((1, 2, 4, 8, 16), draft=draft)
    asked += _after(CORNERS, (1, 8))
    asked += [{"kind": "weights", "model": "full", "tensor_parallel_size": 8}]
    asked += [{"kind": "weights", "model": "shallow", "tensor_parallel_size": 8, "language_model_only": True}]
    pipeline = {"kind": "weights", "model": "full", "pipeline_parallel_size": 2}
    asked += [{**pipeline, "tensor_parallel_size": tp, "rank": r} for tp in (4, 8) for r in (0, tp)]
    return asked + (_peaks(CORNERS, (1, 2, 4, 8), speculative_tokens=DRAFT_TOKENS) if draft else [])


def _core(platform: str, *, draft: bool) -> list[Task]:
    tier, card = ((8192, 1024),), ((16384, 128),)
    if platform != MAIN:
        asked = _peaks(tier, (8,)) + _peaks(card, (1,)) + _peaks(tier, (8,), enforce_eager=False)
        return asked + _weights((8,), draft=draft)
    asked = _peaks(tier, (2,), items=True) + _peaks(POINTS, (8,)) + _peaks(CORNERS, (1,))
    asked += _peaks(CORNERS, (8,), enforce_eager=False) + _peaks(card, (1,), enforce_eager=False)
    asked += _peaks(tier, (8,), language_model_only=True) + _weights((8,), draft=draft) + _after(tier, (8,))
    return asked + (_peaks(card, (8,), speculative_tokens=DRAFT_TOKENS) if draft else [])


def _brief(_: str, *, draft: bool) -> list[Task]:
    tier, card = ((8192, 1024),), ((16384, 128),)
    asked = _peaks(POINTS, (8,)) + _peaks(CORNERS[:2], (1,)) + _peaks(tier, (8,), enforce_eager=False)
    asked += _peaks(tier, (8,), language_model_only=True) + _weights((8,), draft=draft)
    return asked + (_peaks(card, (8,), speculative_tokens=DRAFT_TOKENS) if draft else [])
