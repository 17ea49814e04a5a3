# SPDX-License-Identifier: MIT
"""Tiny models as Hugging Face directories, drawn at random from a seed. Standard library only.

A Model holds trits and scales; write() stores them in one of the forms that are found in the wild:
  packed   U8, four rows in a byte, beside a weight_scale
  plain    floats that are -s, 0, +s
  master   floats that absmean rounds to the trits (their mean |w| is the scale)
"""
import json
import os
import random
import struct

LLAMA3 = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
          "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
QWEN2 = LLAMA3.replace('\\p{N}{1,3}', '\\p{N}')
TEMPLATE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"


def bf16(x):
    return struct.unpack('<I', struct.pack('<f', x))[0] >> 16


def pack_floats(values, dtype):
    if dtype == 'BF16':
        return struct.pack(f'<{len(values)}H', *map(bf16, values))
    return struct.pack(f"<{len(values)}{'e' if dtype == 'F16' else 'f'}", *values)


class Model:
    """arch: bitnet, llama or qwen3. scales: how many slices of rows have a scale of their own; group: or
    how many columns. All scales are powers of two times 1 or 1.5, so every dtype
    holds them, and differ from their neighbours."""

    def __init__(self, arch='bitnet', seed=1, layers=2, hidden=64, ffn=128, heads=4, kv=2, head=16, vocab=280,
                 tied=True, scales=1, group=0, trits=(-1, 0, 1)):
        rng = random.Random(seed)
        self.arch, self.layers, self.hidden, self.ffn, self.heads, self.kv, self.head = arch, layers, hidden, ffn, heads, kv, head
        self.vocab, self.tied, self.group = vocab, tied, group
        self.floats, self.linear = {}, {}
        self.floats['model.embed_tokens.weight'] = ((vocab, hidden), self.draw(rng, vocab * hidden))
        if not tied:
            self.floats['lm_head.weight'] = ((vocab, hidden), self.draw(rng, vocab * hidden))
        self.norm(rng, 'model.norm', hidden)
        shapes = {'self_attn.q_proj': (heads * head, hidden), 'self_attn.k_proj': (kv * head, hidden),
                  'self_attn.v_proj': (kv * head, hidden), 'self_attn.o_proj': (hidden, heads * head),
                  'mlp.gate_proj': (ffn, hidden), 'mlp.up_proj': (ffn, hidden), 'mlp.down_proj': (hidden, ffn)}
        for i in range(layers):
            p = f'model.layers.{i}.'
            self.norm(rng, p + 'input_layernorm', hidden)
            self.norm(rng, p + 'post_attention_layernorm', hidden)
            if arch == 'bitnet':
                self.norm(rng, p + 'self_attn.attn_sub_norm', heads * head)
                self.norm(rng, p + 'mlp.ffn_sub_norm', ffn)
            if arch == 'qwen3':
                self.norm(rng, p + 'self_attn.q_norm', head)
                self.norm(rng, p + 'self_attn.k_norm', head)
            for name, (rows, cols) in shapes.items():
                matrix = [[rng.choice(trits) for _ in range(cols)] for _ in range(rows)]
                n = rows * cols // group if group else scales
                s = [rng.choice((1, 1.5)) * 2.0 ** (rng.choice((-6, -5, -4)) + i % 2 * 3) for i in range(n)]
                self.linear[p + name + '.weight'] = (matrix, s)

    @staticmethod
    def draw(rng, n):
        return [rng.randint(-128, 127) / 64 for _ in range(n)]

    def norm(self, rng, name, n):
        self.floats[name + '.weight'] = ((n,), [1 + rng.randint(-16, 16) / 64 for _ in range(n)])

    def scale_of(self, name, r, c):
        matrix, s = self.linear[name]
        if self.group:
            return s[(r * len(matrix[0]) + c) // self.group]
        return s[r // (len(matrix) // len(s))]

    def config(self, **more):
        names = {'bitnet': 'BitNetForCausalLM', 'llama': 'LlamaForCausalLM', 'qwen3': 'Qwen3ForCausalLM'}
        return {'architectures': [names[self.arch]], 'model_type': self.arch, 'vocab_size': self.vocab,
                'hidden_size': self.hidden, 'intermediate_size': self.ffn, 'num_hidden_layers': self.layers,
                'num_attention_heads': self.heads, 'num_key_value_heads': self.kv, 'head_dim': self.head,
                'max_position_embeddings': 256, 'rope_theta': 10000.0, 'rms_norm_eps': 1e-5, 'rope_scaling': None,
                'hidden_act': 'relu2' if self.arch == 'bitnet' else 'silu', 'tie_word_embeddings': self.tied,
                'bos_token_id': 256, 'eos_token_id': 257, **more}

    def tensors(self, form='packed', dtype='BF16', divides=False, seed=5):
        """name -> (dtype, shape, bytes)"""
        rng = random.Random(seed)
        out = {n: (dtype, shape, pack_floats(v, dtype)) for n, (shape, v) in self.floats.items()}
        for name, (matrix, s) in self.linear.items():
            rows, cols = len(matrix), len(matrix[0])
            if form == 'packed':
                quarter = rows // 4
                out[name] = 'U8', (quarter, cols), bytes(
                    sum(matrix[i * quarter + r][c] + 1 << 2 * i for i in range(4)) for r in range(quarter) for c in range(cols))
                out[name + '_scale'] = dtype, (1,), pack_floats([1 / s[0] if divides else s[0]], dtype)
            elif form == 'plain':
                out[name] = dtype, (rows, cols), pack_floats(
                    [matrix[r][c] * self.scale_of(name, r, c) for r in range(rows) for c in range(cols)], dtype)
            else:
                out[name] = dtype, (rows, cols), pack_floats(self.master(rng, name), dtype)
        return out

    def master(self, rng, name):
        """Values that are no multiples of a scale but round to the trits; 0.25 s to 1.75 s is mean s over a
        pair. Zeros are far below s / 2, and the mean of a slice comes out below its s."""
        matrix, _ = self.linear[name]
        out = []
        for r, row in enumerate(matrix):
            for c, t in enumerate(row):
                s = self.scale_of(name, r, c)
                out.append(t * s * rng.choice((0.875, 1.0, 1.125)) if t else s * rng.choice((-1, 1)) / 64)
        return out


def save_safetensors(path, tensors, metadata=None):
    header, at = ({'__metadata__': metadata} if metadata else {}), 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {'dtype': dtype, 'shape': list(shape), 'data_offsets': [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        for _, _, data in tensors.values():
            f.write(data)
    return 8 + len(text)


def save_json(folder, name, value):
    with open(os.path.join(folder, name), 'w', encoding='utf-8') as f:
        json.dump(value, f, ensure_ascii=False)


def printable():
    """GPT-2's character for each byte."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in keep]
    return {**{b: chr(b) for b in keep}, **{b: chr(256 + i) for i, b in enumerate(other)}}


def byte_tokenizer(pattern=LLAMA3, pairs=False, merges=(('t', 'h'), ('th', 'e'), ('Ġ', 'the')), pre=None):
    """256 bytes, <s> 256, </s> 257, then the merges' tokens, then a user-defined token after a hole."""
    chars = printable()
    vocab = {chars[b]: b for b in range(256)}
    for i, (a, b) in enumerate(merges):
        vocab[a + b] = 258 + i
    if pre is None:
        pre = {'type': 'Sequence', 'pretokenizers': [
            {'type': 'Split', 'pattern': {'Regex': pattern}, 'behavior': 'Isolated', 'invert': False},
            {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True, 'use_regex': False}]}
    return {'version': '1.0', 'normalizer': None, 'pre_tokenizer': pre,
            'post_processor': {'type': 'TemplateProcessing', 'single': [
                {'SpecialToken': {'id': '<s>', 'type_id': 0}}, {'Sequence': {'id': 'A', 'type_id': 0}}]},
            'added_tokens': [{'id': 256, 'content': '<s>', 'special': True}, {'id': 257, 'content': '</s>', 'special': True},
                             {'id': 270, 'content': '<tool>', 'special': False}],
            'model': {'type': 'BPE', 'vocab': vocab, 'merges': [list(m) if pairs else ' '.join(m) for m in merges]}}


def spm_tokenizer():
    vocab = {'<unk>': 0, '<s>': 1, '</s>': 2, **{f'<0x{b:02X}>': 3 + b for b in range(256)}}
    for text in '▁', 't', 'h', 'e', 'th', 'the', '▁the', '▁t':
        vocab[text] = len(vocab)
    return {'version': '1.0',
            'normalizer': {'type': 'Sequence', 'normalizers': [
                {'type': 'Prepend', 'prepend': '▁'}, {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '▁'}]},
            'pre_tokenizer': None, 'post_processor': None,
            'added_tokens': [{'id': i, 'content': t, 'special': True} for i, t in enumerate(('<unk>', '<s>', '</s>'))],
            'model': {'type': 'BPE', 'byte_fallback': True, 'unk_token': '<unk>', 'fuse_unk': True, 'vocab': vocab,
                      'merges': ['▁ t', 't h', 'th e', '▁ the']}}


def varint(n):
    out = b''
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    """A field of a protobuf message: an int, a float or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack('<f', value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def spm_model(kind=2, charsmap=b'', prefix=1, remove=0):
    """spm_tokenizer() as a SentencePiece file."""
    vocab = spm_tokenizer()['model']['vocab']
    merged = ['▁t', 'th', 'the', '▁the']
    out = b''
    for text, i in vocab.items():
        piece_type = 2 if i == 0 else 3 if i < 3 else 6 if i < 259 else 1
        score = -float(merged.index(text)) if text in merged else -1e9 if i > 258 else 0.0
        out += field(1, field(1, text.encode()) + field(2, score) + (field(3, piece_type) if piece_type > 1 else b''))
    trainer = field(3, kind) + field(7, 'ignored'.encode()) + varint(8 << 3 | 1) + bytes(8)
    return out + field(2, trainer) + field(3, field(1, b'identity') + field(2, charsmap) + field(3, prefix) + field(4, remove))


def write(folder, model, form='packed', dtype='BF16', divides=False, shards=1, tokenizer=None, settings=None,
          config=None, rename=None):
    """A whole directory. `config` holds further keys; `rename` maps a tensor's name."""
    os.makedirs(folder, exist_ok=True)
    more = dict(config or {})
    if form == 'packed':
        more.setdefault('quantization_config', {'quant_method': 'bitnet', 'quantization_mode': 'offline',
                                                'linear_class': 'bitlinear' if divides else 'autobitlinear'})
    save_json(folder, 'config.json', model.config(**more))
    save_json(folder, 'tokenizer.json', tokenizer or byte_tokenizer())
    save_json(folder, 'tokenizer_config.json', settings if settings is not None else {
        'bos_token': '<s>', 'eos_token': {'content': '</s>'}, 'chat_template': TEMPLATE})
    tensors = model.tensors(form, dtype, divides)
    if rename:
        tensors = {rename(n): v for n, v in tensors.items()}
    if shards == 1:
        save_safetensors(os.path.join(folder, 'model.safetensors'), tensors, {'format': 'pt'})
        return
    names = sorted(tensors)
    where = {n: f'model-{i % shards + 1:05}-of-{shards:05}.safetensors' for i, n in enumerate(names)}
    for part in set(where.values()):
        save_safetensors(os.path.join(folder, part), {n: tensors[n] for n in names if where[n] == part})
    save_json(folder, 'model.safetensors.index.json', {'metadata': {}, 'weight_map': where})
