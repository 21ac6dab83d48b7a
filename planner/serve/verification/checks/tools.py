"""Tool calls: chosen by the model, forced, streamed, and the answer after a result."""

from __future__ import annotations

import json
import re

from hw_specs.parsing import BadJson, parse_json
from planner.serve.check import Doubtful, Failed
from planner.serve.verification.checks.knowledge import knows, must_know
from planner.serve.verification.checks.probe import CHAT, Answer, Probe, text_of
from planner.serve.verification.checks.sanity import BROKEN_HINT, must_be_sane
from planner.serve.verification.checks.server import brief, dig

QUESTION = "What is the weather in Paris right now? Use the tool."
TWO = "What is the weather in Paris, and what is it in Rome? Use the tool once for each of the two, at once."
TOOL_TOKENS = 256
TOOL = "get_weather"
TOOLS: list[object] = [
    {
        "type": "function",
        "function": {
            "name": TOOL,
            "description": "Tell the current weather in a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "name of the city"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]
CALL_MARKS = ("[TOOL_CALLS]", "<tool_call>", "<|python_tag|>")
"""How models write calls that a parser takes out of the text."""
PARSER_HINT = "start the server with --enable-auto-tool-choice --tool-call-parser mistral"


def tool_auto(probe: Probe) -> str:
    """Offered a tool that fits, the model calls it."""
    answer = probe.chat(QUESTION, max_tokens=TOOL_TOKENS, tools=TOOLS, tool_choice="auto")
    call = _call(answer, city="Paris")
    if answer.finish_reason != "tool_calls":
        raise Failed(f"{call}, but finish_reason is {answer.finish_reason or 'none'!r}, not 'tool_calls'")
    return call


def tool_forced(probe: Probe) -> str:
    """A named tool is called even where nothing asks for it."""
    choice = {"type": "function", "function": {"name": TOOL}}
    return _call(probe.chat("Say hello.", max_tokens=TOOL_TOKENS, tools=TOOLS, tool_choice=choice))


def tool_required(probe: Probe) -> str:
    """Where a call is required, one comes."""
    return _call(probe.chat(QUESTION, max_tokens=TOOL_TOKENS, tools=TOOLS, tool_choice="required"), city="Paris")


def tool_parallel(probe: Probe) -> str:
    """Asked for two things at once, two whole calls come, each its own."""
    must_know(probe)
    answer = probe.chat(TWO, max_tokens=TOOL_TOKENS, tools=TOOLS, tool_choice="auto", parallel_tool_calls=True)
    calls = answer.message.get("tool_calls")
    if not isinstance(calls, list) or not calls:
        raise Failed(f"no tool call, content {brief(answer.content, 60)!r}", PARSER_HINT)
    cities = {_city(call) for call in calls}
    if len(calls) == 1:
        raise Doubtful(
            f"one call at a time: {', '.join(sorted(cities))}", "ask again with its result; clients mostly do"
        )
    if len({text_of(dig(call, "id")) for call in calls}) != len(calls):
        raise Failed(f"{len(calls)} calls share an id, so their results cannot be told apart", PARSER_HINT)
    if len(cities) != len(calls):
        raise Failed(f"{len(calls)} calls for the same city: {', '.join(sorted(cities))}", PARSER_HINT)
    return f"{len(calls)} calls: {', '.join(sorted(cities))}"


def tool_stream(probe: Probe) -> str:
    """Streamed, the pieces of a call make one whole call."""
    body = probe.body(QUESTION, max_tokens=TOOL_TOKENS, tools=TOOLS, tool_choice="auto", stream=True)
    name = arguments = content = finish = ""
    for event in probe.server.stream(CHAT, body):
        choices = dig(event, "choices")
        if not isinstance(choices, list) or not choices:
            continue
        finish = text_of(dig(choices[0], "finish_reason")) or finish
        delta = dig(choices[0], "delta")
        if not isinstance(delta, dict):
            continue
        content += text_of(delta.get("content"))
        for part in delta.get("tool_calls") or []:
            function = dig(part, "function")
            if dig(part, "index") == 0 and isinstance(function, dict):
                name += text_of(function.get("name"))
                arguments += text_of(function.get("arguments"))
    if not name:
        must_be_sane(content)
        raise Failed(f"no tool call in the stream, content {brief(content, 60)!r}", PARSER_HINT)
    call = _described(_checked(name, arguments))
    if finish != "tool_calls":
        raise Failed(f"{call}, but the stream's finish_reason is {brief(finish or 'none', 20)!r}, not 'tool_calls'")
    return call


def tool_result(probe: Probe) -> str:
    """Given a tool's result, the model answers in words."""
    call_id = "m35check1"  # Mistral's format allows nine letters and digits
    call = {"id": call_id, "type": "function", "function": {"name": TOOL, "arguments": '{"city": "Paris"}'}}
    body = probe.body(QUESTION, max_tokens=TOOL_TOKENS, tools=TOOLS)
    body["messages"] = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": '{"sky": "sunny", "celsius": 21}'},
    ]
    answer = Answer.of(probe.server.post(CHAT, body))
    must_be_sane(answer.content)
    if not answer.content.strip():
        raise Failed(f"no words after the tool's result (finish_reason {answer.finish_reason or 'none'})")
    if not re.search(r"21|sun|twenty", answer.content, re.IGNORECASE) and knows(probe):
        raise Failed(f"the tool said sunny and 21 degrees, the answer {brief(answer.content, 60)!r}", BROKEN_HINT)
    return f"{brief(answer.content, 60)!r}"


def _call(answer: Answer, *, city: str = "") -> str:
    calls = answer.message.get("tool_calls")
    if not isinstance(calls, list) or not calls:
        raise Failed(f"no tool call, content {brief(answer.content, 60)!r}", PARSER_HINT)
    if mark := next((one for one in CALL_MARKS if one in answer.content), ""):
        raise Failed(f"beside the call the content holds a raw {mark}: {brief(answer.content, 60)!r}", PARSER_HINT)
    arguments = _arguments(calls[0])
    if city.lower() not in str(arguments["city"]).lower():
        raise Failed(f"asked for {city}, called {_described(arguments)}")
    if text_of(dig(calls[0], "type")) != "function" or not text_of(dig(calls[0], "id")):
        raise Failed(f"the call lacks its id or its type `function`: {brief(json.dumps(calls[0]), 80)}")
    if set(arguments) != {"city"}:
        raise Doubtful(
            f"arguments that the schema does not allow: {_described(arguments)}", "`strict: true` in the tool"
        )
    return _described(arguments)


def _arguments(call: object) -> dict[str, object]:
    """The arguments of one call, once they are what was asked for."""
    function = dig(call, "function")
    return _checked(text_of(dig(function, "name")), text_of(dig(function, "arguments")))


def _city(call: object) -> str:
    return str(_arguments(call)["city"])


def _checked(name: str, arguments: str) -> dict[str, object]:
    if name != TOOL:
        raise Failed(f"called {brief(name, 60)!r}, expected {TOOL!r}")
    try:
        values = parse_json(arguments)
    except BadJson as error:
        raise Failed(f"the arguments are not JSON: {brief(arguments, 60)!r}") from error
    if not isinstance(values, dict) or not isinstance(values.get("city"), str):
        raise Failed(f"the arguments lack a text `city`: {brief(arguments, 60)!r}")
    return values


def _described(arguments: dict[str, object]) -> str:
    return f"{TOOL}({brief(json.dumps(arguments), 60)})"
