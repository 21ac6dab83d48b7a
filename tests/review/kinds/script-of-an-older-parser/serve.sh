#!/bin/sh
vllm serve some/model-70B --host 127.0.0.1 --enable-chunked-prefill=True --compilation-config '{"full_cuda_graph": true}'
