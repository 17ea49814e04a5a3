#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Converts tiny random GGUF models of every tensor type and architecture with halo-model and compares
what is in the .h1b file with what the encoder was given. Prints TAP."""
import json
import os
import resource
import struct
import subprocess

import convert_check as cv
import gguf_maker as gm
import h1b_plain
import hf_fixture as hf


def good(gguf, *options):
    gguf.write(cv.path("in.gguf"))
    return cv.good(cv.path("in.gguf"), *options)[0]


def refused(gguf, *words, options=()):
    gguf.write(cv.path("in.gguf"))
    cv.refused(cv.path("in.gguf"), *words, options=options)


def compare(model, sections, n_scales=None):
    """Everything of a model; n_scales: the shape that scales must have."""
    for name, want in model.norms.items():
        assert h1b_plain.floats(sections[name]) == want, name
    embedding = [gm.to_f16(x) for x in model.embedding]
    assert h1b_plain.floats(sections["model.embed_tokens.weight"]) == embedding
    if model.head:
        assert h1b_plain.floats(sections["lm_head.weight"]) == model.head
    for name, want in model.codes.items():
        got = h1b_plain.codes(sections[name])
        assert got == want, f"{name}: other codes"
        scales = sections[name + "_scale"]
        rows, cols = len(want), len(want[0])
        if n_scales:
            assert scales.dims == n_scales(rows, cols), f"{name}: scales {scales.dims}"
        values = h1b_plain.floats(scales)
        per_row = scales.dims[1] if len(scales.dims) == 2 else 0
        for r in range(rows):
            for c in range(0, cols, 32):
                at = r * per_row + c * per_row // cols if per_row else r * len(values) // rows
                if any(want[r][c : c + 32]):
                    assert values[at] == model.scales[name](r, c), f"{name}: scale at {r}, {c}"


def one(rows, cols):
    return (1,)


def every_type_gives_its_codes_and_one_scale():
    for name in ("I2_S", "TQ1_0", "TQ2_0", "Q2_0", "Q2_0 of 128", "PQ2_0", "PTQ1_0", "IQ1_BN", "IQ2_BN"):
        model = gm.Model("bitnet-b1.58", name)
        compare(model, good(model.gguf, "--packing", "t2"), one)


def types_of_five_trits_a_byte_keep_their_size():
    for name in ("TQ1_0", "PTQ1_0", "IQ1_BN"):
        model = gm.Model("bitnet-b1.58", name)
        sections = good(model.gguf)
        compare(model, sections, one)
        assert sections["model.layers.0.mlp.up_proj.weight"].dtype == h1b_plain.T5


def binary_types_give_plus_and_minus_one():
    for name in ("Q1_0", "Q1_0 of 32"):
        model = gm.Model("qwen3", name, is_binary=True)
        sections = good(model.gguf)
        compare(model, sections, one)
        assert sections["model.layers.0.mlp.up_proj.weight"].dtype == h1b_plain.B1


def i2_s_is_read_in_the_layout_that_is_asked_for():
    for layout in ("128", "64", "rows"):
        model = gm.Model("bitnet-b1.58", "I2_S", layout=layout)
        compare(model, good(model.gguf, "--layout", layout), one)


def i2_s_runs_may_begin_in_one_row_and_end_in_the_next():
    model = gm.Model("bitnet", "I2_S", shape=gm.Shape(ffn=576))
    compare(model, good(model.gguf), one)


def group(n):
    return lambda rows, cols: (rows, cols // n)


def random_scale(n):
    return lambda r, c: gm.to_f16(0.01 + (r * 31 + c // n * 7) % 97 / 64)


def scales_that_differ_within_a_row_stay_with_their_groups():
    for name, n, kept in (("Q2_0", 64, 64), ("Q2_0 of 128", 128, 128), ("PQ2_0", 128, 128),
                          ("PTQ1_0", 128, 128), ("TQ1_0", 256, 128), ("TQ2_0", 256, 128)):
        size = 2 * max(n, 128)
        model = gm.Model("qwen3", name, shape=gm.Shape(hidden=size, ffn=size), scale=random_scale(n))
        compare(model, good(model.gguf, "--packing", "t2"), group(kept))
    for name, n, kept in (("Q1_0", 128, 128), ("Q1_0 of 32", 64, 64)):
        model = gm.Model("qwen3", name, scale=random_scale(n), is_binary=True)
        compare(model, good(model.gguf), group(kept))


def groups_of_32_that_cannot_be_paired_are_refused():
    model = gm.Model("qwen3", "Q1_0 of 32", scale=random_scale(32), is_binary=True)
    refused(model.gguf, "q_proj", "groups of 32")


def equal_slices_of_rows_share_a_scale():
    def scale(r, c):
        return gm.to_f16(1 + r // 64 / 8)

    for name in ("IQ1_BN", "IQ2_BN", "TQ2_0", "Q2_0"):
        model = gm.Model("bitnet-b1.58", name, scale=scale)
        compare(model, good(model.gguf), lambda rows, cols: (rows // 64,))


def groups_of_zeros_do_not_hinder_one_scale():
    model = gm.Model("bitnet-b1.58", "TQ2_0", scale=lambda r, c: 0.5)
    for name, rows in model.codes.items():
        rows[0][:256] = [0] * 256
        rows[5][256:] = [0] * len(rows[5][256:])
    for i in range(model.shape.layers):
        for name, hf, rows, cols in model.shape.projections():
            codes = model.codes[f"model.layers.{i}.{hf}.weight"]

            def scale(r, c, codes=codes):
                return 0.5 if any(codes[r][c : c + 256]) else 0.0
            type_id, raw = gm.encode("TQ2_0", codes, scale)
            model.gguf.tensors[f"blk.{i}.{name}.weight"] = ((rows, cols), type_id, raw)
    compare(model, good(model.gguf), one)


def floats_of_embeddings_are_exact():
    for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"):
        model = gm.Model("bitnet-b1.58", embedding=name, seed=7)
        model.codes = {}
        compare(model, good(model.gguf))


def ternary_embeddings_may_hold_the_code_3():
    model = gm.Model("qwen3", "Q2_0")
    s = model.shape
    codes = [[(r + c) % 4 - 1 for c in range(s.hidden)] for r in range(s.vocab)]
    type_id, raw = gm.encode("Q2_0", codes, lambda r, c: 0.25)
    model.gguf.tensors["token_embd.weight"] = ((s.vocab, s.hidden), type_id, raw)
    model.embedding = [0.25 * t for row in codes for t in row]
    compare(model, good(model.gguf), one)


def a_projection_with_the_code_3_is_refused():
    model = gm.Model("qwen3", "Q2_0")
    shape, type_id, raw = model.gguf.tensors["blk.0.ffn_up.weight"]
    model.gguf.tensors["blk.0.ffn_up.weight"] = (shape, type_id, raw[:18] + raw[18:20] + b"\xff" + raw[21:])
    refused(model.gguf, "model.layers.0.mlp.up_proj.weight", "column 64", "not ternary")


def every_architecture_converts():
    for arch, name, act in (("bitnet", "bitnet", "silu"), ("bitnet-25", "bitnet", "relu2"),
                            ("bitnet-b1.58", "bitnet", "relu2"), ("llama", "llama", "silu"),
                            ("qwen3", "qwen3", "silu")):
        model = gm.Model(arch, is_tied=arch != "llama", shape=gm.Shape(layers=2, ffn=256))
        sections = good(model.gguf)
        compare(model, sections, one)
        config = json.loads(sections["config"].data)
        want = {"architecture": name, "hidden_act": act, "vocab_size": 272, "hidden_size": 256,
                "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
                "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 512,
                "rope_theta": 500000, "rms_norm_eps": 1e-5, "tie_word_embeddings": arch != "llama",
                "bos_token_id": 258, "add_bos": True, "eos_token_ids": [259, 260],
                "pre_tokenizer": "llama-3", "name": "tiny", "license": "mit"}
        assert {k: config.get(k) for k in want} == want, config


def rows_of_llama_that_have_scales_of_their_own_are_permuted_with_them():
    def scale(r, c):
        return gm.to_f16(1 + r / 64)

    model = gm.Model("llama", "IQ2_BN", scale=scale)
    compare(model, good(model.gguf), lambda rows, cols: (rows,))


def a_head_that_repeats_the_embedding_is_left_out():
    model = gm.Model("bitnet-25")
    model.gguf.tensors["output.weight"] = model.gguf.tensors["token_embd.weight"]
    sections = good(model.gguf)
    compare(model, sections)
    assert "lm_head.weight" not in sections
    assert json.loads(sections["config"].data)["tie_word_embeddings"] is True


def scale_tensors_multiply():
    model = gm.Model("bitnet", "TQ2_0", scale=lambda r, c: 1.0)
    for i in range(model.shape.layers):
        for name, hf, _, _ in model.shape.projections():
            model.gguf.tensors[f"blk.{i}.{name}.scale"] = ((1,), 0, struct.pack("<f", 0.3))
            model.scales[f"model.layers.{i}.{hf}.weight"] = lambda r, c: gm.to_f32(0.3)
    compare(model, good(model.gguf), one)


def the_tokenizer_has_raw_bytes():
    sections = good(gm.Model("bitnet-b1.58").gguf)
    offsets = h1b_plain.numbers(sections["tokenizer.offsets"])
    raw = sections["tokenizer.bytes"].data
    tokens = [raw[a:b] for a, b in zip(offsets, offsets[1:])]
    assert tokens == [bytes([b]) for b in range(256)] + [b"he", b"hel", b"<|begin_of_text|>",
                                                         b"<|end_of_text|>", b"<|eot_id|>"]
    assert list(sections["tokenizer.types"].data) == [1] * 258 + [3] * 3
    assert h1b_plain.numbers(sections["tokenizer.merges"]) == [104, 101, 256, 108]


def the_tokenizer_may_come_from_elsewhere():
    """From a Hugging Face directory or another GGUF file; and the other way round."""
    model = gm.Model("bitnet-b1.58", shape=gm.Shape(vocab=280))
    model.gguf.write(cv.path("own.gguf"))
    directory = hf.Model("bitnet")
    hf.write(cv.path("hf-tokenizer"), directory)
    want, _ = cv.good(cv.path("hf-tokenizer"))
    own, _ = cv.good(cv.path("own.gguf"))
    other = gm.Gguf()
    other.keys = {k: v for k, v in model.gguf.keys.items() if k.startswith("tokenizer.")}
    other.write(cv.path("vocabulary.gguf"))

    def tokenizer(sections):
        return {n: s.hash for n, s in sections.items() if n.startswith("tokenizer.")}

    assert tokenizer(own) != tokenizer(want)
    got, _ = cv.good(cv.path("own.gguf"), "--tokenizer", cv.path("hf-tokenizer"))
    assert tokenizer(got) == tokenizer(want)
    assert got["chat_template"].hash == want["chat_template"].hash
    assert json.loads(got["config"].data)["eos_token_ids"] == [257]
    got, _ = cv.good(cv.path("hf-tokenizer"), "--tokenizer", cv.path("vocabulary.gguf"))
    assert tokenizer(got) == tokenizer(own)
    cv.refused(cv.path("own.gguf"), "nothing.gguf", options=("--tokenizer", cv.path("nothing.gguf")))


def a_named_pre_tokenizer_goes_before_the_files_own():
    model = gm.Model("bitnet-b1.58")
    for keys in ({"tokenizer.ggml.pre": (gm.STRING, "no-such")}, {}):
        del model.gguf.keys["tokenizer.ggml.pre"]
        model.gguf.keys.update(keys)
        refused(model.gguf, "tokenizer.ggml.pre", "--pre-tokenizer")
        sections = good(model.gguf, "--pre-tokenizer", "qwen2")
        assert json.loads(sections["config"].data)["pre_tokenizer"] == "qwen2"


def sentencepiece_has_scores_and_spaces():
    model = gm.Model("llama")
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + ["\u2581", "\u2581a", "a"]
    types = [2, 3, 3] + [6] * 256 + [1] * 3
    scores = [0.0] * 259 + [-1.0, -2.5, -3.0]
    keys = model.gguf.keys
    keys["tokenizer.ggml.model"] = (gm.STRING, "llama")
    keys["tokenizer.ggml.pre"] = (gm.STRING, "default")
    keys["tokenizer.ggml.tokens"] = (gm.ARRAY, (gm.STRING, tokens))
    keys["tokenizer.ggml.token_type"] = (gm.ARRAY, (gm.I32, types))
    keys["tokenizer.ggml.scores"] = (gm.ARRAY, (gm.F32, scores))
    keys["tokenizer.ggml.add_space_prefix"] = (gm.BOOL, False)
    keys["tokenizer.ggml.bos_token_id"] = (gm.U32, 1)
    keys["tokenizer.ggml.eos_token_id"] = (gm.U32, 2)
    del keys["tokenizer.ggml.merges"], keys["tokenizer.ggml.add_bos_token"]
    sections = good(model.gguf)
    offsets = h1b_plain.numbers(sections["tokenizer.offsets"])
    raw = sections["tokenizer.bytes"].data
    tokens = [raw[a:b] for a, b in zip(offsets, offsets[1:])]
    assert tokens[:3] == [b"<unk>", b"<s>", b"</s>"] and tokens[259:] == [b" ", b" a", b"a"]
    assert tokens[3:259] == [bytes([b]) for b in range(256)]
    assert list(sections["tokenizer.types"].data) == types
    assert h1b_plain.floats(sections["tokenizer.scores"]) == scores
    config = json.loads(sections["config"].data)
    assert config["tokenizer_model"] == "spm" and config["add_space_prefix"] is False
    assert config["add_bos"] is True and config["eos_token_ids"] == [2]


def the_wrong_template_of_bitnet_is_replaced():
    model = gm.Model("bitnet-b1.58")
    model.gguf.keys["tokenizer.chat_template"] = (
        gm.STRING, "{{ 'Human: ' + message['content'] + '\\n\\nBITNETAssistant: ' + eos_token }}")
    model.gguf.write(cv.path("in.gguf"))
    sections, said = cv.good(cv.path("in.gguf"))
    assert b"<|eot_id|>" in sections["chat_template"].data and b"BITNET" not in sections["chat_template"].data
    assert "BITNETAssistant" in said, said
    model.gguf.keys["tokenizer.chat_template"] = (gm.STRING, "{{ messages }}")
    assert good(model.gguf)["chat_template"].data == b"{{ messages }}"


def rope_scaling_is_kept():
    model = gm.Model("qwen3")
    keys = model.gguf.keys
    keys["qwen3.rope.scaling.type"] = (gm.STRING, "yarn")
    keys["qwen3.rope.scaling.factor"] = (gm.F32, 4.0)
    keys["qwen3.rope.scaling.original_context_length"] = (gm.U32, 128)
    scaling = json.loads(good(model.gguf)["config"].data)["rope_scaling"]
    assert scaling == {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
    keys["qwen3.rope.scaling.type"] = (gm.STRING, "linear")
    scaling = json.loads(good(model.gguf)["config"].data)["rope_scaling"]
    assert scaling == {"rope_type": "linear", "factor": 4.0}
    del keys["qwen3.rope.scaling.type"]
    assert json.loads(good(model.gguf)["config"].data)["rope_scaling"] == scaling
    keys["qwen3.rope.scaling.type"] = (gm.STRING, "longrope")
    refused(model.gguf, "rope.scaling.type")
    # The converter of BitNet writes a scaling that is none.
    keys["qwen3.rope.scaling.type"] = (gm.STRING, "linear")
    keys["qwen3.rope.scaling.factor"] = (gm.F32, 1.0)
    assert "rope_scaling" not in json.loads(good(model.gguf)["config"].data)


def frequencies_of_llama_3_1_become_its_parameters():
    model = gm.Model("llama")
    divisors = []
    for i in range(32):
        wave = 2 * 3.141592653589793 * 500000.0 ** (2 * i / 64)
        smooth = min(1, max(0, (8192 / wave - 1) / 3))
        divisors.append(1 / ((1 - smooth) / 8 + smooth))
    model.gguf.tensors["rope_freqs.weight"] = ((32,), 0, struct.pack("<32f", *divisors))
    scaling = json.loads(good(model.gguf)["config"].data)["rope_scaling"]
    assert scaling == {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192,
                       "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    divisors[3] *= 1.5
    model.gguf.tensors["rope_freqs.weight"] = ((32,), 0, struct.pack("<32f", *divisors))
    refused(model.gguf, "rope_freqs.weight")


def what_would_compute_something_else_is_refused():
    model = gm.Model("qwen3", "Q2_0")
    keys, tensors = model.gguf.keys, model.gguf.tensors

    def with_key(key, kind, x, *words):
        old = keys.get(key)
        keys[key] = (kind, x)
        refused(model.gguf, *words)
        if old is None:
            del keys[key]
        else:
            keys[key] = old

    def with_tensor(name, tensor, *words):
        old = tensors.get(name)
        tensors[name] = tensor
        refused(model.gguf, *words)
        if old is None:
            del tensors[name]
        else:
            tensors[name] = old

    with_key("prism.hadamard.block_size", gm.U32, 2048, "prism.hadamard.block_size", "rotated")
    with_key("general.architecture", gm.STRING, "gemma3", "gemma3")
    with_key("general.architecture", gm.STRING, "qwen35", "qwen35")
    with_key("qwen3.expert_count", gm.U32, 8, "expert_count")
    with_key("qwen3.attention.sliding_window", gm.U32, 128, "sliding_window")
    with_key("qwen3.rope.dimension_count", gm.U32, 32, "rope.dimension_count")
    with_key("tokenizer.ggml.pre", gm.STRING, "no-such", "no-such")
    with_key("tokenizer.ggml.model", gm.STRING, "bert", "bert")
    with_key("split.count", gm.U16, 3, "parts")
    norm = tensors["blk.0.attn_norm.weight"]
    with_tensor("blk.0.attn_q.bias", norm, "blk.0.attn_q.bias")
    with_tensor("blk.0.attn_q_norm_in.weight", norm, "attn_q_norm_in")
    shape, _, raw = tensors["blk.0.ffn_up.weight"]
    with_tensor("blk.0.ffn_up.weight", (shape, 38, raw), "blk.0.ffn_up.weight", "TL1", "I2_S")
    with_tensor("blk.0.ffn_up.weight", (shape, 39, raw), "blk.0.ffn_up.weight", "TL2", "MXFP4")
    with_tensor("blk.0.ffn_up.weight", (shape, 10, raw), "blk.0.ffn_up.weight", "type 10")
    with_tensor("blk.0.ffn_up.weight", (shape, 142, raw), "blk.0.ffn_up.weight", "PQ2_0")
    with_tensor("blk.0.ffn_up.weight", (shape, 40, raw), "blk.0.ffn_up.weight", "Q1_0")
    with_tensor("blk.0.ffn_up.weight", ((256, 128), 42, raw), "blk.0.ffn_up.weight", "Q2_0", "room for")
    del tensors["blk.0.ffn_down.weight"]
    refused(model.gguf, "model.layers.0.mlp.down_proj.weight")


def gguf_of(model, arch, weight_type):
    """The GGUF file that says what a model of hf_fixture says."""
    gguf, keys = gm.Gguf(), {}
    gguf.keys = keys
    for name, number in (("context_length", 256), ("embedding_length", model.hidden),
                         ("feed_forward_length", model.ffn), ("block_count", model.layers),
                         ("attention.head_count", model.heads), ("attention.head_count_kv", model.kv),
                         ("attention.key_length", model.head), ("attention.value_length", model.head),
                         ("rope.dimension_count", model.head)):
        keys[f"{arch}.{name}"] = (gm.U32, number)
    keys[f"{arch}.attention.layer_norm_rms_epsilon"] = (gm.F32, 1e-5)
    keys["general.architecture"] = (gm.STRING, arch)
    keys["tokenizer.ggml.model"] = (gm.STRING, "gpt2")
    keys["tokenizer.ggml.pre"] = (gm.STRING, "llama-bpe")
    tokens = [gm.printable(b) for b in range(256)] + ["<s>", "</s>", "th", "the", gm.printable(32) + "the"]
    types = [1] * 256 + [3, 3, 1, 1, 1] + [5] * 9 + [4]
    keys["tokenizer.ggml.tokens"] = (gm.ARRAY, (gm.STRING, tokens + [""] * 9 + ["<tool>"]))
    keys["tokenizer.ggml.token_type"] = (gm.ARRAY, (gm.I32, types))
    keys["tokenizer.ggml.merges"] = (gm.ARRAY, (gm.STRING, ["t h", "th e", gm.printable(32) + " the"]))
    keys["tokenizer.ggml.bos_token_id"] = (gm.U32, 256)
    keys["tokenizer.ggml.eos_token_id"] = (gm.U32, 257)
    keys["tokenizer.ggml.add_bos_token"] = (gm.BOOL, True)
    keys["tokenizer.chat_template"] = (gm.STRING, hf.TEMPLATE)
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    shape = gm.Shape(model.hidden, model.ffn, model.layers, model.heads, model.kv)
    for i in range(model.layers):
        for name, full, *_ in shape.projections() + shape.norms(arch):
            names[f"model.layers.{i}.{full}.weight"] = f"blk.{i}.{name}.weight"
    for name, (dims, values) in model.floats.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        gguf.tensors[names[name]] = (dims, 0, raw)
    for name, (codes, _) in model.linear.items():
        rows = list(range(len(codes)))
        if arch == "llama" and ("q_proj" in name or "k_proj" in name):
            rows = gm.permuted(rows, model.head)

        def scale(r, c, name=name, rows=rows):
            return model.scale_of(name, rows[r], c)
        type_id, raw = gm.encode(weight_type, [codes[r] for r in rows], scale)
        gguf.tensors[names[name]] = ((len(codes), len(codes[0])), type_id, raw)
    return gguf


LLM_1BIT = {"architectures": ["BitnetForCausalLM"], "model_type": "llama", "hidden_act": "silu"}


def name_of_1bitllm(name):
    return name.replace("attn_sub_norm", "inner_attn_ln").replace("ffn_sub_norm", "ffn_layernorm")


def a_gguf_file_and_a_hugging_face_directory_give_the_same_file():
    for arch, gguf_arch, weight_type, form, more in (
            ("bitnet", "bitnet-b1.58", "I2_S", "packed", {}),
            ("bitnet", "bitnet-25", "TQ2_0", "plain", {"hidden": 256, "ffn": 256, "head": 64}),
            ("bitnet", "bitnet", "IQ2_BN", "plain", {}),
            ("llama", "llama", "IQ2_BN", "plain", {"scales": 2, "tied": False}),
            ("llama", "llama", "I2_S", "packed", {}),
            ("qwen3", "qwen3", "Q2_0", "plain", {"group": 64, "hidden": 128, "head": 32}),
            ("qwen3", "qwen3", "PQ2_0", "plain", {"group": 128, "hidden": 256, "ffn": 256, "head": 64})):
        model = hf.Model(arch, **more)
        folder = cv.path(f"hf-{gguf_arch}-{weight_type}")
        if gguf_arch == "bitnet":
            hf.write(folder, model, form, config=LLM_1BIT, rename=name_of_1bitllm)
        else:
            hf.write(folder, model, form)
        options = ("--name", "same", "--packing", "t2")
        want, _ = cv.good(folder, *options)
        gguf_of(model, gguf_arch, weight_type).write(cv.path("same.gguf"))
        got, _ = cv.good(cv.path("same.gguf"), *options)
        assert list(got) == list(want)
        for name, section in want.items():
            assert got[name].hash == section.hash, f"{arch} {weight_type}: {name}"


DEMO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../deploy/models/halo-demo.h1b")
DEMO_KEYS = {"context_length": "max_position_embeddings", "embedding_length": "hidden_size",
             "feed_forward_length": "intermediate_size", "block_count": "num_hidden_layers",
             "attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads",
             "attention.key_length": "head_dim", "attention.value_length": "head_dim"}


def demo_tokenizer(demo, config, keys):
    offsets = h1b_plain.numbers(demo["tokenizer.offsets"])
    raw = demo["tokenizer.bytes"].data
    types = list(demo["tokenizer.types"].data)
    single = [gm.printable(b) for b in range(256)]
    tokens = ["".join(single[b] for b in raw[a:b]) if t == 1 else raw[a:b].decode()
              for a, b, t in zip(offsets, offsets[1:], types)]
    merges = h1b_plain.numbers(demo["tokenizer.merges"])
    pairs = [f"{tokens[a]} {tokens[b]}" for a, b in zip(merges[::2], merges[1::2])]
    keys["tokenizer.ggml.model"] = (gm.STRING, "gpt2")
    keys["tokenizer.ggml.pre"] = (gm.STRING, "llama-bpe")
    keys["tokenizer.ggml.tokens"] = (gm.ARRAY, (gm.STRING, tokens))
    keys["tokenizer.ggml.token_type"] = (gm.ARRAY, (gm.I32, types))
    keys["tokenizer.ggml.merges"] = (gm.ARRAY, (gm.STRING, pairs))
    keys["tokenizer.ggml.bos_token_id"] = (gm.U32, config["bos_token_id"])
    keys["tokenizer.ggml.eos_token_id"] = (gm.U32, config["eos_token_ids"][0])
    keys["tokenizer.ggml.add_bos_token"] = (gm.BOOL, config["add_bos"])
    keys["tokenizer.chat_template"] = (gm.STRING, demo["chat_template"].data)


def the_demo_model_comes_back_from_a_gguf_file():
    """T2 and I2_S have the same bytes but for the order of the four codes in each."""
    demo = h1b_plain.read(DEMO)
    config = json.loads(demo["config"].data)
    arch, gguf = "bitnet-b1.58", gm.Gguf()
    gguf.keys["general.architecture"] = (gm.STRING, arch)
    for name, key in DEMO_KEYS.items():
        gguf.keys[f"{arch}.{name}"] = (gm.U32, config[key])
    gguf.keys[f"{arch}.attention.layer_norm_rms_epsilon"] = (gm.F32, config["rms_norm_eps"])
    gguf.keys[f"{arch}.rope.freq_base"] = (gm.F32, config["rope_theta"])
    demo_tokenizer(demo, config, gguf.keys)
    shape = gm.Shape(config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"],
                     config["num_attention_heads"], config["num_key_value_heads"])
    turned = bytes((b & 3) << 6 | (b >> 2 & 3) << 4 | (b >> 4 & 3) << 2 | b >> 6 for b in range(256))
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    for i in range(shape.layers):
        for name, full, *_ in shape.projections() + shape.norms(arch):
            names[f"model.layers.{i}.{full}.weight"] = f"blk.{i}.{name}.weight"
    for name, ours in names.items():
        section = demo[name]
        type_id, raw = {h1b_plain.F32: 0, h1b_plain.F16: 1}.get(section.dtype, 36), section.data
        if type_id == 36:
            raw = raw.translate(turned) + demo[name + "_scale"].data + bytes(28)
        gguf.tensors[ours] = (section.dims, type_id, raw)
    gguf.write(cv.path("demo.gguf"))
    sections, _ = cv.good(cv.path("demo.gguf"), "--name", config["name"])
    assert sorted(sections) == sorted(demo)
    for name, section in demo.items():
        assert name == "config" or sections[name].hash == section.hash, name
    got = json.loads(sections["config"].data)
    for key in [k for k in config if k in got and k != "eos_token_ids"]:
        assert got[key] == config[key], key


def memory_stays_below_twice_the_largest_tensor():
    model = gm.Model("bitnet-b1.58")
    rows = 160 * 1024
    size = rows * model.shape.hidden * 2
    model.gguf.tensors["token_embd.weight"] = ((rows, model.shape.hidden), 1, bytes(size))
    model.gguf.write(cv.path("large.gguf"))
    child = os.fork()
    if child == 0:
        with open(os.devnull, "w", encoding="utf-8") as null:
            r = subprocess.run([cv.HALO_MODEL, "convert", cv.path("large.gguf"), cv.path("large.h1b")],
                               stdout=null, stderr=null)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        os._exit(0 if r.returncode == 0 and peak < 2 * size else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


if __name__ == "__main__":
    cv.main(globals())
