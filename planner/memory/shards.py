"""Which shards of a stored weight the engine takes: groups, blocks, words and tiles; it never looks at memory."""

from __future__ import annotations

from hw_specs.frozen import dataclass
from hw_specs.spec import GpuSpec
from planner.facts.release import Release
from planner.model import LayerGroup, ModelSpec, WeightFormat

INT4_IN_A_WORD = 8
"""Values that are packed into 32 bits."""
TILES = ((128, 64), (64, 128))
"""Columns and rows that a tile of Marlin's product covers, either way round."""
HOPPER = "9.0"
MACHETE_TILE = (64, 128)
MACHETE_GROUPS = (0, 64, 128)
FIRST_FP4 = 10
"""Major compute capability from which FP4 has products of its own; before it Marlin multiplies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matrix:
    """One matrix as a rank holds it, merged as the engine merges it."""

    name: str
    fmt: WeightFormat
    rows: int
    columns: int
    shared: bool
    """Whether tensor parallelism cuts its columns."""
    seams: tuple[tuple[str, int], ...] = ()
    """Parts that it is merged from, with their rows."""


def stored_fault(model: ModelSpec, tp: int, *, gpu: GpuSpec, release: Release) -> str | None:
    """Return which weight the engine refuses in `tp` shards, or None.

    The engine checks each matrix when it is made. Groups of a row must be whole in every matrix, on one GPU too. Blocks
    must end at the shard's edge along the columns of a row-parallel matrix (o, down), and along the rows of what it
    merges (q, k, v; gate, up) at each seam, on one GPU too; elsewhere the last one may be cut. AWQ and GPTQ pack
    four-bit integers eight to a word along the rows. One scale per whole row has no edge inside it. Marlin's kernels
    take whole tiles until they pad; where four-bit integers have no other kernel the weight is refused; AWQ has one.

    Source: vLLM 0.20.0 to 0.33.0, quantization/utils/fp8_utils.py validate_fp8_block_shape; auto_awq.py and
    auto_gptq.py create_weights; compressed_tensors_wNa16.py; kernels/linear choose_mp_linear_kernel with marlin.py,
    machete.py and humming.py can_implement; marlin_utils.py verify_marlin_supports_shape; modelopt.py (16 columns).
    """
    for group in dict.fromkeys(model.layers):
        matrices = _matrices(model, group, tp)
        for check in (_cut_columns, _cut_rows, _cut_words):
            for matrix in matrices:
                fault = check(matrix, tp)
                if fault:
                    return fault
        for matrix in matrices:
            if not _tiled(matrix, gpu, release):
                shape = f"{matrix.rows} rows and {matrix.columns} columns"
                return (
                    f"vLLM {release.version} has no kernel for {matrix.fmt.name} in the shape of {matrix.name} "
                    f"{_where(tp)} ({gpu.name}): {shape} are no whole tiles of 64 and 128"
                )
    return None


def _matrices(model: ModelSpec, group: LayerGroup, tp: int) -> tuple[_Matrix, ...]:
    head, hidden = model.head_dim, model.hidden_size
    attended, inner = model.num_attention_heads * head // tp, model.intermediate_size // tp
    kv_rows = max(model.num_key_value_heads // tp, 1) * head
    output, down = group.attention_output or group.attention, group.mlp_down or group.mlp
    split = tp > 1
    return (
        _Matrix(name="o_proj", fmt=output, rows=hidden, columns=attended, shared=split),
        _Matrix(name="down_proj", fmt=down, rows=hidden, columns=inner, shared=split),
        _Matrix(
            name="q_proj, k_proj and v_proj", fmt=group.attention, rows=attended + 2 * kv_rows, columns=hidden,
            shared=False, seams=(("q_proj", attended), ("k_proj", kv_rows)),
        ),
        _Matrix(
            name="gate_proj and up_proj", fmt=group.mlp, rows=2 * inner, columns=hidden, shared=False,
            seams=(("gate_proj", inner),),
        ),
    )  # fmt: skip


def _cut_columns(matrix: _Matrix, tp: int) -> str | None:
    fmt, blocks = matrix.fmt, matrix.fmt.group_rows > 1
    if not fmt.group_columns or matrix.columns % fmt.group_columns == 0 or not (matrix.shared or not blocks):
        return None
    kind = "blocks" if blocks else "groups"
    return _refused(
        f"{fmt.name} {kind} of {fmt.group_columns}", f"the {matrix.columns} columns of {matrix.name}", matrix.shared, tp
    )


def _cut_rows(matrix: _Matrix, tp: int) -> str | None:
    fmt = matrix.fmt
    for name, rows in matrix.seams:
        if fmt.group_rows > 1 and rows % fmt.group_rows:
            return _refused(f"{fmt.name} blocks of {fmt.group_rows} rows", f"the {rows} rows of {name}", tp > 1, tp)
    return None


def _cut_words(matrix: _Matrix, tp: int) -> str | None:
    if matrix.fmt.packing not in ("awq", "gptq") or matrix.rows % INT4_IN_A_WORD == 0:
        return None
    together = " together" if matrix.seams else ""
    return _refused(
        f"words of {INT4_IN_A_WORD} {matrix.fmt.name}", f"the {matrix.rows} rows of {matrix.name}{together}", tp > 1, tp
    )


def _tiled(matrix: _Matrix, gpu: GpuSpec, release: Release) -> bool:
    """Whether some kernel takes a matrix of this shape."""
    fmt, shape = matrix.fmt, (matrix.columns, matrix.rows)
    if gpu.vendor != "nvidia":
        return True
    if fmt.name == "int4":
        if fmt.packing == "awq" or release.int4_any_shape:
            return True
        machete = gpu.architecture == HOPPER and fmt.group_columns in MACHETE_GROUPS and _whole(shape, MACHETE_TILE)
        return machete or _whole(shape, TILES[0])
    marlin = (fmt.name.startswith("fp8") and gpu.fp8_kind == "weight-only") or (
        fmt.name == "nvfp4" and int(gpu.architecture.partition(".")[0]) < FIRST_FP4
    )
    return not marlin or release.marlin_pads or any(_whole(shape, tile) for tile in TILES)


def _whole(shape: tuple[int, int], tile: tuple[int, int]) -> bool:
    return shape[0] % tile[0] == 0 and shape[1] % tile[1] == 0


def _refused(unit: str, of: str, shared: bool, tp: int) -> str:
    where = _where(tp) if shared or tp == 1 else "of the model"
    return f"{unit} do not divide {of} {where}: vLLM refuses the quantised weight at load"


def _where(tp: int) -> str:
    return f"that each of {tp} GPUs gets" if tp > 1 else "on one GPU"
