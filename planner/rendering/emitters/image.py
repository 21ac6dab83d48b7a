"""The engine's container image, and what every container of it needs; it never talks to a registry."""

from __future__ import annotations

import math

from hw_specs.units import GIB
from planner.facts import load
from planner.planning.answer import Plan
from planner.rendering.secrets import API_KEY, HF_TOKEN

API_PORT = 8000
"""The port inside a container."""
ANY_ADDRESS = "0.0.0.0"
"""Inside a container the server listens on every address; what is published decides who reaches it."""
SECRETS = (HF_TOKEN, API_KEY)
"""Variables passed by name or by reference, never by value."""
HEALTH_COMMAND = (
    "python3",
    "-c",
    f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{API_PORT}/health', timeout=5)",
)
"""A probe that needs nothing but the image's own Python."""


def image(plan: Plan) -> str:
    """The engine's image for this vendor and release."""
    template: str = load("vllm.toml")["images"][plan.gpus.spec.vendor]
    return template.format(version=plan.vllm_version)


def startup_s(plan: Plan) -> int:
    """Seconds after which a start has failed: download, load and preparation at slow rates, rounded up to a minute."""
    policy = load("policy.toml")["startup"]
    size_bytes = plan.model.checkpoint_bytes or sum(plan.weights_bytes_per_gpu)
    seconds: float = size_bytes / policy["download_bytes_per_s"]["value"]
    seconds += size_bytes / policy["load_bytes_per_s"]["value"] + policy["prepare_s"]["value"]
    return int(math.ceil(seconds / 60) * 60)


def cache_gib(plan: Plan) -> int:
    """GiB of disk for the checkpoint, with room beside it, rounded up to ten."""
    spare = 1 + load("policy.toml")["kubernetes"]["cache_spare_fraction"]["value"]
    size_bytes = plan.model.checkpoint_bytes or sum(plan.weights_bytes_per_gpu)
    return int(math.ceil(size_bytes * spare / GIB / 10) * 10)


def gpus_per_node(plan: Plan) -> int:
    """GPUs of one node that the plan uses; the others stay free."""
    per_replica = plan.settings.layout.gpus_per_replica
    if per_replica >= plan.gpus.count:
        return plan.gpus.count
    return per_replica * min(plan.settings.replicas, plan.gpus.count // per_replica)


def resource_name(plan: Plan) -> str:
    """A DNS label for the model: lower case letters, digits and dashes.

    >>> resource_label("mistralai/Mistral-Medium-3.5-128B")
    'mistral-medium-3-5-128b'
    """
    return resource_label(plan.model.name)


def resource_label(name: str) -> str:
    """The last part of a repository name as a DNS label."""
    word = name.rstrip("/").rsplit("/", 1)[-1].lower()
    label = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in word)
    return label.strip("-")[:50].strip("-") or "model"


def heading(plan: Plan, what: str) -> str:
    """The comment above an emitted file: what it is, for what, and what must exist beside it."""
    settings = plan.settings
    return (
        f"{what}: {plan.model.name} on {plan.gpus}, vLLM {plan.vllm_version}\n"
        f"max-model-len {settings.max_model_len}, {plan.kv_cache.max_concurrency:.1f} requests of that length; "
        f"verdict: {plan.verdict}"
    )
