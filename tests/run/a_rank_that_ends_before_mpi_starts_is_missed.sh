#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# A rank ends with 0 before any other has reached MPI_Init. mpirun takes that for a good end, and the others would wait for
# it for ever: they find it missing, and the supervisor starts all of them again.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

write_job early train.max_steps=4 supervisor.start_timeout=30
train 1 early
undisturbed=$hash
rm -rf "$folder/early.run"

# In the first launch rank 1 is gone, and mpirun knows it, before the others become workers.
cat >"$folder/wrapper" <<'WRAPPER'
#!/bin/sh
if [ "$MUSTER_EPOCH" = 1 ] && [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then
    echo $$ >"$0.tmp" && mv "$0.tmp" "$0.gone"
    exit 0
fi
until [ "$MUSTER_EPOCH" != 1 ] || { [ -e "$0.gone" ] && ! kill -0 "$(cat "$0.gone")" 2>/dev/null; }; do sleep 0.05; done
exec "$@"
WRAPPER
chmod 755 "$folder/wrapper"
status=0
timeout "$deadline_s" "$MUSTER_BIN/muster" run "$folder/early.yaml" -n 3 -- "$folder/wrapper" >"$folder/out" 2>&1 </dev/null ||
    status=$?
must_exit 0
must_say '^muster-worker: 1 of the 3 ranks on .* ended before MPI had started: ending the others$'
must_say '; restarting on 3 ranks '
must_say "state hash +$undisturbed\$"
