# verdict: fits, context cut to 45 %
docker run --rm --device /dev/kfd --device /dev/dri --group-add video --ipc host \
  --publish 127.0.0.1:8000:8000 --volume "${HF_HOME:-$HOME/.cache/huggingface}:/root/.cache/huggingface" \
  --env VLLM_ROCM_USE_AITER=1 --env SAFETENSORS_FAST_GPU=1 --env HF_TOKEN --env VLLM_API_KEY \
  --entrypoint sh vllm/vllm-openai-rocm:v0.33.0 \
  -c '{ python3 -m pip install --quiet --no-deps mistral_common==1.12.0 || uv pip install --system --quiet --no-deps mistral_common==1.12.0; } && exec vllm serve "$@"' \
  vllm mistralai/Mistral-Medium-3.5-128B --host 0.0.0.0 --port 8000 --tensor-parallel-size 1 \
  --max-model-len 118784 --max-num-seqs 128 --max-num-batched-tokens 8192 \
  --gpu-memory-utilization 0.92 --language-model-only --tokenizer-mode mistral \
  --config-format mistral --load-format mistral --enable-auto-tool-choice \
  --tool-call-parser mistral --reasoning-parser mistral --no-enable-prefix-caching
