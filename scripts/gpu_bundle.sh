#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# usage: scripts/gpu_bundle.sh [FILE.tar.xz]      (build/gpu-bundle.tar.xz unless told)
# Packs Open MPI and the other libraries that muster builds on into one relocatable archive, for a GPU machine without a
# package manager or network. Runs on Debian or Ubuntu with apt, needs no root; installs nothing. Copy the checkout and
# the archive to the machine and run scripts/gpu_check.sh there.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in
-*) sed -n '3,6s/^# //p' "$0" && [ "$1" = --help ] && exit 0 || exit 2 ;;
esac
out=$(realpath -m "${1:-$here/build/gpu-bundle.tar.xz}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

wanted=(openmpi-bin libopenmpi-dev libhwloc-dev libdnnl-dev libyaml-dev libjansson-dev libxxhash-dev zlib1g-dev check
    pkgconf)
# What every machine with a compiler has, what only drivers and fabrics need, and what Open MPI runs without.
unwanted='^(libc6|libc6-dev|libc-dev-bin|linux-libc-dev|libcrypt|libgcc-s1|libgomp1|gcc|g\+\+|gfortran|cpp|libstdc|libgfortran|libquadmath|dpkg|perl|python|debconf|install-info|mawk|gawk|ocl-icd|libboost|libllvm|libcoarrays|openssh|libpsm|libfabric|librdmacm|ibverbs-providers|libgdbm|libdb|libnsl|rpcsvc|libtirpc|libx11|libcairo|libhwloc-plugins|libamd|libhsa|libze|libcuda)'

# Of alternatives the first that is a package.
needs() {
    apt-cache depends --important "$1" 2>/dev/null | awk '
        $1 !~ /Depends:$/ { next }
        !more { found = 0 }
        !found && $2 !~ /^</ { sub(/:any$/, "", $2); print $2; found = 1 }
        { more = $1 ~ /^\|/ }'
}

declare -A taken
take() {
    local package
    for package; do
        [[ -z ${taken[$package]:-} && ! $package =~ $unwanted ]] || continue
        taken[$package]=1
        # shellcheck disable=SC2046 # package names have no spaces
        take $(needs "$package")
    done
}
take "${wanted[@]}"
mkdir -p "$work/debs" "$work/prefix" "$(dirname "$out")"
(cd "$work/debs" && apt-get download "${!taken[@]}" >/dev/null)
for deb in "$work"/debs/*.deb; do
    dpkg-deb -x "$deb" "$work/prefix"
done

# Links that packages make when they are installed.
triplet=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")
prefix=$work/prefix/usr
[ ! -d "$work/prefix/lib" ] || [ -L "$work/prefix/lib" ] || cp -a "$work/prefix/lib/." "$prefix/lib/"
ln -sf orterun "$prefix/bin/mpirun"
ln -sf opal_wrapper "$prefix/bin/mpicc"
ln -sf pkgconf "$prefix/bin/pkg-config"
for library in mpi open-rte open-pal; do
    ln -sf "openmpi/lib/lib$library.so" "$prefix/lib/$triplet/lib$library.so"
done
rm -rf "$prefix/share/doc" "$prefix/share/man" "$prefix/share/locale" "$work/prefix/lib" "$prefix"/lib/"$triplet"/*.a
echo "$triplet" >"$work/prefix/TRIPLET"
cat >"$work/prefix/environment.sh" <<'END'
# Sourced by bash: what builds and runs with Open MPI and the libraries of this folder, wherever it lies.
bundle_prefix=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bundle_triplet=$(cat "$bundle_prefix/TRIPLET")
bundle_libraries=$bundle_prefix/usr/lib/$bundle_triplet
export PATH=$bundle_prefix/usr/bin:$PATH
export OPAL_PREFIX=$bundle_prefix/usr PMIX_INSTALL_PREFIX=$bundle_libraries/pmix2 OMPI_MCA_plm=isolated
export LD_LIBRARY_PATH=$bundle_libraries:$bundle_libraries/openmpi/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export PKG_CONFIG_SYSROOT_DIR=$bundle_prefix
export PKG_CONFIG_LIBDIR=$bundle_libraries/pkgconfig:$bundle_prefix/usr/share/pkgconfig
export CPATH=$bundle_prefix/usr/include:$bundle_prefix/usr/include/$bundle_triplet${CPATH:+:$CPATH}
END
tar -C "$work/prefix" -cJf "$out" .
echo "$out: $(du -h "$out" | cut -f1), ${#taken[@]} packages"
