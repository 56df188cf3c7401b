#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What a person can get wrong is told once, with the place, by a job that ends at once with exit code 2; a token that
# turns out to be bad in the middle of a run ends all ranks with its file and offset.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# refused RANKS NAME PATTERN ...: exit code 2 before the first step, every pattern on exactly one line.
refused() {
    local ranks=$1 name=$2 pattern
    shift 2
    worker "$ranks" "$name"
    must_exit 2
    must_not_say '^step '
    for pattern in "$@"; do
        must_equal "lines that match $pattern" 1 "$(grep -Ec -- "$pattern" "$folder/out" || true)"
    done
}

# shard VERSION TOKENS: an llm.c header and 1000 tokens (bytes as uint16).
shard() {
    local count
    count=$(printf '\\%03o\\%03o' $(($2 % 256)) $(($2 / 256)))
    # shellcheck disable=SC2059 # the format is the bytes
    printf "\210\330\064\001\\00$1\000\000\000$count\000\000"
    head -c 1012 /dev/zero
    head -c 2000 /dev/zero | tr '\0' '\1'
}

write_job missing "data.train=$folder/nowhere.txt"
refused 2 missing "missing.yaml:[0-9]+:[0-9]+: data.train: .*$folder/nowhere.txt: No such file or directory" 'the job has 1 error'

: >"$folder/nothing"
write_job empty "data.train=$folder/nothing"
refused 2 empty "data.train: $folder/nothing: the file is empty"

shard 1 1001 >"$folder/tokens.bin"
write_job truncated data.format=llmc "data.train=$folder/tokens.bin"
refused 2 truncated "$folder/tokens.bin: truncated: .*counts 1001 tokens, which makes 3026 bytes; the file has 3024"

shard 7 1000 >"$folder/tokens.bin"
write_job version data.format=llmc "data.train=$folder/tokens.bin"
refused 2 version "$folder/tokens.bin: byte offset 4: version 7;"

shard 1 1000 >"$folder/tokens.bin"
printf '\054\001' | dd of="$folder/tokens.bin" bs=1 seek=2024 conv=notrunc status=none # 300
write_job vocabulary data.format=llmc "data.train=$folder/tokens.bin"
refused 2 vocabulary "token 300 \($folder/tokens.bin, byte offset 2024\) needs model.vocab_size 301 or more"

write_job few parallel.logical_workers=4
refused 5 few '5 ranks but parallel.logical_workers is 4: start at most 4 ranks'

write_job many model.num_layers=many model.hiden_size=3 train.precision=fp64 optimizer.lr= train.max_steps=0
refused 2 many 'many.yaml:[0-9]+:[0-9]+: model.num_layers: expected a whole number, read "many"' \
    'many.yaml:[0-9]+:3: model.hiden_size: unknown key; did you mean hidden_size\?' \
    'many.yaml:[0-9]+:[0-9]+: train.precision: unknown value "fp64".*Allowed: fp32, bf16' \
    'many.yaml:[0-9]+:[0-9]+: optimizer.lr: is required, but missing' \
    'many.yaml:[0-9]+:[0-9]+: train.max_steps: ' 'the job has 5 errors'

# Where the machine decides: a GPU would do. MUSTER_CUDA_PLUGIN names none, so that none is found.
write_job half device=auto train.precision=fp16
export MUSTER_CUDA_PLUGIN=$folder/none.so
refused 2 half 'half.yaml:[0-9]+:14: train.precision: fp16 needs a GPU, and none was found \(rank 0 on .*\): say bf16, '
unset MUSTER_CUDA_PLUGIN

refused 2 no-such-job 'no-such-job.yaml: No such file or directory'

# What a wrong launcher does: several processes, each of which sees itself as the only rank.
write_job alone
status=0
OMPI_COMM_WORLD_SIZE=4 "$MUSTER_BIN/muster-worker" "$folder/alone.yaml" >"$folder/out" 2>&1 </dev/null || status=$?
must_exit 2
must_say 'the launcher started 4 processes \(OMPI_COMM_WORLD_SIZE=4\), but each sees itself as the only rank'
[[ ! -e $folder/alone.run ]] || fail 'a refused process made the run folder'

# The checks before a run look at the first 16 Mi tokens of a file: what lies behind is met by whoever reads it.
write_job deep data.format=u16 model.vocab_size=200 "data.train=$folder/deep.bin"
head -c 33554432 /dev/zero >"$folder/deep.bin"
head -c 6000000 /dev/zero | tr '\0' '\377' >>"$folder/deep.bin"
worker 3 deep
must_exit 1
must_say "^muster-worker: rank [0-2] \(.*\): $folder/deep.bin: byte offset [0-9]+: token 65535 is not below the vocab"
offset=$(sed -nE 's/.*deep.bin: byte offset ([0-9]+):.*/\1/p' "$folder/out" | head -n 1)
must_equal 'the token at that offset' 65535 "$(od -An -tu2 -j "$offset" -N 2 "$folder/deep.bin" | tr -d ' ')"
must_not_say 'finished at'

# What one rank alone finds wrong, as where a host has another start script, ends all of them, and that rank is named.
cat >"$folder/start" <<'START'
#!/usr/bin/env bash
[[ $OMPI_COMM_WORLD_RANK != 1 ]] || { export MUSTER_INJECT=$1; set -- "${@:2}"; exec "$MUSTER_BIN/muster-worker" "$@"; }
exec "$MUSTER_BIN/muster-worker" "$2"
START
chmod 755 "$folder/start"
# one_rank_refused PATTERN INJECTION WORD...: the words are rank 1's alone.
one_rank_refused() {
    status=0
    mpirun --timeout "$deadline_s" -n 2 "$folder/start" "$2" "$folder/alone.yaml" "${@:3}" >"$folder/out" 2>&1 </dev/null ||
        status=$?
    must_exit 2
    must_say "$1"
    must_not_say '^step '
}
one_rank_refused "^muster-worker: rank 1 \\([^)]+\\): MUSTER_INJECT: 'nonsense' cannot be read" nonsense
one_rank_refused '^muster-worker: rank 1: .*learning_rate' '' --allow-change learning_rate

# A folder belongs to one run at a time, and to one job.
write_job busy train.max_steps=1000000
start 2 busy
await '^step 1/'
holder=$(<"$folder/pid-0")
worker 1 busy
must_exit 1
must_say "lock $folder/busy.run/lock is held by [^ ]+ $holder: another muster works in this folder"
must_not_say '^step '
kill -USR1 "$job_pid"
await_end
must_exit 75

write_job busy train.max_steps=1000000 optimizer.lr=1e-5
refused 2 busy 'step-[0-9]+ was saved by another job: optimizer.lr was .* and is 1.0?e-05'
write_job busy train.max_steps=1000000 model.num_layers=1
refused 2 busy 'step-[0-9]+ is of another model: model.num_layers was 2 and is 1. Its tensors fit no other'
write_job busy train.max_steps=1000000 optimizer.type=sgd
refused 2 busy 'step-[0-9]+ is of another model: optimizer.type was adamw and is sgd. '
