#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""halo inspect, on the demo model, on a directory and on damaged files."""
import json
import os

import h1b_file
import hf_fixture as hf
from model_tap import DEMO, HALO, convert, main, path, run


def inspect(file, *args):
    r = run(HALO, 'inspect', file, *args)
    assert r.returncode == 0, r.stderr
    return r.stdout


def test_demo_model_is_described():
    text, file = inspect(DEMO), h1b_file.File(DEMO)
    config = file.config()
    for word in ('bitnet', 'relu2', f"{config['num_hidden_layers']} layers", f"hidden {config['hidden_size']}", 'llama-3',
                 f"{config['vocab_size']} tokens", f"{file['tokenizer.merges'].dims[0]} merges", 'one per tensor', file.hash,
                 'checksums verified', f"{config['max_position_embeddings']} tokens", config['license'], config['description']):
        assert word in text, word
    assert 'down_proj' not in text


def test_json_says_the_same_for_programs():
    said, file = json.loads(inspect(DEMO, '--json', '--tensors')), h1b_file.File(DEMO)
    assert said['hash'] == file.hash
    ours = file.config()
    assert {k: said['config'][k] for k in ours} == ours
    assert said['tokenizer'] == {'kind': 'bpe', 'pre_tokenizer': 'llama-3', 'tokens': len(file.tokens()),
                                 'merges': file['tokenizer.merges'].dims[0], 'chat_template': True}
    weights = {n: s for n, s in file.sections.items() if n.startswith('model.') and not n.endswith('_scale')}
    assert {t['name']: t['bytes'] for t in said['tensors']} == {n: len(s.data) for n, s in weights.items()}
    assert sum(w['bytes'] for w in said['weights']) == sum(len(s.data) for s in weights.values())
    assert said['parameters'] == sum(t['rows'] * t['columns'] for t in said['tensors'])


def test_a_directory_is_described_before_it_is_converted():
    hf.write(path('dir'), hf.Model('llama', tied=False))
    said = json.loads(inspect(path('dir'), '--json'))
    assert 'Hugging Face' in said['kind'] and 'hash' not in said
    by_type = {w['type']: w for w in said['weights']}
    assert by_type['U8']['scales'] == 'one per tensor' and by_type['U8']['tensors'] == 14
    again = json.loads(inspect(convert(path('dir')), '--json'))
    assert again['config'] == said['config'] and again['parameters'] == said['parameters']


def test_packing_anew_keeps_everything_else():
    repacked = convert(DEMO, '--packing', 't5')
    before, after = h1b_file.File(DEMO), h1b_file.File(repacked)
    assert before.config() == after.config() and list(before.sections) != []
    changed = {n for n, s in before.sections.items() if after[n].data != s.data}
    packed = {n for n, s in before.sections.items() if s.dtype == h1b_file.T2}
    assert changed == packed | ({'config'} if 'config' in changed else set())
    back = h1b_file.File(convert(repacked, '--packing', 't2', out='back.h1b'))
    assert all(back[n].data == before[n].data for n in packed)


def test_each_damage_is_found_and_placed():
    with open(DEMO, 'rb') as f:
        whole = f.read()
    table_end = 64 + 192 * int.from_bytes(whole[0x10:0x14], 'little')
    damaged = path('damaged.h1b')
    for at in (9, 0x10, 0x20, 64, table_end - 1, table_end + 200, len(whole) - 1):
        with open(damaged, 'wb') as f:
            f.write(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1:])
        r = run(HALO, 'inspect', damaged)
        assert r.returncode == 1 and damaged in r.stderr and 'at offset' in r.stderr, (at, r.stderr)
        assert 'expected' in r.stderr and r.stdout == ''


def test_every_cut_of_the_header_is_refused():
    hf.write(path('small'), hf.Model(layers=1))
    with open(convert(path('small')), 'rb') as f:
        whole = f.read()
    table_end = 64 + 192 * int.from_bytes(whole[0x10:0x14], 'little')
    for cut in (*range(0, 72), *range(72, table_end, 97), table_end, len(whole) - 1):
        with open(path('cut.h1b'), 'wb') as f:
            f.write(whole[:cut])
        r = run(HALO, 'inspect', path('cut.h1b'))
        assert r.returncode == 1 and 'cut.h1b' in r.stderr and 'expected' in r.stderr, (cut, r.stderr)


def test_bad_usage_is_explained():
    for args in ((), ('a', 'b'), ('--nonsense', 'a')):
        r = run(HALO, 'inspect', *args)
        assert r.returncode == 2 and 'halo inspect' in r.stderr, r.stderr
    r = run(HALO, 'inspect', '--help')
    assert r.returncode == 0 and 'tensors' in r.stdout and 'halo inspect bitnet' in r.stdout
    assert run(HALO, 'inspect', path('nowhere.h1b')).returncode == 1
    assert not os.path.exists(path('nowhere.h1b'))


main(globals())
