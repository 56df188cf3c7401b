#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Does Hugging Face's transformers compute with an exported model what muster computes?

Run by hand (nothing in the tests needs Python):

    pip install torch numpy transformers
    scripts/compare_with_transformers.py --muster build/bin/muster [RUN_OR_CHECKPOINT ...]

1. A GPT-2 and a Llama of transformers get the weights of tests/golden/record.py, are saved in several shards,
   imported and exported again by muster, and loaded. Their logits are compared with the recorded ones, to which
   tests/worker/test_golden.c holds muster's own engine; muster's own arrays (npz) with the formulas, bit for bit.
2. Each checkpoint given is exported; its greedy continuation by transformers must be that of `muster generate`.
"""
import argparse
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers

SOURCE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SOURCE / "tests" / "golden"))
import record  # noqa: E402

JOB = """model: {{type: {type}, num_layers: {layers}, hidden_size: {width}, num_heads: {heads}, num_kv_heads: {kv},
  ffn_hidden_size: {ffn}, vocab_size: {vocab}, tie_embeddings: {tie}, norm_eps: {eps}}}
data: {{format: u16, train: none.bin, seq_len: {seq}}}
train: {{micro_batch_size: 1, global_batch_size: 1, max_steps: 1}}
optimizer: {{lr: 1e-3}}
"""


def golden(name):
    data, records = (SOURCE / "tests" / "golden" / f"{name}.golden").read_bytes(), {}
    while data:
        label, count = struct.unpack_from("<56sq", data)
        records[label.rstrip(b"\0").decode()] = np.frombuffer(data, "<f4", count, 64)
        data = data[64 + 4 * count:]
    return records


def gpt2(params):
    config = transformers.GPT2Config(
        vocab_size=record.VOCABULARY, n_positions=record.SEQUENCE, n_embd=record.WIDTH, n_layer=record.LAYERS,
        n_head=record.HEADS, layer_norm_epsilon=record.NORM_EPSILON, bos_token_id=None, eos_token_id=None)
    names = {"transformer.wte.weight": params["token_table"], "transformer.wpe.weight": params["position_table"],
             "transformer.ln_f.weight": params["norm_final.weight"], "transformer.ln_f.bias": params["norm_final.bias"]}
    pairs = {"norm1": "ln_1", "attention.qkv": "attn.c_attn", "attention.out": "attn.c_proj", "norm2": "ln_2",
             "mlp.up": "mlp.c_fc", "mlp.down": "mlp.c_proj"}
    for b in range(record.LAYERS):
        for ours, theirs in pairs.items():
            weight = params[f"blocks.{b}.{ours}.weight"]
            names[f"transformer.h.{b}.{theirs}.weight"] = weight.T if weight.dim() == 2 else weight
            names[f"transformer.h.{b}.{theirs}.bias"] = params[f"blocks.{b}.{ours}.bias"]
    return transformers.GPT2LMHeadModel(config), names, {"type": "gpt", "kv": record.HEADS, "ffn": 4 * record.WIDTH,
                                                         "tie": "true"}


def llama(params):
    kv, ffn, width = record.Llama.kv_heads, record.Llama.ffn, record.WIDTH
    head = width // record.HEADS
    config = transformers.LlamaConfig(
        vocab_size=record.VOCABULARY, max_position_embeddings=record.SEQUENCE, hidden_size=width,
        intermediate_size=ffn, num_hidden_layers=record.LAYERS, num_attention_heads=record.HEADS,
        num_key_value_heads=kv, rms_norm_eps=record.NORM_EPSILON, bos_token_id=None, eos_token_id=None)
    names = {"model.embed_tokens.weight": params["token_table"], "model.norm.weight": params["norm_final.weight"],
             "lm_head.weight": params["head.weight"]}
    for b in range(record.LAYERS):
        ours, theirs = f"blocks.{b}.", f"model.layers.{b}."
        q, k, v = params[ours + "attention.qkv.weight"].split([width, kv * head, kv * head])
        gate, up = params[ours + "mlp.gate_up.weight"].split([ffn, ffn])
        names |= {theirs + "self_attn.q_proj.weight": q, theirs + "self_attn.k_proj.weight": k,
                  theirs + "self_attn.v_proj.weight": v, theirs + "mlp.gate_proj.weight": gate,
                  theirs + "mlp.up_proj.weight": up,
                  theirs + "self_attn.o_proj.weight": params[ours + "attention.out.weight"],
                  theirs + "mlp.down_proj.weight": params[ours + "mlp.down.weight"],
                  theirs + "input_layernorm.weight": params[ours + "norm1.weight"],
                  theirs + "post_attention_layernorm.weight": params[ours + "norm2.weight"]}
    return transformers.LlamaForCausalLM(config), names, {"type": "llama", "kv": kv, "ffn": ffn, "tie": "false"}


def run(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{done.stderr.decode()}")
    return done.stdout


def logits(model, ids):
    with torch.no_grad():
        return model(torch.as_tensor(ids)).logits


def check(what, value, bound):
    print(f"{'ok ' if value <= bound else 'BAD'} {what}: {value:.3g} (at most {bound:g})")
    return value <= bound


def compare_golden(muster, name, build, folder):
    family = {"gpt": record.Gpt, "llama": record.Llama}[name]()
    params = {key: record.weight(key, shape).detach() for key, shape in family.shapes().items()}
    model, names, keys = build(params)
    model = model.float()
    missing = model.load_state_dict({key: value.float() for key, value in names.items()}, strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"lm_head.weight"}, missing
    model.tie_weights()
    model.save_pretrained(folder / "theirs", max_shard_size="20KB")
    (folder / "job.yaml").write_text(JOB.format(
        layers=record.LAYERS, width=record.WIDTH, heads=record.HEADS, vocab=record.VOCABULARY, seq=record.SEQUENCE,
        eps=record.NORM_EPSILON, **keys))
    run(muster, "ckpt", "import", folder / "theirs", "--job", folder / "job.yaml", "--output", folder / "ckpt")
    run(muster, "ckpt", "export", folder / "ckpt", "--format", "hf", "--output", folder / "ours")
    run(muster, "ckpt", "export", folder / "ckpt", "--format", "hf", "--dtype", "bf16", "--output", folder / "half")
    run(muster, "ckpt", "export", folder / "ckpt", "--format", "npz", "--output", folder / "ours.npz")
    arrays = np.load(folder / "ours.npz")
    assert set(arrays.files) == set(params)
    good = all(np.array_equal(arrays[key], value.numpy().astype("<f4")) for key, value in params.items())
    print(f"{'ok ' if good else 'BAD'} {name}: {len(params)} arrays of the npz are the formulas', bit for bit")
    ids = record.integers("ids", record.BATCH * record.SEQUENCE, record.VOCABULARY).view(record.BATCH, -1)
    expected = golden(name)["logits"].reshape(record.BATCH, record.SEQUENCE, -1)
    shards = len(list((folder / "theirs").glob("*.safetensors")))
    for which, dtype, bound in (("ours", torch.float64, 1e-6), ("ours", torch.float32, 1e-5),
                                ("half", torch.float64, 0.03)):
        loaded = transformers.AutoModelForCausalLM.from_pretrained(folder / which).to(dtype)
        found = logits(loaded, ids).double().numpy()
        good &= check(f"{name}, {shards} shards in, exported as {'fp32' if which == 'ours' else 'bf16'}, "
                      f"computed in {dtype}: largest difference of a logit over the largest logit",
                      float(np.abs(found - expected).max() / np.abs(expected).max()), bound)
    return good


def compare_run(muster, path, count, folder):
    run(muster, "ckpt", "export", path, "--format", "hf", "--output", folder / "run")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "run").float()
    window = getattr(model.config, "n_positions", None) or model.config.max_position_embeddings
    said = run(muster, "generate", path, "--temperature", "0", "--tokens", count)
    bytewise = model.config.vocab_size == 256
    ids = [10] if bytewise else [0]
    for _ in range(count):
        ids.append(int(logits(model, [ids[-window:]])[0, -1].argmax()))
    expected = bytes(ids[1:]) if bytewise else " ".join(map(str, ids[1:])).encode()
    good = said.rstrip(b"\n") == expected.rstrip(b"\n")
    print(f"{'ok ' if good else 'BAD'} {path}: {count} greedy tokens, "
          f"{'the same' if good else f'different: {said!r} and {expected!r}'}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--muster", default=SOURCE / "build" / "bin" / "muster", help="the program")
    parser.add_argument("--tokens", type=int, default=200, help="of the greedy continuation")
    parser.add_argument("checkpoint", nargs="*")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    good = True
    for name, build in (("gpt", gpt2), ("llama", llama)):
        with tempfile.TemporaryDirectory() as folder:
            good &= compare_golden(options.muster, name, build, pathlib.Path(folder))
    for path in options.checkpoint:
        with tempfile.TemporaryDirectory() as folder:
            good &= compare_run(options.muster, path, options.tokens, pathlib.Path(folder))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
