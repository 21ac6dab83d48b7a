"""Environment variables: secrets in the open, names that are not read, values that stop a start."""

from __future__ import annotations

import re
from collections.abc import Iterator

from planner.facts.review import review_facts, variables
from planner.rendering.secrets import API_KEY, HF_TOKEN, is_secret_name
from planner.review.case import Case
from planner.review.edits import line_before, replaced
from planner.review.findings import Finding, finding
from planner.review.readers.image import serves
from planner.review.server import Variable
from planner.review.text import Source, Text
from planner.settings import DEFAULT_PORT

_DOLLAR = re.compile(r"^\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*(?::?[-+=?][^{}]*)?\})$")


def find(case: Case, source: Source) -> Iterator[Finding]:
    """Yield what the environment gets wrong."""
    yield from _secrets(case)
    for variable in case.server.env.values():
        yield from _one(case, variable, source)
    yield from _own_port(case)
    yield from _slow(case)
    yield from _links(case, source)
    yield from _literals(case)


def _secrets(case: Case) -> Iterator[Finding]:
    for name in ("api-key", "hf-token"):
        option = case.server.option(name)
        if option is not None and option.value is not None and option.value.known and option.value.value:
            if _literal(case, option.value.value):
                continue  # the text of a variable that nothing expands, and no secret
            cure = f"{API_KEY if name == 'api-key' else HF_TOKEN} in the environment, from a secret"
            yield finding("secret-in-command", f"--{name} is in the command in plain text", option.typed, cure=cure)


def _one(case: Case, variable: Variable, source: Source) -> Iterator[Finding]:
    facts, name = review_facts(), variable.name.value
    key = next((key for key, one in case.server.env.items() if one is variable), name)
    value = variable.value
    at = variable.name if variable.name.offsets else (value or variable.name)
    hub = facts.hub_token
    if key in hub.mistaken and not any(other in case.server.env for other in hub.read):
        said = f"{key} is not read by the hub's library: it reads {HF_TOKEN}"
        edits = replaced(variable.name, HF_TOKEN) if variable.name.value == key else ()
        yield finding("hub-token-name", said, at, cure=HF_TOKEN, edits=edits)
    # An instruction of a Dockerfile is expanded when the image is built.
    if value is not None and case.server.platform != "image" and _literal(case, value.value):
        said = f"the value of {key} is the text `{value.value}`: nothing puts a value in its place"
        yield finding("literal-variable", said, value, cure="valueFrom a secret, or $(NAME)")
    elif value is not None and value.known and is_secret_name(key) and not _stands_in(case, key, value.value):
        place = value if not variable.name.offsets else at
        cure = "a reference to a secret, or a variable of the caller's"
        yield finding("secret-in-file", f"{key} is in plain text", place, cure=cure)
    elif value is not None and case.server.platform == "image" and not value.known and is_secret_name(key):
        said, cure = f"{key} stays in the image: whoever has it can read it", "RUN --mount=type=secret, without ENV"
        yield finding("secret-in-file", said, value, cure=cure)
    gone = variables().gone_since(key, case.version)
    if gone is not None:
        said = f"{key} has no effect: vLLM does not read it any more since {gone}"
        yield finding("variable-gone", said, at, cure=f"leave {key} out")
    elif value is not None and value.known:
        yield from _number(key, value, at)
    if variables().unknown(key):
        yield from _unknown(case, key, at, source)


def _number(key: str, value: Text, at: Text) -> Iterator[Finding]:
    text = value.value.strip()
    wanted = variables().not_a_number(key, text)
    if key == "VLLM_PORT" and not text.isdecimal():
        said = f"VLLM_PORT must be a number, not `{text[:40]}`"
        yield finding("variable-stops-start", said, at, stops=True, cure="leave VLLM_PORT out; --port is the server's")
    elif wanted is not None:
        said = f"{key} must be {wanted}, not `{text[:40]}`"
        yield finding("variable-value", said, at, cure=f"{key} as a number (1 for on, 0 for off), or leave it out")


def _unknown(case: Case, key: str, at: Text, source: Source) -> Iterator[Finding]:
    """A name that the engine has in no release, and that nothing else in the text takes up."""
    if re.search(rf"\$[{{(]?{key}\b|(?:environ(?:\.get)?|getenv)\W{{1,4}}{key}\b", source.text):
        return
    near, image = variables().nearest(key), case.server.image
    if near is not None:
        said, cure = f"no release of vLLM has a variable {key}; the nearest one is {near}", f"write {near}"
        yield finding("variable-unknown", said, at, severity="warn", cure=cure)
    elif image is not None and serves(image):
        said = f"no release of vLLM has a variable {key}: nothing reads it"
        yield finding("variable-unknown", said, at, cure=f"leave {key} out")


def _own_port(case: Case) -> Iterator[Finding]:
    """VLLM_PORT is not the port that the server listens at."""
    variable, given = case.server.variable("VLLM_PORT"), case.server.option("port")
    value = variable.value if variable is not None else None
    if value is None or not value.known or not value.value.isdecimal() or case.elsewhere or case.server.entry == "llm":
        return
    port = case.server.text("port") if given is not None else str(DEFAULT_PORT)
    if given is None or port == value.value:
        said = f"VLLM_PORT is for the engine's processes among themselves; the server listens on {port}"
        cure = "leave VLLM_PORT out; --port is the server's"
        yield finding("variable-misread", said, value, cure=cure)


def _slow(case: Case) -> Iterator[Finding]:
    """Ways between GPUs that are switched off."""
    if (case.ranks or 1) < 2:
        return
    for name, values in review_facts().slow_transport.off.items():
        variable = case.server.variable(name)
        value = variable.value if variable is not None else None
        if value is not None and value.known and value.value.strip() in values:
            said = f"{name}={value.value.strip()} makes the GPUs talk over a slower way"
            yield finding("slow-transport", said, value, cure=f"leave {name} out where the faster way works")


def _stands_in(case: Case, name: str, value: str) -> bool:
    """Whether a value is none, or only says where a secret would be; values of a chart are made to hold it."""
    pattern = review_facts().secrets.placeholder
    value = value.strip()
    if not value:
        return True
    a_name = re.fullmatch(r"[A-Z][A-Z_-]+", value) is not None and is_secret_name(value.replace("-", "_"))
    a_name = a_name or (_letters(value) != "" and _letters(name).endswith(_letters(value)))
    return case.server.platform != "helm" and (a_name or re.search(pattern, value) is not None)


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _literal(case: Case, value: str) -> bool:
    return case.server.platform in ("kubernetes", "kserve", "helm", "image") and bool(_DOLLAR.match(value.strip()))


def _links(case: Case, source: Source) -> Iterator[Finding]:
    """A service called vllm makes the cluster set VLLM_PORT to an address."""
    if not case.server.links or "VLLM_PORT" in case.server.env:
        return
    for name in case.server.services:
        if name.value.upper().replace("-", "_") == "VLLM":
            said = f"the service named `{name.value}` puts VLLM_PORT=tcp://… into every pod that starts after it"
            cure, at = (
                "enableServiceLinks: false in the pod, or another name for the service",
                case.server.containers_at,
            )
            edits = line_before(source, at, "containers", "enableServiceLinks: false") if at is not None else ()
            yield finding("variable-stops-start", said, name, stops=True, cure=cure, edits=edits)


def _literals(case: Case) -> Iterator[Finding]:
    """Arguments that no shell sees."""
    server = case.server
    in_image = server.platform == "image"
    cure = (
        "the shell form of the instruction, without brackets"
        if in_image
        else "$(NAME), and NAME in the container's env"
    )
    for text in [server.model, *(one.value for one in server.options)]:
        if text is not None and text.known and text.value and _literal(case, text.value):
            said = f"the argument is the text `{text.value}`: no shell puts a value in its place"
            yield finding("literal-variable", said, text, cure=cure)
