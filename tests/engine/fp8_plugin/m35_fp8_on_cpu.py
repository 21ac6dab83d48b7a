"""A vLLM plugin for tests: lets the CPU build load an FP8 checkpoint.

The build lacks one kernel, the quantisation to FP8, which loading needs to bring fused layers to one scale. It is
written here in torch. vLLM finds the plugin by the metadata beside it once this folder is on PYTHONPATH.
"""

from __future__ import annotations


def register() -> None:
    import torch
    from vllm import _custom_ops

    largest = torch.finfo(torch.float8_e4m3fn).max

    def scaled_fp8_quant(input, scale=None, num_token_padding=None, scale_ub=None, **more):
        per_token = more.get("use_per_token_if_dynamic", False)
        values = input.to(torch.float32)
        if scale is None:
            size = values.abs().amax(dim=1, keepdim=True) if per_token else values.abs().amax().view(1)
            size = size if scale_ub is None else size.clamp(max=float(scale_ub))
            scale = (size / largest).clamp(min=torch.finfo(torch.float32).tiny)
        rows = max(num_token_padding or 0, values.shape[0])
        result = more.get("output")
        if result is None:
            result = torch.zeros((rows, values.shape[1]), dtype=torch.float8_e4m3fn)
        result[: values.shape[0]] = (values / scale).clamp(-largest, largest).to(torch.float8_e4m3fn)
        return result, scale

    _custom_ops.scaled_fp8_quant = scaled_fp8_quant
