#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the seeds of the readers of GGUF, old .h1b and .htok files anew: tests/fuzz/make_gguf_seeds.py"""
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'model'))
sys.argv = [sys.argv[0], '-']
import gguf_maker as gm  # noqa: E402: found by the line above
import h1b_old_test as old  # noqa: E402

SPM = ['<unk>', '<s>', '</s>', '<0x0A>', '\u2581', '\u2581a', 'a', 'b']


def seed(folder, name):
    os.makedirs(os.path.join(HERE, 'seeds', folder), exist_ok=True)
    return os.path.join(HERE, 'seeds', folder, name)


def small_tokenizer(keys):
    keys['tokenizer.ggml.tokens'] = (gm.ARRAY, (gm.STRING, ['h', 'e', 'l', 'he', 'hel', '<s>', '<|eot_id|>']))
    keys['tokenizer.ggml.token_type'] = (gm.ARRAY, (gm.I32, [1, 1, 1, 1, 1, 3, 3]))
    keys['tokenizer.ggml.bos_token_id'] = (gm.U32, 5)
    keys['tokenizer.ggml.eos_token_id'] = (gm.U32, 6)
    keys['tokenizer.chat_template'] = (gm.STRING, '{{ messages }}')


def spm_tokenizer(keys):
    small_tokenizer(keys)
    keys['tokenizer.ggml.model'] = (gm.STRING, 'llama')
    keys['tokenizer.ggml.tokens'] = (gm.ARRAY, (gm.STRING, SPM))
    keys['tokenizer.ggml.token_type'] = (gm.ARRAY, (gm.I32, [2, 3, 3, 6, 1, 1, 1, 1]))
    keys['tokenizer.ggml.scores'] = (gm.ARRAY, (gm.F32, [0.0, 0, 0, 0, -1, -2, -3, -4]))
    keys['tokenizer.ggml.add_space_prefix'] = (gm.BOOL, True)
    keys['tokenizer.ggml.bos_token_id'] = (gm.U32, 1)
    keys['tokenizer.ggml.eos_token_id'] = (gm.U32, 2)


def make_gguf():
    shape = gm.Shape(hidden=64, ffn=64, layers=1, heads=2, kv_heads=1, vocab=8)
    for name, arch, weight_type in (('i2_s', 'bitnet-b1.58', 'I2_S'), ('q2_0', 'qwen3', 'Q2_0'),
                                    ('iq1_bn', 'llama', 'IQ1_BN'), ('iq2_bn', 'bitnet', 'IQ2_BN')):
        model = gm.Model(arch, weight_type, shape=shape, is_tied=arch != 'llama')
        keys = model.gguf.keys
        (spm_tokenizer if arch == 'llama' else small_tokenizer)(keys)
        if arch == 'qwen3':
            keys['qwen3.rope.scaling.type'] = (gm.STRING, 'yarn')
            keys['qwen3.rope.scaling.factor'] = (gm.F32, 4.0)
        if arch == 'llama':
            model.gguf.tensors['rope_freqs.weight'] = ((16,), 0, struct.pack('<16f', *[1.0] * 16))
        if arch == 'bitnet':
            model.gguf.tensors['blk.0.attn_q.scale'] = ((1,), 0, struct.pack('<f', 0.5))
        model.gguf.write(seed('gguf', name))


def make_old():
    old.HIDDEN, old.FFN, old.LAYERS, old.VOCAB = 32, 32, 1, 4
    for version in 1, 2, 3, 4:
        with open(seed('h1b_old', f'v{version}'), 'wb') as out:
            out.write(old.Old(version, ffn=old.FFN).data)


def make_htok():
    texts = ['a', 'b', 'ab', gm.printable(32), '<|eot_id|>', '</s>']
    data = struct.pack('<4s4I', b'HTOK', len(texts), 1, 4, 5)
    for text in texts:
        raw = text.encode()
        data += struct.pack('<H', len(raw)) + raw
    with open(seed('htok', 'small'), 'wb') as out:
        out.write(data + struct.pack('<3I', 0, 1, 2))


make_gguf()
make_old()
make_htok()
