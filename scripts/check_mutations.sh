#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Do the tests see what they are there for? Each mutation below breaks one promise in a copy of the tree, by one small
# change to one file; after an incremental build at least one of the tests named for it must go red. Prints which did.
# Run by hand (six minutes on two cores): a test that stays green here proves nothing elsewhere.
#
# usage: scripts/check_mutations.sh [NAME ...]   only mutations whose name holds one of the words
# shellcheck disable=SC2016 # $1 in the edits is perl's
set -euo pipefail
cd "$(dirname "$0")/.."

copy=$(mktemp -d "${TMPDIR:-/tmp}/muster-mutations.XXXXXX")
trap 'rm -rf "$copy"' EXIT
trap 'exit 143' TERM INT
wanted=("$@")
unseen=0
count=0

build() { cmake --build "$copy/build" --parallel "$(nproc)" >"$copy/build.log" 2>&1; }

# Runs these tests; the names of those that are red, one a line.
red() {
    local pattern
    pattern="^($(tr ' ' '|' <<<"$*"))$"
    ctest --test-dir "$copy/build" -R "$pattern" --no-tests=error --timeout 120 >"$copy/test.log" 2>&1 || true
    grep -q 'tests passed' "$copy/test.log" || { cat "$copy/test.log" >&2; exit 1; }
    sed -nE 's/^[[:space:]]+[0-9]+ - ([^ ]+) \(.*\)$/\1/p' "$copy/test.log"
}

# mutate NAME FILE EDIT TEST ...: EDIT is a perl substitution over the whole file.
mutate() {
    local name=$1 file=$2 edit=$3 seen word
    shift 3
    [[ ${#wanted[@]} -eq 0 ]] || {
        for word in "${wanted[@]}"; do
            [[ $name != *"$word"* ]] || break
        done
        [[ $name == *"$word"* ]] || return 0
    }
    count=$((count + 1))
    cp -p "$copy/tree/$file" "$copy/original"
    perl -0pi -e "$edit" "$copy/tree/$file"
    if cmp -s "$copy/original" "$copy/tree/$file"; then
        seen='the change does not apply any more'
        unseen=$((unseen + 1))
    elif ! build; then
        seen="does not compile: $(grep -m1 'error' "$copy/build.log")"
        unseen=$((unseen + 1))
    else
        seen=$(red "$@" | xargs)
        [[ -n $seen ]] || unseen=$((unseen + 1))
    fi
    printf '%-55s %s\n' "$name" "${seen:-NOT SEEN by $*}"
    cp -p "$copy/original" "$copy/tree/$file"
    touch "$copy/tree/$file"
}

mkdir "$copy/tree"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy/tree" 2>/dev/null || true
cmake -S "$copy/tree" -B "$copy/build" -DCMAKE_BUILD_TYPE=RelWithDebInfo >"$copy/build.log"
build || { cat "$copy/build.log"; exit 1; }

ranks=the_number_of_ranks_changes_nothing
threads=the_number_of_threads_changes_nothing
killed=a_killed_run_resumes_bit_for_bit
stopped=a_stop_signal_saves_and_the_same_command_continues
damaged=a_damaged_checkpoint_is_never_believed
stages=the_zero_stage_changes_nothing
turns=a_resume_may_change_ranks_and_zero_stage
full=a_full_disk_does_not_stop_training
bad=bad_input_is_named
numbers=bad_numbers_are_answered_alike
missed=a_rank_that_ends_before_mpi_starts_is_missed

before=$(red $missed test_fs_bulk $ranks $threads recompute_changes_nothing $killed $stopped $damaged $full $bad $numbers test_tree test_loader \
    test_watch_table test_straggler test_health test_event_log \
    test_train_step test_ckpt generate_repeats_itself exact_and_fast_agree_closely test_hosts_4 test_exact_reduce_4 \
    test_comm_threads_3 test_plan | xargs)
[[ -z $before ]] || { echo "red before anything was changed: $before"; exit 1; }

mutate 'the ranks of a sum are added from left to right' base/tree.c \
    's/return combine_write\(&writer, at\) \? writer\.length : 0;/int length = 0;
    if (!combine_write(&writer, at)) return 0;
    for (int k = 0; k < writer.taken; k++) {
        program[length++] = k;
        if (k > 0) program[length++] = -1;
    }
    return length;/' $ranks test_tree
mutate 'the ranks of a host do not wait for each other' comm/host_reduce.c \
    's/status = comm_local_barrier\(comm, err\);/comm->sequence++;/' test_hosts_4 test_exact_reduce_4
mutate 'two threads talk through one communicator' comm/mpi.c \
    's/comm_mpi_check\(m, MPI_Comm_dup\(of->world, &m->world\), "duplicate", err\)/(m->world = of->world, MUSTER_OK)/' \
    test_comm_threads_3
mutate 'all buckets are of one size' coordinator/plan/plan_buckets.c 's/FIRST_SHARE = 4/FIRST_SHARE = 1/' test_plan
mutate 'the tree is a chain' base/tree.c 's/return node\.begin \+ half;/return node.begin + 1 + 0 * half;/' \
    test_tree test_train_step
mutate 'every sample is the one after' worker/data/loader.c 's/sampler_at\(loader->sampler, first \+ i\)/sampler_at(loader->sampler, first + i + 1)/' \
    test_loader
mutate 'a rank starts one slot late' worker/trainer.c 's/(plan_slots_of_rank\(plan, t->comm->rank[^\n]*\n)/$1    options.slot_begin += t->comm->rank > 0;\n    options.slot_end += t->comm->rank > 0;\n/' \
    $ranks
mutate 'a resumed run skips a step of its data' worker/trainer.c 's/\.first_step = t->steps_done \+ left_out,/.first_step = t->steps_done + left_out + (t->steps_done > 0),/' \
    $killed $stopped
mutate 'the second moment is not restored' coordinator/ckpt/ckpt_scatter.c 's/if \(from < to\)\n/if (from < to \&\& kind < 2)\n/' \
    $killed $stopped $damaged
mutate 'a roll-back leaves the second moment' worker/checkpoint/checkpoint_agree.c 's/wanted->layout->kind_count\);/2);/' \
    test_checkpoint_2 $numbers
mutate 'a file is finished before its last buffer is written' base/fs_bulk.c 's/bulk->flusher != NULL\)\n/false)\n/' test_fs_bulk
mutate 'a rank that is gone at the start is not missed' worker/watch/start_watch.c 's/looks = missing > 0/looks = missing > 1000/' $missed
mutate 'the state hash leaves the last chunk out' coordinator/ckpt/ckpt_state.c 's/i < count; i\+\+\)\n        ckpt_state_stream_add/i < count - 1; i++)\n        ckpt_state_stream_add/' \
    test_ckpt $damaged
mutate 'blocks are not compared as they are read' coordinator/ckpt/ckpt_shard.c 's/if \(memcmp\(crc,/if (true || memcmp(crc,/' \
    $damaged test_checkpoint_2
mutate 'what was loaded need not have the recorded hash' worker/checkpoint/checkpoint_agree.c 's/if \(hash_equal\(state,/if (true || hash_equal(state,/' \
    test_checkpoint_2
mutate 'a damaged checkpoint ends the start' worker/checkpoint/checkpoint_load.c 's/status != MUSTER_ERR_CORRUPT && status != MUSTER_ERR_IO/status != MUSTER_ERR_IO/' \
    $damaged
mutate 'a full disk ends the run' worker/checkpoint/saver.c 's/return status == MUSTER_ERR_NO_SPACE/return false \&\& status == MUSTER_ERR_NO_SPACE/' $full
mutate 'a failed save leaves its folder behind' worker/checkpoint/checkpoint.c 's/save_undo\(&save\);/(void)save_undo;/' $full
mutate 'the last rank decides whether to stop' worker/train_step.c 's/\*flags \|= \(uint64_t\)block\[0\]/*flags = (uint64_t)block[0]/' \
    $stopped
mutate 'metrics keep the steps that were lost' worker/telemetry.c 's/step <= first_step\)/step <= first_step + 3)/' $killed
mutate 'a forward pass does not wait for new weights' worker/exchange/param_gathers.c 's/if \(bucket >= gathers->there\)/if (bucket >= 0)/' \
    $stages
mutate 'an operation may read one bucket too early' coordinator/plan/bucket_order.c 's/first_read\[op\] = bucket;/first_read[op] = bucket + 1;/' \
    test_bucket_order
mutate 'new weights are not sent to the other ranks' worker/exchange/param_gathers.c 's/return rank_state_gather_bucket\(gathers->state, gathers->comm, bucket, err\);/return MUSTER_OK;/' \
    $ranks
mutate 'weights of the step before stay in the windows' worker/train_step.c 's/param_windows_forget\(state->windows\);/(void)0;/' \
    $stages
mutate 'a block is used before it has come' worker/exchange/param_windows.c 's/windows->ticket\[units->units\[unit\]\.window\], err\);\n    \}/0 * windows->ticket[0], err);\n    }/' \
    $stages
mutate 'a gradient begins with what was in the window' worker/exchange/reducer.c 's/\(of->range\.end - of->range\.begin\) \* 4, err/0, err/' \
    $stages
mutate 'a resume replicates the weights alone' worker/rank_state.c 's/kind <= state->plan->state_count && !status/kind < 1 \&\& !status/' \
    $turns
mutate 'a leaf in the window is taken from a buffer' base/tree.c 's/(node_count - 1\] = )TREE_BUFFER_WINDOW/$1 0/' test_tree $stages
mutate 'an evaluation forgets what does not divide' worker/evaluate.c 's/\(int64_t\)evaluator->batches \* rank \/ evaluator->comm->size/evaluator->batches \/ evaluator->comm->size * rank/' \
    $ranks
mutate 'a kernel sums by thread' kernels/cpu/cpu_norm.c 's/groups = cpu_norm_groups\(a\), stride/groups = cpu_least(k->threads, cpu_norm_groups(a)), stride/' \
    $threads
mutate 'dropout depends on the rank' worker/train_step.c 's/micro\.slot = batch\.slot;/micro.slot = batch.slot + 1000 * state->rank;/' \
    $ranks
mutate 'a step takes memory from the heap' worker/train_step.c 's/(enum muster_status train_step_run\(.*?\n\{\n)/$1    alloc_free(alloc_zeroed(1, 1));\n/s' \
    test_train_step
mutate 'two runs may write one folder' worker/run_folder.c 's/status = fs_lock_take\(&folder->lock, path, err\);/status = MUSTER_OK;/' \
    $bad
mutate 'the seed of generated text is forgotten' worker/generate.c 's/g->options->seed/1/' generate_repeats_itself
mutate 'fast drops a rank'\''s last node' worker/exchange/reducer.c 's/i < reducer->fold\.node_count && !status/i < reducer->fold.node_count - 1 \&\& !status/' \
    exact_and_fast_agree_closely
mutate 'time that a watcher was away counts against the others' worker/watch/watch_table.c 's/away_s < WATCH_AWAY_MS \* 1e-3/true/' \
    test_watch_table
mutate 'a rank is blamed for waiting' worker/watch/watch_table.c 's/if \(verdict\.count < behind\)/if (false)/' test_watch_table
mutate 'one slow step in fifty is enough' worker/guard/straggler.c 's/is_slow \? straggler->slow_steps\[rank\] \+ 1 : 0/straggler->slow_steps[rank] + is_slow/' \
    test_straggler
mutate 'a skipped step changes weights' worker/train_step.c 's/result->skipped = result->finding\.action != HEALTH_GO;/result->skipped = false;/' \
    $numbers
mutate 'a checkpoint forgets the data that were left out' worker/trainer.c 's/\.health = t->guard\.health\.state,//' $numbers
mutate 'a rollback repeats the bad data' worker/guard/health.c 's/number \+ 1 - target/number - target/' $numbers test_health
mutate 'an older launch may commit' coordinator/ckpt/ckpt_manifest.c 's/fence->folder != NULL \?/false ?/' test_ckpt
mutate 'a line of the event log swallows the next' base/event_log.c 's/if \(is_torn\(fd, size\)\)/if (false)/' test_event_log

echo "$((count - unseen)) of $count mutations were seen"
[[ $unseen -eq 0 ]]
