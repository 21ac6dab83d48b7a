#!/bin/bash
export HF_TOKEN=HF-TOKEN
docker run --gpus all --ipc=host -v hub:/root/.cache/huggingface -p 127.0.0.1:8000:8000 \
  --env "HUGGING_FACE_HUB_TOKEN=${HF_TOKEN}" --env "VLLM_API_KEY=sk-xxxxxxxx" \
  vllm/vllm-openai:v0.33.0 --model mistralai/Mistral-Medium-3.5-128B --tensor-parallel-size 8
