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
