#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds the addon with CUDA, runs the native and gpu tests and prints a short table.
# Run it in the repository's root after `npm install`; node and a python3 with torch must be on the PATH. Logs: build/gpu-check/.
#
#   scripts/gpu-check.sh                 everything
#   scripts/gpu-check.sh kernels         only test files whose name contains "kernels"
#   PROJECTS=gpu scripts/gpu-check.sh    only that project (default: "gpu native")
#   TIERRA_ADDON=file scripts/gpu-check.sh    with an addon that is built already
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
logs=$PWD/build/gpu-check
mkdir -p "$logs"
failed=0

give_up() {
  echo "gpu-check: $*" >&2
  exit 1
}

command -v node >/dev/null || give_up 'node is not on the PATH'
[ -d node_modules/vitest ] || give_up 'node_modules is missing: run npm install (or bring the folder along)'
torch=$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))' 2>"$logs/torch.log") ||
  give_up "python3 has no torch: $(tail -1 "$logs/torch.log")"
python3 -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)'
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader || true
else
  echo 'nvidia-smi is not on the PATH'
fi

# The folder that holds one of the named files, below the wheels beside torch or a toolkit.
folder_with() {
  local folder name
  for folder in "$(dirname "$torch")"/nvidia/cu1[23] "$(dirname "$torch")"/nvidia/cuda_runtime \
    "${CUDA_HOME:-/usr/local/cuda}" /usr/local/cuda; do
    for name in "$@"; do
      for found in "$folder"/include/$name "$folder"/lib/$name "$folder"/lib64/$name; do
        [ -e "$found" ] && dirname "$found" && return 0
      done
    done
  done
  return 1
}

build_by_hand() {
  local include lib
  include=$(folder_with crt/host_defines.h) || { echo 'no CUDA headers found'; return 1; }
  include=$(dirname "$include")
  lib=$(folder_with libcudart.so.13 libcudart.so.12) || { echo 'no libcudart found'; return 1; }
  echo "headers in $include, libcudart in $lib"
  node node_modules/cmake-js/bin/cmake-js compile -d native -O build/gpu --CDTIERRA_TORCH_ROOT="$torch" \
    --CDTIERRA_CUDA=ON --CDTIERRA_CUDA_INCLUDE="$include" --CDTIERRA_CUDA_LIB="$lib" -p "$(nproc)" || return 1
  TIERRA_ADDON=$(ls "$PWD"/build/gpu/Release/tierra.node "$PWD"/build/gpu/tierra.node 2>/dev/null | head -1)
  [ -n "$TIERRA_ADDON" ] && export TIERRA_ADDON
}

if [ -n "${TIERRA_ADDON:-}" ]; then
  [ -e "$TIERRA_ADDON" ] || give_up "TIERRA_ADDON names $TIERRA_ADDON, which does not exist"
  build="given: $TIERRA_ADDON"
else
  started=$SECONDS
  if TIERRA_NATIVE=require TIERRA_LIBTORCH=$torch node scripts/setup.mjs >"$logs/setup.log" 2>&1; then
    build="npx tierra setup, $((SECONDS - started)) s"
  else
    echo "setup failed (its log is $logs/setup.log, the end of it below); building by hand"
    tail -5 "$logs/setup.log"
    build_by_hand >"$logs/build.log" 2>&1 || { grep -m 10 -E 'error|Error' "$logs/build.log"; give_up "the addon does not compile: $logs/build.log"; }
    build="by hand, $((SECONDS - started)) s"
  fi
fi
echo "addon: $build"
node --import tsx --input-type=module -e "
  const { native } = await import('./src/native/load.ts');
  const info = native().buildInfo;
  console.log('addon with CUDA:', info.cuda, '| devices:', native().deviceCount(), '| torch', info.torchVersion);
  if (native().deviceCount() === 0) { console.error('no CUDA device: the gpu tests will only be skipped'); process.exit(1); }
  const [major, minor] = native().deviceInfo(0).computeCapability;
  const started = Date.now();
  const kernels = native().compileKernels('sm_' + major + minor);
  console.log('NVRTC:', kernels.length, 'kernel files for sm_' + major + minor, 'in', Date.now() - started, 'ms');
" || failed=1

rows=()
for project in ${PROJECTS:-gpu native}; do
  echo "running the $project tests"
  # Its table of what the kernels moved per second goes to the terminal as well.
  # One file at a time on the GPU: figures of one must not be those of two.
  order=()
  [ "$project" = gpu ] && order=(--no-file-parallelism)
  rm -f "$logs/$project.json"
  npx --no-install vitest run --project "$project" "$@" --reporter=default --reporter=json \
    --outputFile.json="$logs/$project.json" ${order[@]+"${order[@]}"} >"$logs/$project.log" 2>&1 || failed=1
  grep -ah 'GB/s' "$logs/$project.log" || true
  rows+=("$logs/$project.json")
done
node scripts/gpu-check-table.mjs "${rows[@]}" || failed=1
[ "$failed" -eq 0 ] && echo 'gpu-check: all good' || echo "gpu-check: something failed, see above and $logs"
exit "$failed"
