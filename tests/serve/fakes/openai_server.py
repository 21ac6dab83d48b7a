"""A small OpenAI-compatible server that behaves like vLLM, and misbehaves on request.

For what a real engine cannot be made to do: break off in the middle of a stream, answer 500 or nonsense, dawdle,
serve the wrong thing. Without a fault every check passes, so that one fault shows in one place.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from planner.serve.verification.word_problems import word_problems

from .words import ANSWERS, GARBAGE, choices_of, colour_of, logprobs

MODEL = "mistralai/Mistral-Medium-3.5-128B"
LIMIT = 4096
CALL = {"name": "get_weather", "arguments": '{"city": "Paris"}'}

METRICS = """# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{{block_size="16",cache_dtype="{dtype}",engine="0",num_gpu_blocks="1000",odd="a\\"b,c}}"}} 1.0
vllm:spec_decode_num_draft_tokens_total{{engine="0"}} {drafted}
vllm:spec_decode_num_accepted_tokens_total{{engine="0"}} {accepted}
vllm:time_to_first_token_seconds_sum NaN
vllm:num_requests_running{{engine="0"}} {running}
vllm:kv_cache_usage_perc{{engine="0"}} {held}
"""


@dataclass
class Made:
    """An answer before it is sent, whole or as a stream."""

    message: dict[str, Any]
    finish: str
    prompt_tokens: int
    tokens: list[dict[str, Any]] | None


Spoil = Callable[[Made, dict[str, Any]], None]
"""Changes an answer to a request."""


class FakeServer(ThreadingHTTPServer):
    daemon_threads = True
    # Connections that a client left open must not hold up the end of a test.
    block_on_close = False
    request_queue_size = 128

    def __init__(self, fault: str, api_key: str | None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.fault = fault
        self.api_key = api_key
        self.drafts = 0
        self.told_long = False
        self.paths: list[str] = []
        self.closing = threading.Event()
        self.spoil: Spoil | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up on purpose here."""


@contextmanager
def fake_server(fault: str = "", *, api_key: str | None = None, spoil: Spoil | None = None) -> Iterator[FakeServer]:
    server = FakeServer(fault, api_key)
    server.spoil = spoil
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def log_message(self, *_: object) -> None:
        pass

    def send(self, status: int, document: object, *, kind: str = "application/json") -> None:
        data = document.encode() if isinstance(document, str) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, message: str, status: int = 400) -> None:
        self.send(status, {"error": {"message": message, "type": "BadRequestError", "code": status}})

    def admitted(self) -> bool:
        self.server.paths.append(self.path)
        key = self.server.api_key
        if key and self.path.startswith("/v1") and self.headers.get("Authorization") != f"Bearer {key}":
            self.refuse("Unauthorized", 401)
            return False
        return True

    def do_GET(self) -> None:
        fault = self.server.fault
        if not self.admitted():
            return
        if self.path == "/health":
            if fault == "health-500":
                self.send(500, "")
            elif fault == "redirect":
                self.send_response(302)
                self.send_header("Location", "http://192.0.2.1/")
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.send(200, "")
        elif self.path == "/version" and fault != "no-version":
            self.send(200, {"version": "0.33.0"})
        elif self.path == "/v1/models":
            self.send(200, self.models())
        elif self.path == "/metrics" and fault != "no-metrics":
            accepted = 0 if fault == "draft-rejected" else self.server.drafts
            dtype = "fp8" if fault == "fp8-cache" else "auto"
            running = 1 if fault == "never-freed" and self.server.told_long else 0
            held = 0.3 if fault == "leaks" and self.server.told_long else 0.0
            text = METRICS.format(
                dtype=dtype, drafted=self.server.drafts, accepted=accepted, running=running, held=held
            )
            if fault == "no-draft":
                text = "\n".join(line for line in text.splitlines() if "spec_decode" not in line)
            self.send(200, "http_requests_total 3.0\n" if fault == "no-figures" else text, kind="text/plain")
        else:
            self.send(404, {"detail": "Not Found"})

    def models(self) -> object:
        fault = self.server.fault
        if fault == "no-models":
            return {"object": "list", "data": []}
        name = "other/model" if fault == "other-model" else MODEL
        limits = {"short": 2048, "boundless": 99_999_999_999_999}
        served = {"id": name, "root": "/models/m", "max_model_len": limits.get(fault, LIMIT)}
        beside = {"aliased": [served | {"id": "m"}], "misrouted": [served | {"id": "other/model", "root": "/models/o"}]}
        return {"object": "list", "data": [*beside.get(fault, ()), served]}

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.admitted():
            return
        words = sum(len(str(message.get("content")).split()) for message in body.get("messages", []))
        if self.path == "/tokenize":
            self.send(200, {"count": words + 10})
        elif self.path == "/v1/chat/completions":
            self.chat(body, words)
        else:
            self.send(404, {"detail": "Not Found"})

    def chat(self, body: dict[str, Any], words: int) -> None:
        fault = self.server.fault
        content = body["messages"][-1]["content"]
        effort = body.get("reasoning_effort")
        image = isinstance(content, list)
        if fault == "chat-500":
            return self.refuse("Internal Server Error", 500)
        if fault == "jinja":
            return self.refuse("GrammarFactory.get_lark_from_jinja() missing 1 required positional argument")
        if fault == "nonsense":
            return self.send(200, "<html>\x1b[31mwelcome\x07</html>", kind="text/html")
        if fault == "empty-object":
            return self.send(200, {})
        if fault == "list":
            return self.send(200, [1, 2])
        if fault == "hang":
            self.server.closing.wait(20)
            return None
        if fault == "drip":
            return self.drip()
        if fault == "half-body":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            return None
        if effort not in (None, "none", "high") and fault != "any-effort":
            return self.refuse("no such thing" if fault == "mute-effort" else f"reasoning_effort={effort} is unknown")
        if words + 10 > LIMIT and fault != "any-length":
            if fault == "too-long-500":
                return self.refuse("oom", 500)
            return self.refuse("no" if fault == "mute-length" else f"maximum context length is {LIMIT} tokens")
        if image and fault in ("text-only", "mute-image"):
            return self.refuse("no" if fault == "mute-image" else "At most 0 image(s) may be provided in one prompt.")
        if fault == "one-in-eight" and "number 5." in str(content):
            return self.refuse("Internal Server Error", 500)
        self.server.drafts += 3
        message, finish = self.message(body, effort, image)
        finish = self.cut(message, body, finish)
        said = body["max_tokens"] if fault == "never-ends" else max(1, len(str(message["content"]).split()))
        tokens = logprobs(str(message["content"]), fault) if body.get("logprobs") else None
        made = Made(message, finish, words + 10, tokens)
        if self.server.spoil is not None:
            self.server.spoil(made, body)
        message, finish, prompt = made.message, made.finish, made.prompt_tokens
        if body.get("stream"):
            return self.stream(message, finish)
        usage = {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}
        if fault == "wrong-usage":
            usage["total_tokens"] += 1
        choice: dict[str, Any] = {"message": message, "finish_reason": finish}
        if made.tokens is not None:
            choice["logprobs"] = {"content": made.tokens}
        name = {"misrouted": "other/model", "aliased": "m"}.get(fault, body["model"])
        return self.send(200, {"model": name, "choices": choices_of(choice, body, fault), "usage": usage})

    def cut(self, message: dict[str, Any], body: dict[str, Any], finish: str) -> str:
        """Keep to `max_tokens`, a word each, and `stop`; return why the answer ends."""
        fault, content = self.server.fault, message["content"]
        if not isinstance(content, str) or fault in GARBAGE:
            return finish
        if fault in ("never-ends", "babbles"):
            return "length"
        if fault == "aborted":
            return "abort"
        for word in body.get("stop", ()) if fault != "no-stop" else ():
            content = content.split(word)[0]
        words = re.findall(r"\s*\S+", content)
        if len(words) > body["max_tokens"] and fault != "no-limit":
            content, finish = "".join(words[: body["max_tokens"]]), "length"
        message["content"] = content
        return finish

    def message(self, body: dict[str, Any], effort: str | None, image: bool) -> tuple[dict[str, Any], str]:
        fault = self.server.fault
        message: dict[str, Any] = {"role": "assistant", "content": self.answer(str(body["messages"][-1]["content"]))}
        if fault == "empty":
            message["content"] = ""
        if image:
            colour = "Blue." if fault == "colour-blind" else colour_of(body["messages"][-1]["content"])
            message["content"] = colour if "colour" in str(body["messages"][-1]["content"]) else "HAT"
            if fault == "cannot-read":
                message["content"] = "CAT"
        if effort == "high":
            message["content"] = GARBAGE.get(fault, "It is 391.")
            if fault == "swapped":
                message["content"], message["reasoning"] = "Let me think.", "It is 391."
                return message, "stop"
            if fault == "raw-trace":
                message["content"] = "[THINK]hm[/THINK]Hello."
            elif fault == "old-field":
                message["reasoning_content"] = "hm"
            elif fault != "no-trace":
                message["reasoning"] = "hm"
        if effort == "none" and fault == "always-thinks":
            message["reasoning"] = "hm"
        if body.get("tools") and body["messages"][-1]["role"] != "tool":
            call = dict(CALL)
            if fault == "no-tool" or (fault == "never-required" and body.get("tool_choice") == "required"):
                return message, "stop"
            if fault in GARBAGE:
                return message, "stop"
            if fault == "wrong-tool":
                call["name"] = "rm"
            if fault == "bad-arguments":
                call["arguments"] = '{"city": "Par'
            if fault == "wrong-arguments":
                call["arguments"] = '{"town": 3}'
            message["content"] = None
            message["tool_calls"] = [{"id": "abcdefghi", "type": "function", "function": call}]
            if "Rome" in str(body["messages"][-1]["content"]) and fault != "one-call":
                second = call if fault == "twice-paris" else {**call, "arguments": '{"city": "Rome"}'}
                number = "abcdefghi" if fault == "shared-id" else "abcdefghj"
                message["tool_calls"].append({"id": number, "type": "function", "function": second})
            return message, "stop" if fault == "finish-stop" else "tool_calls"
        return message, "stop"

    def answer(self, question: str) -> str:
        fault = self.server.fault
        self.server.told_long = self.server.told_long or "Count from 1" in question
        if fault in GARBAGE:
            return GARBAGE[fault]
        if fault == "twin":
            return "Hello, I am a twin."
        found = next(((found, say) for words, say in ANSWERS if (found := re.search(words, question))), None)
        known = found[1](found[0]) if found is not None else "Hello."
        if "Solve step by step" in question:
            problem = question.split("\n")[0]
            place = next(place for place, one in enumerate(word_problems()) if one.text == problem)
            off = (fault == "poor-at-sums" and place % 5 == 0) or (fault == "slips" and place == 3)
            known = f"Step by step.\nAnswer: {word_problems()[place].answer + off}"
        if fault == "forgetful" and "cabinet" in question:
            return "1234"
        if fault == "dull":
            return "Hello."
        if fault == "decays" and "every number" in question:
            return known.replace(" 40 41 42 ", " 40 40 82 ")
        if fault == "leaves-out" and "every number" in question:
            return "1 2 3 ... 100"
        if fault == "babbles" and "every number" in question:
            return "Well, that would be a rather long list, and who would ever read it?"
        if fault == "cross-talk" and "Repeat this" in question:
            return "4100"
        if fault == "fickle":
            self.server.drafts += 2
            return f"{('Yes', 'No', 'Maybe', 'Never')[self.server.drafts % 4]}, {known}"
        return known

    def stream(self, message: dict[str, Any], finish: str) -> None:
        fault = self.server.fault
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()

        def event(payload: object) -> None:
            text = payload if isinstance(payload, str) else json.dumps(payload)
            self.wfile.write(f"data: {text}\n\n".encode())

        def delta(**values: object) -> dict[str, object]:
            return {"choices": [{"delta": values, "finish_reason": None}]}

        event(delta(role="assistant", content=""))
        if "reasoning" in message:
            event(delta(reasoning=message["reasoning"]))
        if fault == "stream-error":
            event({"error": {"message": "EngineCore encountered an issue", "code": 500}})
        if fault == "stream-nonsense":
            event("{oops")
        if fault == "stream-breaks":
            return
        if fault == "stream-stalls":
            self.wfile.flush()
            self.server.closing.wait(20)
            return
        for call in message.get("tool_calls", []):
            half = len(call["function"]["arguments"]) // 2
            first, second = call["function"]["arguments"][:half], call["function"]["arguments"][half:]
            event(delta(tool_calls=[{"index": 0, "function": {"name": call["function"]["name"], "arguments": first}}]))
            event(delta(tool_calls=[{"index": 0, "function": {"arguments": second}}]))
        content = message["content"] or ""
        if fault == "stream-doubled":
            content = "".join(2 * letter for letter in content)
        if fault == "stream-cut":
            content = content[: len(content) // 2]
        for piece in re.findall(r"\s*\S+", content) if fault != "stream-empty" else ():
            time.sleep(0 if fault == "stream-held" else 0.0005)
            event(delta(content=piece))
        end = delta()
        if fault != "stream-endless":
            end["choices"][0]["finish_reason"] = finish  # type: ignore[index]
        event(end)
        if fault != "stream-uncounted":
            made = len(content.split()) or 4
            # Held back: more than anything makes in the time a busy machine reads them.
            made = {"stream-held": 1000 * made, "stream-miscounts": made + 1}.get(fault, made)
            event({"choices": [], "usage": {"completion_tokens": made}})
        event("[DONE]")

    def drip(self) -> None:
        """One byte at a time: every single read is quick, the whole never ends."""
        self.send_response(200)
        self.end_headers()
        while not self.server.closing.is_set():
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.02)
