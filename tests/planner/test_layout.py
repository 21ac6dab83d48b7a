"""Where a server may stand: inside one node, over whole nodes, and tensor parallelism only over fast links."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_specs import parse_gpus
from hw_specs.spec import GpuSet
from planner import Plan, PlanRequest, load_preset, plan
from planner.facts.release import resolve_release
from planner.memory.layouts import layouts, most_replicas, tensor_parallel_limit
from tests.property.strategies import gpu_sets


def answer(gpus: str, **settings: int) -> Plan:
    return plan(PlanRequest(gpus=parse_gpus(gpus), **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gpus", "limit"),
    [
        ("8xH100", 8),
        ("8x1xH100", 1),
        ("4x2xH100", 2),
        ("4x4xMI300X", 4),
        ("4x1xH200 NVL", 1),
        ("2x4xGB200", 8),
        ("8x2xGB200", 16),
        ("40x4xGB200", 72),
        ("40x2xGB200", 36),
    ],
)
def test_only_a_rack_scale_domain_crosses_nodes(gpus: str, limit: int) -> None:
    """A GB200 rack has 18 trays of 4; two GPUs used of each tray make 36 in one domain."""
    assert tensor_parallel_limit(parse_gpus(gpus)) == limit


def test_one_server_is_not_stretched_over_nodes_without_a_fast_link() -> None:
    assert answer("8x1xH100", replicas=1).settings.tensor_parallel_size == 1
    for other in answer("4x2xH100").alternatives:
        assert other.layout.tensor_parallel_size <= 2
        assert "fast link" not in other.reason


@pytest.mark.parametrize(("gpus", "warned"), [("8x1xH100", True), ("4x2xH100", True), ("2x4xGB200", False)])
def test_tensor_parallelism_over_slow_links_is_warned_of(gpus: str, warned: bool) -> None:
    codes = {warning.code for warning in answer(gpus, tensor_parallel_size=8).warnings}
    assert ("tp-across-nodes" in codes) == warned


@given(gpu_sets(nodes=st.integers(1, 24)), st.booleans())
def test_servers_stay_inside_a_node_or_fill_whole_ones(gpus: GpuSet, text_only: bool) -> None:
    found = layouts(load_preset(), gpus, text_only=text_only, release=resolve_release())
    assert found[0].pipeline_parallel_size == 1
    assert len(set(found)) == len(found)
    for layout in found:
        size, tp = layout.gpus_per_replica, layout.tensor_parallel_size
        assert tp <= tensor_parallel_limit(gpus)
        if size <= gpus.count:
            assert layout.replicas == gpus.count // size * gpus.nodes
        else:
            assert size % gpus.count == 0
            assert layout.replicas * size <= gpus.total_gpus
            assert layout.replicas >= 1
            assert gpus.count % tp == 0 or tp % gpus.count == 0, "a stage would be cut by a node's edge"


def test_a_server_that_fits_neither_way_has_no_replica() -> None:
    assert most_replicas(parse_gpus("2x8xH200"), 12) == 0
    assert most_replicas(parse_gpus("2x3xH100"), 2) == 2
    assert most_replicas(parse_gpus("5x2xH100"), 4) == 2


@pytest.mark.parametrize(
    ("gpus", "layout", "warned"),
    [
        ("2x1xGB10", "TP1 PP2", False),
        ("2x1xH200", "TP1 PP2", False),
        ("4x1xL40S", "TP4", True),
        ("2x1xB300", "TP1 x 2", False),
        ("2x4xL40S", "TP4 x 2", False),
    ],
)
def test_a_server_spans_nodes_only_where_none_holds_the_model(gpus: str, layout: str, warned: bool) -> None:
    """By stages where those fit; tensor parallelism over slow links is the last resort, and warned of."""
    found = answer(gpus)
    assert (found.verdict, str(found.settings.layout)) == ("fits", layout)
    assert ("tp-across-nodes" in {warning.code for warning in found.warnings}) == warned
    assert any("no single node" in reason for reason in found.reasons) == ("x 2" not in layout)


def test_nodes_that_hold_the_model_neither_alone_nor_together_show_one_node() -> None:
    found = answer("2x1xL40S")
    assert (found.verdict, str(found.settings.layout)) == ("does-not-fit", "TP1 x 2")


def test_one_server_on_all_gpus_leaves_none_free() -> None:
    reasons = {str(one.layout): one.reason for one in answer("8xH200", replicas=2).alternatives}
    assert "all GPUs" in reasons["TP8"]
    reasons = {str(one.layout): one.reason for one in answer("7xH200").alternatives}
    assert not [layout for layout, reason in reasons.items() if "on all GPUs" in reason and layout != "TP7"]
