"""What we decide, as opposed to what is so: ``policy.toml``. Each choice has its reason in the file."""

from typing import Generic, TypeVar

from planner.facts.record import Record, door

T = TypeVar("T")


class Choice(Record, Generic[T]):
    """One figure that we chose."""

    value: T
    reason: str
    basis: str = ""


class ContextPolicy(Record):
    """How a context that was not requested is rounded, and where it ends."""

    round_tokens: Choice[int]
    spare_blocks: Choice[int]
    shortest_unasked_tokens: Choice[int]


class Batch(Record):
    """A batch that is proposed where the engine's defaults leave no room."""

    max_num_seqs: int
    max_num_batched_tokens: int
    reason: str


class LeverPolicy(Record):
    """How far levers go."""

    gpu_memory_utilization: Choice[float]
    kv_cache_dtype: Choice[str]
    shortest_tokens: Choice[int]
    most_combined: Choice[int]
    most_gpus_per_node: Choice[int]
    most_said: Choice[int]


class LayoutPolicy(Record):
    """When another layout is worth leaving the first choice."""

    worth_leaving: Choice[float]
    worth_joining_nodes: Choice[float]


class ComparePolicy(Record):
    """Which batches are forecast against each other, and when another than the engine's own is taken."""

    batched_tokens: Choice[tuple[int, ...]]
    further_batched_tokens: Choice[tuple[int, ...]]
    within_reach: Choice[float]
    worth_leaving_the_default: Choice[float]


class TargetLeverPolicy(Record):
    """What is tried where no way meets the targets, and how far."""

    cramped_kv_cache_use: Choice[float]
    most_gpus: Choice[int]
    most_faster_kinds: Choice[int]
    most_played: Choice[int]
    most_played_elsewhere: Choice[int]
    prompt_step_tokens: Choice[int]
    rate_parts: Choice[int]


class CapacityPolicy(Record):
    """How the largest load of one server is searched for."""

    slowed_down: Choice[float]
    run_in_answers: Choice[int]
    fewest_requests: Choice[int]
    halvings: Choice[int]
    most_requests_per_s: Choice[float]
    least_share_of_rate: Choice[int]


class StartupPolicy(Record):
    """How long a container may take, and what a cluster waits for around it."""

    download_bytes_per_s: Choice[int]
    load_bytes_per_s: Choice[int]
    prepare_s: Choice[int]
    probe_period_s: Choice[int]
    image_pull_s: Choice[int]
    drain_s: Choice[int]
    drain_first_s: Choice[int]


class KubernetesPolicy(Record):
    """Room on a cluster's disks."""

    cache_spare_fraction: Choice[float]


class HostPolicy(Record):
    """What the processes of one server ask of the host."""

    shared_memory_gib: Choice[int]
    process_cpus: Choice[int]
    loading_memory_gib: Choice[float]


class AlertPolicy(Record):
    """When an operator is woken."""

    kv_cache_use: Choice[float]
    for_minutes: Choice[int]
    speed_window_minutes: Choice[int]
    restarts_per_hour: Choice[int]


class Policy(Record):
    """The whole file."""

    context: ContextPolicy
    batches: tuple[Batch, ...]
    levers: LeverPolicy
    layout: LayoutPolicy
    compare: ComparePolicy
    target_levers: TargetLeverPolicy
    capacity: CapacityPolicy
    startup: StartupPolicy
    kubernetes: KubernetesPolicy
    host: HostPolicy
    alerts: AlertPolicy


policy = door("policy.toml", Policy)
