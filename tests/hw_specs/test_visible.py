"""The rules of CUDA, HIP and ROCR for hiding devices, case by case and as laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs.detect.visible import hidden_by, key
from tests.hw_specs.devices import device

EIGHT = [device(index, uuid=f"GPU-{index:04x}aaaa") for index in range(8)]
TWINS = [device(0, uuid="GPU-aa00"), device(1, uuid="GPU-aa11"), device(2, uuid="GPU-bb22")]
SLICED = [
    device(0, uuid="GPU-aa00", mig_enabled=True),
    device(0, uuid="MIG-1000", slice_index=0),
    device(0, uuid="MIG-2000", slice_index=1),
    device(1, uuid="GPU-bb00"),
]
AMD = [device(index, "mi300x", uuid=f"GPU-{0xABC0 + index:x}", engine_index=index) for index in range(4)]

ONLY = "GPU-bd136798-148b-06ad-9615-32619844b94b"


def _visible(gpus: list, **environment: str) -> list[str]:  # type: ignore[type-arg]
    hidden = hidden_by(gpus, environment)
    return [gpu.label for gpu in gpus if key(gpu) not in hidden]


@pytest.mark.parametrize(
    ("value", "visible"),
    [
        ("0,1", "01"),
        ("3, 1", "13"),
        ("", ""),
        ("-1", ""),
        ("0,-1,2", "0"),
        ("0,9,1", "0"),
        ("0,x,1", "0"),
        (" 1gpu2", "1"),
        ("2,2", ""),
        ("0,1,0", ""),
        ("GPU-0003", "3"),
        ("gpu-0003aaaa,GPU-0005", "35"),
        ("GPU-000", ""),
        ("0,GPU-0003", "0"),
        ("GPU-0003,0", "3"),
        ("none", ""),
        ("+2", "2"),
    ],
)
def test_cuda_visible_devices(value: str, visible: str) -> None:
    assert _visible(EIGHT, CUDA_VISIBLE_DEVICES=value) == list(visible)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ("0", 1), ("", 0), ("-1", 0), ("1", 0), ("0,0", 0), ("0,1", 1), ("1,0", 0), ("abc", 0), ("NoDevFiles", 0),
        (ONLY, 1), (ONLY[:12], 1), ("GPU-", 1), (f"MIG-{ONLY}", 0), ("0 ", 1), (",0", 0), ("0x0", 1), ("+0", 1),
        ("00", 1),
    ],
)  # fmt: skip
def test_what_torch_counted_on_a_machine_with_one_gpu(value: str, count: int) -> None:
    """``torch.cuda.device_count()`` of torch 2.11.0 with driver 580.159.04 on one H200, 2026-11-28."""
    assert len(_visible([device(0, uuid=ONLY)], CUDA_VISIBLE_DEVICES=value)) == count


def test_unset_hides_nothing() -> None:
    assert hidden_by(EIGHT + AMD, {}) == {}


@pytest.mark.parametrize(("value", "visible"), [("GPU-aa0", "0"), ("GPU-aa", ""), ("GPU-b", "2")])
def test_a_prefix_must_be_unambiguous(value: str, visible: str) -> None:
    assert _visible(TWINS, CUDA_VISIBLE_DEVICES=value) == list(visible)


@pytest.mark.parametrize(
    ("value", "visible"),
    [("MIG-1", ["0.0"]), ("MIG-2000", ["0.1"]), ("0", ["0", "0.0", "0.1"]), ("1", ["1"]), ("MIG-", [])],
)
def test_slices(value: str, visible: list[str]) -> None:
    assert _visible(SLICED, CUDA_VISIBLE_DEVICES=value) == visible


@pytest.mark.parametrize(
    ("environment", "visible"),
    [
        ({"HIP_VISIBLE_DEVICES": "1,3"}, "13"),
        ({"CUDA_VISIBLE_DEVICES": "2"}, "2"),
        ({"HIP_VISIBLE_DEVICES": "1", "CUDA_VISIBLE_DEVICES": "2"}, "1"),
        ({"ROCR_VISIBLE_DEVICES": "2,3", "HIP_VISIBLE_DEVICES": "1"}, "3"),
        ({"ROCR_VISIBLE_DEVICES": "GPU-abc1"}, "1"),
        ({"ROCR_VISIBLE_DEVICES": "GPU-000000000000abc1,3"}, "1"),
        ({"ROCR_VISIBLE_DEVICES": ""}, ""),
    ],
)
def test_amd(environment: dict[str, str], visible: str) -> None:
    assert _visible(AMD, **environment) == list(visible)


def test_numbers_follow_hip_where_it_counts_otherwise() -> None:
    turned = [device(index, "mi300x", engine_index=3 - index) for index in range(4)]
    assert _visible(turned, HIP_VISIBLE_DEVICES="0") == ["3"]


def test_numbers_follow_the_bus_where_nvml_counts_otherwise() -> None:
    turned = [device(0, pci_bus_id="0000:90:00.0"), device(1, pci_bus_id="0000:10:00.0")]
    assert _visible(turned, CUDA_VISIBLE_DEVICES="0") == ["1"]


@given(st.lists(st.integers(0, 7), unique=True))
def test_distinct_numbers_show_just_those(numbers: list[int]) -> None:
    assert _visible(EIGHT, CUDA_VISIBLE_DEVICES=",".join(map(str, numbers))) == [str(one) for one in sorted(numbers)]


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_any_text_is_read_and_hides_with_a_reason(cuda: str, hip: str, rocr: str) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": cuda, "HIP_VISIBLE_DEVICES": hip, "ROCR_VISIBLE_DEVICES": rocr}
    for reason in hidden_by(EIGHT + SLICED + AMD, environment).values():
        assert reason.partition("=")[0] in environment
