"""HTTP to one OpenAI-compatible server, with deadlines; it never logs, and never shows the API key.

Every way in which a server can misbehave (refuse, hang, answer slowly, break off, answer nonsense) becomes a
:class:`Failed` with one sentence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from hw_specs.errors import shown
from hw_specs.parsing import BadJson, parse_json
from planner.errors import InvalidRequest
from planner.rendering.address import check_host
from planner.rendering.secrets import API_KEY
from planner.serve.check import Failed
from planner.serve.http_client import Unanswered, ask, open_answer


def brief(text: str, characters: int = 200) -> str:
    """Return foreign text as one printable line of about `characters` at most."""
    return shown(text, characters=characters)


def normal_url(url: str) -> str:
    """Return ``http://host:port`` for what people type: with or without scheme, slash or ``/v1``.

    Raises:
        InvalidRequest: for anything that is not an HTTP address, and for one that holds a password.

    >>> normal_url("127.0.0.1:8000/v1/")
    'http://127.0.0.1:8000'
    """
    text = url.strip()
    scheme, mark, rest = text.partition("://")
    rest = (rest if mark else text).rstrip("/").removesuffix("/v1").rstrip("/")
    text = f"{scheme if mark else 'http'}://{rest}"
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        # What a resolver would choke on: empty or overlong labels, marks that no name has.
        usable = usable and bool(check_host((parts.hostname or "").encode("idna").decode("ascii")))
    except (ValueError, InvalidRequest):
        usable = False
    if not usable or any(one.isspace() for one in text):
        raise InvalidRequest("url", f"`{shown(url)}` is not the address of a server", hint="try http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise InvalidRequest(
            "url", "the address holds a user name or password", hint=f"set {API_KEY} in the environment instead"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A complete answer."""

    status: int
    text: str
    duration_s: float

    @property
    def document(self) -> object:
        """The JSON of the answer.

        Raises:
            Failed: when it is none.
        """
        try:
            return parse_json(self.text, constants=True)
        except BadJson as error:
            raise Failed(f"answered {self.status} with something that is not JSON: {brief(self.text, 80)!r}") from error

    @property
    def error_message(self) -> str:
        """The server's own words about what was wrong, or the start of the body."""
        try:
            document = parse_json(self.text)
        except BadJson:
            return brief(self.text)
        for path in (("error", "message"), ("message",), ("detail",)):
            found = document
            for key in path:
                found = found.get(key) if isinstance(found, dict) else None
            if isinstance(found, str) and found.strip():
                return brief(found)
        return brief(self.text)

    def expect_ok(self) -> object:
        """Return the JSON of a 200 answer.

        Raises:
            Failed: for any other status, with the server's words.
        """
        if self.status != 200:
            raise Failed(f"answered {self.status}: {self.error_message}", hint_for(self.status, self.text))
        return self.document


def hint_for(status: int, text: str) -> str:
    """Return the cure of a known refusal, or an empty string."""
    if "get_lark_from_jinja" in text:
        return "this vLLM cannot chat with mistral_common 1.13 or newer: pip install 'mistral_common[image]==1.12.0'"
    if "chat_template" in text and "Mistral" in text:
        return "leave chat_template_kwargs out: Mistral's tokenizer makes the prompt itself"
    if status == 401:
        return f"set {API_KEY} to the server's key"
    return ""


class Server:
    """One server under test.

    Args:
        base_url: as :func:`normal_url` returns it.
        api_key: sent as bearer token; None sends nothing.
        timeout_s: longest wait for one complete answer.
    """

    def __init__(self, base_url: str, *, api_key: str | None, timeout_s: float) -> None:
        self.base_url = base_url
        self.timeout_s = timeout_s
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def get(self, path: str) -> Reply:
        """Fetch `path`."""
        return self._whole("GET", path, None, self.timeout_s)

    def post(self, path: str, body: object, *, timeout_s: float | None = None) -> Reply:
        """Send `body` as JSON to `path` and wait for the complete answer."""
        return self._whole("POST", path, body, timeout_s or self.timeout_s)

    def _whole(self, method: str, path: str, body: object, timeout_s: float) -> Reply:
        try:
            answer = ask(method, self.base_url + path, body=body, headers=self._headers, timeout_s=timeout_s)
        except Unanswered as fault:
            raise _failed(fault) from fault
        return Reply(status=answer.status, text=answer.text, duration_s=answer.duration_s)

    def stream(self, path: str, body: object) -> Iterator[object]:
        """Send `body` and yield the JSON of each server-sent event; ends at ``[DONE]``.

        Raises:
            Failed: when the stream breaks off before ``[DONE]``, or holds an error or nonsense.
        """
        try:
            with open_answer(
                "POST", self.base_url + path, body=body, headers=self._headers, timeout_s=self.timeout_s
            ) as answer:
                if answer.status != 200:
                    text = answer.read().decode(errors="replace")
                    Reply(status=answer.status, text=text, duration_s=0.0).expect_ok()
                for line in answer.lines():
                    payload = line.removeprefix("data:").strip()
                    if not line.startswith("data:"):
                        continue
                    if payload == "[DONE]":
                        return
                    yield _event(payload)
        except Unanswered as fault:
            raise _failed(fault) from fault
        raise Failed("the stream broke off before [DONE]")


def _event(payload: str) -> object:
    try:
        event = parse_json(payload, constants=True)
    except BadJson as error:
        raise Failed(f"the stream holds something that is not JSON: {brief(payload, 80)!r}") from error
    if isinstance(event, dict) and "error" in event:
        raise Failed(f"the stream ends in an error: {brief(json.dumps(event['error']))}")
    return event


def _failed(fault: Unanswered) -> Failed:
    hint = "is the server up, and is this its port?" if fault.kind == "unreachable" else ""
    return Failed(brief(fault.text), hint)


def dig(document: object, *path: str | int) -> object:
    """Return the value at `path` of a JSON document.

    Raises:
        Failed: when the way ends early, naming it.
    """
    found = document
    for step in path:
        try:
            if isinstance(step, int) != isinstance(found, list):
                raise TypeError
            found = found[step]  # type: ignore[index]
        except (TypeError, LookupError) as error:
            way = ".".join(str(one) for one in path)
            raise Failed(f"the answer has no `{way}`: {brief(json.dumps(document), 80)}") from error
    return found
