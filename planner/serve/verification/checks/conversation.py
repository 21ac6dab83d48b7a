"""That a conversation is read whole, and that what a request asks of sampling is done."""

from __future__ import annotations

from planner.serve.check import Failed, Skipped
from planner.serve.verification.checks.knowledge import must_know
from planner.serve.verification.checks.probe import CHAT, Answer, Probe, text_of
from planner.serve.verification.checks.sanity import must_be_sane
from planner.serve.verification.checks.server import brief, dig

SYSTEM_CODE, USER_CODE = "5187", "6204"
TURNS = (
    ("system", f"You are a helpful assistant. The code of the green cabinet is {SYSTEM_CODE}."),
    ("user", f"The number of my locker is {USER_CODE}. Remember it."),
    ("assistant", "I will remember it."),
    ("user", "What is the code of the green cabinet, and what is the number of my locker? Answer with both numbers."),
)
TEMPLATE_HINT = (
    "the prompt leaves them out: the chat template of this checkpoint (`--chat-template`), `--tokenizer-mode mistral`, "
    "or what stands before the server"
)
INVENT = "Invent a name for a harbour town, and describe the town in two sentences."
ANSWERS = 4
"""That many long ones are not the same by chance."""


def conversation(probe: Probe) -> str:
    """The system message and earlier turns are read: each holds a number that the question asks for."""
    must_know(probe)
    body = probe.body("")
    body["messages"] = [{"role": role, "content": content} for role, content in TURNS]
    reply = probe.server.post(CHAT, body)
    if reply.status == 400 and "system" in reply.text.lower():
        raise Skipped(f"this model takes no system message: {reply.error_message}")
    answer = Answer.of(reply).content
    must_be_sane(answer)
    lost = [
        what
        for what, code in (("the system message", SYSTEM_CODE), ("the first turn", USER_CODE))
        if code not in answer
    ]
    if lost:
        said = f"{SYSTEM_CODE} and {USER_CODE} were told, the answer was {brief(answer, 60)!r}"
        raise Failed(f"{' and '.join(lost)} {'is' if len(lost) == 1 else 'are'} not read: {said}", TEMPLATE_HINT)
    return f"{SYSTEM_CODE} of the system message and {USER_CODE} of the first turn"


def sampling(probe: Probe) -> str:
    """Several answers of one request come, and at temperature 1 they differ."""
    must_know(probe)
    body = probe.body(INVENT, n=ANSWERS) | {"temperature": 1.0}
    reply = probe.server.post(CHAT, body)
    if reply.status == 400:
        raise Skipped(f"the server gives one answer to a request: {reply.error_message}")
    choices = dig(reply.expect_ok(), "choices")
    count = len(choices) if isinstance(choices, list) else 0
    if count != ANSWERS:
        raise Failed(f"asked for {ANSWERS} answers (`n`), {count} came", "what stands before the server drops `n`")
    said = {text_of(dig(reply.document, "choices", place, "message", "content")).strip() for place in range(ANSWERS)}
    for one in said:
        must_be_sane(one)
    if len(said) == 1:
        raise Failed(
            f"{ANSWERS} answers at temperature 1 are all {brief(next(iter(said)), 60)!r}",
            "`temperature` is ignored: `--override-generation-config`, top_k in generation_config.json, or what stands "
            "before the server",
        )
    return f"{len(said)} different answers of {ANSWERS}"
