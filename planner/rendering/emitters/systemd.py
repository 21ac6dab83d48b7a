"""A systemd unit for one node; secrets come from a file that only root reads."""

from __future__ import annotations

from hw_specs.errors import shown
from planner.planning.answer import Plan
from planner.rendering.emitters.image import heading, startup_s
from planner.rendering.multi_node import node_commands

SECRETS_FILE = "/etc/m35-plan/secrets.env"


def quoted(word: str) -> str:
    """Quote one word for ``Environment=``, where ``%`` is special.

    >>> quoted('{"a": 5}')
    '"{\\\\"a\\\\": 5}"'
    """
    word = word.replace("%", "%%")
    if word and all(letter.isalnum() or letter in "-_./:=,@%$" for letter in word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def emit(plan: Plan, *, host: str, port: int) -> str:
    """Return the unit of the head node; ``systemctl start`` returns when the process runs, not when it serves."""
    nodes = node_commands(plan, host=host, port=port)
    command = nodes[0].command
    assert command is not None, "the first node is a head"
    environment = "\n".join(f"Environment={quoted(f'{name}={value}')}" for name, value in command.env.items())
    lines = [f"# {line}" for line in heading(plan, "systemd").splitlines()]
    if len(nodes) > 1:
        lines.append(f"# node 0 of {len(nodes)}; the emitter `shell` prints the command of every node")
    lines += [
        f"# HF_TOKEN and VLLM_API_KEY: {SECRETS_FILE}, mode 0600",
        "[Unit]",
        f"Description=vLLM serving {shown(plan.model.name).replace('%', '%%')}",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=exec",
        "User=vllm",
        "StateDirectory=vllm",
        "Environment=HF_HOME=/var/lib/vllm/huggingface",
        *([environment] if environment else []),
        f"EnvironmentFile=-{SECRETS_FILE}",
        f"ExecStart=/usr/bin/env {' '.join(quoted(word.replace('$', '$$')) for word in command.argv)}",
        "Restart=on-failure",
        "RestartSec=10",
        f"TimeoutStartSec={startup_s(plan)}",
        "TimeoutStopSec=60",
        "KillMode=control-group",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "ProtectSystem=full",
        "ProtectHome=yes",
        "LimitMEMLOCK=infinity",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines)
