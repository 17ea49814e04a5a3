#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the seeds of the readers of Hugging Face directories and .h1b files anew:
tests/fuzz/make_seeds.py BUILD (whose halo-model is used)."""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'model'))
import hf_fixture as hf  # noqa: E402: found by the line above


def seed(name, file):
    os.makedirs(os.path.join(HERE, 'seeds', name), exist_ok=True)
    return os.path.join(HERE, 'seeds', name, file)


def tokenizer(make):
    out = make()
    keep = {t: i for t, i in out['model']['vocab'].items() if i < 8 or i > 255}
    out['model']['vocab'] = {**keep, 't': 20, 'h': 21, 'e': 22, 'Ġ': 23}
    return out


def main():
    program = os.path.join(sys.argv[1], 'services/model/halo-model')
    shape = {'layers': 1, 'hidden': 8, 'ffn': 8, 'heads': 2, 'kv': 1, 'head': 4, 'vocab': 16}
    tiny = {'version': '1.0', 'pre_tokenizer': {'type': 'ByteLevel', 'use_regex': True}, 'added_tokens': [
        {'id': 3, 'content': '<s>', 'special': True}, {'id': 4, 'content': '</s>', 'special': True}],
        'model': {'type': 'BPE', 'vocab': {'a': 0, 'b': 1, 'ab': 2}, 'merges': ['a b']}}
    for arch in 'bitnet', 'llama', 'qwen3':
        with tempfile.TemporaryDirectory() as folder:
            ids = {'bos_token_id': 3, 'eos_token_id': 4}
            for form in 'packed', 'plain':
                hf.write(folder, hf.Model(arch, **shape), form, tokenizer=tiny, config=ids)
                with open(os.path.join(folder, 'model.safetensors'), 'rb') as f, open(seed('safetensors', f'{arch}-{form}'), 'wb') as out:
                    out.write(f.read())
                with open(os.path.join(folder, 'config.json'), 'rb') as f, open(seed('hf_config', f'{arch}-{form}'), 'wb') as out:
                    out.write(f.read())
            packing = {'bitnet': 't2', 'llama': 't5', 'qwen3': 'auto'}[arch]
            subprocess.run([program, 'convert', folder, seed('h1b5', arch), '--quiet', '--packing', packing, '--name', arch], check=True)
    with open(seed('sentencepiece', 'bpe'), 'wb') as out:
        out.write(hf.spm_model())
    spm = hf.spm_tokenizer()
    spm['model']['vocab'] = {t: i for t, i in spm['model']['vocab'].items() if i < 6 or i > 258}
    for name, value in (('bpe', tokenizer(hf.byte_tokenizer)), ('pairs', tokenizer(lambda: hf.byte_tokenizer(pairs=True))), ('spm', spm)):
        value.update(bos_token='<s>', eos_token={'content': '</s>'}, chat_template=[{'name': 'default', 'template': 'x'}])
        with open(seed('hf_tokenizer', name), 'w', encoding='utf-8') as out:
            json.dump(value, out, ensure_ascii=False)


main()
