"""The check of the model's tokenizer: a mode that the installed engine has, and files that it is made of."""

from __future__ import annotations

from pathlib import Path

from planner.facts.preflight import preflight_facts
from planner.serve.check import Doubtful, Failed
from planner.serve.preflight import sources
from planner.serve.preflight.engine import vllm_version
from planner.serve.preflight.subject import Subject
from planner.serve.process.engine_argv import option_value

_REGISTRY = "tokenizers/registry.py"
_EVERY = ("auto", "slow")
"""Modes that stand for another one."""


def check_tokenizer(subject: Subject) -> str | None:
    """Whether the tokenizer's mode exists and the folder that is named has files to make one of."""
    if subject.order.in_container or any(word.startswith("--skip-tokenizer-init") for word in subject.engine_args):
        return None
    mode = option_value(subject.engine_args, "tokenizer-mode") or "auto"
    known = sources.keys(sources.module(subject.sources("vllm"), _REGISTRY), "_VLLM_TOKENIZERS")
    if known and mode not in known.union(_EVERY):
        plugins = subject.packages.plugins if subject.packages is not None else []
        raise (Doubtful if plugins else Failed)(
            f"vLLM {vllm_version(subject)} has no --tokenizer-mode {mode}",
            f"one of {', '.join(sorted(known))}, or none",
        )
    name = option_value(subject.engine_args, "tokenizer") or subject.model
    if name is None or not Path(name).is_dir():
        return None
    facts = preflight_facts().tokenizer_files
    wanted = facts.mistral if mode == "mistral" else (*facts.mistral, *facts.hf)
    found = next((path.name for pattern in wanted for path in sorted(Path(name).glob(pattern))), None)
    if found is None:
        kind = "Mistral's" if mode == "mistral" else "a"
        raise Failed(
            f"`{name}` has no file of {kind} tokenizer",
            "--tokenizer with the folder or the name that has it, or copy its files beside the weights",
        )
    return f"{found}, mode {mode}"
