"""Pure parts of the oracle: templates out of source text, requirements, the points of a release."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle import environment, facts_file, grid, run, texts


def test_templates_are_read_whole_and_placeholders_kept(tmp_path: Path) -> None:
    source = tmp_path / "vllm" / "v1" / "core.py"
    source.parent.mkdir(parents=True)
    source.write_text(
        "def f(a, b):\n"
        "    raise ValueError('No available memory for '\n"
        "        'the cache blocks. Try more.')\n"
        "    x = f'World size ({a.size}) is larger than the number of available GPUs ({b:.2f}) here'\n",
        encoding="utf-8",
    )
    found = texts.read(tmp_path)
    assert found["no_cache_blocks"] == "No available memory for the cache blocks. Try more."
    expected = "World size ({a.size}) is larger than the number of available GPUs ({b}) here"
    assert found["world_size_too_large"] == expected
    assert found["v2_runner"] is None


@pytest.mark.parametrize("scope", grid.PLATFORMS)
def test_points_fit_their_scope(scope: str) -> None:
    facts = run.model_facts()
    for platform in grid.PLATFORMS[scope]:
        asked = grid.tasks(platform, scope, draft=True, facts=facts, cards={})
        assert asked
        assert len(asked) == len({repr(sorted(t.items())) for t in asked}), "a point is asked twice"
    if scope == "slice":
        assert len(asked) == 2


def test_without_a_draft_class_no_draft_is_asked() -> None:
    asked = grid.tasks(grid.MAIN, "full", draft=False, facts=run.model_facts(), cards={})
    assert not any(task.get("speculative_tokens") for task in asked)


@pytest.mark.parametrize("scope", ["full", "core"])
def test_every_card_is_asked_once(scope: str) -> None:
    platforms = grid.PLATFORMS[scope]
    asked = [name for platform in platforms for name in run._cards(platform, platforms)]
    assert sorted(asked) == sorted(run.DEVICES["defaults"])


def test_a_failed_task_becomes_a_gap() -> None:
    release = environment.Release(
        version="1.2.3",
        source=Path("/nowhere"),
        wheel="vllm-1.2.3-x.whl",
        wheel_sha256="0" * 64,
        python=Path("python"),
        packages={},
        flashinfer_folder=Path(),
        flashinfer_version="0",
        guard=Path(),
    )
    task = {"kind": "profile", "tensor_parallel_size": 2, "enforce_eager": True}
    results = {
        "cuda-9.0": [{"task": task, "error": "ValueError: no\nmore"}, {"task": task, "error": "ValueError: no\nless"}]
    }
    document = facts_file.assemble(release, results, scope="slice", seconds=1.0, fused={})
    gap = {"part": "profile", "platform": "cuda-9.0", "reason": "ValueError: no", "tasks": 2}
    assert document["provenance"]["gaps"] == [gap]
    assert document["profile_peaks"]["rows"] == []


def test_versions_sort_as_numbers() -> None:
    assert sorted(["0.9.0", "0.33.0", "0.20.1"], key=environment.version_key) == ["0.9.0", "0.20.1", "0.33.0"]


def test_requirements_of_a_release_bound_the_companions(tmp_path: Path) -> None:
    metadata = tmp_path / "vllm-9.9.9.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(
        "Metadata-Version: 2.1\nName: vllm\nRequires-Dist: transformers<5.21.0,>=5.16.1\n"
        "Requires-Dist: mistral_common[image]>=1.11.6\nRequires-Dist: ray>=2; extra == 'ray'\n",
        encoding="utf-8",
    )
    wanted = environment._requirements(tmp_path)
    assert wanted == {"transformers": "<5.21.0,>=5.16.1", "mistral-common": ">=1.11.6"}
    assert "transformers<5.21.0,>=5.16.1" in environment._companions("9.9.9", wanted)
    assert "transformers<5.11" in environment._companions("0.31.0", {"transformers": ""})
