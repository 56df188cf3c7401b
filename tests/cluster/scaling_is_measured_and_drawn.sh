#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# `muster scale` on this host, over a hostfile, and as Slurm jobs that are collected later, strong and weak: every number of ranks is
# measured, the table, the CSV and the pictures are there, the job's own run is untouched, and a job's name with
# gnuplot's and the shell's quotes in it draws a picture and runs nothing.
# shellcheck source=slurm_lib.sh
. "$(dirname "$0")/slurm_lib.sh"

command -v gnuplot >/dev/null || skip "gnuplot is not installed (package gnuplot-nox)"
executed=$folder/executed
write_job demo name="\"a' . system('touch $(sed 's#/#_#g' <<<"$executed")') . \`touch x\` \\\"b\"" slurm.time=5
scale=$folder/demo.run/scale

# must_hold KIND RANKS SAMPLES…: the CSV has these points, each measured.
must_hold() {
    local kind=$1 ranks samples found
    shift
    while (($# > 0)); do
        ranks=$1 samples=$2
        shift 2
        found=$(awk -F, -v r="$ranks" -v s="$samples" '$2 == r && $3 == s && $4 > 0 && $5 > 0 && $6 <= $5 && $5 <= $7' \
            "$scale/$kind.csv")
        [[ $found == "$kind,"* ]] || fail "$kind: no measured row for $ranks ranks of $samples samples: $(<"$scale/$kind.csv")"
    done
    for plot in speedup time; do
        head -c 200 "$scale/$kind-$plot.svg" | grep -q '<svg' || fail "$kind-$plot.svg is no picture"
        grep -q "($kind scaling)" "$scale/$kind-$plot.svg" || fail "$kind-$plot.svg has no title"
    done
}

export OMPI_MCA_btl=self,vader
cd "$folder"
muster scale demo.yaml --ranks 2,1,2 --steps 3 --warmup 1 --repeat 2
must_exit 0
must_say 'strong scaling of .*: medians over 6 steps'
must_hold strong 1 16 2 16
must_equal "speed-up of the first" 1.0000 "$(awk -F, '$2 == 1 { print $9 }' "$scale/strong.csv")"
muster scale demo.yaml --weak --ranks 1,2 --steps 3 --warmup 0 --repeat 1
must_exit 0
must_hold weak 1 16 2 32
[[ ! -e x && ! -e $executed ]] || fail "a name was executed"
[[ ! -e $folder/demo.run/metrics.jsonl && ! -e $folder/demo.run/checkpoints ]] || fail "the job's own run was touched"

# With a profile of this machine, what the cost model says stands beside what was measured.
muster bench machine --brief --output "$folder/machine.yaml"
must_exit 0
write_job predicted machine.profile="$folder/machine.yaml"
muster scale predicted.yaml --ranks 1,2 --steps 2 --warmup 1 --repeat 1
must_exit 0
must_say 'ms \([+-][0-9]+%\)$'
must_equal "predictions" 2 "$(awk -F, 'NR > 1 && $13 > 0' predicted.run/scale/strong.csv | wc -l)"
grep -q predicted predicted.run/scale/strong-time.svg || fail "the picture lacks the prediction"

# Over a hostfile, whose hosts are this one under two names: spread evenly, so that there is a prediction too. Joules are
# of one host, so there are none.
cat >agent <<'AGENT'
#!/bin/sh
shift
exec sh -c "$*"
AGENT
chmod 755 agent
printf 'alpha slots=1\nbeta slots=1\n' >hosts
export OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=lo
export OMPI_MCA_plm_rsh_agent=$folder/agent PRTE_MCA_plm_ssh_agent=$folder/agent
if poses_as_hosts; then
    muster scale predicted.yaml --weak --ranks 1,2 --steps 2 --warmup 0 --repeat 1 --hostfile hosts --set seed=3
    must_exit 0
    cp predicted.run/scale/weak.csv "$scale/weak.csv"
    must_hold weak 1 16 2 32
    must_equal "joules of two hosts" "" "$(awk -F, '$2 == 2 { print $12 }' "$scale/weak.csv")"
    grep -q '^seed: 3$' predicted.run/scale/weak-2.yaml || fail "what the command line sets is not in the measured job"
fi
muster scale demo.yaml --ranks 1,4 --hostfile hosts
must_exit 2
must_say '4 ranks, but hosts has 2 places'
unset OMPI_MCA_plm_rsh_agent PRTE_MCA_plm_ssh_agent OMPI_MCA_btl OMPI_MCA_btl_tcp_if_include

muster scale demo.yaml --ranks 1,16 --steps 3
must_exit 2
must_say '16 ranks, but the job has parallel.logical_workers 8'
muster scale demo.yaml --ranks 1,zwei
must_exit 2

# As Slurm jobs.
slurm_start 2
rm -r "$scale"
write_job demo name=demo slurm.time=5 slurm.ntasks_per_node=2
muster scale demo.yaml --ranks 1,4 --steps 3 --warmup 1 --submit
must_exit 0
mapfile -t jobs < <(sed -nE 's/^job ([0-9]+): .*/\1/p' out)
must_equal "jobs" 2 "${#jobs[@]}"
for id in "${jobs[@]}"; do
    await_state "$id" "$folder/out" COMPLETED FAILED
    must_equal "state of job $id" COMPLETED "$(job_field "$id" JobState)"
done
must_equal "nodes for 4 ranks" 2 "$(job_field "${jobs[1]}" NumNodes)"
muster scale demo.yaml --ranks 1,4 --steps 3 --warmup 1 --collect
must_exit 0
must_hold strong 1 16 4 16
muster scale demo.yaml --weak --ranks 1,2 --steps 3 --warmup 1 --submit
must_exit 0
while read -r id; do await_state "$id" "$folder/out" COMPLETED; done < <(sed -nE 's/^job ([0-9]+): .*/\1/p' out)
muster scale demo.yaml --weak --ranks 1,2 --steps 3 --warmup 1 --collect
must_exit 0
must_hold weak 1 16 2 32
muster scale demo.yaml --ranks 1,2,4 --steps 3 --warmup 1 --collect
must_exit 1
must_say 'muster scale: 2 ranks: .*metrics.jsonl'
