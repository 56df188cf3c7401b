#!/bin/bash
# SPDX-License-Identifier: MIT
# One node: sbatch scripts/slurm/single_node.sh JOB.yaml
# `muster submit JOB.yaml` writes such a script from the job's section slurm; this one is for sites and people that keep their own.
#SBATCH --job-name=muster
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --time=01:00:00
#SBATCH --output=muster-%j.log
# The log of a requeued job goes on in the same file.
#SBATCH --open-mode=append
# USR1 to this script, two minutes before the end: enough for one step and one checkpoint.
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
set -u
# On a node with GPUs add --gpus-per-node=N above and give N as --ntasks-per-node: one rank a GPU.
# exec, so that signals to the script reach muster.
exec "${MUSTER:-muster}" run "${1:?usage: sbatch single_node.sh JOB.yaml}" --requeue
