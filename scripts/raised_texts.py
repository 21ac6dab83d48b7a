"""Makes ``planner/facts/raised.json``: the texts with which vLLM's code and its libraries' refuse to go on, by file.

    python scripts/raised_texts.py WHEEL_OR_FOLDER...

Read are wheels, or folders into which one was unpacked: of Python files what stands in ``raise`` and ``assert``,
of compiled libraries the texts that read like a sentence. Of each message the longest part that never changes is kept;
one that several parts of the software use is kept by each.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

OUT = Path(__file__).parents[1] / "planner" / "facts" / "raised.json"
LEAST_CHARACTERS, MOST_CHARACTERS, LEAST_WORDS, LEAST_TELLING = 20, 48, 3, 2
NO_START = re.compile(
    r"benchmarks/|entrypoints/(?!cli/|launchers/|openai/(?:api_server|cli_args)\.py)|tool_parsers/|reasoning/|renderers/|"
    r"inputs/|parser/|grpc/|assets/|snapshot/|distributed/weight_transfer/|sampling_params|pooling_params|outputs\.py|"
    r"cumem_allocator|spinloop|fs_io_C|v1/pool/|v1/serial_utils|beam_search|input_processor|async_llm|logprobs|"
    r"third_party/(?!deep_gemm/)|/tests?/|/testing/|/cli/|transformers/(?:commands|data|generation|onnx|pipelines|trainer|sagemaker|"
    r"loss|optimization|training_args|cache_utils|masking_utils|integrations|testing_utils)|huggingface_hub/(?:inference|commands)|"
    r"mistral_common/(?:experimental|guidance)|transformers/models/(?!auto/)"
)
"""What only serves requests, trains or measures."""
MODELS = re.compile(r"^(vllm/(?:model_executor/)?models/).*")
"""One entry for the code of all models: a new one comes with each release."""
GENERIC = re.compile(
    r"a|all|also|an|and|any|are|as|at|be|both|but|by|can|cannot|case|currently|dim|"
    r"dimension|does|doesn|dtype|either|expected|for|found|from|get|given|got|has|have|in|"
    r"input|invalid|is|it|its|least|like|match|mismatch|missing|must|no|not|number|of|on|one|"
    r"only|or|output|please|provided|required|requires|s|same|set|shape|should|size|specified|"
    r"supplied|support|supported|supports|t|tensor|than|that|the|this|to|type|types|unknown|"
    r"unsupported|use|used|using|value|was|when|with|yet",
    re.IGNORECASE,
)
"""Words that anyone's message may be made of."""
RULE = re.compile(
    r"between|boolean|divisible|empty|equal|exactly|greater|integer|larger|less|multiple|negative|non|positive|range|"
    r"smaller|valid|values?",
    re.IGNORECASE,
)
"""Words of a rule for numbers, whose message tells by what it names: ``must be non-negative`` is anyone's."""
SENTENCE = re.compile(r"[A-Z`'][A-Za-z0-9 ,.'\"()=:_/%*+\-`;\[\]>]+")
ANYONES = re.compile(
    r"please file an issue|expected scalar type|[Dd]evice index|while checking arguments|c10::|std::|^Cuda |"
    r"%s|Back-reference|C\+\+ trace|keyword argument|has no attribute|multiple values for|positional argument|"
    r"out of range"
)
"""Texts of Python and torch, and of libraries under every extension."""


def parts(node: ast.expr) -> list[str | None]:
    """What `node` always says, in order; None where it says something that changes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return [text for value in node.values for text in parts(value)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*parts(node.left), *parts(node.right)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return _template(node.left, r"%[-\d.]*[a-z]")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return _template(node.func.value, r"\{[^}]*\}")
    return [None]


def _template(node: ast.expr, hole: str) -> list[str | None]:
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return [None]
    return [part for text in re.split(hole, node.value) for part in (text, None)][:-1]


def longest(texts: list[str | None]) -> str:
    """The longest part of one line that never changes."""
    joined = "".join("\n" if text is None else text for text in texts)
    return max((" ".join(text.split(" ")).strip() for text in joined.split("\n")), key=len, default="")


def raised(source: str) -> Iterator[str]:
    """Yield the kept text of each message of a Python file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            yield longest(parts(node.exc.args[0]))
        elif isinstance(node, ast.Assert) and node.msg is not None:
            yield longest(parts(node.msg))


def compiled(data: bytes) -> Iterator[str]:
    """Yield the texts of a compiled library that read like a message."""
    for found in re.findall(rb"[\x20-\x7e]{20,200}", data):
        text = found.decode()
        letters = sum(one.isalpha() for one in text)
        if SENTENCE.fullmatch(text) and letters > 0.6 * len(text) and "::" not in text:
            yield text.strip()


def kept(text: str) -> str:
    """`text` cut at a word; empty where it is too short to be anyone's in particular."""
    if len(text) > MOST_CHARACTERS:
        text = text[:MOST_CHARACTERS].rsplit(" ", 1)[0]
    words = re.findall(r"[A-Za-z]\w*", text)
    told = [word for word in words if GENERIC.fullmatch(word) is None]
    names = [word for word in told if RULE.fullmatch(word) is None]
    named = len(names) >= LEAST_TELLING or any("_" in word for word in names)
    telling = len(text) >= LEAST_CHARACTERS and len(words) >= LEAST_WORDS and len(told) >= LEAST_TELLING and named
    return text if telling and not ANYONES.search(text) else ""


def files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of what a wheel, or a folder that was made of one, holds of code."""
    if path.is_dir():
        for file in sorted(path.glob("*/**/*")):
            if file.suffix in (".py", ".so"):
                yield str(file.relative_to(path)), file.read_bytes()
        return
    with zipfile.ZipFile(path) as wheel:
        for name in sorted(wheel.namelist()):
            if name.endswith(".py") or (name.startswith("vllm/") and name.endswith(".so")):
                yield name, wheel.read(name)


def main(paths: list[str]) -> None:
    """Write the file."""
    texts: dict[str, set[str]] = defaultdict(set)
    libraries: dict[str, set[str]] = defaultdict(set)
    for path in map(Path, paths):
        for name, data in files(path):
            if NO_START.search(name):
                continue
            if name.endswith(".so"):
                library = str(PurePosixPath(name).parent / PurePosixPath(name).name.split(".")[0])
                found = {text for one in compiled(data) if (text := kept(one))}
                libraries[library.removesuffix("_stable_libtorch")] |= found
            else:
                texts[MODELS.sub(r"\1", name)] |= {text for one in raised(data.decode()) if (text := kept(one))}
    shared = {text for text in set().union(*libraries.values()) if sum(text in one for one in libraries.values()) > 2}
    known = set().union(*texts.values())
    for library, found in libraries.items():
        texts[library] |= found - shared - known
    rows = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(chr(10).join(sorted(found)), ensure_ascii=False)}"
        for name, found in sorted(texts.items())
        if found
    )
    names = [match[0] for path in paths if (match := re.search(r"[\w.]*-?\d+\.\d+\.\d+", Path(path).name))]
    named = ", ".join(name if name[0].isalpha() else f"vllm-{name}" for name in names)
    source = f"raise and assert statements and compiled texts of the wheels {named}"
    provenance = {"basis": "exact", "source": source}
    OUT.write_text(f'{{\n"schema_version": 1,\n"provenance": {json.dumps(provenance)},\n"texts": {{\n{rows}\n}}\n}}\n')


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", nargs="+", metavar="WHEEL_OR_FOLDER")
    main(parser.parse_args().wheels)
