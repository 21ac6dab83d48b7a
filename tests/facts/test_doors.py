"""Each data file has one shape: a key too many, one too few or a value of another type is named when it is read."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import pytest

from hw_specs.record import required
from planner.accuracy.rows import NEWEST, OWN, SEVERAL, _Models, _Public, own_starts, published, single_readings
from planner.errors import BadFacts
from planner.facts import load
from planner.facts.architectures import architecture_facts
from planner.facts.clouds import cloud_facts
from planner.facts.collectives import collective_facts
from planner.facts.drafts import draft_facts
from planner.facts.energy import energy_facts
from planner.facts.graphs import graph_facts
from planner.facts.log_lines import Collectives, Raised, failures, log_lines, raised_texts
from planner.facts.lora import lora_facts
from planner.facts.models import Notes, described
from planner.facts.overheads import overhead_facts
from planner.facts.policy import policy
from planner.facts.preflight import preflight_facts
from planner.facts.record import Record, keys, read, read_value
from planner.facts.rehearsal import rehearsal_facts
from planner.facts.release import known_versions, resolve_release
from planner.facts.review import OlderFlags, Variables, older_flags, options, review_facts, variables
from planner.facts.scheduling import scheduling_facts
from planner.facts.serve_flags import serve_flags
from planner.facts.setting_words import setting_words
from planner.facts.speed import speed_facts
from planner.facts.start_checks import start_checks
from planner.facts.startup import startup_facts
from planner.facts.vllm import vllm_facts
from planner.facts.weight_formats import weight_formats
from planner.facts.wrapped import wrapped_facts
from planner.model import DraftSpec, ModelSpec
from planner.serve.verification.word_problems import _Problems
from planner.speed.measurement import measured_speed

FOLDER = Path(__file__).parents[2] / "planner" / "facts"
MODELS = sorted(path.stem for path in (FOLDER / "models").glob("*.toml"))
DOORS: dict[str, Callable[[], Record]] = {
    "architectures.toml": architecture_facts,
    "clouds.toml": cloud_facts,
    "collectives.toml": collective_facts,
    "drafts.toml": draft_facts,
    "energy.toml": energy_facts,
    "graphs.toml": graph_facts,
    "log_patterns.toml": log_lines,
    "lora.toml": lora_facts,
    "overheads.toml": overhead_facts,
    "policy.toml": policy,
    "preflight.toml": preflight_facts,
    "rehearsal.toml": rehearsal_facts,
    "review.toml": review_facts,
    "scheduling.toml": scheduling_facts,
    "start_checks.toml": start_checks,
    "serve_flags.toml": serve_flags,
    "setting_words.toml": setting_words,
    "speed.toml": speed_facts,
    "startup.toml": startup_facts,
    "vllm.toml": vllm_facts,
    "weight_formats.toml": weight_formats,
    "wrapped.toml": wrapped_facts,
    "measured_speed.json": measured_speed,
    "word_problems.toml": lambda: read("word_problems.toml", _Problems),
}

DOORS |= {
    "measured/models.json": lambda: read("measured/models.json", _Models),
    "measured/readings.json": single_readings,
    "measured/startups-h100-0.19.json": published,
    "measured/startups-public.json": lambda: read("measured/startups-public.json", _Public),
    **{name: lambda name=name: own_starts(name) for name in (OWN, SEVERAL, *NEWEST)},
}
AREAS = sorted(path.stem for path in (FOLDER / "failures").glob("*.toml"))
DOORS |= {f"failures/{area}.toml": lambda area=area: failures(area) for area in AREAS}

Path_ = tuple[str | int, ...]
TEXTS = str | tuple[str, ...]
"""One text or several."""


def known(kind: Any) -> dict[str, Any]:
    """Keys of a record with their types, its variables filled in."""
    origin = get_origin(kind) or kind
    names = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=True))

    def fill(hint: Any) -> Any:
        return names[hint] if isinstance(hint, TypeVar) else hint

    return {key: fill(hint) for key, hint in keys(origin).items()}


def places(value: Any, kind: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any, Any]]:
    """Every place of a file with its value and its type, as the record says."""
    if get_origin(kind) in (Union, UnionType) and kind != TEXTS:
        kind = next(one for one in get_args(kind) if one is not type(None))
    yield path, value, kind
    origin, inside = get_origin(kind), get_args(kind)
    if is_record(kind):
        for key, hint in known(kind).items():
            if key in value and type(value) is dict:
                yield from places(value[key], hint, (*path, key))
    elif origin is Mapping:
        for key, entry in value.items():
            yield from places(entry, inside[1], (*path, key))
    elif origin is tuple:
        for place, entry in enumerate(value):
            yield from places(entry, inside[0] if inside[-1] is ... else inside[place], (*path, place))


def shortened(value: Any) -> Any:
    """The same with no more tables of a list than show every key that one of them has."""
    if isinstance(value, dict):
        return {key: shortened(entry) for key, entry in value.items()}
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        return value
    seen: set[str] = set()
    return [shortened(entry) for entry in value if not seen >= entry.keys() and not seen.update(entry)]


def changed(root: Any, path: Path_, change: Callable[[Any, Any], None]) -> Any:
    """A copy of the file with one change at `path`."""
    found = holder = copy.copy(root)
    for key in path[:-1]:
        holder[key] = copy.copy(holder[key])
        holder = holder[key]
    change(holder, path[-1])
    return found


def is_record(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and (issubclass(origin, Record) or is_dataclass(origin))


def mutations(root: Any, kind: Any) -> Iterator[tuple[Any, Path_]]:
    """Each key too many, each needed key too few and each value of another type, with its path."""
    for path, value, at in places(root, kind):
        if is_record(at) and type(value) is dict:
            extra = (*path, "surprise")
            yield changed(root, extra, lambda holder, key: holder.__setitem__(key, 1)), extra
            for key in known(at):
                if key in value and key in required(get_origin(at) or at):
                    yield changed(root, (*path, key), lambda holder, key: holder.pop(key)), (*path, key)
        if path and at is not object:
            by_name = hasattr(at, "named")
            for other in (["x"], "x", 17, 1.5, True) if by_name else (["x"], {"x": 1}, "x", 17, 1.5, True):
                same = (type(other) is type(value) and not by_name) or (at is float and type(other) in (int, float))
                same = same or (value is None and type(other) is at) or (at == TEXTS and other in ("x", ["x"]))
                if not same:
                    yield changed(root, path, lambda holder, key, other=other: holder.__setitem__(key, other)), path


@pytest.mark.slow
@pytest.mark.parametrize("name", DOORS)
def test_every_change_of_a_files_shape_is_named(name: str) -> None:
    kind, root = type(DOORS[name]()), shortened(load(name))
    tried = 0
    for broken, path in mutations(root, kind):
        with pytest.raises(BadFacts) as caught:
            read_value(broken, kind, name)
        assert caught.value.file == name
        assert caught.value.key == ".".join(map(str, path)), (path, str(caught.value))
        assert name in str(caught.value) and str(path[-1]) in str(caught.value)
        tried += 1
    assert tried > 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("variables.json", Variables),
        ("older_flags.json", OlderFlags),
        ("raised.json", Raised),
        ("nccl.json", Collectives),
    ],
)
def test_so_is_every_change_of_what_releases_dropped(name: str, kind: type[Record]) -> None:
    assert variables() and older_flags() and options() and raised_texts()
    for broken, path in mutations(load(name), kind):
        with pytest.raises(BadFacts) as caught:
            read_value(broken, kind, name)
        assert caught.value.file == name and caught.value.key == ".".join(map(str, path))


@pytest.mark.parametrize("stem", MODELS)
def test_so_is_every_change_of_a_models_file(stem: str) -> None:
    """A model's own table is what a model is made of; weight formats and drafts stand there by name."""
    file = f"models/{stem}.toml"
    notes, table = described(stem)
    beside = {key: value for key, value in load(file).items() if key not in table}
    whole = DraftSpec if notes.kind == "draft" else ModelSpec
    for kind, root in ((Notes, beside), (whole, table)):
        for broken, path in mutations(dict(root), kind):
            with pytest.raises(BadFacts) as caught:
                read_value(broken, kind, file)
            assert (caught.value.file, caught.value.key) == (file, ".".join(map(str, path)))


def test_a_number_that_no_engine_build_has_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from planner.speed import profile

    facts = speed_facts()
    whole = facts.profile["cuda"]
    for values, key in (
        ({**whole.values, "surprise": whole.values["link"]}, "surprise"),
        ({name: fact for name, fact in whole.values.items() if name != "link"}, "link"),
    ):
        build = type(whole)(**(vars(whole) | {"values": values}))
        other = type(facts)(**(vars(facts) | {"profile": {"cuda": build}}))
        monkeypatch.setattr(profile, "speed_facts", lambda other=other: other)
        with pytest.raises(BadFacts, match=rf"speed\.toml: `profile\.cuda\.values\.{key}`"):
            profile.profile.__wrapped__("cuda")


def test_every_data_file_of_formulas_has_a_door() -> None:
    files = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.toml")}
    assert files - set(DOORS) - {f"models/{stem}.toml" for stem in MODELS} == set()


@pytest.mark.parametrize("change", ["missing", "extra", "type"])
def test_a_rule_that_no_release_has_is_named(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from planner.facts import release

    facts = vllm_facts()
    for name, rule in facts.rules.items():
        rules = dict(facts.rules)
        if change == "missing":
            del rules[name]
        elif change == "extra":
            rules["surprise"] = rule
        else:
            last = {"surprise": True}
            rules[name] = type(rule)(**(vars(rule) | {"values": (*rule.values[:-1], (rule.values[-1][0], last))}))
        other = type(facts)(**(vars(facts) | {"rules": rules}))
        monkeypatch.setattr(release, "vllm_facts", lambda other=other: other)
        release._rules.cache_clear()
        resolve_release.cache_clear()
        with pytest.raises(BadFacts, match=r"vllm\.toml: `rules\.") as caught:
            resolve_release("0.21.0")
        assert caught.value.key.startswith("rules.surprise" if change == "extra" else f"rules.{name}")
    monkeypatch.undo()
    release._rules.cache_clear()
    resolve_release.cache_clear()
    assert resolve_release("0.21.0").version == "0.21.0"


def test_every_known_release_is_resolved_whole() -> None:
    for version in known_versions():
        assert set(vars(resolve_release(version))) == set(keys(type(resolve_release(version))))


def test_facts_are_frozen() -> None:
    with pytest.raises(AttributeError, match="frozen"):
        policy().context.round_tokens = None  # type: ignore[misc, assignment]
