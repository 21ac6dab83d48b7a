"""Task files of SkyPilot and dstack: resources here, shell there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from planner.facts.clouds import cloud_facts
from planner.review.machine import count_of
from planner.review.readers.command import servers_of as shell_servers
from planner.review.readers.docker import known
from planner.review.readers.image import pin_of, read_image
from planner.review.readers.shell import Scope
from planner.review.readers.tree import Tree, assigned
from planner.review.server import Claim, Opening, Server, Variable
from planner.review.text import Text, joined, made

_OTHERS = re.compile(r"tpu|v\d+(?:e|p|litepod|pod)?-\d|trainium|inferentia|gaudi", re.IGNORECASE)
"""Accelerators whose name or number is not a number of GPUs."""
_SKY_COUNT = ("SKYPILOT_NUM_GPUS_PER_NODE",)
_DSTACK_COUNT = ("DSTACK_GPUS_NUM", "DSTACK_GPUS_PER_NODE")


def is_skypilot(root: Tree) -> bool:
    """Whether a document is a SkyPilot task."""
    return (
        root.get("run") is not None
        and (root.get("resources") is not None or root.get("service") is not None)
        and (root.get("kind") is None)
    )


def is_dstack(root: Tree) -> bool:
    """Whether a document is a dstack configuration."""
    return root.string("type") in ("task", "service", "dev-environment") and (
        root.get("commands") is not None or root.get("image") is not None
    )


def skypilot(root: Tree) -> list[Server]:
    """Return the servers of a SkyPilot task."""
    resources = root.get("resources")
    claim, openings = Claim(), []
    nodes = root.integer("num_nodes") or 1
    if resources is not None:
        claim = replace(_accelerators(resources), nodes=nodes)
        ports = resources.get("ports")
        at = resources.key("ports")
        if ports is not None and at is not None:
            shown = ports.value or ", ".join(one.value or "" for one in ports.list())
            openings.append(Opening(at=at, what=f"port {shown} is open to the internet", exact=False))
    env = {**assigned(root, "envs"), **assigned(root, "secrets")}
    values = {**known(env), **_counted(_SKY_COUNT, claim)}
    return _of_scripts(root, ("setup", "run"), env, values, claim, openings, kind="SkyPilot task")


def dstack(root: Tree) -> list[Server]:
    """Return the servers of a dstack task or service."""
    claim = _dstack_claim(root)
    env = assigned(root, "env")
    values = {**known(env), **_counted(_DSTACK_COUNT, claim)}
    openings: list[Opening] = []
    auth = root.get("auth")
    if root.string("type") == "service" and auth is not None and auth.value == "false":
        openings.append(Opening(at=root.key("auth") or auth.text, what="the service asks for no token", exact=False))
    return _of_scripts(root, ("commands",), env, values, claim, openings, kind=f"dstack {root.string('type')}")


def _of_scripts(
    root: Tree,
    keys: tuple[str, ...],
    env: Mapping[str, Variable],
    values: Mapping[str, Text],
    claim: Claim,
    openings: list[Opening],
    *,
    kind: str,
) -> list[Server]:
    texts = []
    for key in keys:
        for one in root.one_or_more(key):
            if one.value is not None:
                texts += [one.text, Text("\n", (one.end - 1 if one.end else 0,))]
    whole = joined(texts)
    found = shell_servers(whole, kind=kind, scope=Scope(outside=values), platform="cloud")
    pinned = pin_of(whole)
    text = root.scalar("image") or root.scalar("resources", "image_id")
    image = None
    if text is not None and text.value:
        image = read_image(text.cut(7) if text.value.startswith("docker:") else text)
    return [
        replace(
            one,
            env={**env, **one.env},
            claim=_merged(one.claim, claim),
            openings=(*one.openings, *openings),
            inner_port=True,
            version=one.version or pinned,
            image=one.image or image,
            shared_memory=one.shared_memory if one.platform == "docker" else "given",
            replicas=root.integer("service", "replicas") or 1,
        )
        for one in found
    ]


def _merged(inner: Claim, outer: Claim) -> Claim:
    """A container inside the task asks for what the machine has."""
    if inner.count is not None or inner.missing:
        return replace(inner, product=outer.product)
    return replace(outer, missing=False)


def _counted(names: tuple[str, ...], claim: Claim) -> dict[str, Text]:
    if claim.count is None or claim.at is None or claim.choice:
        return {}
    return {name: made(str(claim.count), claim.at.start) for name in names}


def _accelerators(resources: Tree) -> Claim:
    node, at = resources.get("accelerators"), resources.key("accelerators")
    if node is None or at is None:
        for choice in ("any_of", "ordered"):
            offers = resources.get(choice)
            if offers is not None:
                claims = [_accelerators(one) for one in offers.list()]
                named = {(one.product, one.count) for one in claims}
                if len(named) == 1 and claims:
                    return claims[0]
                return Claim(at=resources.key(choice), choice=True)
        machine = resources.string("instance_type")
        return Claim(product=machine, count=count_of(machine), at=resources.key("instance_type"), vendor=None)
    offers_text = [node.value or ""] if node.kind == "scalar" else [one.value or "" for one in node.list()]
    if node.kind == "map":
        # In braces, `A100:8` is one key without a value; on lines, it is a name and a number.
        offers_text = [f"{key.value}:{value.value}" if value.value else key.value for key, value in node.items()]
    pairs = []
    for offer in offers_text:
        name, _, number = offer.partition(":")
        pairs.append((_sky_product(name.strip()), int(number) if number.strip().isdecimal() and len(number) < 6 else 1))
    if any(_OTHERS.match(name) for name, _ in pairs):
        return Claim(vendor="other", at=at)
    if len(set(pairs)) != 1:
        counts = {count for _, count in pairs}
        return Claim(count=counts.pop() if len(counts) == 1 else None, at=at, choice=True)
    return Claim(count=pairs[0][1], product=pairs[0][0], at=at)


def _sky_product(name: str) -> str:
    """What SkyPilot's name means to the catalogue, where the two differ: its A100 has 40 GB."""
    ids = cloud_facts().skypilot.names
    return next((gpu_id for gpu_id, theirs in ids.items() if theirs.lower() == name.lower()), name)


def _dstack_claim(root: Tree) -> Claim:
    node, at = root.get("resources", "gpu"), (root.get("resources") or root).key("gpu")
    if node is None or at is None:
        return Claim()
    if node.kind == "map":
        names = [one.value or "" for one in node.one_or_more("name") if one.kind != "map"]
        count = node.integer("count") or 1
        return Claim(count=count, product=names[0] if len(names) == 1 else None, at=at, choice=len(names) != 1)
    count, product = 1, None
    for part in (node.value or "").split(":"):
        if part.isdecimal() and len(part) < 6:
            count = int(part)
        elif re.match(r"^[A-Za-z]", part) and part.lower() not in ("nvidia", "amd"):
            product = part if "," not in part else None
    if product is not None and _OTHERS.match(product):
        return Claim(vendor="other", at=at)
    return Claim(count=count, product=product, at=at, choice=product is None)
