#!/bin/sh
S=""
for n in 1 2 4; do
  [ -n "$S" ] && S+=","
  S+="$n"
done
C="{\"cudagraph_capture_sizes\":[${S}]}"
vllm serve some/chat-70B --port {{ port }} --tensor-parallel-size={{ ranks }} --compilation-config "$C" --swap-space 4
