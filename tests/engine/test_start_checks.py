"""The engine itself is asked what it takes: its parser and its configuration, for a model of a few numbers."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from planner.facts import load
from planner.facts.preflight import preflight_facts
from planner.facts.review import variables
from planner.serve.preflight.installed import InstalledEngine
from tests.engine.conftest import ENV, ROOT
from tests.review.start_lines import LENGTH, REFUSED, TAKEN

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 512, "intermediate_size": 512,
    "num_hidden_layers": 2, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 8, "vocab_size": 1000,
    "max_position_embeddings": LENGTH, "torch_dtype": "bfloat16", "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
CHILD = """
import contextlib, importlib, io, json, sys
question = json.load(sys.stdin)
for name in question["modules"]:
    with contextlib.suppress(ImportError):
        args_module = importlib.import_module(name)
        break
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.launcher import validate_api_server_args
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
answers = []
for words in question["lines"]:
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            args = args_module.make_arg_parser(FlexibleArgumentParser()).parse_args(words)
        args_module.validate_parsed_serve_args(args)
        AsyncEngineArgs.from_cli_args(args).create_engine_config(usage_context=UsageContext.OPENAI_API_SERVER)
        validate_api_server_args(args)
        answers.append("")
    except (Exception, SystemExit) as error:
        answers.append(f"{type(error).__name__}: {error}"[:300])
print("\\n" + json.dumps(answers))
"""
READS = """
import json, os
from vllm.envs import environment_variables
read = {}
for name, value_of in environment_variables.items():
    os.environ[name] = "maybe"
    try:
        value_of()
        read[name] = ""
    except Exception as error:
        said = str(error)
        read[name] = "int" if "for int()" in said else "float" if "to float" in said else ""
    del os.environ[name]
print("\\n" + json.dumps(read))
"""


WORDS = """
import ast, json, os
from vllm.envs import environment_variables

def taken(name, value_of, word):
    os.environ[name] = word
    try:
        value_of()
        return ""
    except Exception as error:
        return str(error)
    finally:
        del os.environ[name]

read = {}
for name, value_of in environment_variables.items():
    head, known, words = taken(name, value_of, "no such word").partition("Valid options: ")
    kinds = (f"Invalid value 'no such word' for {name}. ", f"Invalid value 'no such word' in {name}. ")
    if head not in kinds or not known or not name.startswith("VLLM_"):  # others are read while vLLM is built
        continue
    words = ast.literal_eval(words.rstrip("."))
    any_case = all(taken(name, value_of, word.swapcase()) == "" for word in words)
    read[name] = words, any_case, taken(name, value_of, " , ".join(words)) == ""
print("\\n" + json.dumps(read))
"""


def told(engine: InstalledEngine, program: str) -> dict[str, Any]:
    """What a small program that the engine's own Python runs prints last."""
    python = Path(engine.executable).with_name("python")
    done = subprocess.run(
        [python, "-P", "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, **ENV}
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_engine_agrees_which_variables_hold_one_of_some_words(engine: InstalledEngine) -> None:
    facts = preflight_facts().variable_choices
    read = told(engine, WORDS)
    assert read
    assert {
        name: (sorted(words), name in facts.any_case, name in facts.several)
        for name, words in facts.words.items()
        if name in read
    } == {name: (sorted(words), any_case, several) for name, (words, any_case, several) in read.items()}


def test_the_engine_agrees_which_variables_are_numbers(engine: InstalledEngine) -> None:
    read = told(engine, READS)
    known = {name: kind for name, (_, _, kind) in variables().variables.items() if name in read}
    assert known == {name: read[name] for name in known} and known


def test_the_engine_agrees_with_every_line(engine: InstalledEngine, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    base = ["--model", str(tmp_path), "--skip-tokenizer-init", "--max-model-len", str(LENGTH)]
    question = {
        "modules": load("preflight.toml")["parser_modules"]["modules"],
        "lines": [[*base, *shlex.split(more)] for more in (*REFUSED, *TAKEN)],
    }
    python = Path(engine.executable).with_name("python")
    done = subprocess.run(
        [python, "-P", "-c", CHILD], input=json.dumps(question), capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, **ENV, "VLLM_LOGGING_LEVEL": "ERROR"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    answers = dict(zip((*REFUSED, *TAKEN), json.loads(done.stdout.splitlines()[-1]), strict=True))
    assert [more for more in REFUSED if not answers[more]] == []
    assert {more: answers[more] for more in TAKEN if answers[more]} == {}
