"""A model's config.json against the tables of an engine and of transformers, both made up here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hw_specs import parse_gpus
from planner.serve import CheckResult, StartOrder, run_preflight
from planner.serve.preflight import attention, quantization
from planner.serve.preflight.subject import Packages, Subject
from tests.ports import own_port

from .machine import Machine

CONFIG: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32,
    "max_position_embeddings": 4096, "dtype": "bfloat16",
}  # fmt: skip
NOVA = {"architectures": ["NovaForCausalLM"], "model_type": "nova"}
SOURCES = {
    "vllm/__init__.py": "raise SystemExit('imported')",
    "vllm/model_executor/models/registry.py": """
_TEXT_GENERATION_MODELS = {"LlamaForCausalLM": ("llama", "LlamaForCausalLM")}
_MULTIMODAL_MODELS = {"Mistral3ForConditionalGeneration": ("mistral3", "M")}
_PREVIOUSLY_SUPPORTED_MODELS = {"OldForCausalLM": "0.23.0"}
_OOT_SUPPORTED_MODELS = {"BartModel": "https://github.com/vllm-project/bart-plugin"}
""",
    "vllm/transformers_utils/config.py": """
_CONFIG_REGISTRY = Lazy(kimi_k2="KimiConfig")
_ARCHITECTURE_TO_MODEL_TYPE = {"LongcatForCausalLM": "longcat"}
_CONFIG_FORMAT_TO_CONFIG_PARSER = {"hf": 1, "mistral": 2}
""",
    "vllm/tokenizers/registry.py": "_VLLM_TOKENIZERS = {'hf': 1, 'mistral': 2}",
    "vllm/model_executor/layers/rotary_embedding/__init__.py": """
def get_rope(kind):
    if kind == "default" or kind == "yarn":
        return 1
    elif kind == "linear":
        return 2
""",
    "vllm/model_executor/layers/quantization/__init__.py": """
QuantizationMethods = Literal["fp8", "awq", "gptq", "gptq_marlin", "fbgemm_fp8", "mxfp4"]
DEPRECATED_QUANTIZATION_METHODS = ["fbgemm_fp8"]
def get_quantization_config(name):
    from .fp8 import Fp8Config
    from .mxfp4 import Mxfp4Config
    table = {"fp8": Fp8Config, "mxfp4": Mxfp4Config}
    return table[name]
""",
    "vllm/model_executor/layers/quantization/fp8.py": """
class Fp8Config(Base):
    def get_min_capability(cls):
        return 89
""",
    "vllm/model_executor/layers/quantization/inc.py": """
class INCConfig(Base):
    def override_quantization_method(cls, given):
        return "gptq" if given in ("auto-round",) else None
""",
    "vllm/platforms/rocm.py": "class RocmPlatform(P):\n    supported_quantization: list = ['fp8', 'gptq']\n",
    "vllm/platforms/cuda.py": """
def _get_backend_priorities(use_mla):
    return [AttentionBackendEnum.FLASH_ATTN, AttentionBackendEnum.FLASHINFER]
""",
    "vllm/v1/attention/backends/registry.py": """
class AttentionBackendEnum(Enum):
    FLASH_ATTN = "vllm.v1.attention.backends.flash_attn.FlashBackend"
    FLASHINFER = "vllm.v1.attention.backends.flashinfer.FlashInferBackend"
    ROCM_ATTN = "vllm.v1.attention.backends.rocm.RocmBackend"
    FLASHMLA = "vllm.v1.attention.backends.flashmla.MlaBackend"
""",
    "vllm/v1/attention/backends/flash_attn.py": """
class FlashBackend(AttentionBackend):
    supported_kv_cache_dtypes = ["auto", "fp8"]
    def supports_head_size(cls, head_size):
        return head_size % 8 == 0 and head_size <= 256
    def supports_kv_cache_dtype(cls, kv_cache_dtype):
        if kv_cache_dtype not in cls.supported_kv_cache_dtypes:
            return False
        if is_quantized_kv_cache(kv_cache_dtype):
            return flash_attn_supports_kv_cache_dtype(kv_cache_dtype)
        return True
""",
    "vllm/v1/attention/backends/fa_utils.py": """
def flash_attn_supports_kv_cache_dtype(kv_cache_dtype):
    if current_platform.is_xpu():
        return True
    version = get_flash_attn_version()
    is_sm90 = current_platform.is_device_capability_family(90)
    return (version == 3 and is_sm90)
""",
    "vllm/v1/attention/backends/flashinfer.py": """
class FlashInferBackend(AttentionBackend):
    supported_kv_cache_dtypes = ["auto", "fp8", "nvfp4"]
    def get_supported_head_sizes(cls):
        return [64, 128]
    def supports_compute_capability(cls, capability):
        return capability >= DeviceCapability(8, 0) and capability <= DeviceCapability(12, 1)
""",
    "vllm/v1/attention/backends/flashmla.py": "class MlaBackend(B):\n    def is_mla(cls):\n        return True\n",
    "transformers/__init__.py": "raise SystemExit('imported')",
    "transformers/models/auto/configuration_auto.py": """
CONFIG_MAPPING_NAMES = OrderedDict([("llama", "LlamaConfig"), ("mistral3", "M3"), ("mistral", "M"), ("codegen", "C")])
""",
    "transformers/models/auto/modeling_auto.py": "NAMES = ['LlamaForCausalLM']",
    "transformers/models/llama/configuration_llama.py": "class LlamaConfig: pass",
    "transformers/models/mistral3/configuration_mistral3.py": "c = CONFIG_MAPPING[text_config['model_type']]",
    "transformers/models/codegen/modeling_codegen.py": (
        "class CodeGenAttention(nn.Module):\n    pass\nclass CodeGenForCausalLM(CodeGenPreTrainedModel):\n    pass\n"
    ),
}  # fmt: skip
Ask = Callable[..., CheckResult | None]


@pytest.fixture
def ask(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Ask:
    for name, text in SOURCES.items():
        (machine.site / name).parent.mkdir(parents=True, exist_ok=True)
        (machine.site / name).write_text(text)
    model = machine.root / "model"
    model.mkdir()
    found = Packages(
        versions={"vllm": "0.33.0", "transformers": "5.16.1"},
        plugins=[],
        folders={name: str(machine.site / name) for name in ("vllm", "transformers")},
    )
    monkeypatch.setattr(Subject, "packages", found)

    def asked(
        check: str, *flags: str, config: dict[str, object] | None = None, gpus: str = "1xH200"
    ) -> CheckResult | None:
        for module in (attention, quantization):
            monkeypatch.setattr(module, "gpus_of_start", lambda subject: parse_gpus(gpus))
        (model / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
        order = StartOrder.of_command(
            (str(machine.program), "serve", str(model), *flags), env=machine.env, port=own_port()
        )
        return next(iter(run_preflight(order, only=[check])), None)

    return asked


def stored(method: str) -> dict[str, object]:
    return {"quantization_config": {"quant_method": method}}


@pytest.mark.parametrize(
    ("check", "flags", "config", "said", "hint"),
    [
        ("architecture", [], {"architectures": ["NovaForCausalLM"]}, "does not have NovaForCausalLM", "newer vLLM"),
        ("architecture", [], NOVA, "knows model type `nova`", "-U vllm transformers"),
        ("architecture", [], {"model_type": None}, "has no `model_type`", "whole config.json"),
        ("architecture", [], {"architectures": "LlamaForCausalLM"}, "not a list of names", "a list"),
        ("architecture", [], {"architectures": 7}, "not a list of names", "a list"),
        ("architecture", [], {"architectures": [["a"]], "model_type": None}, "no `model_type`", "whole"),
        ("architecture", [], {"model_type": ["llama"]}, "not a name", "publisher"),
        ("architecture", [], {"model_type": "\x1b[31mnova"}, "knows model type `[31mnova`", "has [31mnova"),
        (
            "architecture", [],
            {"architectures": ["M"], "model_type": "mistral3", "text_config": {"model_type": ["llama"]}},
            "of `text_config`", "-U vllm transformers",
        ),
        ("architecture", [], {"architectures": ["OldForCausalLM"]}, "up to 0.23.0 only", "vllm==0.23.0"),
        ("architecture", [], {"architectures": ["BartModel"]}, "only with a plugin", "bart-plugin"),
        ("architecture", [], NOVA | {"auto_map": {"AutoConfig": "n.N"}}, "code of the checkpoint", "--trust-remote"),
        (
            "architecture", ["--trust-remote-code"], NOVA | {"auto_map": {"AutoConfig": "nova.Nova"}},
            "nova.py, which is not in the model's folder", "hf download",
        ),
        (
            "architecture", [], {"architectures": ["CodeGenForCausalLM"], "model_type": "codegen"},
            "an attention of its own", "another engine",
        ),
        (
            "architecture", [],
            {"architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3",
             "text_config": {"model_type": "nova"}},
            "`nova` of `text_config`", "-U vllm transformers",
        ),
        ("architecture", [], {"text_config": {"model_type": "llama"}}, "where nobody looks", "publisher"),
        ("configuration", [], {"dtype": "bf16"}, "torch has no type", "bfloat16"),
        ("configuration", [], {"hidden_size": "4096"}, "not a number", "publisher"),
        ("configuration", [], {"num_attention_heads": 5}, "not a multiple of 5", "publisher"),
        ("configuration", [], {"text_config": "x"}, "not an object", "publisher"),
        ("configuration", [], {"rope_scaling": "yarn"}, "not an object", "publisher"),
        ("configuration", [], {"rope_scaling": {"rope_type": "yarn"}}, "has no `factor`", "publisher"),
        ("configuration", [], {"rope_scaling": {"rope_type": "yarn", "type": "linear"}}, "type `linear`", "`type` out"),
        ("configuration", [], {"rope_parameters": {"rope_type": "nova"}}, "kind `nova`", "-U vllm"),
        ("configuration", ["--config-format", "mistral"], {}, "params.json, which is not", "--config-format hf"),
        ("configuration", ["--config-format", "nova"], {}, "none of hf, mistral", "leave it out"),
        ("tokenizer", [], {}, "has no file of a tokenizer", "--tokenizer with"),
        ("tokenizer", ["--tokenizer-mode", "nova"], {}, "has no --tokenizer-mode nova", "hf, mistral"),
        ("quantization", [], stored("novaq"), "does not read weights of quantization `novaq`", "stored otherwise"),
        ("quantization", [], stored("fbgemm_fp8"), "asks for leave", "--allow-deprecated-quantization"),
        ("quantization", [], {"quantization_config": []}, "not an object", "program that quantized"),
        ("quantization", ["--quantization", "fp8"], stored("gptq"), "takes no two", "leave --quantization out"),
        ("attention", ["--attention-backend", "ROCM_ATTN"], {}, "is not for H200", "leave the backend out"),
        ("attention", ["--attention-backend", "FLASHINFER"], {}, "needs flashinfer-python", "uv pip install"),
        ("attention", ["--attention-backend", "FLASHMLA"], {}, "latent or sparse", "leave the backend out"),
        ("attention", ["--attention-config", '{"backend": "NOVA"}'], {}, "no backend of that name", "leave"),
        ("attention", ["--attention-backend", "flash_attn"], {"head_dim": 100}, "no heads of 100", "leave"),
        ("attention", ["--attention-backend", "FLASHINFER"], {"head_dim": 80}, "only 64, 128", "leave"),
        (
            "attention", ["--attention-backend", "FLASH_ATTN", "--kv-cache-dtype", "fp8_e5m2"], {},
            "does not take --kv-cache-dtype fp8_e5m2, only auto, fp8", "leave",
        ),
        ("attention", ["--kv-cache-dtype", "nvfp4"], {}, "the one that would needs flashinfer", "uv pip install"),
    ],
)  # fmt: skip
def test_what_the_release_does_not_know_is_named(
    ask: Ask, check: str, flags: list[str], config: dict[str, object], said: str, hint: str
) -> None:
    result = ask(check, *flags, config=config)
    assert result is not None and result.status == "fail", result
    assert said in result.seen and hint in result.hint, result


@pytest.mark.parametrize(
    ("check", "flags", "config"),
    [
        ("architecture", [], {}),
        ("architecture", [], {"architectures": ["NovaForCausalLM", "LlamaForCausalLM"]}),
        ("architecture", [], {"architectures": ["LlamaForSequenceClassification"]}),
        ("architecture", [], {"model_type": "kimi_k2"}),
        ("architecture", [], {"auto_map": {"AutoConfig": "nova.Nova"}}),
        ("configuration", [], {"rope_scaling": {"type": "su", "factor": 2.0}}),
        ("configuration", [], {"rope_parameters": {"full_attention": {"rope_type": "default"}}}),
        ("configuration", [], {"dtype": "float8_e4m3fn", "head_dim": 100, "num_attention_heads": 5}),
        ("quantization", [], stored("fp8")),
        ("quantization", [], stored("FP8")),
        ("quantization", [], stored("auto-round")),
        ("quantization", ["--quantization", "gptq_marlin"], stored("gptq")),
        ("quantization", ["--allow-deprecated-quantization"], stored("fbgemm_fp8")),
        ("attention", ["--attention-backend", "FLASH_ATTN", "--kv-cache-dtype", "fp8"], {}),
        ("attention", ["--kv-cache-dtype", "fp8"], {}),
    ],
)
def test_what_the_release_knows_is_not_accused(
    ask: Ask, check: str, flags: list[str], config: dict[str, object]
) -> None:
    result = ask(check, *flags, config=config)
    assert result is not None and result.status == "pass", result


def test_these_gpus_decide(ask: Ask) -> None:
    older = ask("quantization", config=stored("fp8"), gpus="1xA100-80G")
    assert older is not None and older.status == "fail" and "needs compute capability 8.9" in older.seen
    flags = ("--attention-backend", "FLASH_ATTN", "--kv-cache-dtype", "fp8")
    older = ask("attention", *flags, gpus="1xA100-80G")
    assert older is not None and older.status == "fail" and "of compute capability 8.0" in older.seen
    amd = ask("quantization", config=stored("awq"), gpus="1xMI300X")
    assert amd is not None and amd.status == "fail" and "on ROCm" in amd.seen


def test_a_plugin_may_bring_what_the_release_lacks(ask: Ask, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.install("nova_models", "1.0")
    folder = machine.site / "nova_models-1.0.dist-info"
    (folder / "entry_points.txt").write_text("[vllm.general_plugins]\nnova = nova:register\n")
    monkeypatch.undo()
    monkeypatch.setattr(quantization, "gpus_of_start", lambda subject: parse_gpus("1xH200"))
    for check, config in (("architecture", NOVA), ("quantization", stored("novaq"))):
        result = ask(check, config=config)
        assert result is not None and result.status == "warn" and "nova_models may bring it" in result.seen


def test_without_names_it_warns_and_without_sources_it_says_so(ask: Ask, machine: Machine) -> None:
    for config in ({"architectures": None}, {"quantization_config": {"bits": 4}}):
        [check] = ["architecture" if "architectures" in config else "quantization"]
        result = ask(check, config=config)
        assert result is not None and result.status == "warn", result
    for name in ("model_executor/models/registry.py", "model_executor/layers/quantization/__init__.py"):
        (machine.site / "vllm" / name).write_text("")
    for check in ("architecture", "quantization"):
        result = ask(check, config=stored("fp8"))
        assert result is not None and result.status == "skip" and "cannot be read" in result.seen
    (machine.root / "model" / "params.json").write_text("{}")
    assert ask("architecture", "--config-format", "mistral") is None


def test_files_of_a_tokenizer_decide_by_its_mode(ask: Ask, machine: Machine) -> None:
    (machine.root / "model" / "vocab.json").touch()
    found, native = ask("tokenizer"), ask("tokenizer", "--tokenizer-mode", "mistral")
    assert found is not None and found.status == "pass" and "vocab.json" in found.seen
    assert native is not None and native.status == "fail" and "Mistral's tokenizer" in native.seen
    assert ask("tokenizer", "--skip-tokenizer-init") is None


def test_quantization_beside_the_configuration_is_read(ask: Ask, machine: Machine) -> None:
    text = {"quantization": {"quant_algo": "NVFP4"}}
    (Path(machine.root) / "model" / "hf_quant_config.json").write_text(json.dumps(text))
    result = ask("quantization")
    assert result is not None and "quantization `modelopt_fp4`" in result.seen
