#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes tiny .h1b files of versions 1 to 4 and .htok files from the description of the formats, converts
them with halo-model and looks at every weight. Prints TAP."""
import json
import os
import random
import struct

import convert_check as cv
import gguf_maker as gm
import h1b_plain

HADAMARD, SHERRY16, Q1, TQ2 = 1, 2, 4, 8
HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, VOCAB = 128, 256, 2, 2, 1, 272


def halo(row):
    out = bytearray(-(-len(row) // 4))
    for j, t in enumerate(row):
        out[j // 4] |= (t + 1) << 2 * (j % 4)
    return bytes(out)


def sherry(row):
    bits = 0
    for g in range(len(row) // 4):
        four = row[4 * g : 4 * g + 4]
        zero = four.index(0)
        signs = [1 if t > 0 else 0 for j, t in enumerate(four) if j != zero]
        bits |= (signs[0] | signs[1] << 1 | signs[2] << 2 | zero << 3) << 5 * g
    return bits.to_bytes(-(-len(row) * 5 // 32), "little")


def tq1(row):
    row = row + [0] * (-len(row) % 20)
    return bytes(sum((row[i + j] + 1) * 3**j for j in range(5)) for i in range(0, len(row), 5))


PACKERS = {1: halo, 2: halo, 3: sherry, 4: tq1}


def group_scale(r, g):
    return gm.to_f16(0.01 + (7 * r + g) % 50 / 64)


class Old:
    """A random model; `data` is the file."""

    def __init__(self, version, flags=0, seed=1, tied=1, scale=lambda r: 0.625, ffn=FFN):
        rng = random.Random(seed)
        self.floats, self.codes, self.scale = {}, {}, scale
        head = struct.pack("<4sI9i", b"H1B", version, HIDDEN, ffn, LAYERS, HEADS, KV_HEADS, VOCAB,
                           256, tied, flags)
        if version > 1:
            head += struct.pack("<2f", 10000.0, 1e-6)
        self.head_size = len(head)
        parts = [head]

        def floats(name, n):
            values = [gm.to_f16(rng.gauss(0, 1)) for _ in range(n)]
            if name:
                self.floats[name] = values
            parts.append(struct.pack(f"<{n}f", *values))

        floats("model.embed_tokens.weight", VOCAB * HIDDEN)
        floats("model.norm.weight", HIDDEN)
        kv = HIDDEN // HEADS * KV_HEADS
        for i in range(LAYERS):
            layer = f"model.layers.{i}."
            floats(layer + "input_layernorm.weight", HIDDEN)
            floats(layer + "post_attention_layernorm.weight", HIDDEN)
            floats(layer + "self_attn.attn_sub_norm.weight", HIDDEN)
            for _ in range(5):
                floats(None, HIDDEN)
            floats(layer + "mlp.ffn_sub_norm.weight", ffn)
            for name, rows, cols in (("self_attn.q_proj", HIDDEN, HIDDEN), ("self_attn.k_proj", kv, HIDDEN),
                                     ("self_attn.v_proj", kv, HIDDEN), ("self_attn.o_proj", HIDDEN, HIDDEN),
                                     ("mlp.gate_proj", ffn, HIDDEN), ("mlp.up_proj", ffn, HIDDEN),
                                     ("mlp.down_proj", HIDDEN, ffn)):
                self._projection(parts, layer + name + ".weight", rows, cols, version, flags, rng)
        self.data = b"".join(parts)

    def _projection(self, parts, name, rows, cols, version, flags, rng):
        codes = []
        for _ in range(rows):
            if version == 3:
                row = []
                for _ in range(cols // 4):
                    four = rng.choices([-1, 1], k=4)
                    four[rng.randrange(4)] = 0
                    row += four
            else:
                row = rng.choices([-1, 1] if flags & Q1 else [-1, 0, 1], k=cols)
            codes.append(row)
        self.codes[name] = codes
        if flags & (Q1 | TQ2):
            pack = gm.q1_0 if flags & Q1 else gm.q2_0
            parts += [pack(row[c : c + 128], group_scale(r, c // 128))
                      for r, row in enumerate(codes) for c in range(0, cols, 128)]
        else:
            parts += [PACKERS[version](row) for row in codes]
            parts.append(struct.pack(f"<{rows}f", *[self.scale(r) for r in range(rows)]))

    def write(self, name="old.h1b", data=None):
        with open(cv.path(name), "wb") as out:
            out.write(self.data if data is None else data)
        return cv.path(name)


def vocabulary(name):
    """A GGUF file that holds a vocabulary only."""
    keys = gm.Model("bitnet-b1.58").gguf.keys
    gguf = gm.Gguf()
    gguf.keys = {k: v for k, v in keys.items() if k.startswith("tokenizer.")}
    gguf.write(cv.path(name))
    return cv.path(name)


TOKENIZER = ("--tokenizer", vocabulary("vocab.gguf"))


def compare(old, sections, scale_dims=(1,)):
    for name, values in old.floats.items():
        assert h1b_plain.floats(sections[name]) == values, name
    for name, want in old.codes.items():
        assert h1b_plain.codes(sections[name]) == want, f"{name}: other codes"
        scales = sections[name + "_scale"]
        values = h1b_plain.floats(scales)
        rows, cols = len(want), len(want[0])
        if scale_dims is None:
            assert scales.dims == (rows, cols // 128)
            assert values == [group_scale(r, g) for r in range(rows) for g in range(cols // 128)]
        else:
            assert scales.dims == scale_dims, f"{name}: {scales.dims}"
            n = scales.dims[0]
            assert all(values[r * n // rows] == gm.to_f32(old.scale(r)) for r in range(rows))


def every_version_gives_its_codes():
    for version, flags in ((1, 0), (2, 0), (3, 0), (3, SHERRY16), (4, 0)):
        old = Old(version, flags)
        sections, _ = cv.good(old.write(), *TOKENIZER)
        compare(old, sections)
        config = json.loads(sections["config"].data)
        want = {"architecture": "bitnet", "hidden_act": "relu2", "head_dim": 64, "hidden_size": HIDDEN,
                "max_position_embeddings": 256, "name": "old", "tie_word_embeddings": True,
                "rope_theta": 500000 if version == 1 else 10000,
                "rms_norm_eps": 1e-5 if version == 1 else 1e-6}
        assert {k: config.get(k) for k in want} == want, config
        assert "hadamard_inputs" not in config


def packings_are_kept():
    for version, dtype in ((2, h1b_plain.T2), (3, h1b_plain.S3), (4, h1b_plain.T5)):
        sections, _ = cv.good(Old(version).write(), *TOKENIZER)
        assert sections["model.layers.0.mlp.up_proj.weight"].dtype == dtype


def rows_of_version_4_are_padded_to_20():
    old = Old(4, ffn=256 + 12)
    compare(old, cv.good(old.write(), *TOKENIZER)[0])


def bytes_of_version_4_above_242_are_zeros():
    old = Old(4)
    name = "model.layers.1.mlp.down_proj.weight"
    start = len(old.data) - HIDDEN * 4 - HIDDEN * 52
    assert old.data[start : start + 52] == tq1(old.codes[name][0])
    old.codes[name][0][5:10] = [0] * 5
    compare(old, cv.good(old.write(data=old.data[: start + 1] + b"\xff" + old.data[start + 2 :]),
                         *TOKENIZER)[0])


def scales_of_rows_are_kept_where_they_differ():
    old = Old(2, scale=lambda r: 0.5 + r % 3)
    for name, rows in old.codes.items():
        sections, _ = cv.good(old.write(), *TOKENIZER)
        assert sections[name + "_scale"].dims == (len(rows),)
        break


def hadamard_is_told_to_the_engine():
    sections, _ = cv.good(Old(2, HADAMARD).write(), *TOKENIZER)
    config = json.loads(sections["config"].data)
    assert config["hadamard_block"] == 128
    assert sorted(config["hadamard_inputs"]) == sorted(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])


def bonsai_takes_the_rest_from_the_gguf_file_beside_it():
    shape = gm.Shape(HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, VOCAB)
    for flags in (Q1, TQ2):
        beside = gm.Model("qwen3", "PQ2_0", shape=shape)
        beside.gguf.write(cv.path("bonsai.gguf"))
        old = Old(2, flags)
        old.floats = beside.norms
        sections, said = cv.good(old.write("bonsai.h1b"))
        compare(old, sections, None)
        assert "bonsai.gguf" in said
        config = json.loads(sections["config"].data)
        assert config["architecture"] == "qwen3" and config["hidden_act"] == "silu"
        assert config["rope_theta"] == 500000
        gm.Model("bitnet", "I2_S", shape=shape).gguf.write(cv.path("bonsai.gguf"))
        cv.refused(cv.path("bonsai.h1b"), "qwen3", "bonsai.gguf")
        gm.Model("qwen3", "PQ2_0", shape=gm.Shape(HIDDEN, FFN, 1, HEADS, KV_HEADS, VOCAB)).gguf.write(
            cv.path("bonsai.gguf"))
        cv.refused(cv.path("bonsai.h1b"), "same shape")
        os.unlink(cv.path("bonsai.gguf"))
        cv.refused(cv.path("bonsai.h1b"), "bonsai.gguf")


def what_contradicts_itself_is_refused():
    def header(old, at, number):
        return old.write(data=old.data[:at] + struct.pack("<i", number) + old.data[at + 4 :])

    old = Old(2)
    cv.refused(header(old, 40, 12), "0x4 and 0x8", options=TOKENIZER)
    cv.refused(header(old, 40, 5), "without others", options=TOKENIZER)
    cv.refused(header(old, 40, 16), "offset 40", options=TOKENIZER)
    cv.refused(header(old, 40, SHERRY16), "version 3", options=TOKENIZER)
    cv.refused(header(old, 36, 0), "tied", options=TOKENIZER)
    cv.refused(header(old, 8, 130), "offset 8", options=TOKENIZER)
    cv.refused(header(old, 8, -1), "offset 8", options=TOKENIZER)
    cv.refused(header(old, 24, 3), "offset 24", options=TOKENIZER)
    cv.refused(header(old, 4, 3), "expected", "the file has", options=TOKENIZER)
    cv.refused(old.write(data=old.data + b"\0"), "the file has", options=TOKENIZER)
    for n in list(range(8, old.head_size + 1)) + [len(old.data) // 2, len(old.data) - 1]:
        cv.refused(old.write(data=old.data[:n]), "old.h1b", options=TOKENIZER)
    cv.refused(Old(3, ffn=FFN + 16).write(), "multiples of 32", options=TOKENIZER)
    cv.refused(Old(2, HADAMARD, ffn=FFN + 64).write(), "multiples of 128", options=TOKENIZER)


def the_code_3_is_refused():
    old = Old(2)
    at = len(old.data) - HIDDEN * 4 - 1
    cv.refused(old.write(data=old.data[:at] + b"\xff" + old.data[at + 1 :]),
               "model.layers.1.mlp.down_proj.weight", "row 127", options=TOKENIZER)


def a_missing_tokenizer_is_named():
    cv.refused(Old(2).write("alone.h1b"), "alone.htok", "--tokenizer")


def htok(n_merges=50000):
    """256 byte tokens and pairs of bytes, as many as GPT-2 has merges; then three special tokens."""
    texts = [gm.printable(b) for b in range(256)]
    single = list(texts)
    pairs = [divmod(i, 256) for i in range(n_merges)]
    texts += [single[a] + single[b] for a, b in pairs]
    texts += ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    n = len(texts)
    out = struct.pack("<4s4I", b"HTOK", n, n_merges, n - 3, n - 2)
    for text in texts:
        raw = text.encode()
        out += struct.pack("<H", len(raw)) + raw
    return out + b"".join(struct.pack("<3I", a, b, 256 + i) for i, (a, b) in enumerate(pairs))


def with_vocab(n_vocab):
    """A file whose vocabulary is as large as the tokenizer's; the embedding is zeros."""
    old = Old(2)
    head = old.data[:28] + struct.pack("<i", n_vocab) + old.data[32 : old.head_size]
    return old.write("tok.h1b", head + bytes(4 * HIDDEN * n_vocab)
                     + old.data[old.head_size + 4 * HIDDEN * VOCAB :])


def the_htok_file_beside_it_is_read():
    raw = htok()
    with open(cv.path("tok.htok"), "wb") as out:
        out.write(raw)
    n = 256 + 50000 + 3
    sections, _ = cv.good(with_vocab(n))
    config = json.loads(sections["config"].data)
    assert config["pre_tokenizer"] == "gpt-2" and config["bos_token_id"] == n - 3
    assert config["eos_token_ids"] == [n - 2, n - 1] and config["add_bos"] is True
    offsets = h1b_plain.numbers(sections["tokenizer.offsets"])
    raw = sections["tokenizer.bytes"].data
    tokens = [raw[a:b] for a, b in zip(offsets, offsets[1:])]
    assert tokens[:256] == [bytes([b]) for b in range(256)]
    assert tokens[256:-3] == [bytes(divmod(i, 256)) for i in range(50000)]
    assert tokens[-3:] == [b"<|begin_of_text|>", b"<|end_of_text|>", b"<|eot_id|>"]
    assert list(sections["tokenizer.types"].data) == [1] * (n - 3) + [3] * 3
    merges = h1b_plain.numbers(sections["tokenizer.merges"])
    assert merges == [x for i in range(50000) for x in divmod(i, 256)]


def a_pre_tokenizer_may_be_named_for_an_htok_file():
    with open(cv.path("tok.htok"), "wb") as out:
        out.write(htok(n_merges=100))
    sections, _ = cv.good(with_vocab(256 + 100 + 3), "--pre-tokenizer", "qwen2")
    assert json.loads(sections["config"].data)["pre_tokenizer"] == "qwen2"


def a_damaged_htok_file_is_refused():
    raw = htok()
    model = with_vocab(256 + 50000 + 3)

    def refused(data, *words):
        with open(cv.path("tok.htok"), "wb") as out:
            out.write(data)
        cv.refused(model, "tok.htok", *words)

    for n in (0, 4, 19, 20, 21, 100, len(raw) - 1):
        refused(raw[:n], "offset")
    refused(raw + b"\0", "the end of the file")
    refused(raw[:-4] + struct.pack("<I", 300), "a merge")
    refused(raw[:-4] + struct.pack("<I", 1 << 30), "a merge")
    refused(raw[:12] + struct.pack("<I", 1 << 30) + raw[16:], "offset 12")
    refused(htok(n_merges=40000), "published vocabulary", "40000", "--pre-tokenizer")
    refused(raw.replace(b"<|eot_id|>", b"< eot_id >"), "printable")


if __name__ == "__main__":
    cv.main(globals())
