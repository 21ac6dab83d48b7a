"""What is not an inventory, or a damaged one, is refused in words."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_specs.errors import BadSnapshot, M35Error, NoGpuFound
from hw_specs.inventory import read_hosts
from hw_specs.resolve import gpus_of

from .inventories import SAMPLES, SLICE, XML, hosts, node, product


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "{}", "7", "hello", "a: b", "- 1", "<x/>", "<nvidia_smi_log", "\x00\x01", "[[[[",
        '<!DOCTYPE x [<!ENTITY a "b">]><nvidia_smi_log>&a;</nvidia_smi_log>', '{"kind": "List", "items": 5}',
        "&a [*a, *a]", "a: &a [*a]", '{"kind": "Node", "metadata": 5, "spec": 7, "status": []}', '{"card0": 7}',
    ],
)  # fmt: skip
def test_what_is_not_an_inventory_is_refused_without_a_traceback(text: str) -> None:
    try:
        found = read_hosts(text.encode())
    except M35Error as error:
        assert error.hint
    else:
        assert all(host.report is None or host.report.gpu_set is None for host in found)


@pytest.mark.parametrize(
    "text",
    ['{"kind": "List", "items": []}', "[]", '{"nodes": []}', '{"Reservations": []}', "kind: List\nitems: []\n",
     '{"kind": "PodList", "items": [{"kind": "Pod"}]}'],
)  # fmt: skip
def test_a_list_without_a_node_is_called_that(text: str) -> None:
    with pytest.raises(BadSnapshot, match="is a list that holds no node"):
        read_hosts(text.encode())


def test_absurd_counts_and_sizes_make_no_plan() -> None:
    [many] = hosts(node(product("NVIDIA-H200", 8, 143771), {"nvidia.com/gpu": "99999999"})).values()
    assert "more than any host has" in (many.problem or "")
    [slurm] = hosts("NodeName=n1 Gres=gpu:h200:999999 State=IDLE").values()
    assert "more than any host has" in (slurm.problem or "")
    deep = "[" * 100_000
    with pytest.raises(BadSnapshot):
        read_hosts(deep.encode())


SEEDS = [path.read_bytes() for path in sorted(SAMPLES.iterdir()) if path.is_file()] + [
    XML.format(mig="Enabled", slices=SLICE.format(0)).encode()
]


def test_a_total_below_what_the_driver_keeps_is_no_size() -> None:
    host = hosts("index, name, memory.total [MiB]\n0, NVIDIA L40S, 46 MiB\n")["host"]
    assert host.report is not None
    with pytest.raises(NoGpuFound):
        gpus_of(host.report)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SEEDS), st.integers(0, 2**32), st.integers(1, 12))
def test_any_damage_is_an_error_of_ours_or_hosts(content: bytes, seed: int, changes: int) -> None:
    chance = random.Random(seed)
    text = bytearray(content)
    for _ in range(changes):
        place = chance.randrange(len(text))
        piece = chance.choice(
            [b"", b"-1", b"null", b"9" * 30, b"[]", b"{}", b"\x1b[31m", b"\xff", b"true", b"1e999", b'"']
        )
        text[place : place + chance.randrange(12)] = piece
    try:
        found = read_hosts(bytes(text))
    except M35Error:
        return
    for host in found:
        assert host.name.isprintable()
        if host.report is not None:
            try:
                gpus_of(host.report)
            except NoGpuFound:
                continue


DOCUMENTS = [json.loads(path.read_text()) for path in sorted(SAMPLES.glob("*.json"))] + [
    {"nodes": [{"name": "n1", "gres": "gpu:h200:8", "state": ["IDLE"], "tres_used": "gres/gpu=2", "reason": "x"}]},
    {
        "card0": {
            "Card Series": "AMD Instinct MI300X OAM",
            "Card Model": "0x74a1",
            "VRAM Total Memory (B)": "206141652992",
        }
    },
    {
        "Reservations": [
            {"Instances": [{"InstanceId": "i", "InstanceType": "p5.48xlarge", "State": {"Name": "running"}}]}
        ]
    },
    [{"host": "a", "gpus": "8xH200", "gpu_memory": "100GiB"}],
]


ODD = [
    None,
    True,
    -1,
    0,
    1e30,
    10**20,
    "",
    "x",
    "9" * 50,
    [],
    {},
    [None],
    {"a": 1},
    "\x1b[31m",
    "8",
    "-5",
    "0x74a1",
    [[]],
]


def damaged(document: Any, chance: random.Random) -> Any:
    """A copy with a few values replaced or missing."""
    copy = json.loads(json.dumps(document))
    for _ in range(chance.randint(1, 6)):
        place: Any = None
        key: Any = None
        inner: Any = copy
        while isinstance(inner, dict | list) and inner and chance.random() < 0.85:
            place, key = inner, chance.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
            inner = place[key]
        if place is not None and chance.random() < 0.2:
            del place[key]
        elif place is not None:
            place[key] = json.loads(json.dumps(chance.choice(ODD)))
    return copy


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(DOCUMENTS), st.integers(0, 2**32))
def test_documents_with_any_value_anywhere_are_hosts_or_errors_of_ours(document: Any, seed: int) -> None:
    try:
        found = read_hosts(json.dumps(damaged(document, random.Random(seed))).encode())
    except M35Error:
        return
    for host in found:
        for text in (host.name, *host.notes, host.problem or "", host.hint or "", host.out_of_service or ""):
            assert text.isprintable()
        for gpu in host.report.gpus if host.report else ():
            assert all(text.isprintable() for text in (gpu.name, gpu.uuid, gpu.pci_bus_id, gpu.architecture or ""))
        if host.report is not None:
            try:
                gpus_of(host.report)
            except NoGpuFound:
                continue


@pytest.mark.parametrize(
    ("page", "instead"),
    [
        ("==============NVSMI LOG==============\n\nDriver Version : 580.1\nGPU 00000000:18:00.0\n", "nvidia-smi -q -x"),
        ("+---+\n| NVIDIA-SMI 580.65.06    Driver Version: 580.65.06 |\n", "nvidia-smi -q -x"),
        ("====== ROCm System Management Interface ======\nDevice  Node\n", "rocm-smi -a --json"),
        ("GPU: 0\n    ASIC:\n        MARKET_NAME: AMD Instinct MI300X\n", "amd-smi static --json"),
        ("NAME   STATUS   ROLES    AGE   VERSION\nnode-1 Ready    <none>   3d    v1.31\n", "kubectl get nodes -o json"),
        ("Name:               node-1\nRoles:              worker\n", "kubectl get nodes -o json"),
        ("PARTITION AVAIL  TIMELIMIT  NODES  STATE NODELIST\ngpu up 1-00:00:00 2 idle n[1-2]\n", "scontrol show node"),
    ],
)
def test_a_page_for_people_is_answered_with_the_form_that_is_read(page: str, instead: str) -> None:
    with pytest.raises(BadSnapshot, match="prints for people") as caught:
        read_hosts(page.encode())
    assert caught.value.hint == f"`{instead}` is read"
