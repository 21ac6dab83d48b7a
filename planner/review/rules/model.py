"""Flags that must match the model: parsers, checkpoint layout, quantization, kinds of parallelism."""

from __future__ import annotations

import re
from collections.abc import Iterator

from planner.facts.review import review_facts
from planner.facts.vllm import vllm_facts
from planner.planning.engine_limits import LORA_FIELDS
from planner.review.case import Case, stored_as
from planner.review.edits import with_option, with_value, without_option
from planner.review.findings import Finding, finding
from planner.review.text import Source

_EXTERNAL = ("data-parallel-hybrid-lb", "data-parallel-external-lb", "data-parallel-rank")
_MOST_RANKS = 16
"""Sizes that a cure names."""


def find(case: Case, source: Source) -> Iterator[Finding]:
    """Yield what does not belong to the model."""
    yield from _parsers(case, source)
    yield from _adapters(case)
    yield from _quantization(case, source)
    yield from _dense(case, source)
    yield from _known(case)
    option = case.server.option("load-format")
    if option is not None and case.server.text("load-format") == "dummy":
        said, edits = (
            "--load-format dummy fills the model with random numbers",
            without_option(case.server, option, source),
        )
        yield finding("dummy-weights", said, option.typed, cure="leave --load-format out", edits=edits)


def _known(case: Case) -> Iterator[Finding]:
    """Length and heads of models that no plan describes, where they are published."""
    name = case.model_name
    if case.model is not None or name is None:
        return
    facts = case.described or next((one for one in review_facts().known_models if re.search(one.name, name)), None)
    if facts is None:
        return
    dtype, asked_dtype = case.server.option("dtype"), case.server.text("dtype")
    if dtype is not None and asked_dtype in facts.refused_dtypes:
        said = f"--dtype {asked_dtype} is refused: this model is not stable in it"
        edits = with_value(case.server, dtype, "bfloat16")
        yield finding("refused", said, dtype.typed, cure="--dtype bfloat16", stops=True, edits=edits)
    limit, asked = facts.max_position_embeddings, case.server.number("max-model-len")
    stretched = any(case.server.option(one) is not None for one in ("rope-scaling", "hf-overrides"))
    allowed = case.server.variable("VLLM_ALLOW_LONG_MAX_MODEL_LEN") is not None
    option = case.server.option("max-model-len")
    if option is not None and limit is not None and asked is not None and asked > limit and not (stretched or allowed):
        said, cure = f"--max-model-len {asked} is beyond the model's {limit:,} tokens", f"--max-model-len {limit}"
        edits = with_value(case.server, option, str(limit))
        yield finding("refused", said, option.typed, cure=cure, stops=True, edits=edits)
    heads, ranks = facts.num_attention_heads, case.server.number("tensor-parallel-size")
    option = case.server.option("tensor-parallel-size")
    if option is not None and heads is not None and ranks and heads % ranks:
        sizes = ", ".join(str(size) for size in range(1, _MOST_RANKS + 1) if heads % size == 0)
        said = f"{heads} attention heads cannot be shared by {ranks} ranks"
        yield finding("refused", said, option.typed, cure=f"one of {sizes}", stops=True)


def _adapters(case: Case) -> Iterator[Finding]:
    """Options of LoRA adapters that nothing reads, because none may be loaded."""
    loads = case.server.option("enable-lora")
    if (loads is not None and loads.on) or case.server.arguments.open_ended:
        return
    for name in LORA_FIELDS:
        option = case.server.option(name.replace("_", "-"))
        if option is not None and option.on:
            said = f"--{option.name} has no effect without --enable-lora"
            cure = "--enable-lora, or leave it out"
            yield finding("flag-without-effect", said, option.typed, severity="warn", cure=cure)


def _mistral(case: Case) -> bool:
    return case.model is not None and case.model.native_format


def _parsers(case: Case, source: Source) -> Iterator[Finding]:
    server = case.server
    parser, choice = server.option("tool-call-parser"), server.option("enable-auto-tool-choice")
    wanted = vllm_facts().command
    if choice is not None and choice.on and parser is None and server.entry == "serve":
        name = wanted.tool_call_parser if _mistral(case) else ""
        said, cure = (
            "--enable-auto-tool-choice needs --tool-call-parser beside it",
            f"--tool-call-parser {name or 'NAME'}",
        )
        edits = with_option(server, ("--tool-call-parser", name), source) if name else ()
        yield finding("parser-missing", said, choice.typed, stops=True, cure=cure, edits=edits)
    if parser is not None and (choice is None or not choice.on) and not server.arguments.open_ended:
        said = "without --enable-auto-tool-choice no tool is called of itself: such requests are refused"
        cure, edits = "--enable-auto-tool-choice", with_option(server, ("--enable-auto-tool-choice",), source)
        yield finding("flag-without-effect", said, parser.typed, severity="warn", cure=cure, edits=edits)
    if not _mistral(case):
        return
    parsers = (parser, wanted.tool_call_parser), (server.option("reasoning-parser"), wanted.reasoning_parser)
    for option, right in parsers:
        given = server.text(option.name) if option is not None else None
        if option is not None and given and given != right:
            said, cure = f"--{option.name} {given} does not read what this model writes", f"--{option.name} {right}"
            yield finding("parser-mismatch", said, option.typed, cure=cure, edits=with_value(server, option, right))


def _quantization(case: Case, source: Source) -> Iterator[Finding]:
    option = case.server.option("quantization")
    if option is None or option.value is None or not option.value.known:
        return
    method, name = option.value.value.lower(), case.model_name
    if case.model is not None:
        if not stored_as(method, case.model):
            kind = "NVFP4" if stored_as("modelopt", case.model) else "FP8"
            said = f"--quantization {method} is not how this checkpoint is stored: it is {kind}"
            cure = "leave --quantization out: the checkpoint says it itself"
            edits = without_option(case.server, option, source)
            yield finding("quantization", said, option.typed, severity="error", stops=True, cure=cure, edits=edits)
        return
    pattern = review_facts().quantization.names.get(method)
    if pattern is None or name is None or case.hub_name is None or re.search(pattern, name, re.IGNORECASE):
        return
    plain = name.partition("/")[0] in review_facts().publishers.names
    said = f"--quantization {method} needs a checkpoint of that kind, and `{name}` does not call itself one"
    cure = "leave --quantization out, or name a checkpoint that was made with it"
    yield finding("quantization", said, option.typed, severity="error" if plain else None, cure=cure)


def _dense(case: Case, source: Source) -> Iterator[Finding]:
    if case.model is None:
        return
    for name in (*_EXTERNAL, "enable-expert-parallel", "enable-eplb"):
        option = case.server.option(name)
        if option is None or not option.on:
            continue
        if name in _EXTERNAL and (case.server.number("data-parallel-size") or 1) <= 1 and name != "data-parallel-rank":
            continue
        cure = "independent servers without --data-parallel-* flags" if name in _EXTERNAL else f"leave --{name} out"
        edits = () if name in _EXTERNAL else without_option(case.server, option, source)
        said = f"--{name} is for mixtures of experts, and this model is dense"
        yield finding("dense-model", said, option.typed, stops=True, cure=cure, edits=edits)
