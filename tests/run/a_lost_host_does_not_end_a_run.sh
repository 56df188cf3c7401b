#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Two hosts, which are this one under two names: mpirun's agent starts its daemon here instead of calling ssh. One of
# them is lost in mid-run and does not answer any more: the run goes on with half the ranks on the other, and with all of
# them again when the host is back, without a person, and ends in the bits of one undisturbed rank.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
poses_as_hosts || skip "this Open MPI has no two hosts on one; a_host_that_is_cut_off_is_left_out looks at the same in namespaces"
unset OMPI_MCA_odls_base_sigkill_timeout OMPI_MCA_pml
export OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
export OMPI_MCA_plm_rsh_agent=$folder/agent PRTE_MCA_plm_ssh_agent=$folder/agent

cat >"$folder/agent" <<AGENT
#!/bin/sh
host=\$1
shift
[ ! -e "$folder/gone-\$host" ] || exit 255
[ "\${1%% *}" = test ] || echo \$\$ >"$folder/daemon-\$host"
exec sh -c "\$*"
AGENT
chmod 755 "$folder/agent"
printf 'alpha slots=2\nbeta slots=2\n' >"$folder/hosts"

small=(model.hidden_size=32 model.num_heads=2 checkpoint.save_interval=20)
write_job job "${small[@]}" train.max_steps=1000000 logging.interval=1 supervisor.host_retry=1
mkfifo "$folder/pipe"
"$MUSTER_BIN/muster" run "$folder/job.yaml" -n 4 --hostfile "$folder/hosts" >"$folder/pipe" 2>&1 </dev/null &
job_pid=$!
exec {pipe}<"$folder/pipe"
: >"$folder/out"
await '4 ranks of 1 thread'
await '^step .*  saved [0-9]+$'
touch "$folder/gone-beta"
kill -KILL "$(<"$folder/daemon-beta")"
await '^muster run: beta does not answer: going on without it'
await '; restarting on 2 ranks '
await '2 ranks of 1 thread'
await '^step .*  saved [0-9]+$'
rm "$folder/gone-beta"
await '^muster run: a host answers again: saving, to go on with it$'
await '4 ranks of 1 thread'
await '^step .*  saved [0-9]+$'
kill -USR1 "$job_pid"
await_end
must_exit 75
export OMPI_MCA_btl=self,vader
newest=$(checkpoints job | tail -n 1)
steps=$((10#${newest#step-}))
write_job undisturbed "${small[@]}" train.max_steps=$steps checkpoint.save_interval=0
train 1 undisturbed
must_say "state hash +$hash\$"
must_equal "state hash of step $steps" "$hash" "$("$MUSTER_BIN/muster" ckpt hash "$folder/job.run/checkpoints/$newest" | cut -c 1-32)"
numbers job >"$folder/found"
numbers undisturbed | cmp - "$folder/found" || fail 'every step must be logged once, as undisturbed'
