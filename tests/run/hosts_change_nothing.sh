#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Ranks of a host that add among themselves first change no bit: the state hash of one rank on two hosts of two ranks,
# two of three, four of two, and on ranks dealt out in turn, with hierarchy and without.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

write_job gpt model.dropout=0.1 train.max_steps=6 checkpoint.save_interval=0
write_job flat model.dropout=0.1 train.max_steps=6 checkpoint.save_interval=0 parallel.hierarchy=off
train 1 gpt
expected=$hash

# hosts RANKS LIST JOB: what the ranks say about themselves shows that the list was believed
hosts() {
    export MUSTER_PRETEND_HOSTS=$2
    train "$1" "$3"
    must_equal "$3: state hash on hosts $2" "$expected" "$hash"
    must_say "on $4 hosts"
    unset MUSTER_PRETEND_HOSTS
}
hosts 4 0,0,1,1 gpt 2
hosts 4 0,0,1,1 flat 2
hosts 4 0,1,0,1 gpt 2
hosts 6 0,0,0,1,1,1 gpt 2
hosts 8 0,0,1,1,2,2,3,3 gpt 4

export MUSTER_PRETEND_HOSTS=0,0,1
worker 2 gpt
must_exit 2
must_say 'MUSTER_PRETEND_HOSTS=0,0,1: a host.s number for each of 2 ranks is wanted'
