"""Where only a place or nothing is known, settings that were given and bear its name are the first to try without."""

from __future__ import annotations

import pytest

from planner.serve.log.diagnosis import diagnose

ARGS = (
    "(APIServer pid=7) INFO 11-29 15:50:43 [startup.py:96] non-default args: {{'model_tag': '/m', 'host': '127.0.0.1', "
    "'tensor_parallel_size': 2, {given}}}\n"
)
HEAD = "(EngineCore pid=9) ERROR 11-29 15:51:03 [core.py:1500] "
TRACEBACK = "".join(
    f"{HEAD}{line}\n"
    for line in (
        "Traceback (most recent call last):",
        '  File "/site/vllm/v1/worker/gpu/model_runner.py", line 1116, in capture_model',
        "    self.cudagraph_manager.capture(",
        '  File "/site/vllm/v1/worker/gpu/cudagraph_utils.py", line 788, in capture',
        "    assert count == expected",
        "AssertionError",
    )
)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("'cudagraph_capture_sizes': [-4, 8]", ["--cudagraph-capture-sizes"]),
        ("'cudagraph_capture_sizes': [8], 'max_cudagraph_capture_size': 9",
         ["--cudagraph-capture-sizes", "--max-cudagraph-capture-size"]),
        # What was switched off is said as it was typed; what is no flag of the engine's is not.
        ("'enable_cudagraph_gc': False, 'cudagraph_metrics': False", ["--no-cudagraph-metrics"]),
        # Another thing's setting, what a start needs, and a key inside a setting are not about it.
        ("'reasoning_parser': 'mistral'", []),
        ("'max_model_len': 2048", []),
        ("'speculative_config': {'cudagraph_capture_sizes': [8]}", []),
    ],
)  # fmt: skip
def test_a_setting_that_bears_the_name_of_what_failed_is_tried_without(given: str, named: list[str]) -> None:
    answer = diagnose((ARGS.format(given=given) + TRACEBACK).encode())
    tried = [cure for cure in answer.cures if cure.startswith("try without")]
    assert [flag for flag in named if not any(f"`{flag}`" in cure for cure in tried)] == []
    assert len(tried) == bool(named)


def test_a_cause_that_is_known_needs_no_trying() -> None:
    known = TRACEBACK.replace(
        "AssertionError", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    )
    answer = diagnose((ARGS.format(given="'cudagraph_capture_sizes': [8]") + known).encode())
    assert answer.code == "oom-capture"
    assert not any(cure.startswith("try without") for cure in answer.cures)
