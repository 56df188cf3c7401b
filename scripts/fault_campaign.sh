#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Makes a small job fail in every way there is a name for, and demands that it ends as if nothing had happened. A cell is
# a fault: a point of the program (worker/fault_point.h) x a process (first, middle, last rank, mpirun, the supervisor) x
# an action. Runs of `muster run` on three ranks take a few cells each, one after the other, and are started again only
# when they were asked to stop (75) or the supervisor itself was killed. Every run is judged by the same oracle:
#
#   the hash of the final state is that of one undisturbed rank;
#   every step is in metrics.jsonl once with the numbers of the undisturbed run: each sample was consumed once;
#   every fault of the list has fired;
#   no process, shared memory, session folder, unfinished or temporary file is left.
#
# usage: scripts/fault_campaign.sh [--cells N] [--seed S] [--parallel N]     N cells, all points, processes and actions
#        scripts/fault_campaign.sh --job STEPS FAULTS [--seed S]             one run, random faults, nobody helps
#
# MUSTER_BIN says where the programs are (build/bin). Exit code 1 when a run failed; its folder is kept then.
set -euo pipefail
source_folder=$(cd "$(dirname "$0")/.." && pwd)
: "${MUSTER_BIN:=$source_folder/build/bin}"
cells=60 seed=1 parallel=2 job_steps=0 job_faults=0 group=
while (($# > 0)); do
    case $1 in
    --cells) cells=$2; shift 2 ;;
    --seed) seed=$2; shift 2 ;;
    --parallel) parallel=$2; shift 2 ;;
    --job) job_steps=$2 job_faults=$3; shift 3 ;;
    --group) group=$2; shift 2 ;; # one run of a campaign, started by it
    *) echo "usage: ${0##*/} [--cells N] [--seed S] [--parallel N] | --job STEPS FAULTS [--seed S]" >&2; exit 2 ;;
    esac
done
deadline_s=${MUSTER_CAMPAIGN_DEADLINE:-240} # of one start
ranks=3 steps=30 faults_a_run=3
attempts_max=12 # starts of one run; each fault can ask for one

# The point, how often the slowest rank passes it in its first five steps at least, and whether only the end of a run
# has it. Points of the start and of a save have one.
points="startup:1 resume:1 broadcast:5 all_gather:10 reduce:5 local_barrier:5 step:5 data:10 forward:10 backward:10 optimizer:5
    evaluation:1 save:1 all_reduce:2 ${MUSTER_CAMPAIGN_POINTS:-} shutdown:1:end finalize:1:end"
rank_actions="kill segv abort exit0 term usr1 oom ${MUSTER_CAMPAIGN_STOPS:-}"
oom_points="step reduce data forward backward optimizer evaluation save" # while it starts, too little memory is bad input
mpirun_actions="kill segv abort term usr1 stop"
supervisor_actions="kill segv abort term usr1"

# ---- cells: POINT:RANK:HIT:ACTION[@PROCESS] ----

cells_print() {
    local entry name hits end rank action middle
    RANDOM=$seed
    for entry in $points; do
        IFS=: read -r name hits end <<<"$entry"
        for rank in 0 1 2; do
            for action in $rank_actions; do
                [[ $action != oom || " $oom_points " == *" $name "* ]] || continue
                echo "$RANDOM ${end:-all} $name:$rank:$((RANDOM % hits + 1)):$action"
            done
        done
        [[ $name != data ]] || echo "$RANDOM all data:1:$((RANDOM % hits + 1)):eio"
        for action in $mpirun_actions; do
            echo "$RANDOM end $name:$((RANDOM % ranks)):$((RANDOM % hits + 1)):$action@mpirun"
        done
        for action in $supervisor_actions; do
            echo "$RANDOM end $name:$((RANDOM % ranks)):$((RANDOM % hits + 1)):$action@supervisor"
        done
    done
}

# In an order that takes the points in turn, each point's cells shuffled: the first N cover as much as N can.
cells_choose() {
    cells_print | sort -n -k1,1 -k3 | awk '{ split($3, part, ":"); print ++turn[part[1]], $2, $3 }' |
        sort -n -k1,1 -k3 | awk -v n="$cells" 'NR <= n { print $2, $3 }'
}

# Lists of a run's faults. Last in its list comes what only the end of a run has, and what the ranks outlive for a while:
# without mpirun they train on for up to a second before they notice.
groups_print() {
    cells_choose | awk -v most="$faults_a_run" '
        $1 == "end" { ends[++end_count] = $2; next }
        { others[++count] = $2 }
        END {
            for (i = 1; i <= count || used < end_count; ) {
                line = ""
                size = 0
                room = used < end_count ? most - 1 : most
                for (; size < room && i <= count; size++)
                    line = line (line == "" ? "" : ",") others[i++]
                if (used < end_count)
                    line = line (line == "" ? "" : ",") ends[++used]
                print line
            }
        }'
}

# ---- one run ----

job_write() {
    cat >"$1/job.yaml" <<YAML
name: campaign
output_dir: $1/run
device: cpu
model: {type: gpt, num_layers: 2, hidden_size: 32, num_heads: 2, vocab_size: 256, dropout: 0.1}
data: {format: bytes, train: $1/text, val: $1/text, seq_len: 16}
train: {micro_batch_size: 1, global_batch_size: 8, max_steps: $2}
optimizer: {lr: 3e-3}
scheduler: {type: constant}
parallel: {logical_workers: 4, threads: 1, bucket_mb: 1}
checkpoint: {save_interval: $3}
eval: {interval: 4, iters: 2}
logging: {interval: 1000}
supervisor: {max_restarts: 1000000, give_up_after: 50, restart_backoff: 0, start_timeout: 30}
YAML
    cat "$source_folder"/base/*.c >"$1/text"
}

numbers() {
    sed -nE -e 's/^\{("step": [0-9]+, "loss": .*), "tokens": .*/\1/p' -e 's/^\{("step": [0-9]+, "eval_.*)\}$/\1/p' "$1"
}

hash_of() { sed -nE 's/^ *state hash +([0-9a-f]{32})$/\1/p' "$1" | tail -n 1; }

# Processes that carry the run's folder in their environment.
processes_of() {
    local process
    for process in /proc/[0-9]*; do
        if tr '\0' '\n' 2>/dev/null <"$process/environ" | grep -q "^MUSTER_RUN=.*:$1/run\$"; then
            echo "${process#/proc/}"
        fi
    done
}

# What is left of a run that is over, one thing a line.
leftovers() {
    local step
    processes_of "$1" | sed 's/^/process /'
    find "$1/tmp" "$1/shm" -mindepth 1 2>/dev/null
    find "$1/run" -name '*.tmp' -o -name '.tmp*' -o -name '.aside*' -o -name '.removed*' -o -name launcher
    for step in "$1"/run/checkpoints/step-*; do
        [[ -e $step/MANIFEST.json ]] || echo "$step is not committed"
    done
}

# run_judge FOLDER FAULT_COUNT REFERENCE: what is wrong with the run, one thing a line.
run_judge() {
    local fired found
    fired=$(stat -c %s "$1/fired" 2>/dev/null || echo 0)
    found=$(hash_of "$1/out")
    [[ $fired == "$2" ]] || echo "$fired of $2 faults fired"
    [[ $found == "$(<"$3/hash")" ]] || echo "state hash $found instead of $(<"$3/hash")"
    numbers "$1/run/metrics.jsonl" | cmp -s - "$3/numbers" || echo "metrics.jsonl is not that of the undisturbed run"
    leftovers "$1"
}

# As a person has it, but with Open MPI's files where what is left of them can be counted.
environment() {
    mkdir -p "$1/tmp" "$1/shm"
    unset OMPI_MCA_odls_base_sigkill_timeout OMPI_MCA_pml OMPI_MCA_btl
    export OMPI_MCA_orte_tmpdir_base=$1/tmp OMPI_MCA_btl_vader_backing_directory=$1/shm OMPI_MCA_shmem_mmap_relocate_backing_file=0
    export MUSTER_FAULT_ONCE=$1/fired
}

# run_faults FOLDER FAULTS REFERENCE: starts until the run is done; prints what is wrong.
run_faults() {
    local folder=$1 faults=$2 reference=$3 status attempt count
    count=$(tr ',' '\n' <<<"$faults" | grep -c .)
    mkdir -p "$folder"
    job_write "$folder" "$steps" 4
    environment "$folder"
    for ((attempt = 1; attempt <= attempts_max; attempt++)); do
        status=0
        echo "--- start $attempt" >>"$folder/out"
        MUSTER_FAULT=$faults timeout -k 5 "$deadline_s" "$MUSTER_BIN/muster" run "$folder/job.yaml" -n "$ranks" \
            >>"$folder/out" 2>&1 </dev/null || status=$?
        case $status in
        0) break ;;
        75 | 134 | 137 | 139 | 143) ;; # asked to stop, or the supervisor was killed
        *) echo "start $attempt ended with $status"; return ;;
        esac
    done
    [[ $status -eq 0 ]] || echo "not done after $attempts_max starts (last $status)"
    run_judge "$folder" "$count" "$reference"
}

reference_make() {
    mkdir -p "$1"
    job_write "$1" "$2" 0
    environment "$1"
    unset MUSTER_FAULT_ONCE
    mpirun --oversubscribe --allow-run-as-root -n 1 "$MUSTER_BIN/muster-worker" "$1/job.yaml" >"$1/out" 2>&1 </dev/null ||
        { cat "$1/out"; echo "the undisturbed run failed"; exit 1; }
    hash_of "$1/out" >"$1/hash"
    numbers "$1/run/metrics.jsonl" >"$1/numbers"
}

# ---- figures of a run from its logs: time from each fault to what was said of it, and to the next step ----

seconds_of_day='function seconds(time) { return substr(time, 12, 2) * 3600 + substr(time, 15, 2) * 60 + substr(time, 18, 6) }'

delays_print() {
    {
        sed -nE 's/^([^ ]+) warning rank [0-9]+: fault point .*/\1 fault/p' "$1"/run/logs/rank-*.log
        sed -nE 's/^([^ ]+) info rank 0: first step done .*/\1 step/p' "$1"/run/logs/rank-0000.log
        sed -nE 's/^\{"time": "([^"]+)", "kind": "(restart|launch)".*/\1 \2/p' "$1/run/events.jsonl"
    } | sort | awk "$seconds_of_day"'
        $2 == "fault" { fault = seconds($1); waits = 2 }
        $2 == "restart" && waits == 2 { noticed = seconds($1) - fault; waits = 1 }
        $2 == "step" && waits == 1 { print noticed, seconds($1) - fault; waits = 0 }'
}

percentiles() {
    sort -n | awk '{ v[NR] = $1 } END { if (NR) printf "median %.2f s, 95%% %.2f s, longest %.2f s (%d times)\n",
        v[int((NR + 1) / 2)], v[int(NR * 0.95 + 0.5) < 1 ? 1 : int(NR * 0.95 + 0.5)], v[NR], NR }'
}

figures_print() {
    echo "from a fault to its notice: $(cut -d ' ' -f 1 "$1" | percentiles)"
    echo "from a fault to the next finished step: $(cut -d ' ' -f 2 "$1" | percentiles)"
}

# ---- the campaigns ----

if [[ -n $group ]]; then # NUMBER FAULTS, in the folder of a campaign
    number=${group%% *} faults=${group#* }
    folder=$MUSTER_CAMPAIGN_FOLDER/$number
    wrong=$(run_faults "$folder" "$faults" "$MUSTER_CAMPAIGN_FOLDER/reference")
    if [[ -n $wrong ]]; then
        printf 'FAILED %s: %s\n' "$faults" "$(tr '\n' ';' <<<"$wrong")"
        exit 1
    fi
    delays_print "$folder" >>"$MUSTER_CAMPAIGN_FOLDER/delays"
    printf 'ok %s\n' "$faults"
    rm -rf "$folder"
    exit 0
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/muster-campaign.XXXXXX")
export MUSTER_CAMPAIGN_FOLDER=$folder MUSTER_BIN OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
began=$(date +%s)
failed=0

if ((job_steps > 0)); then
    RANDOM=$seed
    steps=$job_steps
    reference_make "$folder/reference" "$steps"
    faults=
    for ((i = 0; i < job_faults; i++)); do
        action=(kill kill segv abort exit0 oom)
        point=(step step reduce local_barrier optimizer forward backward all_gather data save)
        name=${point[RANDOM % ${#point[@]}]} target=
        hit=$((RANDOM % 9 + 1))
        case $name in
        forward | backward | data | all_gather) hit=$((hit * 2)) ;;
        save) hit=1 ;;
        esac
        chosen=${action[RANDOM % ${#action[@]}]}
        [[ $chosen != oom ]] || { name=data hit=$((RANDOM % 12 + 1)); }
        if ((RANDOM % 25 == 0)); then
            chosen=kill target=@mpirun
        fi
        faults+=${faults:+,}$name:$((RANDOM % ranks)):$hit:$chosen$target
    done
    mkdir -p "$folder/job"
    job_write "$folder/job" "$steps" 2
    environment "$folder/job"
    status=0
    MUSTER_FAULT=$faults "$MUSTER_BIN/muster" run "$folder/job/job.yaml" -n "$ranks" >"$folder/job/out" 2>&1 </dev/null || status=$?
    wrong=$(run_judge "$folder/job" "$job_faults" "$folder/reference")
    [[ $status -eq 0 ]] || wrong="muster run ended with $status; $wrong"
    delays_print "$folder/job" >"$folder/delays"
    echo "$job_steps steps, $(stat -c %s "$folder/job/fired") faults, $(($(date +%s) - began)) s: ${wrong:-the state hash, the log and the folder are those of the undisturbed run}"
    [[ -z $wrong ]] || failed=1
else
    reference_make "$folder/reference" "$steps"
    groups_print | awk '{ printf "%d %s%c", NR, $0, 0 }' |
        xargs -0 -P "$parallel" -n 1 "${BASH_SOURCE[0]}" --group >"$folder/results" || failed=1
    grep FAILED "$folder/results" || true
    done_cells=$(cells_choose | grep -c .)
    failed_runs=$(grep -c FAILED "$folder/results" || true)
    echo "$done_cells cells in $(grep -c . "$folder/results") runs, $failed_runs runs failed, $(($(date +%s) - began)) s"
fi
[[ ! -s $folder/delays ]] || figures_print "$folder/delays"
if ((failed)); then
    echo "kept: $folder"
    exit 1
fi
rm -rf "$folder"
