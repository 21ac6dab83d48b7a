#!/usr/bin/env bash
# One call on a rented GPU machine: unpack the engine if this is the first, look at the machine, go on with the runs.
#   lease.sh SECONDS [campaign options…]
# Reads pieces from ./.carry, works in $GT (default /var/tmp/gt), leaves results in $OUT.
set -u
seconds=$1; shift
began=$SECONDS
gt=${GT:-/var/tmp/gt}
out=${OUT:?set OUT to the folder for results}
python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$gt" "$out"

if [ ! -e "$gt/unpacked" ]; then
  unpack() {
    "$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter="fully_trusted")' "$@"
  }
  pieces=()
  for piece in .carry/*.tar.xz; do unpack "$piece" "$gt" 2>/dev/null & pieces+=("$!:$piece"); done
  for one in "${pieces[@]}"; do
    # Two pieces that make the same folder at once disturb each other; alone each unpacks.
    wait "${one%%:*}" || unpack "${one#*:}" "$gt" || { echo "${one#*:} did not unpack"; exit 4; }
  done
  touch "$gt/unpacked"
  echo "unpacked after $((SECONDS - began)) s"
  PYTHONPATH=$gt/site "$python" "$here/machine.py" "$out/machine.json"
  echo "looked after $((SECONDS - began)) s"
fi

# FlashInfer compiles its sampler at the engine's first start unless a compiled one travelled along.
if ! PYTHONPATH=$gt/site FLASHINFER_CUDA_ARCH_LIST=9.0a FLASHINFER_WORKSPACE_BASE=$gt/flashinfer "$python" -c \
  'from flashinfer.sampling import gen_sampling_module; s = gen_sampling_module(); s.is_aot or s.build(verbose=False)' \
  > "$gt/jit.log" 2>&1; then
  echo "FlashInfer's sampler is not there, runs go without it"
  export VLLM_USE_FLASHINFER_SAMPLER=0
fi

"$python" "$here/campaign.py" --work "$gt" --out "$out" --site "$gt/site" --python "$python" \
  --seconds $((seconds - (SECONDS - began))) "$@"
code=$?
cp "$gt/zygote.log" "$gt/jit.log" "$out/" 2>/dev/null
echo "ended with $code after $((SECONDS - began)) s"
exit $code
