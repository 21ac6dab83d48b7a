#!/usr/bin/bash
set -e

podman run --rm \
    --device nvidia.com/gpu=all \
    -v /home/tiny/.cache/huggingface:/root/.cache/huggingface \
    -p 8080:8000 \
    vllm/vllm-openai:latest \
    --model $1 \
    --served-model-name model \
    --max-model-len 8192 \
    -tp 1 -pp 1 --trust-remote-code
