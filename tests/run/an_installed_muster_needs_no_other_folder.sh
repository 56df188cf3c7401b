#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Installed into a stage, under a prefix with a space in its name, and moved from there: the programs find each other and
# their files where the folders of the source and of the build are hidden, and train to the same bits.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
: "${MUSTER_CMAKE:?the cmake that made the build}"
build=$(dirname "$MUSTER_BIN")

hidden=(unshare --mount)
[[ $(id -u) -eq 0 ]] || hidden=(unshare --user --map-root-user --mount)
"${hidden[@]}" true 2>/dev/null || skip 'this kernel or container does not let us hide a folder (unshare --mount)'
for place in "$MUSTER_SOURCE" "$build"; do
    [[ $folder != "$place"/* ]] || skip "temporary files are in $place, which is to be hidden"
done

write_job job train.max_steps=4
train 1 job
undisturbed=$hash
DESTDIR=$folder/stage "$MUSTER_CMAKE" --install "$build" --prefix '/opt/mu ster' >"$folder/out" 2>&1 || fail 'cmake --install'
mv "$folder/stage/opt/mu ster" "$folder/moved here"
must_equal 'what is left of the stage' '' "$(find "$folder/stage" ! -type d)"
installed=$folder/'moved here'
for file in bin/muster bin/muster-worker share/doc/muster/{README.md,docs/CLUSTER.md,configs/quickstart.yaml,scripts/slurm/chain.sh}; do
    [[ -r $installed/$file ]] || fail "$file was not installed"
done
[[ -x $installed/share/doc/muster/scripts/slurm/chain.sh ]] || fail 'the scripts cannot be run'
[[ ! -e $MUSTER_BIN/libmuster_cuda.so || -r $installed/lib/libmuster_cuda.so ]] || fail 'the plug-in was not installed'

# installed WORD ...: muster, where nothing of the source or the build is to be seen.
installed() {
    status=0
    # shellcheck disable=SC2016 # expanded by the shell in there
    "${hidden[@]}" "$BASH" -c '
        set -e
        cd "$1"
        for place in "$2" "$3"; do
            [[ ! -d $place ]] || mount -t tmpfs none "$place"
        done
        [[ ! -e $2/README.md && ! -e $3/bin ]]
        exec "${@:4}"' bash "$folder" "$MUSTER_SOURCE" "$build" "$installed/bin/muster" "$@" \
        >"$folder/out" 2>&1 </dev/null || status=$?
}

rm -rf "$folder/job.run"
installed run job.yaml -n 2
must_exit 0
must_say "state hash +$undisturbed\$"
installed plan job.yaml --profile h200-ndr
must_say 'machine profile h200-ndr describes GPUs' # it was read
installed plan job.yaml --profile none-such
must_exit 2
must_say 'known: .*h200-ndr'
