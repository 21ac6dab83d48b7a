"""Laws of the grammar ``[NODESx][COUNTx]GPU`` and the words for what breaks it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import BadGpuString, GpuSet, GpuSpec, M35Error, UnknownGpu, list_gpus, parse_gpus
from hw_specs.catalog import names
from hw_specs.gpu_set import MAX_NODES
from hw_specs.units import GIB, gib

PLANNABLE = [spec for spec in list_gpus() if spec.released and spec.engine_memory_bytes]


@st.composite
def gpu_sets(draw: st.DrawFn) -> GpuSet:
    spec = draw(st.sampled_from(PLANNABLE))
    count = draw(st.integers(1, spec.max_gpus_per_node))
    return GpuSet(spec=spec, count=count, nodes=draw(st.integers(1, MAX_NODES)))


@given(gpu_sets())
def test_str_and_parse_are_inverse(gpus: GpuSet) -> None:
    assert parse_gpus(str(gpus)) == gpus


@given(gpu_sets(), st.data())
def test_case_blanks_and_vendor_do_not_matter(gpus: GpuSet, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([alias for alias, gpu_id in names().items() if gpu_id == gpus.spec.id]))
    name = data.draw(st.sampled_from([name, name.upper(), name.title(), name.replace("-", " ")]))
    vendor = data.draw(st.sampled_from(["", f"{gpus.spec.vendor}/", f"{gpus.spec.vendor.upper()} "]))
    times = data.draw(st.sampled_from(["x", "X", " x ", "×", "*"]))
    assert parse_gpus(f" {gpus.nodes}{times}{gpus.count}{times}{vendor}{name}\t") == gpus


@given(st.text(max_size=40) | st.from_regex(r"[0-9x -]{0,6}(H200|mi300x|[A-Z]{1,4})?[x0-9]{0,3}", fullmatch=True))
def test_any_text_parses_or_explains_itself(text: str) -> None:
    try:
        gpus = parse_gpus(text)
    except M35Error as error:
        message = str(error)
        assert message
        assert "\n" not in message
        assert not message.endswith(".")
        assert error.hint
    else:
        assert 1 <= gpus.count <= gpus.spec.max_gpus_per_node


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8xH200", "8xH200"),
        ("1xMI300X", "1xMI300X"),
        ("H200", "1xH200"),
        ("2x8xB200", "2x8xB200"),
        ("1x8xB200", "8xB200"),
        ("nvidia/h200", "1xH200"),
        ("H100-SXM", "1xH100"),
        ("MI300", "1xMI300X"),
        ("4xNVIDIA GB200", "4xGB200"),
        ("NVIDIA-H100-80GB-HBM3", "1xH100"),
        ("08xh200", "8xH200"),
        ("8x4090", "8xRTX-4090"),
    ],
)
def test_examples(text: str, expected: str) -> None:
    assert str(parse_gpus(text)) == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("0xH200", "8xH200"),
        ("-1xH200", "8xH200"),
        ("1.5xH200", "8xH200"),
        ("16xH200", "`2x8xH200`"),
        ("72xGB200", "`18x4xGB200`"),
        ("9xH200", "at most 8"),
        ("9" * 30 + "xH200", "at most 8"),
        ("9" * 5000 + "xH200", "8xH200"),
        ("100000x8xH200", "1024"),
        ("H200x8", "`8xH200`"),
        ("MI300X8", "`8xMI300`"),
        ("H200:8", "`8xH200`"),
        ("8xH200,4xB200", "sweep"),
        ("8x8", "8xH200"),
        ("8 H200", "`8xH200`"),
        ("8x", "8xH200"),
        ("", "8xH200"),
        ("8x8x8xH200", "8xH200"),
        ("3x", "8xH200"),
        ("1xMI300A", "--gpu-memory"),
        ("VR200", "--gpu-memory"),
        ("8xH200,", "`8xH200`"),
        (",8xH200", "`8xH200`"),
        ("8,H200", "`8xH200`"),
        ("8xH200,8xH200", "`2x8xH200`"),
        (",", "8xH200"),
        ("8xH200:80", "`8xH200`; another memory is said with `--gpu-memory 80GiB`"),
        ("8xH200x2", "`8xH200`, or `2x8xH200`"),
        ("H200:141", "--gpu-memory 141GiB"),
        ("H200x16", "`2x8xH200`"),
        ("80xH200:2", "`H200`"),
    ],
)
def test_what_is_wrong_is_said_with_what_works(text: str, hint: str) -> None:
    with pytest.raises(BadGpuString) as caught:
        parse_gpus(text)
    assert hint.replace("8xMI300`", "8xMI300X`") in (caught.value.hint or "")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("separator", ["x", ":", " x ", ",", "+"])
@pytest.mark.parametrize("ahead", ["", "3x", "8x", "16x", "2x8x"])
@pytest.mark.parametrize("behind", ["", "2", "8", "80", "141", "H200", "4xB200", "8xH200"])
def test_what_a_hint_says_to_write_can_be_read(ahead: str, separator: str, behind: str) -> None:
    try:
        parse_gpus(f"{ahead}H200{separator}{behind}")
    except BadGpuString as error:
        for right in re.findall(r"write `([^`]+)`", error.hint or ""):
            parse_gpus(right)
    except UnknownGpu:
        pass


def test_unknown_names_answer_with_the_nearest() -> None:
    with pytest.raises(UnknownGpu) as caught:
        parse_gpus("8xH201")
    assert "`H200`" in (caught.value.hint or "")


def test_memory_override() -> None:
    gpus = parse_gpus("2xMI300A", gib(120))
    assert gpus.memory_bytes == 120 * GIB
    assert parse_gpus("H200", gib(130)).memory_bytes == 130 * GIB
    for size in (0, -1, GIB - 1, 10**15):
        with pytest.raises(BadGpuString):
            parse_gpus("H200", size)


@pytest.mark.parametrize(
    ("text", "connected"),
    [("8xH200", True), ("2xH100-NVL", True), ("4xH100-NVL", False), ("2xL40S", False), ("1xL40S", True)],
)
def test_fast_links_by_product(text: str, connected: bool) -> None:
    assert parse_gpus(text).fully_connected is connected


def test_a_probe_knows_better_than_the_catalogue() -> None:
    spec: GpuSpec = parse_gpus("H200").spec
    assert GpuSet(spec=spec, count=8, linked=False).fully_connected is False
    assert GpuSet(spec=parse_gpus("L40S").spec, count=2, linked=True).fully_connected is True
