#!/bin/bash
# SPDX-License-Identifier: MIT
# A sweep, one job file a task, at most two at the same time: sbatch --array=0-3%2 scripts/slurm/array_sweep.sh lr-*.yaml
# The job files must name different output folders.
#SBATCH --job-name=muster-sweep
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --time=01:00:00
#SBATCH --output=muster-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
set -u
jobs=("$@")
if [ "${SLURM_ARRAY_TASK_ID:-0}" -ge "${#jobs[@]}" ]; then
    echo "array_sweep: task ${SLURM_ARRAY_TASK_ID:-0}, but ${#jobs[@]} job files: the first task is 0" >&2
    exit 2
fi
exec "${MUSTER:-muster}" run "${jobs[${SLURM_ARRAY_TASK_ID:-0}]}" --requeue
