#!/usr/bin/env bash
# Proves that the NEON kernels give the bits of the x86 kernels: builds the corpus of test/native/optimCorpus.cc for this
# machine and for 64-bit ARM, runs the latter under qemu, and compares the hashes. Needs g++-aarch64-linux-gnu and qemu-user.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cross=${CROSS_CXX:-aarch64-linux-gnu-g++}
qemu=${QEMU:-qemu-aarch64}
for tool in g++ "$cross" "$qemu"; do
  if ! command -v "$tool" >/dev/null; then
    echo "skipped: $tool is not installed (Debian: apt-get install g++-aarch64-linux-gnu qemu-user)"
    exit 0
  fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build() { # compiler, output, extra flags
  local compiler=$1 output=$2 objects=()
  shift 2
  for file in "$root"/native/src/optim/*.cc; do
    case $file in
      *Binding.cc) continue ;; # needs Node
    esac
    local flags=()
    if [ "$compiler" = g++ ]; then
      case $file in
        *_avx2.cc) flags=(-mavx2 -mfma -mf16c) ;;
        *_avx512.cc) flags=(-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl) ;;
      esac
    fi
    local object="$work/$(basename "$output")-$(basename "$file" .cc).o"
    "$compiler" -std=c++20 -O3 -ffp-contract=off ${flags[@]+"${flags[@]}"} -c "$file" -o "$object"
    objects+=("$object")
  done
  "$compiler" -std=c++20 -O2 -I"$root/native/src" "$root/test/native/optimCorpus.cc" "${objects[@]}" "$@" -pthread -o "$output"
}

build g++ "$work/here"
build "$cross" "$work/arm" -static
{ "$work/here"; "$qemu" "$work/arm" | sed 's/^/arm64 /'; } | tee "$work/hashes"
if grep -q differs "$work/hashes" || [ "$(awk '{print $NF}' "$work/hashes" | sort -u | wc -l)" != 1 ] || ! grep -q 'arm64 neon' "$work/hashes"; then
  echo "failed: the paths disagree"
  exit 1
fi
echo "ok: every path gives the same bits"
