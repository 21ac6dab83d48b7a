#!/usr/bin/env bash
# On the GPU machine: once for each piece, then as often as the campaign goes on.
#   machine.sh piece N                        $PIECES/pN → $GT, with what else lies there: boot, extra.tar.gz
#   machine.sh go SECONDS RUNS.toml [ONLY]    goes on with the runs whose names match ONLY; results in $OUT
# boot holds this folder's files, index.json, the package zstandard, and the campaign's scripts in gt/; a later piece may
# bring more of it. extra.tar.gz is unpacked over $GT: packages in other versions, FlashInfer's compiled modules.
# What is left running ends with the remote shell, unless it began a session of its own (setsid). Libraries never come a
# second time: one that is overwritten while a process has it mapped kills that process.
set -u
began=$SECONDS
export GT=${GT:-/var/tmp/gt} PYTHONUNBUFFERED=1
pieces=${PIECES:-pieces} boot=$GT/boot site=$GT/site python=$(command -v python3)
image=$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')

case $1 in
piece)
  number=$2
  mkdir -p "$GT/in" "$boot" "$GT/campaign/modelinfos"
  [ -d "$pieces/boot" ] && cp -r "$pieces/boot/." "$boot/"
  cp "$pieces/p$number" "$GT/in/" && "$python" "$boot/unpack.py" "$number" "$GT" || exit 8
  if [ -e "$pieces/extra.tar.gz" ]; then
    tar tzf "$pieces/extra.tar.gz" | grep -oE '^site/[a-z_]+-[0-9][^/]*\.dist-info' | sort -u | while read -r info; do
      name=${info#site/}; rm -rf "$site/${name%%-*}" "$site/${name%%-*}"-*.dist-info
    done
    tar xzf "$pieces/extra.tar.gz" -C "$GT" && "$python" -m compileall -q -j 0 "$site/mistral_common" 2> /dev/null
  fi
  [ "$number" = 1 ] || exit 0
  mkdir -p "$site/nvidia" "$site/triton/backends/nvidia/bin"
  for part in cu13 cudnn nvshmem cusparselt; do ln -sfn "$image/nvidia/$part" "$site/nvidia/$part"; done
  ln -sfn "$image/triton/backends/nvidia/bin/ptxas" "$site/triton/backends/nvidia/bin/ptxas"
  [ -d "$image/torch/include" ] && ln -sfn "$image/torch/include" "$site/torch/include"
  "$python" "$boot/tokenizer_links.py" "$GT/models"
  [ -d "$boot/modelinfos" ] && cp "$boot/modelinfos/"*.json "$GT/campaign/modelinfos/"
  ln -sfn "$GT/models" "$GT/campaign/models"
  # 9 seconds on 64 cores; without it every process imports for a minute and a half.
  timeout 60 "$python" -m compileall -q -j 0 "$site" > "$GT/compileall.log" 2>&1
  nvidia-smi --query-gpu=index,name,memory.total,memory.used,driver_version --format=csv,noheader
  env | grep -E "NCCL|SYMM|NVSHMEM"
  ;;
go)
  seconds=$2 runs=$3 only=${4:-}
  for piece in $("$python" -c "import json; print(*range(1, json.load(open('$boot/index.json'))['pieces'] + 1))"); do
    [ -e "$GT/done$piece" ] || { echo "piece $piece is not there"; exit 4; }
  done
  export PYTORCH_SKIP_CUDNN_COMPATIBILITY_CHECK=1 PYTORCH_NVML_BASED_CUDA_CHECK=1 VLLM_USE_DEEP_GEMM=0
  # No NVLink multicast: it claims a resource of the whole fabric, which machines on the same NVSwitches also use.
  export NCCL_NVLS_ENABLE=0 TORCH_SYMM_MEM_DISABLE_MULTICAST=1 NVSHMEM_DISABLE_NVLS=1
  export FLASHINFER_CUDA_ARCH_LIST=9.0a CPATH=$image/nvidia/cu13/include:$image/nvidia/curand/include
  PYTHONPATH=$site timeout 60 "$python" -c 'import torch; print(torch.__version__, torch.cuda.mem_get_info())' || exit 5
  for module in ${COMPILE:-}; do
    (cd "$GT" && FLASHINFER_WORKSPACE_BASE=$GT/campaign/flashinfer PYTHONPATH=$site nice "$python" "$boot/compile_module.py" "$module" \
      > "$GT/$module.log" 2>&1) &
  done
  "$python" "$boot/gt/campaign.py" --work "$GT/campaign" --out "$GT/out" --site "$site" --python "$python" \
    --runs "$boot/gt/$runs" --only "$only" --seconds $((seconds - (SECONDS - began)))
  code=$?
  cp "$GT/campaign/zygote.log" "$GT/out/"
  (cd "$GT" && tar cf - out campaign/runs | xz -T0 -1 > "$OUT/results.tar.xz"; rm -rf out)
  echo "ended with $code after $((SECONDS - began)) s"
  exit $code
  ;;
esac
