#!/bin/bash
IMG=vllm/vllm-openai:v0.33.0
docker run --gpus all -d --privileged --network host --ipc host \
  -v "$MODELDIR:/model:ro" \
  -e HF_HUB_OFFLINE=1 \
  --entrypoint bash "$IMG" \
  -lc 'exec vllm serve /model \
    --served-model-name chat \
    --host 0.0.0.0 --port 8000 \
    --tensor-parallel-size 2 \
    --max-model-len '"$MAXLEN"' \
    --swap-space 4'
