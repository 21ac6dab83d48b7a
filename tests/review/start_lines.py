"""Settings that the engine takes or refuses before it loads anything, each added to a line that is right."""

from __future__ import annotations

LENGTH = 32768
DRAFT = "mistralai/Mistral-Medium-3.5-128B-EAGLE"

REFUSED = (
    "--max-num-batched-tokens 2048 --no-enable-chunked-prefill",
    "--max-num-batched-tokens 128 --max-num-seqs 256",
    "--max-num-seqs 0",
    "--max-num-seqs 1k",
    "--stream-interval 0",
    "--block-size 0",
    "--max-logprobs -5",
    "--max-model-len 32Ki",
    "--gpu-memory-utilization 95",
    "--kv-cache-metrics-sample 0",
    "--cpu-offload-gb -1",
    "--shutdown-timeout -1",
    "--watermark 1.5",
    "--max-num-queued-reqs -1",
    "--safetensors-prefetch-num-threads 0",
    "--sse-keep-alive-interval -1",
    "--data-parallel-rpc-port 99999",
    "--long-prefill-token-threshold 40000",
    "--max-loras 4 --max-cpu-loras 2 --enable-lora",
    "--data-parallel-size-local 2",
    "--data-parallel-external-lb",
    "--data-parallel-hybrid-lb --data-parallel-external-lb",
    "--decode-context-parallel-size 3",
    "--enable-log-outputs",
    "--enable-eplb",
    "--numa-bind-nodes 0 1",
    "--collect-detailed-traces all",
    "--per-request-spec-decode-metrics summary",
    "--enable-per-request-metrics --disable-log-stats",
    "--attention-backend FLASHINFER --attention-config.backend FLASHINFER",
    """--cudagraph-capture-sizes 1 2 4 --compilation-config '{"cudagraph_capture_sizes":[1,2]}'""",
    "--attention-backend XFORMERS",
    "--quantization bitsandbytes",
    "--distributed-executor-backend rey",
    "--reasoning-parser foo",
    "--enable-auto-tool-choice --tool-call-parser foo",
    "--chat-template-content-format foo",
    "--uvicorn-log-level verbose",
    "--dtype bf16",
    "--allowed-origins *",
    "--override-generation-config {temperature:0.2}",
    "--hf-overrides {a:1}",
    "--compilation-config 3",
    """--compilation-config '{"level":3}'""",
    """--kv-transfer-config '{"kv_connector":"NixlConnector"}'""",
    """--kv-transfer-config '{"kv_connector":"NixlConnector","kv_role":"kv_both","kv_rank":0}'""",
    """--speculative-config '{"num_speculative_tokens":3}'""",
    """--speculative-config '{"method":"ngrm","num_speculative_tokens":3}'""",
    """--speculative-config '{"method":"ngram","num_speculative_tokens":0}'""",
    """--speculative-config '{"method":"ngram"}'""",
    """--speculative-config '{"method":"ngram","num_speculative_tokens":3,"prompt_lookup_max":2,"prompt_lookup_min":4}'""",  # noqa: E501
    f"""--speculative-config '{{"method":"eagle","draft_model":"{DRAFT}","num_speculative_tokens":3}}'""",
    "--served-model-name",
    "--api-key",
)
"""By the parser or the configuration of the newest releases."""

LATER = (
    "--port 99999",
    "--load-format mistrl",
    "--headless --api-server-count 2",
    "--nnodes 2 --node-rank 0 --distributed-executor-backend ray",
)
"""Refused when the server binds its socket, reads the weights or counts its processes."""

TAKEN = (
    "--max-num-batched-tokens 32768 --no-enable-chunked-prefill",
    "--max-num-batched-tokens 8k",
    "--port 0",
    "--max-loras 0",
    "--max-model-len 32k",
    "--enable-log-outputs --enable-log-requests",
    """--allowed-origins '["*"]'""",
    "--attention-backend flash_attn",
    "-O3",
    "--compilation-config.mode 3",
    """--compilation-config '{"mode":3,"pass_config":{"fuse_act_quant":true}}'""",
    """--kv-transfer-config.kv_connector NixlConnector --kv-transfer-config.kv_role kv_both""",
    """--speculative-config '{"method":"ngram","num_speculative_tokens":3}'""",
    "--speculative-config.method ngram --speculative-config.num_speculative_tokens 3",
    "--override-generation-config.temperature 0.2",
    """--hf-overrides '{"a":1}'""",
    """--structured-outputs-config.backend xgrammar""",
    "--load-format MISTRAL",
    "--max-num-seqs 16 --max-num-batched-tokens 16",
    "--generation-config vllm",
)
"""By the parser and the configuration."""
