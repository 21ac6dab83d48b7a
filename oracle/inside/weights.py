"""Sums the loaded model's bytes by component, shared storages once; it knows names, not sizes."""

from __future__ import annotations

from typing import Any

from oracle.inside_names import COMPONENTS


def component(name: str) -> str:
    """To which part of the ledger a parameter or buffer belongs."""
    last = name.rsplit(".", 1)[-1]
    if "cos_sin_cache" in name or "rotary" in name:
        return "rope_cache"
    if "vision_encoder" in name or "vision_tower" in name:
        return "vision_tower"
    if any(
        part in name
        for part in ("patch_merger", "pre_mm_projector_norm", "vision_language_adapter", "multi_modal_projector")
    ):
        return "projector"
    if "embed_tokens" in name:
        return "embed"
    if "lm_head" in name:
        return "lm_head"
    if "scale" in last:
        return "scales"
    if "norm" in name:
        return "norms"
    if "attn" in name:
        return "scales" if last != "weight" and last != "bias" else "attention"
    if "mlp" in name:
        return "mlp"
    if ".fc." in name or name.startswith("fc."):
        return "draft_fc"
    raise ValueError(f"no component for `{name}`")


def by_component(model: Any, skip: set[int] | None = None) -> dict[str, int]:
    """Exact bytes per component; storages in `skip` (the target's, when `model` is its draft) are left out."""
    seen = set(skip or ())
    sums = dict.fromkeys(COMPONENTS, 0)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.device.type != "cuda":
            continue
        storage = tensor.untyped_storage()
        if id(storage) in seen:
            continue
        seen.add(id(storage))
        sums[component(name)] += storage.nbytes()
    return sums


def storages(model: Any) -> set[int]:
    """Identities of the storages that `model` holds."""
    return {id(t.untyped_storage()) for t in (*model.parameters(), *model.buffers())}
