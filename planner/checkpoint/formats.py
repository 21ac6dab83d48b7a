"""Weight formats by name, and the four matrices of a layer that carry them; it never reads a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from hw_specs.frozen import dataclass
from planner.errors import UnsupportedModel
from planner.model import LayerGroup, WeightFormat

MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Linear layers of a decoder layer, by their usual names."""
MX_GROUP = 32
"""Elements that share a scale in the MX formats."""


@cache
def weight_format(
    name: str, *, group_rows: int = 0, group_columns: int = 0, zero_point_bits: int = 0, packing: str = ""
) -> WeightFormat:
    """Return the format called `name`; block and group sizes override its own where given.

    >>> weight_format("int4", group_columns=128).matrix_bytes(2, 256)
    264
    """
    known = WeightFormat.named(name)
    return replace(
        known,
        group_rows=group_rows or known.group_rows,
        group_columns=group_columns or known.group_columns,
        zero_point_bits=zero_point_bits,
        packing=packing,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFormats:
    """The formats of one layer's matrices, by the names in :data:`MATRICES`."""

    layer: int
    by_matrix: dict[str, WeightFormat]

    def group(self) -> LayerGroup:
        """Return the layer as a group of one.

        Raises:
            UnsupportedModel: when matrices that the engine fuses are stored unlike.
        """
        qkv, mlp = self._fused("q_proj", "k_proj", "v_proj"), self._fused("gate_proj", "up_proj")
        output, down = self.by_matrix["o_proj"], self.by_matrix["down_proj"]
        return LayerGroup(
            count=1,
            attention=qkv,
            mlp=mlp,
            attention_output=None if output == qkv else output,
            mlp_down=None if down == mlp else down,
        )

    def _fused(self, *matrices: str) -> WeightFormat:
        first = self.by_matrix[matrices[0]]
        for other in matrices[1:]:
            if self.by_matrix[other] != first:
                raise UnsupportedModel(
                    f"layer {self.layer} stores {matrices[0]} as {first.name} and {other} as "
                    f"{self.by_matrix[other].name}: vLLM fuses them and needs one format"
                )
        return first


def layer_groups(layers: list[LayerFormats]) -> tuple[LayerGroup, ...]:
    """Return runs of equal layers.

    Raises:
        UnsupportedModel: when matrices that the engine fuses are stored unlike.
    """
    groups: list[LayerGroup] = []
    for layer in layers:
        one = layer.group()
        if groups and replace(groups[-1], count=1) == one:
            groups[-1] = replace(groups[-1], count=groups[-1].count + 1)
        else:
            groups.append(one)
    return tuple(groups)
