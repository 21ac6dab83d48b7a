# node 0: a server of its own; put a load balancer in front of all nodes, and have each listen on an address that it reaches: `--host ADDRESS`, with VLLM_API_KEY set
docker run --rm --gpus all --ipc host --network host --volume "${HF_HOME:-$HOME/.cache/huggingface}:/root/.cache/huggingface" \
  --env HF_TOKEN --env VLLM_API_KEY --entrypoint sh vllm/vllm-openai:v0.33.0 \
  -c '{ python3 -m pip install --quiet --no-deps mistral_common==1.12.0 || uv pip install --system --quiet --no-deps mistral_common==1.12.0; } && exec vllm serve "$@"' \
  vllm mistralai/Mistral-Medium-3.5-128B --host 127.0.0.1 --port 8000 --tensor-parallel-size 8 \
  --max-model-len 262144 --max-num-seqs 1024 --max-num-batched-tokens 8192 \
  --gpu-memory-utilization 0.92 --tokenizer-mode mistral --config-format mistral \
  --load-format mistral --enable-auto-tool-choice --tool-call-parser mistral \
  --reasoning-parser mistral
# node 1: a server of its own; put a load balancer in front of all nodes, and have each listen on an address that it reaches: `--host ADDRESS`, with VLLM_API_KEY set
docker run --rm --gpus all --ipc host --network host --volume "${HF_HOME:-$HOME/.cache/huggingface}:/root/.cache/huggingface" \
  --env HF_TOKEN --env VLLM_API_KEY --entrypoint sh vllm/vllm-openai:v0.33.0 \
  -c '{ python3 -m pip install --quiet --no-deps mistral_common==1.12.0 || uv pip install --system --quiet --no-deps mistral_common==1.12.0; } && exec vllm serve "$@"' \
  vllm mistralai/Mistral-Medium-3.5-128B --host 127.0.0.1 --port 8000 --tensor-parallel-size 8 \
  --max-model-len 262144 --max-num-seqs 1024 --max-num-batched-tokens 8192 \
  --gpu-memory-utilization 0.92 --tokenizer-mode mistral --config-format mistral \
  --load-format mistral --enable-auto-tool-choice --tool-call-parser mistral \
  --reasoning-parser mistral
