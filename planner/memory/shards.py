"""Which shards of a stored weight the engine takes: groups, blocks, words and tiles; it never looks at memory."""

from __future__ import annotations

from hw_specs.frozen import dataclass
from hw_specs.spec import GpuSpec
from planner.facts.release import Release
from planner.facts.weight_formats import weight_formats
from planner.memory.weights import matrices
from planner.model import LayerGroup, ModelSpec, WeightFormat

INT4_IN_A_WORD = 8
"""Values that are packed into 32 bits."""


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
    auto_gptq.py create_weights; compressed_tensors_wNa16.py; modelopt.py (16 columns); tiles as in
    ``weight_formats.toml``.
    """
    for group in dict.fromkeys(model.layers):
        matrices = _matrices(model, group, tp)
        if why := next(filter(None, (_refused_format(one.fmt, tp, gpu, release) for one in matrices)), None):
            return f"vLLM {release.version} {why}"
        for check in (_cut_columns, _cut_rows, _cut_words):
            for matrix in matrices:
                fault = check(matrix, tp)
                if fault:
                    return fault
        for matrix in matrices:
            if untaken := _untaken_tiles(matrix, gpu, release):
                shape = f"{matrix.rows} rows and {matrix.columns} columns"
                tiles = " or ".join(f"{rows} by {columns}" for columns, rows in untaken)
                return (
                    f"vLLM {release.version} has no kernel for {matrix.fmt.name} in the shape of {matrix.name} "
                    f"{_where(tp)} ({gpu.name}): {shape}, which tiles of {tiles} do not fill"
                )
    return None


def _refused_format(fmt: WeightFormat, tp: int, gpu: GpuSpec, release: Release) -> str | None:
    """Why the engine takes no weight of this format, whatever its shape."""
    for row in weight_formats().refused:
        applies = row.applies(architecture=gpu.architecture, version=release.version, tensor_parallel_size=tp)
        packed = not row.packings or fmt.packing in row.packings
        if applies and packed and row.vendor in (None, gpu.vendor) and fmt.name in row.formats:
            return row.why
    return None


def _matrices(model: ModelSpec, group: LayerGroup, tp: int) -> tuple[_Matrix, ...]:
    qkv, output, gate_up, down = matrices(model, group, tp)
    return (
        _Matrix(name="o_proj", fmt=output[0], rows=sum(output[1]), columns=output[2], shared=tp > 1),
        _Matrix(name="down_proj", fmt=down[0], rows=sum(down[1]), columns=down[2], shared=tp > 1),
        _Matrix(
            name="q_proj, k_proj and v_proj", fmt=qkv[0], rows=sum(qkv[1]), columns=qkv[2], shared=False,
            seams=(("q_proj", qkv[1][0]), ("k_proj", qkv[1][1])),
        ),
        _Matrix(
            name="gate_proj and up_proj", fmt=gate_up[0], rows=sum(gate_up[1]), columns=gate_up[2], shared=False,
            seams=(("gate_proj", gate_up[1][0]),),
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


def _untaken_tiles(matrix: _Matrix, gpu: GpuSpec, release: Release) -> tuple[tuple[int, int], ...]:
    """The tiles, columns and rows, none of which fills a matrix of this shape; none where some kernel takes it."""
    fmt = matrix.fmt
    for row in weight_formats().tiles:
        applies = row.vendor == gpu.vendor and row.applies(
            architecture=gpu.architecture, version=release.version, tensor_parallel_size=1
        )
        packed = not row.packings or fmt.packing in row.packings
        grouped = not row.groups or fmt.group_columns in row.groups
        if applies and packed and grouped and fmt.name in row.formats:
            filled = any(matrix.columns % columns == 0 == matrix.rows % rows for columns, rows in row.shapes)
            return () if filled else row.shapes
    return ()


def _refused(unit: str, of: str, shared: bool, tp: int) -> str:
    where = _where(tp) if shared or tp == 1 else "of the model"
    return f"{unit} do not divide {of} {where}: vLLM refuses the quantised weight at load"


def _where(tp: int) -> str:
    return f"that each of {tp} GPUs gets" if tp > 1 else "on one GPU"
