#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# usage: scripts/gpu_bundle.sh [--build FOLDER] [FILE.tar.gz]      (build and build/gpu-bundle.tar.gz unless told)
# Packs what checks muster on a machine with a GPU that has no packages, no network and no time to build: the programs and
# GPU tests of a build with CUDA, Open MPI as far as the ranks of one host need it, and the libraries of both, to run
# wherever they are unpacked. There already: glibc and libstdc++ no older than here, and cuBLASLt, cuDNN and NCCL (hundreds
# of MB), as a CUDA toolkit or PyTorch brings them. Use it with scripts/gpu_check.sh --bundle FILE.tar.gz.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
build=$here/build out=
while [ $# -gt 0 ]; do
    case $1 in
    --help) sed -n '3,7s/^# //p' "$0" && exit 0 ;;
    --build) [ $# -ge 2 ] && build=$2 && shift ;;
    -*) sed -n '3,7s/^# //p' "$0" >&2 && exit 2 ;;
    *) out=$1 ;;
    esac
    shift
done
out=$(realpath -m "${out:-$here/build/gpu-bundle.tar.gz}")
programs=("$build"/bin/{muster,muster-worker,bench_products,libmuster_cuda.so})
tests=("$build"/tests/{test_cuda_{table,backend,large,memory,sum,engine},libmuster_cuda_emulated.so})
for file in "${programs[@]}" "${tests[@]}"; do
    [ -e "$file" ] || { echo "gpu_bundle: no $file: build with CUDA and tests first" >&2 && exit 2; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/bundle
mkdir -p "$prefix"/{bin,lib,build/bin,build/tests} "$(dirname "$out")"
cp "${programs[@]}" "$prefix/build/bin"
cp "${tests[@]}" "$prefix/build/tests"

# mpi FOLDER: where Open MPI has its bindir, pkglibdir …, and the same place below the bundle's mpi/.
mpi() { ompi_info --parsable --path "$1" | cut -d: -f3; }
inside() {
    local place=$prefix/mpi${1#"$(mpi prefix)"}
    mkdir -p "$place" && echo "$place"
}
plugins=$(mpi pkglibdir) texts=$(mpi pkgdatadir)
cp "$(mpi bindir)"/{orterun,orted} "$(inside "$(mpi bindir)")"
cp "$texts"/help-*.txt "$(inside "$texts")"
# Without files and windows of MPI, other schedulers' and fabrics' parts, and what needs their libraries.
needless='/mca_(atomic|fbtl|fcoll|fs|io|memheap|mtl|osc|scoll|sharedfp|spml|sshmem|vprotocol)_|_(monitoring|slurm|flux|jsm|gridengine)\.so'
fabrics='lib(fabric|ucp|psm2?|psm_infinipath|ibverbs)\.so'
for plugin in "$plugins"/mca_*.so; do
    [[ $plugin =~ $needless || $(ldd "$plugin") =~ $fabrics ]] || cp "$plugin" "$(inside "$plugins")"
done
# PMIx of its own package brings plug-ins too.
pmix=$(ldd "$plugins"/mca_pmix_*.so | awk '$1 ~ /^libpmix/ { print $3; exit }')
if [ -n "$pmix" ]; then
    mkdir -p "$prefix/pmix/lib"
    cp -r "$(dirname "$(realpath "$pmix")")/pmix" "$prefix/pmix/lib/"
fi

brought='/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|util|resolv|stdc\+\+|gcc_s|cublas|cublasLt|cudnn|nccl|cuda))\.so'
needed=$(find "$prefix" -type f \( -name '*.so' -o -perm -u+x \) -exec ldd {} + 2>/dev/null)
if grep 'not found' <<<"$needed" >&2; then
    echo "gpu_bundle: not here, so not in the bundle" >&2 && exit 1
fi
sed -n 's|^\t.* => \(/.*\) (0x[0-9a-f]*)$|\1|p' <<<"$needed" | sort -u | grep -vE "$brought" | xargs -d '\n' cp -L -t "$prefix/lib"
find "$prefix" -type f \( -name '*.so*' -o -perm -u+x \) -exec strip --strip-unneeded {} +

git -C "$here" describe --always --dirty >"$prefix/commit" 2>/dev/null || echo unknown >"$prefix/commit"
cat >"$prefix/run" <<'END'
#!/bin/sh
# Runs a command with the programs and libraries of this folder, wherever it lies; MORE_LIBRARIES are looked into after
# them. Only what is run this way sees them.
bundle=$(cd "$(dirname "$0")" && pwd)
export PATH="$bundle/bin:$PATH" OPAL_PREFIX="$bundle/mpi" PMIX_INSTALL_PREFIX="$bundle/pmix" OMPI_MCA_plm=isolated
export LD_LIBRARY_PATH="$bundle/lib${MORE_LIBRARIES:+:$MORE_LIBRARIES}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$@"
END
cat >"$prefix/bin/mpirun" <<'END'
#!/bin/sh
bundle=$(cd "$(dirname "$0")/.." && pwd)
exec "$bundle/run" "$bundle/mpi/bin/orterun" "$@"
END
chmod +x "$prefix/run" "$prefix/bin/mpirun"
tar -C "$prefix" -czf "$out" .
echo "$out: $(du -h "$out" | cut -f1), unpacked $(du -sh "$prefix" | cut -f1)"
