#!/bin/sh
# CUDA: what is found of it and what the Makefile makes of that, with compilers of the test's own; all
# kernels compile with nvcc, where there is one. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
build=$(dirname "$seqtopk")
nvcc=${NVCC:-$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)}
unset NVCC CUDA CUDA_ARCHS MAKEFLAGS MAKELEVEL MFLAGS

# ---- what is found ----

mkdir -p toolkit/bin toolkit/lib64 path
touch toolkit/lib64/libcudart.so
cat >toolkit/bin/nvcc <<'EOF2'
#!/bin/sh
case $1 in
--version) echo "Cuda compilation tools, release 12.4, V12.4.131" ;;
--list-gpu-code) printf '%s\n' sm_75 sm_80 sm_89 sm_90 ;;
esac
EOF2
cat >path/nvidia-smi <<'EOF2'
#!/bin/sh
echo 8.9
EOF2
chmod +x toolkit/bin/nvcc path/nvidia-smi
echo "TORCH_CUDA := yes" >torch.yes
echo "TORCH_CUDA := no" >torch.no
find_cuda() { gives 0 env "$@"; }
with_both() {
    find_cuda PATH="$PATH" NVCC="$trash/toolkit/bin/nvcc" "$root/scripts/find-cuda" torch.yes &&
        says '^GPU := yes$' 'arch=compute_80,code=sm_80 .*arch=compute_90,code=sm_90 .*arch=compute_90,code=compute_90$' \
            "^CUDA_LIBS := -L$trash/toolkit/lib64 .*-lcudart\$" && grep -qx 'nvcc: 12.4 in .*/toolkit/bin; kernels for sm_80 sm_90' err
}
check "with nvcc and a libtorch with CUDA, kernels are built for sm_80 and sm_90" with_both
the_gpu_here() {
    find_cuda PATH="$trash/path:$PATH" NVCC="$trash/toolkit/bin/nvcc" "$root/scripts/find-cuda" torch.yes &&
        says 'code=sm_89 ' && grep -q 'kernels for sm_80 sm_89 sm_90$' err
}
check "and for the GPU that is here" the_gpu_here
without_torch() {
    find_cuda NVCC="$trash/toolkit/bin/nvcc" "$root/scripts/find-cuda" torch.no && says '^GPU := no$' &&
        grep -q 'no kernels: libtorch has no CUDA (CUDA=objects' err
}
check "with a libtorch without CUDA none are built" without_torch
objects() { find_cuda CUDA=objects NVCC="$trash/toolkit/bin/nvcc" "$root/scripts/find-cuda" torch.no && says '^GPU := yes$'; }
check "unless CUDA=objects says so" objects
left_out() {
    find_cuda CUDA_ARCHS="80 120" NVCC="$trash/toolkit/bin/nvcc" "$root/scripts/find-cuda" torch.yes &&
        grep -q 'kernels for sm_80; it does not know sm_120$' err && ! grep -q _120 out
}
check "a GPU that nvcc does not know is named and left out" left_out
refuses() { gives 1 env "$@" && grep -q "$pattern" err && [ "$(wc -l <err)" -eq 1 ]; }
pattern='knows none of sm_120'
check "and where it knows none, that is an error" refuses CUDA_ARCHS=120 NVCC="$trash/toolkit/bin/nvcc" "$root/scripts/find-cuda" torch.yes
pattern='NVCC=/nowhere/nvcc cannot be run'
check "an nvcc that is not there is refused" refuses NVCC=/nowhere/nvcc "$root/scripts/find-cuda" torch.yes
pattern='CUDA=maybe is unknown; allowed is auto, objects, host or no'
check "so is an unknown word" refuses CUDA=maybe "$root/scripts/find-cuda" torch.yes

# ---- the kernels ----

compiles() {
    gives 0 make -C "$root" --no-print-directory B="$build/cuda" CUDA_ARCHS=90 DEV=1 cuda-objects &&
        for f in "$root"/routers/*.cu; do
            [ -s "$root/$build/cuda/routers/$(basename "$f").o" ] || return 1
        done
}
case $build in
"$root"/*) build=${build#"$root"/} ;;
esac
if [ -n "$nvcc" ]; then
    export NVCC="$nvcc"
    check "all kernels compile" compiles
else
    skip "all kernels compile" "there is no nvcc"
fi

# ---- doctor ----

kernels_named() {
    gives 0 true
    "$seqtopk" doctor >out 2>err
    says '^ok *kernels *on a GPU route topk, seqtopk, batchtopk, topp, xmoe; expert_choice, threshold, and those of a recipe copy' ||
        says '^- *kernels *none were built for GPUs, on which all routers would copy their scores'
}
check "doctor says which routers have kernels" kernels_named
plan
