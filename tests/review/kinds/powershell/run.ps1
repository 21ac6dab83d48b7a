docker run --rm --gpus all `
  -v "$PWD/cache:/root/.cache/huggingface" `
  -p 8000:8000 --ipc=host `
  vllm/vllm-openai:v0.24.0 `
  --model mistralai/Mistral-Medium-3.5-128B `
  --tensor-parallel-size 2 --swap-space 4
