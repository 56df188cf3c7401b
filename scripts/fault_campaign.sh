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
# usage: scripts/fault_campaign.sh [--cells N] [--seed S] [--parallel N] [--folder F] [--for SECONDS]
#            N cells, all points, processes and actions. With --folder the same command goes on where it was stopped, and
#            runs again what had failed; --for begins nothing new after so long (a part at a time)
#        scripts/fault_campaign.sh --job STEPS FAULTS [--seed S]      one run, random faults, nobody helps
#        scripts/fault_campaign.sh --storm FAULTS SECONDS [--seed S]  one run, a random rank killed every so many seconds:
#            how much of the time and of the steps was of use
#
# MUSTER_BIN says where the programs are (build/bin). Exit code 1 when a run failed, its folder is kept then; 3 when --for
# left runs to be done.
set -euo pipefail
source_folder=$(cd "$(dirname "$0")/.." && pwd)
: "${MUSTER_BIN:=$source_folder/build/bin}"
cells=60 seed=1 parallel=2 job_steps=0 job_faults=0 group='' folder='' for_s='' storm_faults=0 storm_s=60
usage() { sed -n 's/^# usage: //p; s/^#        s/s/p' "$0" >&2; exit 2; }
while (($# > 0)); do
    [[ $# -ge 2 ]] || usage
    case $1 in
    --cells) cells=$2; shift 2 ;;
    --seed) seed=$2; shift 2 ;;
    --parallel) parallel=$2; shift 2 ;;
    --folder) folder=$2; shift 2 ;;
    --for) for_s=$2; shift 2 ;;
    --job) job_steps=$2 job_faults=$3; shift 3 ;;
    --storm) storm_faults=$2 storm_s=$3; shift 3 ;;
    --group) group=$2; shift 2 ;; # one run of a campaign, started by it
    *) usage ;;
    esac
done
deadline_s=${MUSTER_CAMPAIGN_DEADLINE:-240} # of one start
ranks=3 steps=30 faults_a_run=3
attempts_max=12 # starts of one run; each fault can ask for one

# ---- cells: POINT:RANK:HIT:ACTION[@PROCESS] ----

# A point, how often the slowest rank passes it in its first five steps at least (points of the start and of a save have
# one), whether only the end of a run has it, and the job that has it: `shared` adds in shared memory, `apart` by messages,
# as between hosts, `fast` lets MPI add.
points_print() {
    cat <<'POINTS'
startup 1 all shared
resume 1 all shared
broadcast 5 all shared
all_gather 10 all shared
all_reduce 2 all shared
local_barrier 5 all shared
exchange 5 all apart
reduce_scatter 5 all fast
step 5 all shared
data 10 all apart
forward 10 all shared
backward 10 all apart
reduce 5 all shared
optimizer 5 all shared
evaluation 1 all shared
save 1 all shared
ckpt_copy 1 all shared
ckpt_look 1 all shared
ckpt_space 1 all shared
ckpt_folder 1 all shared
ckpt_shard 1 all shared
ckpt_vote 1 all shared
ckpt_manifest 1 all shared
ckpt_commit 1 all shared
ckpt_tidy 1 all shared
shutdown 1 end shared
finalize 1 end shared
POINTS
}
# While the ranks start, too little memory is bad input, and who stops is noticed by the supervisor alone, much later.
oom_points=" step reduce data forward backward optimizer evaluation save ckpt_shard "
stop_points=" all_gather local_barrier exchange reduce_scatter step data forward backward reduce optimizer evaluation ckpt_shard "
hang_points=" data forward backward reduce optimizer "
rank_actions="kill segv abort exit0 term usr1 oom stop hang"
mpirun_actions="kill segv abort term usr1 stop"
supervisor_actions="kill segv abort term usr1"

# $moment: when in a run a rank may meet it, POINT's own time being the third word; empty where it may not.
action_moment() { # ACTION POINT WHEN
    local points=" $2 "
    case $1 in
    oom) points=$oom_points ;;
    stop) points=$stop_points ;;
    hang) points=$hang_points ;;
    esac
    moment=$3
    # What the next allocation is for decides what comes of it: a log line or an event is only lost.
    [[ $1 != oom || $2 == data ]] || moment=end
    [[ $points == *" $2 "* ]] || moment=
}

# A random order, when in a run, in which job, and the cell.
cells_print() {
    local name hits when job rank action hit moment
    RANDOM=$seed
    while read -r name hits when job; do
        for rank in 0 1 2; do
            for action in $rank_actions; do
                action_moment "$action" "$name" "$when"
                [[ -n $moment ]] || continue
                hit=$((RANDOM % hits + 1))
                [[ $action != hang ]] || hit=$hits # not the first step, which may last
                echo "$RANDOM $moment $job $name:$rank:$hit:$action"
            done
        done
        [[ $name != data ]] || echo "$RANDOM all $job data:1:$((RANDOM % hits + 1)):eio"
        for action in $mpirun_actions; do
            echo "$RANDOM end $job $name:$((RANDOM % ranks)):$((RANDOM % hits + 1)):$action@mpirun"
        done
        for action in $supervisor_actions; do
            echo "$RANDOM end $job $name:$((RANDOM % ranks)):$((RANDOM % hits + 1)):$action@supervisor"
        done
    done < <(points_print)
}

# In an order that takes the points in turn, each point's cells shuffled: the first N cover as much as N can.
cells_choose() {
    cells_print | sort -n -k1,1 -k4 | awk '{ split($4, part, ":"); print ++turn[part[1]], $2, $3, $4 }' |
        sort -n -k1,1 -k4 | awk -v n="$cells" 'NR <= n { print $2, $3, $4 }'
}

# Number, job and faults of each run, the jobs mixed. Last in its list comes what only the end of a run has, and what the ranks outlive for
# a while: without mpirun they train on for up to a second before they notice.
groups_print() {
    cells_choose | awk -v most="$faults_a_run" '
        !($2 in jobs) { jobs[$2]; order[++job_count] = $2 }
        $1 == "end" { ends[$2, ++end_count[$2]] = $3; next }
        { others[$2, ++count[$2]] = $3 }
        END {
            for (j = 1; j <= job_count; j++) {
                job = order[j]
                used = 0
                for (i = 1; i <= count[job] || used < end_count[job]; ) {
                    line = ""
                    room = used < end_count[job] ? most - 1 : most
                    for (size = 0; size < room && i <= count[job]; size++)
                        line = line (line == "" ? "" : ",") others[job, i++]
                    if (used < end_count[job])
                        line = line (line == "" ? "" : ",") ends[job, ++used]
                    print used / (end_count[job] + 1) + i / (count[job] + 1), job, line
                }
            }
        }' | sort -g -k1,1 -k2 | awk '{ print NR, $2, $3 }'
}

# ---- one run ----

# job_write FOLDER STEPS SAVE_INTERVAL [shared|apart|fast]
job_write() {
    local parallel_keys=
    case ${4:-shared} in
    apart) parallel_keys=', hierarchy: off' ;;
    fast) parallel_keys=', reduce: fast' ;;
    esac
    cat >"$1/job.yaml" <<YAML
name: campaign
output_dir: $1/run
device: cpu
model: {type: gpt, num_layers: 2, hidden_size: ${model_width:-32}, num_heads: 2, vocab_size: 256, dropout: 0.1}
data: {format: bytes, train: $1/text, val: $1/text, seq_len: 16}
train: {micro_batch_size: 1, global_batch_size: ${batch:-8}, max_steps: $2}
optimizer: {lr: 3e-3}
scheduler: {type: constant}
parallel: {logical_workers: 4, threads: 1, bucket_mb: 1$parallel_keys}
checkpoint: {save_interval: $3}
eval: {interval: ${eval_interval:-4}, iters: 2}
logging: {interval: 1000}
fault: {timeout: 2}
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
    grep -lzsE "^MUSTER_RUN=.*:$1/run\$" /proc/[0-9]*/environ | sed -E 's|/proc/([0-9]+)/environ|\1|' || true
}

# What is left of a run that is over, one thing a line.
leftovers() {
    local step
    processes_of "$1" | sed 's/^/process /'
    find "$1/tmp" "$1/shm" -mindepth 1 2>/dev/null
    find "$1/run" -name '*.tmp' -o -name '.tmp*' -o -name '.aside*' -o -name '.removed*' -o -name 'launcher.*'
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
    export OMPI_MCA_orte_tmpdir_base=$1/tmp PRTE_MCA_prte_tmpdir_base=$1/tmp OMPI_MCA_btl_vader_backing_directory=$1/shm OMPI_MCA_shmem_mmap_relocate_backing_file=0
    export MUSTER_FAULT_ONCE=$1/fired
}

# run_faults FOLDER JOB FAULTS REFERENCE: starts until the run is done; prints what is wrong.
run_faults() {
    local folder=$1 faults=$3 reference=$4 status attempt count
    count=$(tr ',' '\n' <<<"$faults" | grep -c .)
    mkdir -p "$folder"
    job_write "$folder" "$steps" 4 "$2"
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

# reference_make FOLDER STEPS JOB RANKS: the undisturbed run.
reference_make() {
    local status=0
    mkdir -p "$1"
    job_write "$1" "$2" 0 "$3"
    (
        environment "$1"
        unset MUSTER_FAULT_ONCE
        "$MUSTER_BIN/muster" run "$1/job.yaml" -n "$4" >"$1/out" 2>&1 </dev/null
    ) || status=$?
    [[ $status -eq 0 ]] || { cat "$1/out"; echo "the undisturbed run failed"; exit 1; }
    hash_of "$1/out" >"$1/hash"
    numbers "$1/run/metrics.jsonl" >"$1/numbers"
}

# ---- figures of a run from its logs: time from each fault to what was said of it, and to the next step, and the fault ----

seconds_of_day='function seconds(time) { return substr(time, 12, 2) * 3600 + substr(time, 15, 2) * 60 + substr(time, 18, 6) }'

delays_print() {
    {
        sed -nE 's/^([^ ]+) warning rank ([0-9]+): fault point ([^,]+), hit ([0-9]+): (.*)/\1 fault \3:\2:\4:\5/p' \
            "$1"/run/logs/rank-*.log
        sed -nE 's/^([^ ]+) info rank 0: first step done .*/\1 step/p' "$1"/run/logs/rank-0000.log
        sed -nE 's/^\{"time": "([^"]+)", "kind": "(restart|launch)".*/\1 \2/p' "$1/run/events.jsonl"
    } 2>/dev/null | sort | awk "$seconds_of_day"'
        $2 == "fault" { fault = seconds($1); name = $3; waits = 2 }
        $2 == "restart" && waits == 2 { noticed = seconds($1) - fault; waits = 1 }
        $2 == "step" && waits == 1 { print noticed, seconds($1) - fault, name; waits = 0 }'
}

percentiles() {
    sort -n | awk '{ v[NR] = $1 } END { if (NR) printf "median %.2f s, 95%% %.2f s, longest %.2f s (%d times)\n",
        v[int((NR + 1) / 2)], v[int(NR * 0.95 + 0.5) < 1 ? 1 : int(NR * 0.95 + 0.5)], v[NR], NR }'
}

# A rank that stands still is seen after fault.timeout, 2 s here: those are told apart.
figures_print() {
    local what
    for what in 'a death' 'a stop or a hang'; do
        grep -E "$([[ $what == 'a death' ]] && echo ':(kill|segv|abort|exit0|oom|eio)' || echo ':(stop|hang)')" "$1" \
            >"$1.some" || continue
        echo "from $what to its notice: $(cut -d ' ' -f 1 "$1.some" | percentiles)"
        echo "from $what to the next finished step: $(cut -d ' ' -f 2 "$1.some" | percentiles)"
    done
    echo "the slowest:"
    sort -rn -k2,2 "$1" | head -n 5 | awk '{ printf "  %.2f s to its notice, %.2f s to the next step: %s\n", $1, $2, $3 }'
}

# ---- the campaigns ----

# results: NUMBER, ok or FAILED, seconds, faults, what is wrong; tabs between.
table_print() {
    awk -F '\t' '
        {
            n = split($4, faults, ",")
            for (i = 1; i <= n; i++) {
                split(faults[i], part, ":")
                process = "rank " part[2]
                if (split(part[4], of, "@") > 1)
                    process = of[2]
                if (!(part[1] in seen)) {
                    seen[part[1]]
                    order[++points] = part[1]
                }
                count[part[1], process]++
                all[part[1]]++
                actions[part[1]] = actions[part[1]] (index(actions[part[1]] " ", " " of[1] " ") ? "" : " " of[1])
                failed[part[1]] += $2 != "ok"
            }
        }
        END {
            print "| point | cells | rank 0 | rank 1 | rank 2 | mpirun | supervisor | actions | in failed runs |"
            print "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
            for (i = 1; i <= points; i++) {
                p = order[i]
                printf "| %s | %d | %d | %d | %d | %d | %d |%s | %d |\n", p, all[p], count[p, "rank 0"], count[p, "rank 1"],
                    count[p, "rank 2"], count[p, "mpirun"], count[p, "supervisor"], actions[p], failed[p]
            }
        }' "$1"
}

group_run() {
    local number job faults run wrong began
    read -r number job faults <<<"$group"
    run=$folder/$number
    [[ -z $MUSTER_CAMPAIGN_END || $(date +%s) -lt $MUSTER_CAMPAIGN_END ]] || exit 0
    began=$(date +%s%3N)
    rm -rf "$run"
    wrong=$(run_faults "$run" "$job" "$faults" "$folder/reference-$([[ $job == fast ]] && echo fast || echo exact)")
    began=$(($(date +%s%3N) - began))
    delays_print "$run" >>"$folder/delays" || true # a run that never began has no logs
    printf '%d\t%s\t%d.%03d\t%s\t%s\n' "$number" "$([[ -z $wrong ]] && echo ok || echo FAILED)" $((began / 1000)) \
        $((began % 1000)) "$faults" "$(tr '\n' ';' <<<"$wrong")" >>"$folder/results"
    [[ -z $wrong ]] || exit 0 # its folder is kept
    rm -rf "$run"
}

campaign() {
    local began total left failed_runs
    began=$(date +%s)
    export MUSTER_CAMPAIGN_END=
    [[ -z $for_s ]] || MUSTER_CAMPAIGN_END=$((began + for_s))
    [[ -e $folder/reference-exact/numbers ]] || reference_make "$folder/reference-exact" "$steps" shared 1
    [[ -e $folder/reference-fast/numbers ]] || reference_make "$folder/reference-fast" "$steps" fast "$ranks"
    touch "$folder/results"
    grep -P '\tok\t' "$folder/results" >"$folder/good" || true # what failed runs again
    mv "$folder/good" "$folder/results"
    groups_print >"$folder/groups"
    awk 'FILENAME == ARGV[1] { done[$4]; next } !($3 in done) { printf "%s%c", $0, 0 }' "$folder/results" "$folder/groups" |
        xargs -0 -r -P "$parallel" -n 1 "${BASH_SOURCE[0]}" --folder "$folder" --group
    total=$(grep -c . "$folder/groups")
    left=$((total - $(grep -c . "$folder/results" || true)))
    failed_runs=$(grep -cP '\tFAILED\t' "$folder/results" || true)
    table_print "$folder/results"
    echo
    echo "$(cut -f 4 "$folder/results" | tr ',' '\n' | grep -c .) cells in $((total - left)) of $total runs, $failed_runs runs failed;" \
        "$(cut -f 3 "$folder/results" | awk '{ s += $1 } END { printf "%.0f", s }') s of runs, $parallel at a time, now $(($(date +%s) - began)) s"
    [[ ! -s $folder/delays ]] || figures_print "$folder/delays"
    grep -P '\tFAILED\t' "$folder/results" || true
    [[ $failed_runs -eq 0 ]] || failed=1
    [[ $left -eq 0 || $failed -eq 1 ]] || exit 3
}

random_faults_print() {
    local i action=(kill kill segv abort exit0 oom) name target hit chosen
    local point=(step step reduce local_barrier optimizer forward backward all_gather data save)
    RANDOM=$seed
    for ((i = 0; i < job_faults; i++)); do
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
        echo "$name:$((RANDOM % ranks)):$hit:$chosen$target"
    done | paste -sd ,
}

# job_start FOLDER FAULTS: `muster run` of the folder's job as process $run_pid
job_start() {
    MUSTER_FAULT=$2 "$MUSTER_BIN/muster" run "$1/job.yaml" -n "$ranks" >"$1/out" 2>&1 </dev/null &
    run_pid=$!
}

# job_end FOLDER FAULT_COUNT REFERENCE: waits for it, and says what it has come to
job_end() {
    local status=0 wrong
    wait "$run_pid" || status=$?
    wrong=$(run_judge "$1" "$2" "$3")
    [[ $status -eq 0 ]] || wrong="muster run ended with $status; $wrong"
    delays_print "$1" >"$folder/delays"
    echo "${wrong:-the state hash, the log and the folder are those of the undisturbed run}"
    [[ -z $wrong ]] || failed=1
}

one_job() {
    local began
    began=$(date +%s)
    reference_make "$folder/reference" "$job_steps" shared 1
    mkdir -p "$folder/job"
    job_write "$folder/job" "$job_steps" 2
    environment "$folder/job"
    job_start "$folder/job" "$(random_faults_print)"
    job_end "$folder/job" "$job_faults" "$folder/reference"
    echo "$job_steps steps, $(stat -c %s "$folder/job/fired") faults, $(($(date +%s) - began)) s"
    figures_print "$folder/delays"
}

# From the first launch to the end.
run_seconds() {
    sed -nE 's/^\{"time": "([^"]+)", "kind": "(launch|done)".*/\1/p' "$1/run/events.jsonl" | sed -n '1p;$p' |
        awk "$seconds_of_day"'{ t[NR] = seconds($1) } END { printf "%.1f", t[2] - t[1] + (t[2] < t[1] ? 86400 : 0) }'
}

# Steps long enough that what a run loses is steps and not only starts. A rank is killed from outside, whatever it does.
storm() {
    local rate rest_s steps_all victims lost model_width=128 batch=32 eval_interval=0
    RANDOM=$seed
    reference_make "$folder/trial" 100 shared "$ranks"
    rate=$(sed -nE 's/.*"step_ms": ([0-9.]+),.*/\1/p' "$folder/trial/run/metrics.jsonl" | tail -n 50 |
        awk '{ s += $1 } END { print 1000 * NR / s }')
    steps_all=$(awk -v r="$rate" -v n="$storm_faults" -v s="$storm_s" 'BEGIN { print int(r * (n + 0.5) * s) }')
    reference_make "$folder/reference" "$steps_all" shared "$ranks"
    mkdir -p "$folder/job"
    job_write "$folder/job" "$steps_all" "$(awk -v r="$rate" 'BEGIN { print (r > 1 ? int(r) : 1) }')" # a save a second
    environment "$folder/job"
    : >"$folder/job/fired"
    job_start "$folder/job" ''
    for ((rest_s = storm_s; ; rest_s--)); do
        sleep 1
        kill -0 "$run_pid" 2>/dev/null || break
        ((rest_s <= 1)) || continue
        mapfile -t victims < <(pgrep -x -f "$MUSTER_BIN/muster-worker $folder/job/job.yaml.*")
        ((${#victims[@]} > 0)) || continue
        kill -KILL "${victims[RANDOM % ${#victims[@]}]}" 2>/dev/null && printf x >>"$folder/job/fired"
        rest_s=$((storm_s + 1))
    done
    job_end "$folder/job" "$(stat -c %s "$folder/job/fired")" "$folder/reference"
    lost=$(sed -nE 's/.*; lost ([0-9]+) steps? .*/\1/p' "$folder/job/run/events.jsonl" | awk '{ s += $1 } END { print s + 0 }')
    awk -v n="$(stat -c %s "$folder/job/fired")" -v steps="$steps_all" -v lost="$lost" \
        -v calm="$(run_seconds "$folder/reference")" -v wild="$(run_seconds "$folder/job")" 'BEGIN {
        printf "%d kills in %.1f s; %d steps, and %d that were lost and done again: %.2f%% of the steps were of use\n", n, wild,
            steps, lost, 100 * steps / (steps + lost)
        printf "without a kill and a save %.1f s: %.2f%% of the time was of use\n", calm, 100 * calm / wild }'
}

export MUSTER_BIN OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
[[ -z $group ]] || { group_run; exit 0; }
keeps=$folder
folder=${folder:-$(mktemp -d "${TMPDIR:-/tmp}/muster-campaign.XXXXXX")}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
failed=0
if ((job_steps > 0)); then
    one_job
elif ((storm_faults > 0)); then
    storm
else
    campaign
fi
if ((failed)); then
    echo "kept: $folder"
    exit 1
fi
[[ -n $keeps ]] || rm -rf "$folder"
