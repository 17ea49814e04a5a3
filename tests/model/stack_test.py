#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A model that came from a Hugging Face directory, with the demo's tokenizer, in the whole stack."""
import json
import os
import tempfile
import urllib.request

import h1b_file
import hf_fixture as hf
from model_tap import DEMO, HALO, convert, main, path, run


def demo_as_hugging_face():
    """The demo's vocabulary, merges and template as transformers would save them."""
    file = h1b_file.File(DEMO)
    chars = hf.printable()
    tokens, types = file.tokens(), file['tokenizer.types'].numbers()
    text = [''.join(chars[b] for b in t) if k == 1 else t.decode() for t, k in zip(tokens, types)]
    merges = file['tokenizer.merges'].numbers()
    tokenizer = hf.byte_tokenizer(merges=())
    tokenizer['model']['vocab'] = {t: i for i, (t, k) in enumerate(zip(text, types)) if k == 1}
    tokenizer['model']['merges'] = [f'{text[a]} {text[b]}' for a, b in zip(merges[::2], merges[1::2])]
    tokenizer['added_tokens'] = [{'id': i, 'content': t, 'special': True} for i, (t, k) in enumerate(zip(text, types)) if k == 3]
    config = file.config()
    bos = text[config['bos_token_id']]
    tokenizer['post_processor']['single'][0]['SpecialToken']['id'] = bos
    settings = {'bos_token': bos, 'eos_token': text[config['eos_token_ids'][0]], 'chat_template': file.template()}
    return file, tokenizer, settings


def write_model(folder):
    file, tokenizer, settings = demo_as_hugging_face()
    ids = file.config()
    model = hf.Model('llama', seed=30, layers=2, hidden=64, vocab=ids['vocab_size'], tied=False)
    hf.write(folder, model, tokenizer=tokenizer, settings=settings,
             config={'eos_token_id': ids['eos_token_ids'], 'bos_token_id': ids['bos_token_id']})
    return file


def test_a_real_vocabulary_comes_through_unchanged():
    demo = write_model(path('demo-hf'))
    file = h1b_file.File(convert(path('demo-hf')))
    for name in 'offsets', 'bytes', 'types', 'merges':
        assert file['tokenizer.' + name].data == demo['tokenizer.' + name].data, name
    assert file.template() == demo.template()
    ours, theirs = file.config(), demo.config()
    for key in 'pre_tokenizer', 'add_bos', 'bos_token_id', 'eos_token_ids':
        assert ours[key] == theirs[key], key


PLANES = [bytes(b >> 2 * k & 3 for b in range(256)) for k in range(4)]


def codes_of(section):
    """Rows of a T2 section as bytes 0, 1, 2; the columns are a multiple of 128."""
    rows, cols = section.dims
    for r in range(rows):
        planes = [section.data[r * cols // 4:(r + 1) * cols // 4].translate(p) for p in PLANES]
        yield b''.join(p[at:at + 32] for at in range(0, cols // 4, 32) for p in planes)


def packed_like_transformers(section):
    rows, cols = section.dims
    numbers = [int.from_bytes(row, 'little') for row in codes_of(section)]
    quarter = rows // 4
    return b''.join(sum(numbers[i * quarter + r] << 2 * i for i in range(4)).to_bytes(cols, 'little') for r in range(quarter))


def test_the_demo_model_comes_back_from_a_directory():
    demo, tokenizer, settings = demo_as_hugging_face()
    tensors = {}
    for name, section in demo.sections.items():
        if section.dtype == h1b_file.T2:
            rows, cols = section.dims
            tensors[name] = 'U8', (rows // 4, cols), packed_like_transformers(section)
        elif name.startswith('model.'):
            tensors[name] = 'F16' if section.dtype == h1b_file.F16 else 'F32', section.dims, section.data
    folder, config = path('halo-demo'), demo.config()
    os.makedirs(folder)
    shape = {k: v for k, v in config.items() if isinstance(v, (int, float)) or k == 'hidden_act'}
    hf.save_json(folder, 'config.json', {**shape, 'architectures': ['BitNetForCausalLM'], 'eos_token_id': config['eos_token_ids'],
                                         'quantization_config': {'quant_method': 'bitnet', 'linear_class': 'autobitlinear'}})
    hf.save_json(folder, 'tokenizer.json', tokenizer)
    hf.save_json(folder, 'tokenizer_config.json', settings)
    hf.save_safetensors(os.path.join(folder, 'model.safetensors'), tensors)
    back = h1b_file.File(convert(folder, '--license', config['license']))
    assert {n for n, s in demo.sections.items() if n not in back.sections or back[n].data != s.data} == {'config'}
    ours = back.config()
    assert all(ours[k] == v for k, v in config.items() if k not in ('created', 'description')), ours


def test_the_stack_answers_with_it():
    write_model(path('answers'))
    model = convert(path('answers'))
    with tempfile.TemporaryDirectory(prefix='halo-run-') as home:
        home = os.path.join(home, 'r')
        r = run(HALO, 'up', '--run', home, '--http', '127.0.0.1:0', '--model', model, '--detach')
        try:
            assert r.returncode == 0, r.stderr
            with open(os.path.join(home, 'stack.json'), encoding='utf-8') as f:
                url = json.load(f)['url']
            body = json.dumps({'model': 'answers', 'seed': 1, 'max_tokens': 12, 'temperature': 0,
                               'messages': [{'role': 'user', 'content': 'Hello'}]}).encode()
            replies = []
            for _ in range(2):
                request = urllib.request.Request(url.rstrip('/') + '/v1/chat/completions', body,
                                                 {'content-type': 'application/json'})
                with urllib.request.urlopen(request, timeout=60) as answer:
                    replies.append(json.load(answer))
            first, second = replies
            assert first['usage']['completion_tokens'] > 0 and first['choices'] == second['choices']
        finally:
            run(HALO, 'down', '--run', home)


main(globals())
