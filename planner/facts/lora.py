"""What the engine keeps for LoRA adapters: ``lora.toml``. The closed form stands in ``planner/memory/lora.py``."""

from planner.facts.record import Record, door
from planner.facts.vllm import Fact, Origin


class Modules(Origin):
    """Which modules have adapters."""

    embedding_architectures: tuple[str, ...]
    merged_architectures: tuple[str, ...]
    parts_named_since: str


class Indices(Origin):
    """Tensors that say which adapter a token is for."""

    per_token_bytes: int
    per_sequence_bytes: int


class LoraFacts(Record):
    """The whole file."""

    ranks: Fact[tuple[int, ...]]
    max_loras: Fact[int]
    max_lora_rank: Fact[int]
    most_vocabulary: Fact[int]
    modules: Modules
    indices: Indices


lora_facts = door("lora.toml", LoraFacts)
