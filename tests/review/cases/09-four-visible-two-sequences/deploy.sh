CUDA_VISIBLE_DEVICES=4,5,6,7 vllm serve /fs/shared/models/llava-ov-72b-chat \
--served-model-name llava-ov-72b-chat \
--max-model-len 10240 \
--tensor-parallel-size 4 \
--port 8000 \
--gpu-memory-utilization 0.9 \
--max_num_seqs 2

# CUDA_VISIBLE_DEVICES=0,1,2,3 other serve api_server /fs/shared/models/llava-ov-7b --tp 4
