# SPDX-License-Identifier: MIT
"""Builds the sections of a BitNet b1.58 model for .h1b and writes them.

Used by train_demo.py; other converters can reuse tokenizer_sections, layer_shapes and export.
Run alone it writes a file of random ternary weights in a chosen shape, to try an engine on:

    python3 export_h1b.py --tokenizer tokenizer.npz --out random.h1b --layers 2 --hidden 128 ...
"""
import argparse
import json
import time

import numpy as np

import bpe
import h1b_file

# Llama 3's header style. A role is a header, content is trimmed, every turn ends with <|eot_id|>.
CHAT_TEMPLATE = (
    "{{ '<|begin_of_text|>' }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('unknown role: ' + message['role']) }}"
    "{% endif %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{ message['content'] | trim }}{{ '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    "{% endif %}"
)
LICENSE = "MIT (weights); training data: see halo-demo.md"
DESCRIPTION = "Halo's demo model: a small English chat model with ternary weights (W1.58A8)"


def demo_config(tokenizer, **shape):
    """The "config" section of the demo model; keyword arguments override the shape."""
    config = {
        "architecture": "bitnet",
        "name": "halo-demo",
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 10,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "vocab_size": len(tokenizer.tokens),
        "max_position_embeddings": 2048,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "hidden_act": "relu2",
        "tie_word_embeddings": True,
        "pre_tokenizer": "llama-3",
        "add_bos": True,
        "bos_token_id": tokenizer.special["<|begin_of_text|>"],
        "eos_token_ids": [tokenizer.special["<|eot_id|>"], tokenizer.special["<|end_of_text|>"]],
        "license": LICENSE,
        "description": DESCRIPTION,
    }
    config.update(shape)
    return config


def layer_shapes(config):
    """Name -> (rows, columns) of a layer's ternary matrices, names without ".weight"."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    q = config["num_attention_heads"] * config["head_dim"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    return {
        "self_attn.q_proj": (q, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, q),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }


def norm_shapes(config):
    """Name -> length of a layer's norm vectors, names without ".weight"."""
    hidden = config["hidden_size"]
    return {
        "input_layernorm": hidden,
        "post_attention_layernorm": hidden,
        "self_attn.attn_sub_norm": config["num_attention_heads"] * config["head_dim"],
        "mlp.ffn_sub_norm": config["intermediate_size"],
    }


def ternarize(weight):
    """float32 [out, in] to (values -1/0/+1, scale): scale = mean |w|, value = round(w / scale)."""
    scale = np.float32(max(np.abs(weight).mean(dtype=np.float64), 1e-8))
    return np.clip(np.rint(weight / scale), -1, 1).astype(np.int8), scale


def tokenizer_sections(tokenizer):
    lengths = [len(t) for t in tokenizer.tokens]
    types = [bpe.TYPE_NORMAL] * tokenizer.n_normal
    types += [bpe.TYPE_CONTROL] * (len(lengths) - tokenizer.n_normal)
    return {
        "tokenizer.offsets": np.cumsum([0] + lengths).astype(np.uint32),
        "tokenizer.bytes": np.frombuffer(b"".join(tokenizer.tokens), np.uint8),
        "tokenizer.types": np.array(types, np.uint8),
        "tokenizer.merges": np.array(tokenizer.merges, np.uint32),
    }


def tokenizer_from_sections(sections):
    offsets, raw = sections["tokenizer.offsets"], sections["tokenizer.bytes"].tobytes()
    tokens = [raw[a:b] for a, b in zip(offsets, offsets[1:])]
    n_special = int((sections["tokenizer.types"] != bpe.TYPE_NORMAL).sum())
    return bpe.Tokenizer(tokens, sections["tokenizer.merges"].tolist(), n_special)


def export(path, config, tokenizer, embedding, final_norm, layers):
    """Writes a model. `layers` is a list of dicts: projection name -> (ternary values, scale), norm
    name -> float32 vector. Returns the model hash."""
    text = json.dumps(dict(config, created=config.get("created", int(time.time()))))
    sections = {
        "config": np.frombuffer(text.encode(), np.uint8),
        "chat_template": np.frombuffer(CHAT_TEMPLATE.encode(), np.uint8),
        **tokenizer_sections(tokenizer),
        "model.embed_tokens.weight": embedding.astype(np.float16),
        "model.norm.weight": final_norm.astype(np.float32),
    }
    for i, layer in enumerate(layers):
        for name in norm_shapes(config):
            sections[f"model.layers.{i}.{name}.weight"] = layer[name].astype(np.float32)
        for name in layer_shapes(config):
            values, scale = layer[name]
            sections[f"model.layers.{i}.{name}.weight"] = h1b_file.Ternary(values)
            sections[f"model.layers.{i}.{name}.weight_scale"] = np.array([scale], np.float32)
    return h1b_file.write(path, sections)


def random_model(config, seed):
    """Embedding, final norm and layers drawn at random, with magnitudes as after training."""
    rng = np.random.default_rng(seed)
    hidden = config["hidden_size"]
    embedding = rng.normal(0, 0.5, (config["vocab_size"], hidden)).astype(np.float32)
    layers = []
    for _ in range(config["num_hidden_layers"]):
        layer = {}
        for name, length in norm_shapes(config).items():
            layer[name] = rng.normal(1, 0.1, length).astype(np.float32)
        for name, (rows, columns) in layer_shapes(config).items():
            layer[name] = ternarize(
                rng.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)
            )
        layers.append(layer)
    return embedding, rng.normal(1, 0.1, hidden).astype(np.float32), layers


def save_tokenizer(path, tokenizer):
    np.savez(path, **tokenizer_sections(tokenizer))


def load_tokenizer(path):
    return tokenizer_from_sections(dict(np.load(path)))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--tokenizer", required=True, help="tokenizer.npz as train_demo.py writes it"
    )
    parser.add_argument("--out", required=True, help="the .h1b file to write")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--inner", type=int, default=1536, help="intermediate size")
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--kv-heads", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    tokenizer = load_tokenizer(args.tokenizer)
    config = demo_config(
        tokenizer,
        name="random",
        description="random ternary weights, for tests",
        hidden_size=args.hidden,
        intermediate_size=args.inner,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads,
        head_dim=args.head_dim,
        created=0,
    )
    print(export(args.out, config, tokenizer, *random_model(config, args.seed)))


if __name__ == "__main__":
    main()
