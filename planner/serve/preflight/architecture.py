"""Checks of the model's config.json against what the installed engine and its transformers know.

Both keep tables of what they know in their sources, which are read and never run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hw_specs.errors import shown
from hw_specs.reading import UnreadableInput, read_text
from planner.serve.check import Doubtful, Failed, Skipped
from planner.serve.preflight import sources
from planner.serve.preflight.checkpoint import folder_of, model_configuration
from planner.serve.preflight.engine import vllm_version
from planner.serve.preflight.subject import Subject
from planner.serve.process.engine_argv import option_value

_REGISTRY = "model_executor/models/registry.py"
_CONFIG = "transformers_utils/config.py"
_MODELS = re.compile(r"_[A-Z_]+_MODELS")
_NOT_MODELS = frozenset({"_PREVIOUSLY_SUPPORTED_MODELS", "_OOT_SUPPORTED_MODELS", "_VLLM_MODELS"})
_PUBLISHED = "the config.json that the model's publisher gives"
_EXCHANGED = ("ALL_ATTENTION_FUNCTIONS", "_supports_attention_backend = True")
_CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification", "ForRewardModeling", "RewardModel", "Model")
"""Endings of classes that the engine makes from another class of the same model."""


def check_architecture(subject: Subject) -> str | None:
    """Whether the installed release knows the model's architecture and type, or may run the code that comes with it."""
    config = model_configuration(subject)
    if config is None:
        return None
    folder, release = subject.sources("vllm"), vllm_version(subject)
    registry = sources.module(folder, _REGISTRY)
    known = _known_architectures(registry)
    if folder is None or not known or release is None:
        raise Skipped("the tables of the installed engine cannot be read")
    _check_type(subject, config, folder, release)
    names = config.get("architectures")
    if not names:
        raise Doubtful(
            "config.json names no `architectures`: the engine takes the bare model and serves embeddings, not text",
            '--hf-overrides \'{"architectures": ["NAME"]}\', with the name that the model\'s publisher gives',
        )
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Failed(
            f"`architectures` in config.json is `{shown(str(names))}`, not a list of names",
            'a list: "architectures": ["NAME"]',
        )
    if option_value(subject.engine_args, "model-impl") in (None, "auto", "vllm"):
        found = next((name for name in names if name in known or _made_from(name, known)), None)
        if found is not None:
            return f"vLLM {release} has {found}"
    return _elsewhere(subject, config, names, release)


def _known_architectures(registry: Any) -> frozenset[str]:
    tables = [
        line.targets[0].id
        for line in getattr(registry, "body", ())
        if hasattr(line, "targets") and hasattr(line.targets[0], "id")
    ]
    wanted = [name for name in tables if _MODELS.fullmatch(name) and name not in _NOT_MODELS]
    return frozenset().union(*(sources.keys(registry, name) for name in wanted))


def _made_from(name: str, known: frozenset[str]) -> bool:
    """Whether the engine makes this class from another one of the same model."""
    ending = next((one for one in _CLASSIFIERS if name.endswith(one)), None)
    stem = name.removesuffix(ending) if ending else None
    return bool(stem) and any(f"{stem}{one}" in known for one in ("ForCausalLM", "ForConditionalGeneration", "Model"))


def _check_type(subject: Subject, config: dict[str, Any], folder: Path, release: str) -> None:
    """Raise for a model type that neither the engine nor its transformers reads."""
    kind, own = config.get("model_type"), _auto_map(config)
    engine = sources.module(folder, _CONFIG)
    if kind is None and (config.get("speculators_config") or sources.keys(engine, "_ARCHITECTURE_TO_MODEL_TYPE")):
        names = config.get("architectures")
        named = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
        if config.get("speculators_config") or named in sources.keys(engine, "_ARCHITECTURE_TO_MODEL_TYPE"):
            return
    if kind is not None and not isinstance(kind, str):
        raise Failed(f"`model_type` in config.json is `{shown(str(kind))}`, not a name", _PUBLISHED)
    types = _known_types(subject, engine, folder)
    if not types or kind in types:
        _check_inner(subject, config, types - sources.keys(engine, "_CONFIG_REGISTRY"))
        return
    version = (subject.versions or {}).get("transformers", "")
    if "AutoConfig" in own:
        if not _trusted(subject):
            raise Failed(
                f"model type `{shown(str(kind))}` is code of the checkpoint's own ({shown(str(own['AutoConfig']))}), "
                "which is not run without leave",
                "read that code; if you trust it, --trust-remote-code",
            )
        _require_code(subject, config)
        return
    if kind is None:
        raise Failed(
            "config.json has no `model_type`: transformers cannot tell what it describes",
            "the whole config.json of the model; adapters and drafts are not served by themselves",
        )
    said = f"neither vLLM {release} nor transformers {version} knows model type `{shown(str(kind))}`"
    if subject.packages is not None and subject.packages.plugins:
        raise Doubtful(f"{said}; {', '.join(subject.packages.plugins)} may bring it", "see the plugin's list of models")
    raise Failed(
        said, f"`uv pip install -U vllm transformers` into its environment, if a newer one has {shown(str(kind))}"
    )


def _check_inner(subject: Subject, config: dict[str, Any], types: frozenset[str]) -> None:
    """Raise for a text model inside that transformers does not make a configuration of, in a class of its own."""
    folder, inner, kind = subject.sources("transformers"), config.get("text_config"), str(config.get("model_type"))
    place = re.sub("[^a-z0-9_]", "_", kind.lower())
    if not isinstance(inner, dict) or folder is None or kind not in types:
        return
    try:
        code = read_text(folder / f"models/{place}/configuration_{place}.py", most_bytes=sources.MOST_BYTES)
    except UnreadableInput:
        return
    if "text_config" not in code:
        raise Failed(
            f"config.json is of model type `{shown(kind)}` and has its numbers in `text_config`, where nobody looks",
            _PUBLISHED,
        )
    own = inner.get("model_type")
    if own is not None and str(own) not in types and "CONFIG_MAPPING[" in code:
        raise Failed(
            f"transformers {(subject.versions or {}).get('transformers', '')} does not know model type "
            f"`{shown(str(own))}` of `text_config`",
            f"`uv pip install -U vllm transformers` into its environment, if a newer one has {shown(str(own))}",
        )


def _known_types(subject: Subject, engine: Any, folder: Path) -> frozenset[str]:
    """Model types that a configuration can be made of; empty where the tables cannot be read."""
    transformers = subject.sources("transformers")
    tables = [
        sources.keys(sources.module(transformers, f"models/auto/{name}.py"), "CONFIG_MAPPING_NAMES")
        for name in ("auto_mappings", "configuration_auto")
    ]
    if not any(tables) or engine is None:
        return frozenset()
    # Some classes of the engine's own register further types beside themselves.
    beside = [sources.words(sources.module(folder, f"transformers_utils/configs/{name}.py")) for name in ("ovis",)]
    return frozenset().union(*tables, sources.keys(engine, "_CONFIG_REGISTRY"), *beside)


def _elsewhere(subject: Subject, config: dict[str, Any], names: Sequence[str], release: str) -> str:
    """Say who else has the model: transformers, the checkpoint itself, a plugin; or that nobody has."""
    said = f"vLLM {release} does not have {', '.join(names)}"
    transformers = subject.sources("transformers")
    there = _of_transformers(transformers, names[0], str(config.get("model_type", "")))
    version = (subject.versions or {}).get("transformers", "")
    if there:
        return f"{names[0]} is served from transformers {version}"
    if there is False:
        raise Failed(
            f"{said}, and transformers' {names[0]} has an attention of its own, which vLLM cannot give its KV cache to",
            "another engine, or a newer vLLM if that has it",
        )
    own = [name for name in _auto_map(config) if name.startswith("AutoModel")]
    if own and _trusted(subject):
        _require_code(subject, config)
        return f"{said}; the checkpoint brings its own code, which decides"
    if own:
        raise Failed(
            f"{said}, and the checkpoint's own code is not run without leave",
            "a newer vLLM, if that has it; or read the code, and if you trust it, --trust-remote-code",
        )
    if subject.packages is not None and subject.packages.plugins:
        raise Doubtful(f"{said}; {', '.join(subject.packages.plugins)} may bring it", "see the plugin's list of models")
    registry = sources.module(subject.sources("vllm"), _REGISTRY)
    gone = sources.pairs(sources.assigned(registry, "_PREVIOUSLY_SUPPORTED_MODELS"))
    plugins = sources.pairs(sources.assigned(registry, "_OOT_SUPPORTED_MODELS"))
    for name in names:
        if name in gone:
            raise Failed(f"vLLM had {name} up to {gone[name]} only", f"`uv pip install 'vllm=={gone[name]}'`")
        if name in plugins:
            raise Failed(f"vLLM {release} has {name} only with a plugin", f"`uv pip install git+{plugins[name]}`")
    raise Failed(said, "a newer vLLM, if that has it: `uv pip install -U vllm` into its environment")


def _of_transformers(folder: Path | None, name: str, kind: str) -> bool | None:
    """Whether transformers has a class of this name that the engine can give its attention to; None: no such class.

    Source: PreTrainedModel._can_set_attn_implementation of transformers 5.19 asks the file for the same words.
    """
    if folder is None:
        return True  # Nobody can say.
    for path in (folder / "models" / re.sub("[^a-z0-9_]", "_", kind.lower())).glob("modeling_*.py"):
        try:
            text = read_text(path, most_bytes=sources.MOST_BYTES)
        except UnreadableInput:
            continue
        if re.search(rf"^class {re.escape(name)}\(", text, re.MULTILINE):
            own = re.search(r"^class \w*Attention\w*\(nn\.Module\):", text, re.MULTILINE)
            return not own or any(word in text for word in _EXCHANGED)
    return True if name in sources.words(sources.module(folder, "models/auto/modeling_auto.py")) else None


def _require_code(subject: Subject, config: dict[str, Any]) -> None:
    """Raise where the checkpoint names code that is not in its folder; code of another repository is not looked for."""
    folder = folder_of(subject.model or "", subject)
    for kind, place in _auto_map(config).items():
        if kind.startswith(("AutoConfig", "AutoModel")) and isinstance(place, str) and "--" not in place:
            name = place.partition(".")[0] + ".py"
            if folder is not None and not (folder / name).is_file():
                raise Failed(
                    f"config.json takes {kind} from {name}, which is not in the model's folder",
                    f"fetch the files of the code, too: `hf download {subject.model} --include '*.py'`",
                )


def _auto_map(config: dict[str, Any]) -> dict[str, Any]:
    found = config.get("auto_map")
    return found if isinstance(found, dict) else {}


def _trusted(subject: Subject) -> bool:
    return any(word in ("--trust-remote-code", "--trust_remote_code") for word in subject.engine_args)
