"""A systemd unit for one node, or one unit for all of several; secrets come from a file that only root reads."""

from __future__ import annotations

from hw_specs.errors import shown
from planner.planning.answer import Plan
from planner.rendering.emitters.deployment import EVERYWHERE, Deployment
from planner.rendering.emitters.image import heading, in_container, mig_note, pin_note
from planner.rendering.emitters.shell import nodes_of
from planner.rendering.multi_node import BALANCED, HEAD_ADDRESS, NodeCommand, without_api_servers

READS = EVERYWHERE | {"name", "head_address"}
SECRETS_FILE = "/etc/m35-plan/secrets.env"
NODE_FILE = "/etc/m35-plan/node.env"


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


def _words(nodes: tuple[NodeCommand, ...]) -> str:
    """``ExecStart=``: where a server spans nodes, what differs between them comes from the node's own file."""
    command = nodes[0].command
    assert command is not None, "the first node is a head"
    spans = "--node-rank" in command.argv
    argv = without_api_servers(command.argv)[0] if spans else command.argv
    found = [quoted(word.replace("$", "$$")) for word in argv]
    if spans:
        rank = argv.index("--node-rank") + 1
        found[rank] = "${NODE_RANK}"
        found = ["${HEAD_ADDRESS}" if word.startswith(HEAD_ADDRESS) else word for word in found]
        # Without braces an empty variable is not a word, which is what the head needs.
        found.append("$HEADLESS")
    return " ".join(["/usr/bin/env", *found])


def _head(plan: Plan, nodes: tuple[NodeCommand, ...], deployment: Deployment) -> list[str]:
    notes = [note for note in (pin_note(plan), mig_note(plan)) if note]
    notes += [
        f"HF_TOKEN and VLLM_API_KEY: {SECRETS_FILE}, mode 0600",
        "`vllm` must be on the unit's PATH: `--env PATH=/opt/vllm/bin:/usr/bin:/bin` writes yours into it",
    ]
    spans = any(node.command is not None and "--headless" in node.command.argv for node in nodes)
    if spans:
        notes.append(f"the same unit on each of {len(nodes)} nodes; {NODE_FILE} says which one it is:")
        notes.append(f"  NODE_RANK=0 to {_nodes_per_server(nodes) - 1}, and HEADLESS=--headless where it is not 0")
        if nodes[0].command is not None and (of_head := without_api_servers(nodes[0].command.argv)[1]):
            notes.append(f"  HEADLESS={' '.join(of_head)} where it is 0")
        if deployment.head_address is None:
            notes.append("  HEAD_ADDRESS=an address of node 0 of its server that the others reach")
    elif len(nodes) > 1:
        notes.append(f"the same unit on each of {len(nodes)} nodes; {BALANCED}")
    return [f"# {line}" for line in heading(plan, "systemd", *notes).splitlines()]


def _nodes_per_server(nodes: tuple[NodeCommand, ...]) -> int:
    return sum(node.replica == 0 for node in nodes)


def emit(plan: Plan, deployment: Deployment) -> str:
    """Return the unit; ``systemctl start`` returns when the process runs, not when it serves."""
    nodes = nodes_of(plan, deployment)
    command = nodes[0].command
    assert command is not None, "the first node is a head"
    spans = "--node-rank" in command.argv
    state = deployment.name or "vllm"
    home = f"/var/lib/{state}"
    # A user without a home or a name: torch asks for both when it is imported.
    variables = {"HOME": home, "USER": state, "HF_HOME": f"{home}/huggingface", **command.env, **dict(deployment.env)}
    if spans:
        # The node's own file overrides it.
        variables["HEADLESS"] = ""
    local = [mount.source for mount in in_container(plan)[1]]
    lines = [
        *_head(plan, nodes, deployment),
        "[Unit]",
        f"Description=vLLM serving {shown(plan.model.name).replace('%', '%%')}",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=exec",
        "DynamicUser=yes",
        *(["SupplementaryGroups=video render"] if plan.gpus.spec.vendor == "amd" else []),
        f"StateDirectory={state}",
        *(f"Environment={quoted(f'{name}={value}')}" for name, value in variables.items()),
        f"EnvironmentFile=-{SECRETS_FILE}",
        *([f"EnvironmentFile={NODE_FILE}"] if spans else []),
        f"ExecStart={_words(nodes)}",
        "Restart=on-failure",
        "RestartSec=10",
        "TimeoutStopSec=60",
        "KillMode=control-group",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "ProtectSystem=strict",
        "ProtectHome=tmpfs" if local else "ProtectHome=yes",
        *(f"BindReadOnlyPaths={quoted(path)}" for path in local),
        "LimitMEMLOCK=infinity",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines)
