#!/bin/sh
vllm serve /srv/weights/chat \
  --host 127.0.0.1 \
  --load-format gguf \
  --kv-cache-memory-bytes 2G \
  --gpu-memory-utilization 0.5
