"""From the servers of an artefact to findings and verdicts: every rule on every server."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from hw_specs.spec import GpuSet
from planner.facts.review import KnownModel
from planner.planning.request import planned_flags
from planner.review.case import Case
from planner.review.findings import SEVERITIES, Finding, Review, ServerReview, Stopper, Verdict, finding
from planner.review.memory import Memory, judge_memory
from planner.review.readers.read import Artefact, nothing_beside, read
from planner.review.rules import container, draft, environment, flags, host, model, network, start, together
from planner.review.rules import memory as memory_rules
from planner.review.server import Server
from planner.review.text import Source, Text

__all__ = ["review"]

_GIVEN_BY_THE_PLATFORM = re.compile(r"^(SKYPILOT|DSTACK|SLURM|LWS|RAY|PMI|OMPI)_")


def review(
    text: str,
    *,
    name: str = "",
    gpus: GpuSet | None = None,
    vllm_version: str | None = None,
    beside: Callable[[str], str | None] = nothing_beside,
    described: KnownModel | None = None,
) -> Review:
    """Judge every vLLM server that `text` describes.

    Args:
        text: a command, a script, a manifest, a unit …; whatever it is, it is read and never run.
        name: the file's name; its ending decides where the text alone does not.
        gpus: the GPUs of one machine, where the artefact does not say them.
        vllm_version: the release, where no image tag says it.
        beside: returns the text of another file that `text` names, or None.
        described: what the configuration of the model at hand says, where no plan describes it.

    >>> review("vllm serve mistralai/Mistral-Medium-3.5-128B --enable-mm").findings[0].code
    'flag-abbreviated'
    """
    source = Source(text, name)
    artefact = read(source, beside)
    local = [one for one in artefact.servers if one.platform in ("shell", "docker", "compose", "systemd", "python")]
    judged: list[ServerReview] = []
    cases: list[Case] = []
    for server in artefact.servers:
        case = Case(
            server=server,
            machine=gpus,
            asked_version=vllm_version,
            described=described,
            alone=len(local) < 2,
            script=artefact.kind != "vllm serve line",
        )
        # A page shows servers side by side that nobody starts together.
        aside = artefact.kind == "Markdown"
        judged.append(_judged(case, source, [] if aside else cases))
        cases.append(case)
    findings = [*_of_file(artefact), *(found for one in judged for found in one.findings)]
    placed = sorted((_placed(one, source) for one in findings), key=_order)
    return Review(name=name, kind=artefact.kind, text=text, servers=tuple(judged), findings=tuple(_once(placed)))


def _judged(case: Case, source: Source, before: list[Case]) -> ServerReview:
    server = case.server
    memory = judge_memory(case)
    refusals = [*flags.find(case, source), *start.find(case, memory, source), *draft.find(case)]
    found = [
        *refusals,
        *(one for one in memory_rules.find(case, memory, source) if not _said(one, refusals, server)),
        *model.find(case, source),
        *container.find(case, source),
        *host.find(case, memory),
        *environment.find(case, source),
        *network.find(case),
        *together.find(case, before, source),
        *_open_questions(case),
    ]
    verdict, stopped_by, reason = _verdict(memory, found)
    title = " ".join(part for part in (server.kind, server.name) if part)
    placed = tuple(sorted((_placed(one, source, title) for one in found), key=_order))
    plan = memory.plan
    return ServerReview(
        kind=server.kind,
        name=server.name,
        line=source.place(server.at.start)[0],
        verdict=verdict,
        stopped_by=stopped_by,
        reason=reason,
        model=case.model_name,
        vllm_version=case.version,
        judged_as=plan.rules_version if plan is not None else None,
        gpus=str(case.gpus) if case.gpus is not None else None,
        plan=plan,
        findings=placed,
    )


def _said(one: Finding, before: list[Finding], server: Server) -> bool:
    """Whether a refusal by the plan only repeats what is known of the same option."""
    if one.code != "refused":
        return False
    option = next((option for option in server.options if option.typed == one.at), None)
    places = [option.typed, option.value] if option is not None else []
    return any(found.stops and found.at in places for found in before)


def _verdict(memory: Memory, found: list[Finding]) -> tuple[Verdict, Stopper | None, str]:
    """What stops a start decides; without that, the memory."""
    if memory.verdict == "does-not-fit" and not memory.refused:
        return "does-not-fit", "memory", memory.reason
    stopping = next((one for one in found if one.stops), None)
    if stopping is not None:
        return "does-not-fit", "setting", stopping.message
    if memory.refused:
        return "does-not-fit", "setting", memory.reason
    return memory.verdict, None, memory.reason


def _open_questions(case: Case) -> list[Finding]:
    """What a person must say before more can be judged."""
    server = case.server
    found = []

    def ask(message: str, at: Text, cure: str = "put it in its place") -> None:
        found.append(finding("not-known", message, at, cure=cure))

    for word in server.arguments.open_ended:
        ask(f"the arguments in `{', '.join(word.unknown)}` are not known", word, "put them in its place")
    if server.model is not None and case.model_name is None:
        names = ", ".join(server.model.unknown)
        said = f"the model is not known: nothing here gives `{names}` a value"
        ask(said, server.model, "put the model's name in its place, and review again")
    elif server.model is None and server.platform != "kserve" and not server.arguments.open_ended:
        ask("the model is not known: no argument names it", server.at, "name the model")
    # Only where the value is all that is missing does it help to ask for it.
    planned = planned_flags() if case.model is not None else {}
    for option in server.options:
        unknown = option.value.unknown if option.value is not None and option.name in planned else ()
        if option.value is None or option.name == "model" or all(map(_GIVEN_BY_THE_PLATFORM.match, unknown)):
            continue
        ask(f"the value of --{option.name} is not known: `{', '.join(unknown)}`", option.value)
    for at, what in server.asked:
        ask(f"{what} are not at hand", at, "review that file, too")
    return found


def _of_file(artefact: Artefact) -> list[Finding]:
    found = [finding("unreadable", problem.reason, Text("", (problem.offset,))) for problem in artefact.unreadable]
    for at, what in artefact.asked if not artefact.servers else ():
        found.append(finding("no-server", f"no server found: {what}", at, cure="review what it builds"))
    if artefact.templates:
        first = artefact.templates[0]
        said = f"`{first.value[:40]}` is a template: its value is not known"
        found.append(finding("template", said, first, cure="render it, and review what comes out"))
    elif not artefact.servers and not artefact.asked and not artefact.unreadable:
        found.append(finding("no-server", "no vLLM server found in this text", Text("", (0,))))
    if artefact.restarts is not None:
        said = "Restart=always without a pause worth its name restarts a failing server forever"
        cure = "Restart=on-failure, RestartSec=30 and StartLimitBurst=3"
        found.append(finding("restart-loop", said, artefact.restarts, cure=cure))
    return found


def _placed(one: Finding, source: Source, server: str = "") -> Finding:
    line, column = source.place(one.at.start)
    end_line = source.place(max(one.at.start, one.at.end - 1))[0] if one.at.verbatim else line
    return dataclasses.replace(one, line=line, column=column, end_line=max(line, end_line), server=one.server or server)


def _order(one: Finding) -> tuple[int, int, int, str]:
    return one.line, one.column, SEVERITIES.index(one.severity), one.code


def _once(findings: list[Finding]) -> list[Finding]:
    """The same words about the same place once, however many servers share it."""
    seen: set[tuple[str, str, int]] = set()
    kept = []
    for one in findings:
        key = (one.code, one.message, one.at.start)
        if key not in seen:
            seen.add(key)
            kept.append(one)
    return kept
