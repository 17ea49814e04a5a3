# SPDX-License-Identifier: MIT
"""Writes small GGUF models for tests, with encoders of its own for every tensor type.

A weight is code * scale. An encoder gets the codes (or raw numbers) of one block and gives its bytes,
written from the description of the format: element by element, not as the reader does it.
Standard library only.
"""
import math
import random
import struct

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q",
           I64: "q", F64: "d"}


def f16(x):
    return struct.pack("<e", x)


def to_f16(x):
    return struct.unpack("<e", struct.pack("<e", x))[0]


def to_f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def bf16(x):
    return struct.pack("<f", x)[2:]


# ---- the container ----

def string(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(kind, x):
    if kind == STRING:
        return string(x)
    if kind == ARRAY:
        item_kind, items = x
        return struct.pack("<IQ", item_kind, len(items)) + b"".join(value(item_kind, i) for i in items)
    return struct.pack("<" + FORMATS[kind], x)


class Gguf:
    """keys: name -> (kind, value); tensors: name -> (shape outermost first, type id, bytes)."""

    def __init__(self, version=3, alignment=None):
        self.version, self.alignment = version, alignment
        self.keys, self.tensors = {}, {}

    def write(self, path):
        keys = dict(self.keys)
        if self.alignment:
            keys["general.alignment"] = (U32, self.alignment)
        alignment = self.alignment or 32
        head = struct.pack("<4sIQQ", b"GGUF", self.version, len(self.tensors), len(keys))
        for name, (kind, x) in keys.items():
            head += string(name) + struct.pack("<I", kind) + value(kind, x)
        data = []
        at = 0
        for name, (shape, type_id, raw) in self.tensors.items():
            head += string(name) + struct.pack("<I", len(shape))
            head += b"".join(struct.pack("<Q", n) for n in reversed(shape))
            head += struct.pack("<IQ", type_id, at)
            raw = raw + bytes(-len(raw) % alignment)
            data.append(raw)
            at += len(raw)
        with open(path, "wb") as out:
            out.write(head + bytes(-len(head) % alignment))
            for raw in data:
                out.write(raw)


# ---- blocks ----

def fraction(digits):
    """Five trits, the most significant first, as a byte: ceil(v * 256 / 243)."""
    v = 0
    for t in digits:
        v = 3 * v + t + 1
    return math.ceil(v * 256 / 243)


def tq1_0(c, d):
    qs = [fraction([c[32 * n + m] for n in range(5)]) for m in range(32)]
    qs += [fraction([c[160 + 16 * n + m] for n in range(5)]) for m in range(16)]
    qh = [fraction([c[240 + 4 * n + m] for n in range(4)] + [-1]) for m in range(4)]
    return bytes(qs + qh) + f16(d)


def ptq1_0(c, d):
    qs = [fraction([c[16 * n + m] for n in range(5)]) for m in range(16)]
    qs += [fraction([c[80 + 8 * n + m] for n in range(5)]) for m in range(8)]
    qh = [fraction([c[120 + 2 * n + m] for n in range(4)] + [-1]) for m in range(2)]
    return bytes(qs + qh) + f16(d)


def put_codes(c, n_bytes, place):
    """Two-bit codes; place(j) gives element j's byte and shift."""
    out = bytearray(n_bytes)
    for j, t in enumerate(c):
        byte, shift = place(j)
        out[byte] |= (t + 1) << shift
    return bytes(out)


def tq2_0(c, d):
    return put_codes(c, 64, lambda j: (32 * (j // 128) + j % 32, 2 * (j % 128 // 32))) + f16(d)


def q2_0(c, d):
    return f16(d) + put_codes(c, len(c) // 4, lambda j: (j // 4, 2 * (j % 4)))


def q1_0(c, d):
    out = bytearray(len(c) // 8)
    for j, t in enumerate(c):
        out[j // 8] |= (1 if t > 0 else 0) << (j % 8)
    return f16(d) + bytes(out)


def iq2_bn(c):
    return put_codes(c, 16, lambda j: (j % 16, 2 * (j // 16)))


def iq1_bn(c):
    ql = []
    for run in range(4):
        for k in range(3):
            five = [c[16 * run + 5 * k + j] for j in range(5)]
            ql.append(fraction(list(reversed(five))))
    shared = [c[16 * run + 15] for run in range(4)]
    return bytes(ql + [fraction([-1] + list(reversed(shared)))])


def i2_s(codes, scale, layout="128"):
    """codes: rows of the whole tensor."""
    cols = len(codes[0])
    flat = [t for row in codes for t in row]
    if layout == "rows":
        def place(j):
            r, c = divmod(j, cols)
            return r // 4 * cols + c, 6 - 2 * (r % 4)
    else:
        run = int(layout)

        def place(j):
            return j // run * (run // 4) + j % (run // 4), 6 - 2 * (j % run // (run // 4))
    return put_codes(flat, len(flat) // 4, place) + struct.pack("<f", scale) + bytes(28)


# name: (type id, weights per block, encoder of a block with its scale)
BLOCK_TYPES = {
    "TQ1_0": (34, 256, tq1_0),
    "TQ2_0": (35, 256, tq2_0),
    "Q2_0": (42, 64, q2_0),
    "Q2_0 of 128": (42, 128, q2_0),
    "PQ2_0": (142, 128, q2_0),
    "PTQ1_0": (143, 128, ptq1_0),
    "Q1_0": (41, 128, q1_0),
    "Q1_0 of 32": (40, 32, q1_0),
}
# name: (type id, encoder of a block, the row's start)
ROW_TYPES = {
    "IQ1_BN": (134, iq1_bn, f16),
    "IQ2_BN": (135, iq2_bn, lambda d: struct.pack("<f", d)),
}


def encode(name, codes, scale, layout="128"):
    """(type id, bytes) of rows of codes; scale(row, col) gives the scale there."""
    if name == "I2_S":
        return 36, i2_s(codes, scale(0, 0), layout)
    if name in ROW_TYPES:
        type_id, block, start = ROW_TYPES[name]
        out = b""
        for r, row in enumerate(codes):
            out += start(scale(r, 0))
            out += b"".join(block(row[c : c + 64]) for c in range(0, len(row), 64))
        return type_id, out
    if name in BLOCK_TYPES:
        type_id, n, block = BLOCK_TYPES[name]
        return type_id, b"".join(
            block(row[c : c + n], scale(r, c))
            for r, row in enumerate(codes)
            for c in range(0, len(row), n)
        )
    numbers = [t * scale(r, c) for r, row in enumerate(codes) for c, t in enumerate(row)]
    if name == "F16":
        return 1, b"".join(f16(x) for x in numbers)
    if name == "BF16":
        return 30, b"".join(bf16(x) for x in numbers)
    return 0, struct.pack(f"<{len(numbers)}f", *numbers)


# ---- types of embeddings: random blocks with the values that they stand for ----

def random_q8_0(rng):
    d = to_f16(rng.uniform(0.001, 0.02))
    q = [rng.randint(-127, 127) for _ in range(32)]
    return f16(d) + struct.pack("32b", *q), [d * x for x in q]


def random_q4_0(rng):
    d = to_f16(rng.uniform(0.001, 0.1))
    q = [rng.randint(0, 15) for _ in range(32)]
    return f16(d) + bytes(q[j] | q[j + 16] << 4 for j in range(16)), [d * (x - 8) for x in q]


def random_q4_k(rng):
    d, dmin = to_f16(rng.uniform(0.0001, 0.001)), to_f16(rng.uniform(0.0001, 0.001))
    scales = [rng.randint(0, 63) for _ in range(8)]
    mins = [rng.randint(0, 63) for _ in range(8)]
    q = [rng.randint(0, 15) for _ in range(256)]
    packed = bytearray(12)
    for g in range(4):
        packed[g] = scales[g] | scales[g + 4] >> 4 << 6
        packed[g + 4] = mins[g] | mins[g + 4] >> 4 << 6
        packed[g + 8] = scales[g + 4] & 15 | (mins[g + 4] & 15) << 4
    qs = bytes(q[64 * k + j] | q[64 * k + 32 + j] << 4 for k in range(4) for j in range(32))
    values = [d * scales[i // 32] * q[i] - dmin * mins[i // 32] for i in range(256)]
    return f16(d) + f16(dmin) + bytes(packed) + qs, values


def random_q6_k(rng):
    d = to_f16(rng.uniform(0.00005, 0.0001))
    scales = [rng.randint(-128, 127) for _ in range(16)]
    q = [rng.randint(0, 63) for _ in range(256)]
    low, high = bytearray(128), bytearray(64)
    for i, x in enumerate(q):
        half, k, j = i // 128, i % 128 // 32, i % 32
        low[64 * half + 32 * (k % 2) + j] |= (x & 15) << 4 * (k // 2)
        high[32 * half + j] |= x >> 4 << 2 * k
    values = [d * scales[i // 16] * (x - 32) for i, x in enumerate(q)]
    return bytes(low + high) + struct.pack("16b", *scales) + f16(d), values


RANDOM_TYPES = {
    "Q8_0": (8, 32, random_q8_0),
    "Q4_0": (2, 32, random_q4_0),
    "Q4_K": (12, 256, random_q4_k),
    "Q6_K": (14, 256, random_q6_k),
}


def random_floats(name, rows, cols, rng):
    """(type id, bytes, values as binary32)."""
    if name in RANDOM_TYPES:
        type_id, n, block = RANDOM_TYPES[name]
        blocks = [block(rng) for _ in range(rows * cols // n)]
        return (type_id, b"".join(b for b, _ in blocks),
                [to_f32(x) for _, values in blocks for x in values])
    numbers = [to_f16(rng.gauss(0, 0.5)) for _ in range(rows * cols)]
    if name == "BF16":
        raw = b"".join(bf16(x) for x in numbers)
        numbers = [struct.unpack("<f", b"\0\0" + raw[2 * i : 2 * i + 2])[0] for i in range(rows * cols)]
        return 30, raw, numbers
    if name == "F16":
        return 1, b"".join(f16(x) for x in numbers), numbers
    return 0, struct.pack(f"<{len(numbers)}f", *numbers), numbers


# ---- a model ----

def printable(byte):
    own = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = [b for b in range(256) if b not in own]
    return chr(byte) if byte in own else chr(256 + others.index(byte))


def byte_vocabulary():
    """256 byte tokens, two merged ones, three control tokens, in printable form."""
    tokens = [printable(b) for b in range(256)] + ["he", "hel"]
    merges = ["h e", "he l"]
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    return tokens + special, [1] * len(tokens) + [3] * len(special), merges


class Shape:
    def __init__(self, hidden=256, ffn=256, layers=1, heads=4, kv_heads=2, vocab=272):
        self.hidden, self.ffn, self.layers, self.vocab = hidden, ffn, layers, vocab
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, hidden // heads

    def projections(self):
        """GGUF's name, Hugging Face's name, rows, columns."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return [
            ("attn_q", "self_attn.q_proj", q, self.hidden),
            ("attn_k", "self_attn.k_proj", kv, self.hidden),
            ("attn_v", "self_attn.v_proj", kv, self.hidden),
            ("attn_output", "self_attn.o_proj", self.hidden, q),
            ("ffn_gate", "mlp.gate_proj", self.ffn, self.hidden),
            ("ffn_up", "mlp.up_proj", self.ffn, self.hidden),
            ("ffn_down", "mlp.down_proj", self.hidden, self.ffn),
        ]

    def norms(self, arch):
        names = [("attn_norm", "input_layernorm", self.hidden),
                 ("ffn_norm", "post_attention_layernorm", self.hidden)]
        if arch.startswith("bitnet"):
            names += [("attn_sub_norm", "self_attn.attn_sub_norm", self.hidden),
                      ("ffn_sub_norm", "mlp.ffn_sub_norm", self.ffn)]
        if arch == "qwen3":
            names += [("attn_q_norm", "self_attn.q_norm", self.head_dim),
                      ("attn_k_norm", "self_attn.k_norm", self.head_dim)]
        return names


def permuted(rows, head_dim):
    """What llama.cpp's converters do to q and k of `llama`: row p * head_dim/2 + i of a head goes to
    2i + p."""
    out = [None] * len(rows)
    half = head_dim // 2
    for r, row in enumerate(rows):
        head, at = divmod(r, head_dim)
        p, i = divmod(at, half)
        out[head * head_dim + 2 * i + p] = row
    return out


class Model:
    """A random model: codes and scales by Hugging Face's names, and the GGUF that says the same."""

    def __init__(self, arch, weight_type="I2_S", shape=None, seed=1, scale=None, embedding="F16",
                 layout="128", is_tied=True, is_binary=False):
        rng = random.Random(seed)
        self.arch, self.shape = arch, shape or Shape()
        s = self.shape
        self.codes, self.scales, self.norms, self.gguf = {}, {}, {}, Gguf()
        self._keys()
        type_id, raw, self.embedding = random_floats(embedding, s.vocab, s.hidden, rng)
        self.gguf.tensors["token_embd.weight"] = ((s.vocab, s.hidden), type_id, raw)
        self.head = None
        if not is_tied:
            type_id, raw, self.head = random_floats("F16", s.vocab, s.hidden, rng)
            self.gguf.tensors["output.weight"] = ((s.vocab, s.hidden), type_id, raw)
        self._norm("output_norm.weight", "model.norm.weight", s.hidden, rng)
        for i in range(s.layers):
            for name, hf, n in s.norms(arch):
                self._norm(f"blk.{i}.{name}.weight", f"model.layers.{i}.{hf}.weight", n, rng)
            for name, hf, rows, cols in s.projections():
                choice = [-1, 1] if is_binary else [-1, 0, 1]
                codes = [rng.choices(choice, k=cols) for _ in range(rows)]
                own = scale or (lambda r, c, x=to_f16(rng.uniform(0.01, 2)): x)
                full = f"model.layers.{i}.{hf}.weight"
                self.codes[full], self.scales[full] = codes, own
                is_permuted = arch == "llama" and name in ("attn_q", "attn_k")
                stored, stored_scale = codes, own
                if is_permuted:
                    stored = permuted(codes, s.head_dim)
                    order = permuted(list(range(rows)), s.head_dim)
                    stored_scale = lambda r, c, order=order, own=own: own(order[r], c)
                type_id, raw = encode(weight_type, stored, stored_scale, layout)
                self.gguf.tensors[f"blk.{i}.{name}.weight"] = ((rows, cols), type_id, raw)

    def _norm(self, name, hf, n, rng):
        self.norms[hf] = [to_f32(rng.gauss(1, 0.1)) for _ in range(n)]
        self.gguf.tensors[name] = ((n,), 0, struct.pack(f"<{n}f", *self.norms[hf]))

    def _keys(self):
        a, s, keys = self.arch, self.shape, self.gguf.keys
        tokens, types, merges = byte_vocabulary()
        keys["general.architecture"] = (STRING, a)
        keys["general.name"] = (STRING, "tiny")
        keys["general.license"] = (STRING, "mit")
        keys[f"{a}.context_length"] = (U32, 512)
        keys[f"{a}.embedding_length"] = (U32, s.hidden)
        keys[f"{a}.feed_forward_length"] = (U32, s.ffn)
        keys[f"{a}.block_count"] = (U32, s.layers)
        keys[f"{a}.attention.head_count"] = (U32, s.heads)
        keys[f"{a}.attention.head_count_kv"] = (U32, s.kv_heads)
        keys[f"{a}.attention.layer_norm_rms_epsilon"] = (F32, 1e-5)
        keys[f"{a}.rope.freq_base"] = (F32, 500000.0)
        keys["tokenizer.ggml.model"] = (STRING, "gpt2")
        keys["tokenizer.ggml.pre"] = (STRING, "llama-bpe")
        keys["tokenizer.ggml.tokens"] = (ARRAY, (STRING, tokens))
        keys["tokenizer.ggml.token_type"] = (ARRAY, (I32, types))
        keys["tokenizer.ggml.merges"] = (ARRAY, (STRING, merges))
        keys["tokenizer.ggml.bos_token_id"] = (U32, 258)
        keys["tokenizer.ggml.eos_token_id"] = (U32, 259)
        keys["tokenizer.ggml.add_bos_token"] = (BOOL, True)
