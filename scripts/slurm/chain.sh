#!/bin/bash
# SPDX-License-Identifier: MIT
# A long run as a chain of jobs, for sites that do not let jobs be requeued. On the login node:
#   scripts/slurm/chain.sh JOB.yaml LINKS [SBATCH_OPTION...]
# Each link begins when the one before has ended, however it ended, and continues from its checkpoint; links that are left when
# the run is done end at once.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: chain.sh JOB.yaml LINKS [SBATCH_OPTION...]" >&2; exit 2; }
job=$1 links=$2
shift 2
folder=$(cd "$(dirname "$0")" && pwd)
after=()
for ((link = 1; link <= links; link++)); do
    id=$(sbatch --parsable --no-requeue --job-name="muster-$link" "${after[@]}" "$@" "$folder/chain_link.sh" "$job")
    id=${id%%;*}
    echo "link $link of $links: job $id"
    after=(--dependency="afterany:$id")
done
