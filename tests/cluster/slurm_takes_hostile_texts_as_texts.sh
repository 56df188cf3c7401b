#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Every text of a job that reaches Slurm, a shell or a path, filled with what would run a command, add an option or
# break a line if it were not quoted: none of it does, the run trains, and Slurm has the very text as the job's name.
# What other programs could mistake is refused with file and line.
# shellcheck source=slurm_lib.sh
. "$(dirname "$0")/slurm_lib.sh"

slurm_start 1
trap_file=$folder/executed
# Each of these would create the file if a shell or sbatch saw it bare.
hostile=("\$(touch $trap_file)" "\`touch $trap_file\`" "a\"; touch $trap_file; \"" "a'; touch $trap_file; '"
    "a\\\"; touch $trap_file" "--wrap=touch $trap_file" "#SBATCH --wrap=touch $trap_file" "a & touch $trap_file"
    "%j %x \\\\ \"\\\" '" "é 日本 x")

yaml_quote() { printf '"%s"' "$(sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' <<<"$1")"; }

number=0
for text in "${hostile[@]}"; do
    number=$((number + 1))
    name=${text//\//_}
    # The name, an environment variable, the folder of the run, the job file's own name and a word of the command line.
    place="$folder/place $number ${name//\\/_}"
    write_job "hostile-$number" output_dir="$(yaml_quote "$place")" train.max_steps=1 \
        checkpoint.save_interval=0 slurm.time=5 slurm.environment="{MUSTER_TEST_TEXT: $(yaml_quote "$text")}" \
        slurm.requeue=false
    cp "$folder/hostile-$number.yaml" "$folder/$name.yaml"
    submit "$folder/$name.yaml" --set "name=$(yaml_quote "$name")"
    await_state "$id" "$log" COMPLETED FAILED
    [[ ! -e $trap_file ]] || fail_log "$log" "executed: $text"
    must_equal "state with $text" COMPLETED "$(job_field "$id" JobState)"
    must_equal "Slurm's name of the job" "$name" "$(squeue -h --states=all -j "$id" -o %j)"
    [[ -n $(logged_hash "$log") ]] || fail_log "$log" "it did not train: $text"
done

# Refused before anything is written: a text is never an option or a second line.
refused() {
    write_job refused "$@"
    muster submit "$folder/refused.yaml"
    must_exit 2
    must_say "^$folder/refused.yaml:[0-9]+:[0-9]+: $expected"
    [[ ! -e $trap_file && ! -d $folder/refused.run ]] || fail "something happened for: $*"
}
for key in partition account qos exclude nodelist mem mail_user mail_type; do
    expected="slurm\.(memory|$key): "
    refused "slurm.$key=$(yaml_quote "x --wrap=touch")"
    refused "slurm.$key=$(yaml_quote "\$(touch $trap_file)")"
    refused "slurm.$key=\"a\\nb\""
done
expected='slurm\.time: ' && refused 'slurm.time="1; touch x"'
expected='slurm\.options: ' && refused 'slurm.options=["--wrap=touch x"]' && refused 'slurm.options=["--wr=touch x"]' &&
    refused 'slurm.options=["-n4"]' && refused 'slurm.options=["--reservation x"]' && refused 'slurm.options=["--output=x"]'
expected='slurm\.modules: ' && refused 'slurm.modules=["--help"]'
expected='slurm\.environment: ' && refused 'slurm.environment={"A $(touch x)": 1}' && refused 'slurm.environment=[x]'
expected='slurm\.environment\[0\]: ' && refused 'slurm.environment={"A=$(touch x); B": 1}' &&
    refused 'slurm.environment={A: "x\ny"}'
expected='cluster\.(interface|forward)' && refused 'cluster.interface="lo; x"' && refused 'cluster.forward=["A B"]'

# What is quoted and passes is Slurm's to refuse: nothing else happens.
write_job unknown "slurm.constraint=$(yaml_quote "\$(touch $trap_file)|'\"")" "slurm.options=[$(yaml_quote "--comment=\$(touch $trap_file)\" #")]"
muster submit "$folder/unknown.yaml"
must_exit 1
must_say 'sbatch failed'
[[ ! -e $trap_file ]] || fail "executed by a constraint"
