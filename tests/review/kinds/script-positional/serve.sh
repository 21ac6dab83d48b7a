#!/bin/bash
MODEL="${1:-mistralai/Mistral-Medium-3.5-128B}"
PORT="${2:-8000}"
ARG=""
if [ -n "$QUANT" ]; then
    ARG="--quantization $QUANT"
fi
VLLM_USE_TRITON_FLASH_ATTN=0 \
vllm serve "$MODEL" \
    --api-key abc-123 \
    --port "$PORT" \
    --tensor-parallel-size=8 \
    --enable-auto-tool-choice \
    --tool-call-parser hermes \
    $ARG &
