"""Checks of the settings themselves: the rules by which `review` judges what people have, on the start's own words."""

from __future__ import annotations

import shlex

from planner.errors import UnknownVersion
from planner.facts.release import parse_version
from planner.facts.review import KnownModel
from planner.serve.check import Doubtful, Failed, Unknown
from planner.serve.preflight.checkpoint import model_configuration
from planner.serve.preflight.engine import vllm_version
from planner.serve.preflight.machine import gpus_of_start, wanted_gpus
from planner.serve.preflight.subject import Subject
from planner.serve.process.engine_argv import SERVE

_LONGER = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
"""The one variable that changes what the engine refuses of its flags; the others have checks of their own."""
_FORECAST = "does-not-fit"
_COUNTED = "too-few-gpus"
_MOST_SAID = 3


def check_settings(subject: Subject) -> str:
    """Whether the engine's release takes the values of the flags, together and on these GPUs."""
    if not subject.engine_args:
        raise Unknown("this is not a `vllm serve` command")
    from planner.review import review

    release, gpus = _release(subject), gpus_of_start(subject)
    words = ["vllm", SERVE, *subject.engine_args]
    if _LONGER in subject.given:
        words.insert(0, f"{_LONGER}={subject.given[_LONGER]}")
    judged = review(shlex.join(words), gpus=gpus, vllm_version=release, described=described_model(subject))
    stops = [one for one in judged.findings if one.stops]
    if gpus is not None and subject.plan is None and wanted_gpus(subject) > gpus.count:
        stops = [one for one in stops if one.code != _COUNTED]  # the check of the GPUs counts those
    refused = [one for one in stops if one.code != _FORECAST]
    if refused:
        said = "; ".join(one.message for one in refused[:_MOST_SAID])
        more = f" (and {len(refused) - _MOST_SAID} more)" if len(refused) > _MOST_SAID else ""
        raise Failed(said + more, refused[0].cure or "`m35-plan review` of this command says more")
    if subject.plan is None and stops:
        raise Doubtful(stops[0].message, stops[0].cure)
    return f"nothing that vLLM {release} refuses" if release else "nothing that a known release refuses"


def _release(subject: Subject) -> str | None:
    """The release that will start; None where it is not known."""
    installed = None if subject.order.in_container else vllm_version(subject)
    planned = subject.plan.vllm_version if subject.plan is not None else None
    for version in (installed.partition("+")[0] if installed else None, planned):
        if version is not None:
            try:
                parse_version(version)
            except UnknownVersion:
                continue
            return version
    return None


def described_model(subject: Subject) -> KnownModel | None:
    """What the configuration of the model at hand says that the engine checks; None where it is not here.

    Of several parts of a model the longest counts, and the longest that any scaling of its positions allows.
    """
    config = model_configuration(subject)
    if config is None or subject.model is None:
        return None
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    heads = [count for part in parts if (count := _count(part.get("num_attention_heads"))) is not None]
    lengths = [length for part in parts if (length := _longest(part)) is not None]
    return KnownModel(
        name=subject.model,
        max_position_embeddings=max(lengths, default=None),
        num_attention_heads=heads[0] if len(heads) == 1 else None,
        basis="exact",
        source="config.json",
    )


def _longest(text: dict[str, object]) -> int | None:
    positions = _count(text.get("max_position_embeddings"))
    if positions is None:
        return None
    factors = [1.0]
    given = [text.get("rope_scaling"), text.get("rope_parameters")]
    for rope in (*given, *(inner for one in given if isinstance(one, dict) for inner in one.values())):
        factor = rope.get("factor") if isinstance(rope, dict) else None
        if isinstance(factor, (int, float)) and not isinstance(factor, bool):
            factors.append(float(factor))
    # What else the engine takes a length from, where it is longer.
    others = [_count(text.get(name)) or 0 for name in ("model_max_length", "seq_length", "max_seq_len", "n_positions")]
    return max(int(positions * max(factors)), *others)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
