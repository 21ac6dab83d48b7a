"""What the user asks: every setting bears vLLM's name, and ``None`` means "choose for me".

It validates single fields and their plain contradictions; whether they fit is the budget's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, fields, replace
from typing import Any, Literal, TypeGuard, get_args

from hw_specs.frozen import dataclass
from hw_specs.spec import GpuSet
from hw_specs.units import MOST_COUNT
from planner.errors import InvalidRequest, M35Error
from planner.facts.vllm import vllm_facts
from planner.memory.rank import Calibration
from planner.model import ModelSpec
from planner.planning.load import LOAD
from planner.planning.setting import Kind, Setting, flags_of, option_of
from planner.settings import CudagraphMode, Layout, LoraDtype, SpecMethod

CARD_DRAFT_TOKENS = 3
"""What the model card proposes for the draft; stands here because reading the preset takes longer than the help."""


def _setting(default: Any, help: str, kind: Kind, **more: Any) -> Any:
    """A field with its description."""
    return field(default=default, metadata={"setting": Setting(help=help, kind=kind, default=default, **more)})


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """One question to the planner.

    Raises:
        InvalidRequest: when a field is out of the range that vLLM accepts.
    """

    gpus: GpuSet = field(metadata={"setting": Setting(help="the GPUs to plan for", kind="gpus")})
    model: ModelSpec | None = None
    """None is the shipped Mistral-Medium-3.5-128B."""
    tensor_parallel_size: int | None = _setting(
        None,
        "GPUs that share each layer; the largest valid size by default",
        "integer",
        short="-tp",
        least=1,
        logged=True,
    )
    pipeline_parallel_size: int | None = _setting(
        None, "stages the layers are split into; 1 by default", "integer", short="-pp", least=1, logged=True
    )
    replicas: int | None = _setting(
        None, "independent copies of the server; as many as the GPUs allow", "integer",
        flags=("data-parallel-size",), least=1,
    )  # fmt: skip
    max_model_len: int | None = _setting(
        None, "tokens of one request, prompt and answer together; the most that safely fit by default", "length",
        metavar="N|auto", label="context, tokens", placeholder="longest that fits", least=1, logged=True,
    )  # fmt: skip
    concurrency: int | None = _setting(
        None, "sequences of full length to hold at once; at least 1", "integer",
        label="concurrent requests", placeholder="at least 1", least=1,
    )  # fmt: skip
    max_num_seqs: int | None = _setting(
        None, "sequences per step; the release's default for this GPU otherwise", "count",
        label="sequences a step", least=1, logged=True,
    )  # fmt: skip
    max_num_batched_tokens: int | None = _setting(
        None, "tokens per step; the release's default for this GPU otherwise", "count",
        label="tokens a step", least=1, logged=True,
    )  # fmt: skip
    long_prefill_token_threshold: int = _setting(
        0, "most tokens of one prompt in a step, so that others find room beside it; 0 sets no bound", "count", least=0
    )
    gpu_memory_utilization: float | None = _setting(
        None, "fraction of each GPU the engine may use; the release's default otherwise", "fraction",
        metavar="FRACTION", label="GPU memory share", placeholder="the release's own", logged=True,
    )  # fmt: skip
    kv_cache_memory_bytes: int | None = _setting(
        None, "KV cache size per GPU, set by hand; vLLM then profiles nothing", "count", metavar="SIZE", least=1
    )
    kv_cache_dtype: str = _setting(
        "auto", "KV cache data type; auto is BF16 for the official checkpoint", "text",
        metavar="TYPE", label="KV cache type", logged=True,
    )  # fmt: skip
    block_size: int | None = _setting(None, "tokens per KV block; 16 on GPUs", "integer", least=1)
    language_model_only: bool = _setting(
        False, "serve text only: no vision weights, no encoder memory", "switch", label="text only", logged=True
    )
    enforce_eager: bool = _setting(
        False, "no CUDA or HIP graphs, no compilation", "switch", label="eager, no graphs", logged=True
    )
    num_speculative_tokens: int = _setting(
        0, "tokens drafted per step; 0 is without a draft", "integer", option="--spec-tokens", short="--eagle",
        flags=("speculative-config", "spec-tokens"), label="draft tokens", least=0, logged=True,
        option_help=f"draft K tokens per step ({CARD_DRAFT_TOKENS} without K, as on the card of the EAGLE draft)",
    )  # fmt: skip
    spec_method: SpecMethod | None = _setting(
        None, "how tokens are drafted; by default the model's own draft does it", "text", metavar="METHOD",
        choices=get_args(SpecMethod), flags=("spec-method",), label="draft method", placeholder="the model's own",
        logged=True,
    )  # fmt: skip
    spec_model: str | None = _setting(
        None, "the draft's checkpoint: its directory or config.json; by default the model's own draft", "text",
        metavar="DIR|FILE", flags=("spec-model",),
    )  # fmt: skip
    speculative_max_model_len: int | None = _setting(
        None, "draft length limit; left out by default, the card's value shortens 0.33's context", "count",
        flags=("speculative-config",), least=1,
    )  # fmt: skip
    load_format: Literal["mistral", "hf"] = _setting(
        "mistral", "checkpoint layout: Mistral's own or Hugging Face's", "text",
        choices=("mistral", "hf"), flags=("load-format", "config-format", "tokenizer-mode"), label="checkpoint files",
    )  # fmt: skip
    cudagraph_mode: CudagraphMode | None = _setting(
        None, "steps that run as graphs: NONE, PIECEWISE, FULL, FULL_DECODE_ONLY or, by default, FULL_AND_PIECEWISE",
        "text",
        option="--compilation-config.cudagraph_mode", metavar="MODE",
        choices=get_args(CudagraphMode), flags=("compilation-config.cudagraph_mode",),
    )  # fmt: skip
    cudagraph_capture_sizes: tuple[int, ...] | None = _setting(
        None, "tokens of the steps that are captured as graphs; the release's own list otherwise", "integers",
        metavar="N,N", flags=("cudagraph-capture-sizes", "compilation-config.cudagraph_capture_sizes"), least=1,
    )  # fmt: skip
    max_cudagraph_capture_size: int | None = _setting(
        None, "tokens of the largest step that is captured; the release's own otherwise", "count",
        flags=("max-cudagraph-capture-size", "compilation-config.max_cudagraph_capture_size"), least=1,
    )  # fmt: skip
    enable_lora: bool = _setting(False, "room for LoRA adapters, on every GPU, before the KV cache is sized", "switch")
    max_loras: int | None = _setting(
        None, "adapters that one step may use, 1 by default; each has a buffer", "integer", least=1,
    )  # fmt: skip
    max_lora_rank: int | None = _setting(
        None, "largest rank of an adapter, 16 by default; buffers grow with it", "integer", least=1,
    )  # fmt: skip
    max_cpu_loras: int | None = _setting(
        None, "adapters kept in each worker's host memory; as many as --max-loras by default", "integer", least=1
    )
    fully_sharded_loras: bool = _setting(
        False, "split both halves of an adapter over the GPUs instead of one", "switch"
    )
    lora_dtype: LoraDtype = _setting(
        "auto", "data type of the adapters' buffers; auto is the model's", "text",
        metavar="TYPE", choices=get_args(LoraDtype),
    )  # fmt: skip
    specialize_active_lora: bool = _setting(False, "capture graphs for several numbers of adapters in a step", "switch")
    lora_target_modules: tuple[str, ...] | None = _setting(
        None,
        "ends of the modules that get adapters, such as o_proj,qkv_proj; all by default",
        "words",
        metavar="NAME,NAME",
    )
    async_scheduling: bool | None = _setting(
        None, "schedule a step while the one before runs; the release's own otherwise", "either"
    )
    api_server_count: int | None = _setting(
        None, "processes that take requests; one a replica by default", "integer", least=1
    )
    mm_encoder_tp_mode: Literal["weights", "data"] | None = _setting(
        None, "vision-encoder parallelism; has no effect on this model", "text", choices=("weights", "data")
    )
    limit_mm_per_prompt_image: int | None = _setting(
        None, "images per prompt; only 0 saves memory", "integer",
        option="--limit-mm-per-prompt.image", flags=("limit-mm-per-prompt",), least=0,
    )  # fmt: skip
    vllm_version: str | None = _setting(
        None, "vLLM release to plan for; the newest known one by default", "text",
        metavar="VERSION", label="vLLM release", logged=True,
    )  # fmt: skip
    calibrations: tuple[Calibration, ...] = ()
    """Start-ups measured earlier; those of the same GPU, release and settings replace our terms."""

    @property
    def layout_open(self) -> bool:
        """Whether nothing says how the GPUs are split."""
        return self.tensor_parallel_size is None and self.pipeline_parallel_size is None and self.replicas is None

    def with_layout(self, layout: Layout | None) -> PlanRequest:
        """Return the request on `layout`; None leaves it open."""
        return replace(
            self,
            tensor_parallel_size=layout.tensor_parallel_size if layout else None,
            pipeline_parallel_size=layout.pipeline_parallel_size if layout else None,
            replicas=layout.replicas if layout else None,
        )

    def __post_init__(self) -> None:
        if not isinstance(self.gpus, GpuSet):
            raise InvalidRequest("gpus", f"gpus must be a GpuSet, not `{self.gpus!r}`", hint="use `parse_gpus`")
        for name, setting in SETTINGS.items():
            value = getattr(self, name)
            if value is not setting.default:
                _check(name, setting, value)
        share = self.gpu_memory_utilization
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if share is not None and not (number and 0 < share <= 1):
            raise InvalidRequest(
                "gpu_memory_utilization", f"gpu_memory_utilization must be above 0 and at most 1, not `{share}`"
            )
        if self.block_size is not None and self.block_size % (step := vllm_facts().kv_cache.block_step.value):
            raise InvalidRequest(
                "block_size",
                f"block_size must be a multiple of {step}, not `{self.block_size}`",
                hint="the attention kernels read whole groups of that many tokens",
            )


def _check(name: str, setting: Setting, value: object) -> None:
    """Refuse a value of another kind than its setting takes."""
    if setting.kind in ("integers", "words"):
        if not isinstance(value, tuple) or not value:
            raise InvalidRequest(name, f"{name} must be several values, not `{value!r}`")
        one = replace(setting, kind="integer" if setting.kind == "integers" else "text")
        for each in value:
            _check(name, one, each)
        return
    if setting.kind in ("switch", "either") and not isinstance(value, bool):
        raise InvalidRequest(name, f"{name} must be true or false, not `{value}`")
    if setting.least is not None and not (_is_integer(value) and value >= setting.least):
        wanted = "a positive integer" if setting.least else "an integer of at least 0"
        raise InvalidRequest(name, f"{name} must be {wanted}, not `{value!r}`")
    if setting.least is not None and _is_integer(value) and value > MOST_COUNT:
        raise InvalidRequest(name, f"{name} is larger than every count", hint=f"{MOST_COUNT:,} is the largest")
    if setting.choices and value not in setting.choices:
        raise InvalidRequest(name, f"{name} must be {' or '.join(setting.choices)}, not `{value}`")
    if setting.kind == "text" and not isinstance(value, str):
        raise InvalidRequest(name, f"{name} must be text, not `{value!r}`")


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


SETTINGS: Mapping[str, Setting] = {
    one.name: one.metadata["setting"] for one in fields(PlanRequest) if "setting" in one.metadata
}
"""Field → its description, in the order in which people meet them."""


def option_for(name: str) -> str:
    """Return the option of ours that sets the field `name`; a field that is not a setting keeps its name.

    >>> option_for("num_speculative_tokens"), option_for("limit_mm_per_prompt_image"), option_for("prompt_tokens")
    ('--spec-tokens', '--limit-mm-per-prompt.image', '--prompt-tokens')
    """
    return option_of(name, SETTINGS[name]) if name in SETTINGS else "--" + name.replace("_", "-")


def in_options(refusal: M35Error) -> tuple[str, str]:
    """Return the words of a refusal and its hint, with options where they name fields of a request or a load.

    >>> in_options(InvalidRequest("max_num_seqs", "max_num_seqs (8) is too few", hint="raise max_num_seqs to 9"))
    ('--max-num-seqs (8) is too few', 'raise --max-num-seqs to 9')
    """
    said = (str(refusal), refusal.hint or "")
    if isinstance(refusal, InvalidRequest):
        # A field of one word is a word of English, too: it is an option as the first word and before a value.
        for name in {refusal.field, *(name for name in (*SETTINGS, *LOAD) if "_" in name)}:
            word, option = re.escape(name), option_for(name)
            named = rf"(?<![\w`-]){word}(?!\w)" if "_" in name else rf"^{word}(?!\w)|(?<![\w`-]){word}(?= `)"
            said = (re.sub(named, option, said[0]), re.sub(named, option, said[1]) if "_" in name else said[1])
    return said


def planned_flags() -> dict[str, str]:
    """Return the flags of ``vllm serve`` that a plan decides, without dashes, and the option of ours for each.

    Of a flag in JSON it may decide some keys only.
    """
    found = {"model": "--model"}
    for name, setting in SETTINGS.items():
        if name not in NOT_THE_ENGINES:
            for flag in flags_of(name, setting):
                found.setdefault(flag.partition(".")[0], option_for(name))
    return found


NOT_THE_ENGINES = frozenset({"gpus", "concurrency", "vllm_version"})
"""Settings of a plan that no flag of the engine says."""
