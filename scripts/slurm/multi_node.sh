#!/bin/bash
# SPDX-License-Identifier: MIT
# Several nodes: sbatch --nodes=4 scripts/slurm/multi_node.sh JOB.yaml
# Ranks and hosts are those of the allocation; srun or mpirun starts them (cluster.launcher of the job file).
#SBATCH --job-name=muster
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --time=01:00:00
#SBATCH --output=muster-%j.log
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
# A node that dies is left out and the run goes on inside the allocation; without this Slurm ends all of it.
#SBATCH --no-kill
set -u
exec "${MUSTER:-muster}" run "${1:?usage: sbatch multi_node.sh JOB.yaml}" --requeue
