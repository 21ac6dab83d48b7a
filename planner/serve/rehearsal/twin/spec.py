"""The twin's dimensions and its ``params.json``; it never makes a tensor.

What decides how an engine treats the model is kept: the number of KV heads and a head count that every legal
tensor-parallel size divides, YaRN with the published numbers, the FP8 layout, the Pixtral tower with patch
merging, the special tokens' ids, the context limit. What only costs memory is shrunk.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from planner.errors import InvalidRequest
from planner.model import BF16, FP8, DraftSpec, LayerGroup, ModelSpec, VisionSpec

YARN = {"original_max_position_embeddings": 4096, "factor": 64, "apply_scale": True, "beta": 4, "alpha": 1}
"""As published for the sibling Devstral 2 123B, whose text trunk this model shares (transformers' tests)."""

_NOT_BUILT = frozenset({"draft", "checkpoint_bytes", "download_bytes", "notes"})
"""Fields of a model that say nothing about the dimensions of its target."""

SPECIAL_TOKENS = 1000
"""Ids that tekken tokenizers set aside for control tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinSpec:
    """Dimensions of one twin.

    Raises:
        InvalidRequest: when the dimensions cannot hold the script or cannot be split.
    """

    fp8: bool = False
    """Store the linear layers as FP8 E4M3 with static per-tensor scales, as the checkpoint does."""
    vision: bool = True
    draft_layers: int = 0
    """Decoder layers of the EAGLE draft; 0 makes none."""
    hidden_size: int = 256
    num_hidden_layers: int = 2
    num_attention_heads: int = 32
    num_key_value_heads: int = 8
    head_dim: int = 128
    intermediate_size: int = 1024
    vocab_size: int = 2048
    max_position_embeddings: int = 262144
    vision_hidden_size: int = 512
    vision_intermediate_size: int = 1024
    vision_layers: int = 2
    vision_heads: int = 16
    patch_size: int = 14
    spatial_merge_size: int = 2
    image_size: int = 1540
    """Pixels of the longer side of the largest image."""
    seed: int = 35

    def __post_init__(self) -> None:
        if self.hidden_size < 64 or self.head_dim < 8 or self.vision_hidden_size < 16:
            raise InvalidRequest(
                "hidden_size",
                f"a twin of hidden size {self.hidden_size}, head_dim {self.head_dim}, vision hidden size "
                f"{self.vision_hidden_size} is too small for its script",
                hint="hidden_size 64, head_dim 8 and vision_hidden_size 16 are the least",
            )
        if self.num_key_value_heads < 3 or self.num_attention_heads % self.num_key_value_heads:
            raise InvalidRequest(
                "num_key_value_heads",
                f"{self.num_attention_heads} attention heads over {self.num_key_value_heads} KV heads",
                hint="the script needs 3 KV heads, and attention heads must be a multiple of them",
            )
        if self.vocab_size < 2 * SPECIAL_TOKENS:
            raise InvalidRequest(
                "vocab_size", f"a vocabulary of {self.vocab_size} is too small", hint="2048 is the usual size"
            )

    @property
    def queries_per_kv_head(self) -> int:
        """Attention heads that share one KV head."""
        return self.num_attention_heads // self.num_key_value_heads

    @classmethod
    def full_size(cls, model: ModelSpec, *, draft_layers: int = 0) -> TwinSpec:
        """Return the twin that has every dimension of `model`: its tensors would be as large as the checkpoint's.

        Raises:
            InvalidRequest: when a twin of these dimensions would differ from `model` in anything else.
        """
        spec = cls(
            fp8=model.layers[0].mlp.name == "fp8",
            vision=model.vision is not None,
            draft_layers=draft_layers,
            hidden_size=model.hidden_size,
            num_hidden_layers=model.num_hidden_layers,
            num_attention_heads=model.num_attention_heads,
            num_key_value_heads=model.num_key_value_heads,
            head_dim=model.head_dim,
            intermediate_size=model.intermediate_size,
            vocab_size=model.vocab_size,
            max_position_embeddings=model.max_position_embeddings,
        )
        if model.vision is not None:
            spec = replace(
                spec,
                vision_hidden_size=model.vision.hidden_size,
                vision_intermediate_size=model.vision.intermediate_size,
                vision_layers=model.vision.num_hidden_layers,
                vision_heads=model.vision.num_attention_heads,
                patch_size=model.vision.patch_size,
                spatial_merge_size=model.vision.spatial_merge_size,
                image_size=model.vision.max_image_size,
            )
        made = spec.model_spec(model.name)
        other = [one.name for one in fields(model) if one.name not in _NOT_BUILT]
        other = [name for name in other if getattr(made, name) != getattr(model, name)]
        if other:
            raise InvalidRequest(
                "model",
                f"{model.name} cannot be imitated at its full size: its {', '.join(other)} differ from what a twin has",
                hint="rehearse without --full-size, or launch the checkpoint itself",
            )
        return spec

    def model_spec(self, name: str) -> ModelSpec:
        """Describe the twin to the planner, so that its own arithmetic predicts the twin's memory."""
        weights = FP8 if self.fp8 else BF16
        return ModelSpec(
            name=name,
            hidden_size=self.hidden_size,
            num_attention_heads=self.num_attention_heads,
            num_key_value_heads=self.num_key_value_heads,
            head_dim=self.head_dim,
            intermediate_size=self.intermediate_size,
            vocab_size=self.vocab_size,
            max_position_embeddings=self.max_position_embeddings,
            layers=(LayerGroup(count=self.num_hidden_layers, attention=weights, mlp=weights),),
            tie_word_embeddings=False,
            vision=self._vision_spec() if self.vision else None,
            draft=self._draft_spec(name) if self.draft_layers else None,
            native_format=True,
        )

    def _vision_spec(self) -> VisionSpec:
        return VisionSpec(
            hidden_size=self.vision_hidden_size,
            num_hidden_layers=self.vision_layers,
            intermediate_size=self.vision_intermediate_size,
            num_attention_heads=self.vision_heads,
            patch_size=self.patch_size,
            max_image_size=self.image_size,
            num_channels=3,
            spatial_merge_size=self.spatial_merge_size,
        )

    def _draft_spec(self, name: str) -> DraftSpec:
        return DraftSpec(
            name=f"{name}-EAGLE",
            num_hidden_layers=self.draft_layers,
            weights=FP8 if self.fp8 else BF16,
            card_num_speculative_tokens=3,
            card_max_model_len=self.max_position_embeddings,
        )

    def params(self) -> dict[str, object]:
        """Return the target's ``params.json``."""
        params = self._text_params(self.num_hidden_layers)
        if self.vision:
            params["vision_encoder"] = {
                "image_token_id": 10,
                "image_break_token_id": 12,
                "image_end_token_id": 13,
                "intermediate_size": self.vision_intermediate_size,
                "num_hidden_layers": self.vision_layers,
                "num_attention_heads": self.vision_heads,
                "mm_projector_id": "patch_merge",
                "spatial_merge_size": self.spatial_merge_size,
                "hidden_size": self.vision_hidden_size,
                "num_channels": 3,
                "image_size": self.image_size,
                "max_image_size": self.image_size,
                "patch_size": self.patch_size,
                "rope_theta": 10000.0,
                "add_pre_mm_projector_layer_norm": True,
                "adapter_bias": False,
            }
        return params

    def draft_params(self) -> dict[str, object]:
        """Return the draft's ``params.json``: the trunk with fewer layers and no vision tower."""
        return self._text_params(self.draft_layers)

    def _text_params(self, layers: int) -> dict[str, object]:
        params: dict[str, object] = {
            "dim": self.hidden_size,
            "n_layers": layers,
            "head_dim": self.head_dim,
            "hidden_dim": self.intermediate_size,
            "n_heads": self.num_attention_heads,
            "n_kv_heads": self.num_key_value_heads,
            "rope_theta": 1000000.0,
            "norm_eps": 1e-5,
            "vocab_size": self.vocab_size,
            "tied_embeddings": False,
            "max_position_embeddings": self.max_position_embeddings,
            "max_seq_len": self.max_position_embeddings,
            "yarn": dict(YARN),
        }
        if self.fp8:
            params["quantization"] = {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}
        return params


CPU_TWIN = TwinSpec(head_dim=32, image_size=448)
"""For CPU builds: a quarter of the KV cache and small warm-up images, so that full context fits a laptop."""
