from __future__ import annotations

import json
import math
import shutil
import struct
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from hw_specs.errors import M35Error
from planner.checkpoint import load_model
from planner.checkpoint.preset import load_preset
from planner.errors import InvalidRequest
from planner.memory.weights import rank_weights
from planner.serve.rehearsal.twin import CPU_TWIN, Twin, TwinSpec, make_twin
from planner.serve.rehearsal.twin.script import CHAINS, FLAGS, OPENINGS, Script, scripted_words
from planner.serve.rehearsal.twin.tekken import CONTROL_TOKENS, tekken
from planner.serve.rehearsal.twin.tensors import bf16, bf16_value, e4m3

pytestmark = pytest.mark.slow

SMALL = TwinSpec(head_dim=32, image_size=448, draft_layers=2)
E4M3 = [pattern * 2.0**-9 if pattern < 8 else (8 + pattern % 8) * 2.0 ** (pattern // 8 - 10) for pattern in range(127)]
"""Every finite number of the format from +0 up; the index is the bit pattern."""
finite_f32 = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**120), max_value=2.0**120)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Twin:
    return make_twin(tmp_path_factory.mktemp("twin") / "t", spec=SMALL)


def tensors(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    with safe_open(str(path / "consolidated.safetensors"), framework="np") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


@given(finite_f32)
def test_bf16_is_the_nearest_with_ties_to_even(number: float) -> None:
    (pattern,) = struct.unpack("<H", bf16(np.array([number], np.float32)).data)
    value = bf16_value(number)

    def neighbour(step: int) -> float:
        return struct.unpack("<f", struct.pack("<HH", 0, (pattern + step) & 0xFFFF))[0]

    error = abs(Fraction(value) - Fraction(number))
    for step in (-1, 1):
        other = neighbour(step)
        if math.isfinite(other) and math.copysign(1, other) == math.copysign(1, value):
            distance = abs(Fraction(other) - Fraction(number))
            assert error < distance or (error == distance and pattern % 2 == 0)


@given(st.floats(width=32, min_value=-1000, max_value=1000))
def test_e4m3_is_the_nearest_with_ties_to_even(number: float) -> None:
    (pattern,) = e4m3(np.array([number], np.float32)).data
    size = min(abs(Fraction(number)), Fraction(448))
    distances = [abs(Fraction(float(value)) - size) for value in E4M3]
    best = min(distances)
    nearest = [index for index, distance in enumerate(distances) if distance == best]
    assert (pattern & 0x7F) in nearest
    assert len(nearest) == 1 or pattern % 2 == 0
    assert bool(pattern & 0x80) == (math.copysign(1, number) < 0)


def test_every_e4m3_number_and_every_tie_between_two_goes_where_the_format_says() -> None:
    assert (E4M3[0], E4M3[1], E4M3[8], E4M3[0x38], E4M3[126]) == (0, 2**-9, 2**-6, 1.0, 448)
    numbers = np.array(E4M3, np.float32)
    ties = (numbers[1:] + numbers[:-1]) / 2
    assert list(e4m3(numbers).data) == list(range(127))
    assert list(e4m3(ties).data) == [pattern + pattern % 2 for pattern in range(126)]
    assert list(e4m3(np.nextafter(ties, np.float32(0))).data) == list(range(126))
    assert list(e4m3(np.nextafter(ties, np.float32(500))).data) == list(range(1, 127))
    assert list(e4m3(np.array([1e9, np.inf, -np.inf], np.float32)).data) == [126, 126, 254]


def test_the_same_spec_gives_the_same_bytes(twin: Twin, tmp_path: Path) -> None:
    again = make_twin(tmp_path / "again", spec=SMALL)
    for name in ("model/consolidated.safetensors", "model/tekken.json", "draft/consolidated.safetensors"):
        assert (twin.path.parent / name).read_bytes() == (again.path.parent / name).read_bytes()


@pytest.mark.parametrize("fp8", [False, True], ids=["bf16", "fp8"])
@pytest.mark.parametrize("vision", [False, True], ids=["text", "vision"])
def test_tensors_weigh_what_the_planner_says(tmp_path: Path, fp8: bool, vision: bool) -> None:
    spec = TwinSpec(head_dim=32, fp8=fp8, vision=vision, draft_layers=2)
    made = make_twin(tmp_path / "t", spec=spec)
    width = {"BF16": 2, "F8_E4M3": 1}

    def size(path: Path) -> int:
        return sum(width[dtype] * math.prod(shape) for dtype, shape in tensors(path).values() if shape)

    (rank,) = rank_weights(spec.model_spec("twin"), tensor_parallel_size=1, draft=True)
    assert made.draft_path is not None
    assert size(made.path) == rank.text_bytes + rank.vision_bytes
    assert size(made.draft_path) == rank.draft_bytes


def test_fp8_scales_are_scalars_beside_each_linear(tmp_path: Path) -> None:
    made = make_twin(tmp_path / "t", spec=TwinSpec(fp8=True, vision=False))
    table = tensors(made.path)
    linears = [name.removesuffix(".weight") for name, (dtype, _) in table.items() if dtype == "F8_E4M3"]
    assert len(linears) == 7 * made.spec.num_hidden_layers
    for name in linears:
        assert table[f"{name}.qscale_weight"] == table[f"{name}.qscale_act"] == ("BF16", ())


def test_draft_stores_neither_embedding_nor_output(twin: Twin) -> None:
    assert twin.draft_path is not None
    names = set(tensors(twin.draft_path))
    assert "eagle_linear.weight" in names
    assert not names & {"tok_embeddings.weight", "output.weight"}
    assert "vision_encoder" not in json.loads((twin.draft_path / "params.json").read_text())


def test_no_token_has_two_successors() -> None:
    followers: dict[str, set[str]] = {}
    for chain in CHAINS:
        for token, following in pairwise(chain):
            followers.setdefault(token, set()).add(following)
    assert {token for token, following in followers.items() if len(following) > 1} == set()
    assert not set(followers) & {opening for opening, _, _ in OPENINGS} - {"[/THINK]"}


def test_vocabulary_is_complete_and_without_doubles() -> None:
    document = tekken(SMALL, scripted_words())
    vocab = document["vocab"]
    assert isinstance(vocab, list)
    assert [entry["rank"] for entry in vocab] == list(range(SMALL.vocab_size - 1000))
    assert len({entry["token_bytes"] for entry in vocab}) == len(vocab)
    special = document["special_tokens"]
    assert isinstance(special, list)
    assert [entry["rank"] for entry in special] == list(range(max(CONTROL_TOKENS) + 1))


def test_script_leads_by_fifteen_wherever_an_answer_starts() -> None:
    script = Script.of(SMALL)
    table = script.output(np.zeros((SMALL.vocab_size, SMALL.hidden_size), np.float32))
    expected = {
        ("[/INST]", ()): "Hello",
        ("[/INST]", ("high",)): "[THINK]",
        ("[/INST]", ("tools",)): "[TOOL_CALLS]",
        ("[/INST]", ("high", "tools")): "[THINK]",
        ("[/THINK]", ("high",)): "Hello",
        ("[/THINK]", ("high", "tools")): "[TOOL_CALLS]",
        ("[/INST]", ("Red",)): "Red",
        ("[/THINK]", ("high", "Blue")): "Blue",
        (".", ("high", "tools", "Green")): "</s>",
    }
    for (token, flags), answer in expected.items():
        row = np.zeros(SMALL.hidden_size, np.float32)
        row[script.ALWAYS], row[script.at(token)] = script.ALWAYS_SIZE, script.token_size
        for flag in flags:
            assert flag in FLAGS
            row[script.flag(flag)] = script.FLAG_SIZE
        row *= SMALL.hidden_size**0.5 / np.linalg.norm(row)
        scores = table @ row
        best, second = np.sort(scores)[::-1][:2]
        assert int(scores.argmax()) == script.token_ids[answer], (token, flags)
        assert best - second > 14, (token, flags)


def test_a_folder_that_is_not_a_twin_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidRequest, match="is not a twin"):
        make_twin(tmp_path, spec=CPU_TWIN)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_model_of_somebodys_is_never_replaced(tmp_path: Path) -> None:
    """It stands under the same names as a twin's."""
    made = make_twin(tmp_path / "twin", spec=CPU_TWIN)
    shutil.copytree(made.path, tmp_path / "data" / "model")
    with pytest.raises(InvalidRequest, match="is not a twin"):
        make_twin(tmp_path / "data", spec=CPU_TWIN)
    assert (tmp_path / "data" / "model" / "params.json").exists()
    make_twin(tmp_path / "twin", spec=CPU_TWIN)


@pytest.mark.parametrize("place", ["/dev/null/x", "/dev/null", "/proc/x"])
def test_where_no_folder_can_be_no_twin_is_kept(place: str) -> None:
    with pytest.raises(M35Error, match=r"not a twin|cannot write a twin to|temporary folder in `/proc`"):
        make_twin(Path(place), spec=CPU_TWIN)


def test_a_failure_leaves_the_old_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_twin(tmp_path / "t", spec=CPU_TWIN)
    before = (made.path / "params.json").read_bytes()
    monkeypatch.setattr("planner.serve.rehearsal.twin.build.write_safetensors", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_twin(tmp_path / "t", spec=SMALL)
    assert (made.path / "params.json").read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize(
    "wrong", [{"hidden_size": 48}, {"num_key_value_heads": 2, "num_attention_heads": 4}, {"vocab_size": 1500}]
)
def test_dimensions_that_cannot_hold_the_script_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest):
        TwinSpec(**wrong)


def test_a_full_size_twin_weighs_what_the_model_does() -> None:
    model = load_preset()
    spec = TwinSpec.full_size(model, draft_layers=2)
    made = spec.model_spec(model.name)
    assert rank_weights(made, tensor_parallel_size=1) == rank_weights(model, tensor_parallel_size=1)
    assert spec.draft_layers == 2
    assert spec.params()["vision_encoder"]["intermediate_size"] == 8192  # type: ignore[index]


@pytest.mark.parametrize("stem", ["mistral-medium-3.5-128b", "devstral-2-123b"])
def test_a_full_size_configuration_is_read_back_as_the_model(stem: str, tmp_path: Path) -> None:
    """What an engine reads from the folder has every dimension that the plan counted on."""
    model = load_preset(stem)
    twin = make_twin(tmp_path / "t", spec=TwinSpec.full_size(model), weights=False)
    assert sorted(entry.name for entry in twin.path.iterdir()) == ["params.json", "tekken.json"]
    assert twin.checkpoint_bytes == 0
    read = load_model(twin.path)
    assert (read.layers, read.vision, read.vocab_size) == (model.layers, model.vision, model.vocab_size)
    assert rank_weights(read, tensor_parallel_size=8) == rank_weights(model, tensor_parallel_size=8)


def test_a_model_that_a_twin_cannot_imitate_is_refused_by_its_fields() -> None:
    model = replace(load_preset(), tie_word_embeddings=True, qk_norm=True)
    with pytest.raises(InvalidRequest, match="its tie_word_embeddings, qk_norm differ"):
        TwinSpec.full_size(model)
    with pytest.raises(InvalidRequest, match="layers"):
        TwinSpec.full_size(load_preset("mistral-medium-3.5-128b-nvfp4"))
