#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# Real data, as published: a small classifier reads compressed MNIST files and names more than 90% of digits it has not
# seen. Needs $MUSTER_TEST_DATA/images; without it the test is skipped.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

images=${MUSTER_TEST_DATA:-}/images
[[ -n ${MUSTER_TEST_DATA:-} && -e $images/mnist-train-images-idx3-ubyte.gz ]] ||
    skip 'MUSTER_TEST_DATA names no folder with images/mnist-train-images-idx3-ubyte.gz'

write_job digits model.type=mlp model.hidden_size=128 model.num_heads= model.vocab_size= model.num_classes=10 \
    data.seq_len= data.format=idx "data.train=$images/mnist-train-images-idx3-ubyte.gz" \
    "data.val=$images/mnist-t10k-images-idx3-ubyte.gz" train.micro_batch_size=16 train.global_batch_size=64 \
    parallel.logical_workers=4 train.max_steps=1000 optimizer.type=sgd optimizer.lr=0.1 optimizer.weight_decay=0 \
    eval.interval=1000 eval.iters=300 checkpoint.save_interval=0 logging.interval=100
train 2 digits
accuracy=$(sed -nE 's/.*"eval_accuracy": ([0-9.e-]+)\}/\1/p' "$folder/digits.run/metrics.jsonl")
echo "accuracy on 4800 digits not seen in training: $accuracy"
awk "BEGIN { exit !(${accuracy:-0} > 0.9) }" || fail "an accuracy of ${accuracy:-nothing}"
