"""The grammar ``[NODESx][COUNTx]GPU`` or ``[NODESx]INSTANCE``: text to :class:`GpuSet`. It looks at no machine."""

from __future__ import annotations

import re

from hw_specs.catalog import get_gpu, names
from hw_specs.errors import BadGpuString, M35Error, UnknownGpu, shown
from hw_specs.mig import NO_LINK, split_profile
from hw_specs.spec import GpuSet, GpuSpec
from hw_specs.units import GIB, MIB, TIB, format_gib

MAX_NODES = 1024
"""More nodes than any one deployment of a 128B model; larger counts are typing errors."""

_NUMBER = r"[+-]?[0-9][0-9_.,]*"
_GRAMMAR = rf"(?is)^(?:({_NUMBER})\s*[x×*]\s*)?(?:({_NUMBER})\s*[x×*]\s*)?(.*)$"
_ONE_MORE_COUNT = rf"(?i)^{_NUMBER}\s*[x×*]"
_NEAR_MISSES = (
    (r"(?is)^(?P<name>.*\S)\s*[x×*:]\s*(?P<count>[0-9]{1,4})$", "the count comes after the GPU"),
    (r"(?s)^(?P<count>[0-9]{1,4})[\s*-]*(?P<name>[A-Za-z].*)$", "there is no `x` behind the count"),
)
_EXAMPLES = "write a GPU, a count and a GPU, or nodes too: `H200`, `8xH200`, `2x8xB200`"
_MAX_DIGITS = 60
LEAST_MEMORY_GIB = 16
"""A number behind a GPU that may be meant as its memory."""
MAX_MEMORY_BYTES = 2 * TIB
"""No GPU has more."""


def parse_gpus(text: str, memory_override_bytes: int | None = None) -> GpuSet:
    """Return the GPUs that `text` names.

    Args:
        text: ``H200`` (one), ``8xH200``, or ``2x8xB200`` (nodes × GPUs per node). Case, blanks and a vendor in
            front (``nvidia/h200``) do not matter. A cloud's instance type (``p5.48xlarge``) is one node of it.
        memory_override_bytes: engine-visible bytes of one GPU where they differ from the catalogue's, as on
            shared cards. Products whose memory is not publicly known cannot be planned without it.

    Raises:
        UnknownGpu: the catalogue has no such GPU; the hint names the nearest.
        BadGpuString: the text does not follow the grammar, or a count or size makes no sense.

    >>> str(parse_gpus("8 x nvidia/h200"))
    '8xH200'
    """
    match = re.match(_GRAMMAR, text.strip())
    assert match is not None, "every part of the grammar is optional"
    first, second, name = match.groups()
    if not name:
        raise BadGpuString(f"no GPU is named in `{shown(text)}`", hint=_EXAMPLES)
    if "," in name or ("+" in name and split_profile(name) is None):
        raise _several(text)
    if name.isdecimal():  # people call a GeForce by its number
        name = f"RTX-{name}" if f"rtx-{name}" in names() else name
    if not any(character.isalpha() for character in name) or re.match(_ONE_MORE_COUNT, name):
        raise BadGpuString(f"cannot read `{shown(text)}` as GPUs", hint=_EXAMPLES)
    nodes = _count(first, text, what="nodes") if second is not None else 1
    count = _count(second if second is not None else first, text, what="GPUs")
    try:
        spec = _spec(name, ahead=[count for count in (first, second) if count is not None])
    except UnknownGpu:
        instance = _instance(name)
        if instance is None:
            raise
        spec, each = instance
        if second is not None:
            raise BadGpuString(
                f"`{shown(name)}` says its own GPUs, {each}x{spec.name}", hint=f"write `{nodes}x{shown(name)}`"
            ) from None
        count, nodes = each, count
    _check_counts(spec, count=count, nodes=nodes, text=text)
    _check_memory(spec, memory_override_bytes)
    return GpuSet(spec=spec, count=count, nodes=nodes, memory_override_bytes=memory_override_bytes)


def split_counts(text: str) -> tuple[int | None, int | None, str]:
    """Return nodes, GPUs per node and name of a text that may still be half typed; None for what is not there.

    >>> split_counts("2x8xb2"), split_counts("8x"), split_counts("mi3")
    ((2, 8, 'b2'), (None, 8, ''), (None, None, 'mi3'))
    """
    match = re.match(_GRAMMAR, text.strip())
    assert match is not None, "every part of the grammar is optional"
    first, second, name = match.groups()
    nodes, count = (first, second) if second is not None else (None, first)
    return (
        int(nodes) if nodes and nodes.isdecimal() and len(nodes) <= _MAX_DIGITS else None,
        int(count) if count and count.isdecimal() and len(count) <= _MAX_DIGITS else None,
        name.strip(),
    )


def _instance(name: str) -> tuple[GpuSpec, int] | None:
    """The card and the count of a cloud's instance type; None for any other name."""
    from hw_specs.instances import find_instance  # a card's own name needs no table of clouds

    found = find_instance(name)
    if found is None:
        return None
    try:
        spec = get_gpu(found.gpu)
    except UnknownGpu as error:
        raise UnknownGpu(
            f"the {found.cloud} instance {found.name} has {found.count or ''} {found.gpu}".replace("  ", " ")
            + ", which is not in the catalogue",
            hint=error.hint,
        ) from None
    assert found.count is not None, "only cards that are not in the catalogue come in parts"
    return spec, found.count


def _several(text: str) -> M35Error:
    """The refusal of a list: what to write where it is one kind of GPU after all."""
    parts = [part.strip() for part in re.split(r"[,+]", text) if part.strip()]
    if not parts:
        return BadGpuString(f"no GPU is named in `{shown(text)}`", hint=_EXAMPLES)
    if len(parts) == 1:
        try:
            return BadGpuString(f"`{shown(text)}` has a comma too many", hint=f"write `{parse_gpus(parts[0])}`")
        except (BadGpuString, UnknownGpu) as error:
            return error
    same = f"{len(parts)}x{parts[0]}" if len(set(parts)) == 1 else "x".join(parts) if parts[0].isdecimal() else ""
    if same and (right := _readable(same)):
        return BadGpuString(f"`{shown(text)}` is a list, and one kind of GPU is planned", hint=f"write `{right}`")
    return BadGpuString(
        f"`{shown(text)}` names more than one kind of GPU",
        hint="one server uses one kind; `m35-plan sweep --gpus A,B` compares several",
    )


def _readable(text: str) -> str | None:
    """Return `text` as it is written, where it can be planned."""
    try:
        return str(parse_gpus(text))
    except (BadGpuString, UnknownGpu):
        return None


def _spec(name: str, *, ahead: list[str]) -> GpuSpec:
    """Look the name up, and recognise a count in the wrong place (``H200x8``, ``8 H200``); `ahead` stand before it."""
    try:
        return get_gpu(name)
    except UnknownGpu:
        for pattern, reason in _NEAR_MISSES:
            near = re.match(pattern, name)
            if near:
                try:
                    spec = get_gpu(near["name"])
                except UnknownGpu:
                    continue  # The digits are part of the name, which is refused whole.
                raise _misplaced(name, reason, int(near["count"]), spec, ahead) from None
        raise


def _misplaced(name: str, reason: str, count: int, spec: GpuSpec, ahead: list[str]) -> BadGpuString:
    """The refusal of a count in the wrong place, with what can be planned and comes nearest."""
    most, said = spec.max_gpus_per_node, "x".join([*ahead, spec.name])
    if not ahead:
        right = _readable(f"{count}x{spec.name}" if count <= most else f"{count // most}x{most}x{spec.name}")
        if right and count > most and count % most:
            right = None
        hint = (
            f"write `{right}`" if right else f"write `{spec.name}`; its memory is said with `--gpu-memory {count}GiB`"
        )
        return BadGpuString(f"{reason} in `{shown(name)}`", hint=hint)
    right = _readable(said) or spec.name
    several = _readable(f"{count}x{said}") if len(ahead) == 1 and ":" not in name else None
    other = f", or `{several}` for {count} nodes of it" if several else ""
    memory = (
        f"; another memory is said with `--gpu-memory {count}GiB`" if ":" in name and count >= LEAST_MEMORY_GIB else ""
    )
    return BadGpuString(
        f"`{shown('x'.join([*ahead, name]))}` has a count before the GPU and another one behind it",
        hint=f"write `{right}`{other}{memory}",
    )


def _count(digits: str | None, text: str, *, what: str) -> int:
    """Return a count as a positive whole number."""
    if digits is None:
        return 1
    if not digits.isdecimal() or len(digits) > _MAX_DIGITS or int(digits) < 1:
        raise BadGpuString(
            f"the number of {what} in `{shown(text)}` is `{shown(digits)}`, not a positive whole number",
            hint=_EXAMPLES,
        )
    return int(digits)


def _check_counts(spec: GpuSpec, *, count: int, nodes: int, text: str) -> None:
    """Refuse more GPUs per node than the product comes with, and more nodes than anyone has."""
    if count > spec.max_gpus_per_node:
        most = spec.max_gpus_per_node
        if spec.link == NO_LINK:
            raise BadGpuString(
                f"`{shown(text)}` asks for {_grouped(count)} MIG slices in one server",
                hint=f"a server uses one slice only: plan `{spec.name}` and start one server for each slice",
            )
        spread = count * nodes // most
        hint = f"one node holds at most {most} × {spec.name}"
        if count * nodes % most == 0 and spread <= MAX_NODES:
            hint += f"; several nodes are written `{spread}x{most}x{spec.name}`"
        raise BadGpuString(f"`{shown(text)}` asks for {_grouped(count)} GPUs in one node", hint=hint)
    if nodes > MAX_NODES:
        raise BadGpuString(
            f"`{shown(text)}` asks for {_grouped(nodes)} nodes", hint=f"at most {MAX_NODES} nodes are planned at once"
        )


def _grouped(number: int) -> str:
    return f"{number:,}" if number < 10**12 else "an absurd number of"


def _check_memory(spec: GpuSpec, memory_override_bytes: int | None) -> None:
    """Refuse sizes that no GPU has, and products of unknown size."""
    if memory_override_bytes is not None:
        check_memory(memory_override_bytes)
    elif not spec.released or spec.engine_memory_bytes == 0:
        state = "has not been released" if not spec.released else "has no publicly known memory total"
        raise BadGpuString(
            f"{spec.name} {state}, so its memory must be given",
            hint="say how much one GPU has, for example `--gpu-memory 120GiB`",
        )


def check_memory(size_bytes: int) -> None:
    """Refuse a memory size that no GPU has.

    Raises:
        BadGpuString: it is out of range.
    """
    if not GIB <= size_bytes <= MAX_MEMORY_BYTES:
        # A number without a unit is bytes, and no GPU has so few.
        said = f"{size_bytes:,} bytes" if size_bytes < MIB else f"{format_gib(size_bytes, decimals=3)} GiB"
        raise BadGpuString(
            f"a GPU memory of {said} is out of range",
            hint=f"give the memory of one GPU, between 1 and {MAX_MEMORY_BYTES // GIB} GiB, for example `130GiB`",
        )
