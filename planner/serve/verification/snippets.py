"""How a client talks to the server, as text to paste; it holds no key and sends nothing."""

from __future__ import annotations

import json

CLIENTS = ("curl", "openai")
HELLO = "Say hello in one short sentence."
_CURL = """\
curl {url}/v1/chat/completions \\
  --header "Authorization: Bearer $VLLM_API_KEY" \\
  --json @- <<'EOF'
{body}
EOF"""
_OPENAI = """\
import os

from openai import OpenAI

client = OpenAI(base_url="{url}/v1", api_key=os.environ.get("VLLM_API_KEY", "none"))
answer = client.chat.completions.create(
    model="{model}",
    messages=[{{"role": "user", "content": "{hello}"}}],
    reasoning_effort="none",
)
print(answer.choices[0].message.content)"""


def client_snippet(kind: str, *, base_url: str, model: str) -> str:
    """Return a first request for ``curl`` or the ``openai`` package; the key is read from VLLM_API_KEY.

    Raises:
        ValueError: for another kind.

    >>> print(client_snippet("curl", base_url="http://127.0.0.1:8000", model="m").splitlines()[0])
    curl http://127.0.0.1:8000/v1/chat/completions \\
    """
    if kind == "curl":
        body = {"model": model, "messages": [{"role": "user", "content": HELLO}], "reasoning_effort": "none"}
        return _CURL.format(url=base_url, body=json.dumps(body, indent=2))
    if kind == "openai":
        return _OPENAI.format(url=base_url, model=model, hello=HELLO)
    raise ValueError(f"there is no client `{kind}`")
