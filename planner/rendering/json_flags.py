"""Flags of ``vllm serve`` whose value is JSON: what a draft and a compilation say of a plan. It decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

from hw_specs.errors import M35Error, shown
from hw_specs.parsing import BadJson, parse_json
from hw_specs.units import parse_count
from planner.errors import InvalidRequest
from planner.facts.drafts import draft_facts
from planner.planning.request import SETTINGS
from planner.planning.setting import Setting, flags_of
from planner.settings import SpecMethod

_DRAFT_KEYS = frozenset({"model", "method", "num_speculative_tokens", "max_model_len"})
_LOOKUP_KEYS: Mapping[str, str] = {"ngram": "prompt_lookup_", "suffix": "suffix_decoding_"}
"""What keys begin with that say where a method looks; they take no memory."""
GRAPH_KEYS: Mapping[str, tuple[str, Setting]] = {
    flag.partition(".")[2]: (name, setting)
    for name, setting in SETTINGS.items()
    for flag in flags_of(name, setting)
    if flag.startswith("compilation-config.")
}
"""Keys of ``--compilation-config`` that a plan knows, with the field of a request that each sets."""


def draft_settings(said: str | Mapping[str, Any], *, printed_anew: bool = False) -> dict[str, Any]:
    """Return the settings of a plan that vLLM's ``--speculative-config`` means.

    `printed_anew` refuses keys that change no plan, which a command made from the plan would leave out.

    Raises:
        InvalidRequest: for a draft that no plan can have; the checkpoint that `model` names is read with the plan.
    """
    draft = object_of("speculative-config", said) if isinstance(said, str) else said
    count, length, method = draft.get("num_speculative_tokens"), draft.get("max_model_len"), draft_method(draft)
    if method is not None and method not in get_args(SpecMethod):
        raise InvalidRequest(
            "speculative_config",
            f"no draft of the method `{shown(method)}` is planned",
            hint=f"methods that are planned: {', '.join(get_args(SpecMethod))}",
        )
    own = _LOOKUP_KEYS.get(method or "")
    if strange := sorted(key for key in set(draft) - _DRAFT_KEYS if own is None or not key.startswith(own)):
        raise InvalidRequest("speculative_config", f"the planner does not know `{strange[0]}` of a draft")
    if printed_anew and (left := sorted(set(draft) - _DRAFT_KEYS)):
        raise InvalidRequest(
            "speculative_config",
            f"`{left[0]}` changes no plan, and the command that a plan prints would leave it out",
            hint="plan without it, then add it to the --speculative-config of that command",
        )
    if count is None and method == "suffix":
        count = draft.get("suffix_decoding_max_tree_depth", draft_facts().suffix_tree_depth.value)
    if count is None:
        raise InvalidRequest("num_speculative_tokens", "the draft needs `num_speculative_tokens`")
    settings: dict[str, Any] = {"num_speculative_tokens": read_count("num_speculative_tokens", str(count))}
    if method is not None:
        settings["spec_method"] = method
    if method in ("eagle", "eagle3") and (named := draft.get("model")) is not None:
        if not isinstance(named, str):
            raise InvalidRequest("speculative_config", f"the draft's `model` must be a name, not `{shown(str(named))}`")
        settings["spec_model"] = named
    elif method == "mtp" and draft.get("model") is not None:
        raise InvalidRequest(
            "speculative_config",
            f"MTP layers are planned as the model's own, and `model` names another's: `{shown(str(draft['model']))}`",
            hint="leave `model` out: the engine then takes the layers of the model itself",
        )
    if length is not None:
        settings["speculative_max_model_len"] = read_count("speculative_max_model_len", str(length))
    return settings


def draft_method(draft: Mapping[str, Any]) -> str | None:
    """Return how the engine drafts where it is told of `draft`; None: nothing says it, so the model's own draft does.

    Source: github.com/vllm-project/vllm/blob/v0.32.0/vllm/config/speculative.py __post_init__.

    >>> draft_method({"method": "qwen3_next_mtp"}), draft_method({"model": "org/EAGLE3-X"}), draft_method({})
    ('mtp', 'eagle3', None)
    """
    method, model = draft.get("method"), str(draft.get("model") or "").lower()
    if method is None and model:
        if model in ("ngram", "[ngram]"):
            return "ngram"
        return "eagle" if "eagle-" in model else "eagle3" if "eagle3" in model else "draft_model"
    name = None if method is None else str(method).strip("[]")
    return "mtp" if name is not None and name.endswith("_mtp") else name


def object_of(name: str, value: str) -> dict[str, Any]:
    """A JSON flag, or one key of it: ``--speculative-config.method eagle``."""
    base, dot, key = name.partition(".")
    if dot:
        try:
            return {key: parse_json(value)}
        except ValueError:
            return {key: value}
    try:
        document = parse_json(value)
    except BadJson as error:
        raise InvalidRequest(base.replace("-", "_"), f"`--{base}` {error}") from None
    if not isinstance(document, dict):
        raise InvalidRequest(base.replace("-", "_"), f"`--{base}` must be a JSON object")
    return document


def graph_keys_apart(said: str, name: str = "compilation-config") -> tuple[list[str], list[str]]:
    """Return the keys of a ``--compilation-config`` that a plan decides, and the others; none of what is not read.

    >>> graph_keys_apart('{"cudagraph_mode": "NONE", "pass_config": {}}')
    (['cudagraph_mode'], ['pass_config'])
    """
    try:
        keys = sorted(object_of(name, said))
    except InvalidRequest:
        return [], []
    return [key for key in keys if key in GRAPH_KEYS], [key for key in keys if key not in GRAPH_KEYS]


def graph_settings(said: str, name: str = "compilation-config") -> dict[str, Any]:
    """Return the settings of a plan that vLLM's ``--compilation-config``, or one key of it, means.

    Raises:
        InvalidRequest: for a key whose memory is not known, and for a value that the engine does not take.
    """
    found: dict[str, Any] = {}
    for key, value in object_of(name, said).items():
        field, setting = GRAPH_KEYS.get(key, ("", None))
        if setting is None:
            raise InvalidRequest(
                "compilation_config",
                f"the planner does not know what `{shown(key)}` of --compilation-config does to memory",
                hint=f"known: {', '.join(GRAPH_KEYS)}",
            )
        if setting.kind == "integers":
            if not isinstance(value, list):
                raise InvalidRequest(field, f"{field} must be a list of integers, not `{shown(str(value))}`")
            found[field] = tuple(read_count(field, str(size)) for size in value)
        elif setting.kind == "count":
            found[field] = None if value is None else read_count(field, str(value))
        else:
            found[field] = None if value is None else str(value).upper()
    return found


def converted(field: str, value: str, convert: Callable[[str], Any]) -> Any:
    """Return `value` as `convert` reads it.

    Raises:
        InvalidRequest: of `field`, where it cannot be read.
    """
    try:
        return convert(value)
    except (M35Error, ValueError) as error:
        hint = error.hint if isinstance(error, M35Error) else None
        raise InvalidRequest(field, f"{field} cannot be `{shown(value)}`", hint=hint) from None


def read_count(field: str, value: str) -> int:
    """Return an integer as vLLM writes it, such as ``128k``.

    Raises:
        InvalidRequest: of `field`, where it is none.
    """
    return int(converted(field, value, parse_count))
