"""Checks of what stands in the model's config.json: values that a library raises for before any weight is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hw_specs.errors import shown
from hw_specs.reading import UnreadableInput, read_text
from planner.facts.preflight import preflight_facts
from planner.facts.release import parse_version
from planner.serve.check import Doubtful, Failed, Unknown
from planner.serve.preflight import sources
from planner.serve.preflight.checkpoint import folder_of, model_configuration, read_configuration
from planner.serve.preflight.engine import vllm_version
from planner.serve.preflight.subject import Subject
from planner.serve.process.engine_argv import option_value

_PUBLISHED = "the config.json that the model's publisher gives"
_PARSERS = "transformers_utils/config.py"
_ROPE = "model_executor/layers/rotary_embedding/__init__.py"


def check_configuration(subject: Subject) -> str | None:
    """Whether config.json holds what engine and transformers read, and no old YaRN key that newer engines obey."""
    name = subject.model
    folder = folder_of(name, subject) if name is not None else None
    if folder is not None and not subject.order.in_container:
        _check_format(subject, folder)
    config = read_configuration(folder) if folder is not None else None
    if config is None:
        # What is here and broken is said where the checkpoint is looked at.
        if subject.load_format == "mistral" or (folder is not None and (folder / "config.json").is_file()):
            return None
        raise Unknown("config.json is not here yet")
    if model_configuration(subject) is not None:
        for where, part in _parts(config):
            _check_numbers(part, where)
            _check_dtype(part, where)
            _check_rope(part, where, subject)
    return _check_yarn(subject, config)


def _check_format(subject: Subject, folder: Path) -> None:
    """Raise where the folder lacks the configuration that the flags ask for."""
    asked = option_value(subject.engine_args, "config-format")
    wanted = {"mistral": "params.json", "hf": "config.json"}.get(asked or "")
    known = sources.keys(sources.module(subject.sources("vllm"), _PARSERS), "_CONFIG_FORMAT_TO_CONFIG_PARSER")
    if asked not in (None, "auto") and known and asked not in known:
        plugins = subject.packages.plugins if subject.packages is not None else []
        raise (Doubtful if plugins else Failed)(
            f"--config-format {asked} is none of {', '.join(sorted(known))}", "leave it out"
        )
    local = subject.model is not None and Path(subject.model) == folder
    if wanted is not None and local and not (folder / wanted).is_file():
        other = "hf" if asked == "mistral" else "mistral"
        raise Failed(
            f"--config-format {asked} reads {wanted}, which is not in the model's folder",
            f"--config-format {other}, or leave it out",
        )


def _parts(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The configuration and the one of its language model inside it, each with its name before a key."""
    yield "", config
    text = config.get("text_config")
    if isinstance(text, dict):
        yield "text_config.", text
    elif text is not None:
        raise Failed(f"`text_config` in config.json is `{shown(str(text))}`, not an object", _PUBLISHED)


def _check_numbers(part: dict[str, Any], where: str) -> None:
    facts = preflight_facts().config_values
    bad = next((key for key in facts.numbers if isinstance(part.get(key), (str, list, dict))), None)
    if bad is not None:
        raise Failed(f"`{where}{bad}` in config.json is `{shown(str(part[bad]))}`, not a number", _PUBLISHED)
    if "num_attention_heads" in part and part["num_attention_heads"] is None:
        raise Failed(f"`{where}num_attention_heads` in config.json is null, not a number", _PUBLISHED)
    hidden, heads = part.get("hidden_size"), part.get("num_attention_heads")
    if type(hidden) is int and type(heads) is int and part.get("head_dim") is None and (heads < 1 or hidden % heads):
        raise Failed(
            f"`{where}hidden_size` {hidden} in config.json is not a multiple of {heads} attention heads", _PUBLISHED
        )


def _check_dtype(part: dict[str, Any], where: str) -> None:
    """Raise for a type that is not one of torch's: transformers looks it up by this name."""
    for key in ("dtype", "torch_dtype"):
        given = part.get(key)
        if isinstance(given, str) and given not in preflight_facts().config_values.dtypes:
            raise Failed(
                f"`{where}{key}` in config.json is `{shown(given)}`, and torch has no type of that name",
                "the name as torch writes it: bfloat16, float16 or float32",
            )


def _check_rope(part: dict[str, Any], where: str, subject: Subject) -> None:
    """Raise for a scaling of positions that is not an object, lacks a key or has a kind that the release lacks."""
    for key in ("rope_parameters", "rope_scaling"):
        rope = part.get(key)
        if rope is None:
            continue
        if not isinstance(rope, dict):
            raise Failed(f"`{where}{key}` in config.json is `{shown(str(rope))}`, not an object", _PUBLISHED)
        each = [one for one in rope.values() if isinstance(one, dict)] or [rope]
        for one in each:
            _check_kind(one, f"{where}{key}", subject)


def _check_kind(rope: dict[str, Any], where: str, subject: Subject) -> None:
    new, old = rope.get("rope_type"), rope.get("type")
    if (
        new is not None
        and old is not None
        and new != old
        and (old, new) not in (("su", "longrope"), ("mrope", "default"))
    ):
        raise Failed(
            f"`{where}` in config.json has rope_type `{shown(str(new))}` and type `{shown(str(old))}`",
            "leave `type` out",
        )
    kind = new if new is not None else old
    needed = preflight_facts().config_values.rope_needs.get(str(kind), ())
    lacking = [key for key in needed if key not in rope]
    if lacking:
        raise Failed(f"`{where}` in config.json is {kind} and has no `{lacking[0]}`", _PUBLISHED)
    folder = subject.sources("vllm")
    known = sources.words(sources.named(sources.module(folder, _ROPE), "get_rope"))
    if (
        not isinstance(kind, str)
        or folder is None
        or not known
        or kind in known.union(preflight_facts().config_values.renamed)
    ):
        return
    # A model's own code may make another kind out of it.
    models = (folder / "model_executor/models").glob("*.py")
    if any(_mentions(path, kind) for path in models):
        return
    raise Failed(
        f"`{where}` in config.json is of kind `{shown(kind)}`, which vLLM {vllm_version(subject)} does not have",
        f"`uv pip install -U vllm` into its environment, if a newer one has {shown(kind)}",
    )


def _check_yarn(subject: Subject, config: dict[str, Any]) -> str:
    trap = preflight_facts().yarn_trap
    text = config.get("text_config", config)
    rope = (text.get("rope_parameters") or text.get("rope_scaling")) if isinstance(text, dict) else None
    if not isinstance(rope, dict) or rope.get("mscale_all_dim") != trap.bad_value:
        return "config.json holds what is read"
    seen = f"config.json has mscale_all_dim {trap.bad_value}: wrong attention scale over long contexts"
    hint = "fetch config.json again (fixed on 2026-05-01) or set the key to 0.0"
    if subject.load_format == "mistral":
        raise Doubtful(seen + "; Mistral's own layout does not read it", hint)
    version = vllm_version(subject) if not subject.order.in_container else None
    version = version or (subject.plan.vllm_version if subject.plan is not None else None)
    obeyed = version is None or parse_version(version.partition("+")[0]) >= parse_version(trap.from_vllm)
    raise (Failed if obeyed else Doubtful)(seen, hint)


def _mentions(path: Path, kind: str) -> bool:
    try:
        return f'"{kind}"' in read_text(path, errors="replace")
    except UnreadableInput:
        return False
