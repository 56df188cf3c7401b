#!/bin/bash
# SPDX-License-Identifier: MIT
# One link of a chain; submitted by chain.sh. Stopped with a checkpoint (75) is a good end of a link.
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --time=01:00:00
#SBATCH --output=muster-%j.log
#SBATCH --signal=B:USR1@120
# With more nodes (chain.sh JOB.yaml LINKS --nodes=4) one that dies is left out and the link goes on.
#SBATCH --no-kill
set -u
exec "${MUSTER:-muster}" run "${1:?usage: chain_link.sh JOB.yaml}"
