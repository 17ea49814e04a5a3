#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An engine is swapped to another model, with another vocabulary, under streams; tokenizer and engines are
killed in the middle. Each reply is whole and of one model: the bytes of an undisturbed run of that model.

HALO_MODEL_SWAPS=N swaps N times to the other model and back in the test under load (default 1)."""
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, 'tests/model'))

import hf_fixture as hf  # noqa: E402
from halo_stack import HALO, MODEL, PATIENCE, Stack, main, wait_for  # noqa: E402

FOLDER = None
SWAPS = int(os.environ.get('HALO_MODEL_SWAPS', '1'))
NAMED = '--engine-args', '--served-name chat'
LENGTH = 150
REQUESTS = [
    ('Tell me a story about a fox.', {'temperature': 0}),
    ('Tell me a story about a cat.', {'temperature': 1, 'seed': 11}),
    ('Count from one to twenty.', {'temperature': 1, 'seed': 12, 'logprobs': True, 'top_logprobs': 2}),
    ('Tell me a story about the sea.', {'temperature': 0.8, 'seed': 13, 'stop': ['xyzzy']}),
]


def make_model(name, seed, **how):
    """A tiny random model whose tokens are bytes and a few more."""
    source, path = os.path.join(FOLDER, name), os.path.join(FOLDER, name + '.h1b')
    hf.write(source, hf.Model('bitnet', seed=seed), **how)
    subprocess.run([HALO, 'convert', '--quiet', '--name', name, source, path], check=True, timeout=PATIENCE)
    return path


def hash_of(events):
    return next(e['halo']['model_hash'] for e in reversed(events) if 'halo' in e)


def ask(stack, number, model='chat', on_event=None, length=LENGTH):
    """(hash of the model, what came)"""
    prompt, fields = REQUESTS[number % len(REQUESTS)]
    body = {'model': model, 'messages': [{'role': 'user', 'content': prompt}], 'max_tokens': length, 'ignore_eos': True, **fields}
    events = stack.stream('/v1/chat/completions', body, on_event)
    return hash_of(events), [(c['delta'], c.get('logprobs'), c['finish_reason']) for e in events for c in e['choices']]


def run_halo(stack, verb, *args):
    return stack.halo(verb, '--run', stack.run, *args)


def swap(stack, model, *args, engine='engine@1'):
    r = run_halo(stack, 'swap', engine, '--model', model, *args)
    assert r.returncode == 0, (r.stdout, r.stderr)
    for line in r.stdout.splitlines():
        print(f'# {line}')


def models(stack, lane='v1'):
    status, _, body = stack.request('GET', f'/{lane}/models')
    assert status == 200, body
    return [m['id'] for m in body['data']]


class Load:
    """Streams without end; `expected` maps a model's hash to its replies."""

    def __init__(self, stack, expected, n=5):
        self.stack, self.expected = stack, expected
        self.done, self.failures, self.seen = threading.Event(), [], {}
        self.threads = [threading.Thread(target=self.client, args=(i,), daemon=True) for i in range(n)]

    def client(self, i):
        while not self.done.is_set():
            try:
                digest, reply = ask(self.stack, i)
                if reply != self.expected[digest][i % len(REQUESTS)]:
                    self.failures.append(f'stream {i} of {digest[:12]} differs')
                self.seen[digest] = self.seen.get(digest, 0) + 1
            except Exception as e:  # pylint: disable=broad-except
                self.failures.append(f'stream {i}: {e!r}')
                return

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def move(self, digest, n=4):
        """Waits for n more replies of a model."""
        at = self.seen.get(digest, 0)
        wait_for(f'replies of {digest[:12]}', lambda: self.failures or self.seen.get(digest, 0) >= at + n)
        assert not self.failures, self.failures[0]

    def __exit__(self, kind, value, trace):
        self.done.set()
        for t in self.threads:
            t.join(PATIENCE * 3)
            assert not t.is_alive(), 'a stream did not end'
        if kind is None:
            assert not self.failures, self.failures[0]
            print(f'# {sum(self.seen.values())} replies, 0 differ: {sorted(self.seen.values())}')


def undisturbed(model):
    with Stack('--model', model, *NAMED) as stack:
        replies = [ask(stack, i) for i in range(len(REQUESTS))]
        return replies[0][0], [reply for _, reply in replies]


def start_swap(stack, model):
    return subprocess.Popen([HALO, 'swap', '--run', stack.run, 'engine@1', '--model', model], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def finish(p):
    out, err = p.communicate(timeout=PATIENCE * 2)
    assert p.returncode == 0, (out, err)


def test_streams_go_through_swaps_to_another_model_and_back_while_processes_are_killed():
    tiny = os.path.join(FOLDER, 'tiny.h1b')
    (a, replies_a), (b, replies_b) = undisturbed(MODEL), undisturbed(tiny)
    with Stack(*NAMED) as stack, Load(stack, {a: replies_a, b: replies_b}) as load:
        for _ in range(SWAPS):
            load.move(a)
            swap(stack, tiny)
            load.move(b)
            assert models(stack) == ['chat']
            p = start_swap(stack, MODEL)
            wait_for('the newcomer', lambda: stack.children().get('engine.1.new', {}).get('state') == 'ready')
            stack.kill('tokenizer')
            finish(p)
            load.move(a)
        # Both engines and the tokenizer, while the old model's replies are finished.
        p = start_swap(stack, tiny)
        wait_for('the switch', lambda: b in [m['hash'] for m in stack.request('GET', '/v1/models')[2]['data']])
        for name in 'tokenizer', 'engine.1', 'engine.1.new':
            with contextlib.suppress(KeyError, ProcessLookupError):
                stack.kill(name)
        finish(p)
        load.move(b)
        assert not os.path.exists(os.path.join(stack.run, 'handover.kv'))


def test_names_are_honoured_and_pages_tell_the_truth():
    with Stack() as stack:
        long, swapped, ready = Long(stack), threading.Event(), []
        first = ask(stack, 1, 'halo-demo')
        status, headers, _ = keep_and_leave(stack)
        assert status == 200
        watch = threading.Thread(target=lambda: watch_ready(stack, ready, swapped), daemon=True)
        watch.start()
        swap(stack, os.path.join(FOLDER, 'tiny.h1b'))
        swapped.set()
        watch.join(PATIENCE)
        assert set(ready) == {200}, set(ready)
        assert models(stack) == ['tiny']
        assert stack.request('GET', '/v1/models/halo-demo')[0] == 404
        status, _, body = stack.request('POST', '/v1/completions', {'model': 'halo-demo', 'prompt': 'x'})
        assert status == 404 and body['error']['code'] == 'model_not_found' and 'Served now: tiny.' in body['error']['message'], body
        # What a client left before is still the old model's.
        status, _, text = stack.request('GET', '/v1/streams/' + headers['x-halo-stream'])
        assert status == 200 and text.rstrip().endswith('[DONE]'), (status, text[-300:])
        assert first[0] in text and long.join()[0] == first[0]
        swap(stack, MODEL)
        assert models(stack) == ['halo-demo'] and ask(stack, 1, 'halo-demo') == first


class Long:
    """A reply that takes a while, and has begun."""

    def __init__(self, stack):
        begun, self.ended = threading.Event(), []
        self.thread = threading.Thread(
            target=lambda: self.ended.append(ask(stack, 0, 'halo-demo', lambda n: begun.set(), length=1500)))
        self.thread.start()
        assert begun.wait(PATIENCE)

    def join(self):
        self.thread.join(PATIENCE)
        assert self.ended, 'it failed'
        return self.ended[0]


def keep_and_leave(stack):
    """Begins a stream that is kept for its client, who leaves."""
    c = stack.connect()
    body = {'model': 'halo-demo', 'messages': [{'role': 'user', 'content': REQUESTS[1][0]}], 'max_tokens': LENGTH, 'ignore_eos': True,
            'stream': True, **REQUESTS[1][1]}
    c.request('POST', '/v1/chat/completions', json.dumps(body), {'content-type': 'application/json', 'x-halo-resume': '120'})
    r = c.getresponse()
    r.readline()
    headers = dict(r.getheaders())
    c.close()
    return r.status, headers, None


def watch_ready(stack, seen, until):
    while not until.is_set():
        seen.append(stack.request('GET', '/readyz')[0])
        time.sleep(0.02)


def test_a_model_that_cannot_be_served_changes_nothing():
    damaged = os.path.join(FOLDER, 'damaged.h1b')
    with open(os.path.join(FOLDER, 'tiny.h1b'), 'rb') as f, open(damaged, 'wb') as g:
        data = bytearray(f.read())
        data[len(data) // 2] ^= 1
        g.write(data)
    speechless = make_model('speechless', 8, settings={
        'bos_token': '<s>', 'eos_token': {'content': '</s>'}, 'chat_template': '{% for m in messages %}no end'})
    with Stack() as stack:
        old = stack.children()['engine.1']['pid']
        for model, words in (damaged, 'SHA-256'), (speechless, 'chat_template'):
            r = run_halo(stack, 'swap', 'engine@1', '--model', model)
            assert r.returncode == 1 and words in r.stderr and 'nothing has changed' in r.stderr, (r.stdout, r.stderr)
            wait_for('the newcomer to go', lambda: set(stack.children()) == {'router', 'tokenizer', 'engine.1', 'gateway'})
            assert stack.children()['engine.1']['pid'] == old and models(stack) == ['halo-demo']
        stack.chat('Hello.', max_tokens=5)


def test_two_models_are_served_side_by_side():
    with Stack('--engines', '2') as stack:
        alone = ask(stack, 1, 'halo-demo')
        swap(stack, os.path.join(FOLDER, 'tiny.h1b'), engine='engine@2')
        assert models(stack) == ['halo-demo', 'tiny']
        tiny = ask(stack, 1, 'tiny')
        assert tiny[0] != alone[0] and ask(stack, 1, 'halo-demo') == alone
        # Nobody is told of what it needs but by the engines.
        stack.kill('tokenizer')
        assert ask(stack, 1, 'halo-demo') == alone and ask(stack, 1, 'tiny') == tiny
        stack.kill('engine.2')
        stack.kill('router')
        assert ask(stack, 1, 'tiny') == tiny and ask(stack, 1, 'halo-demo') == alone


def test_an_operator_that_is_killed_after_the_switch_can_be_followed_by_another():
    with Stack() as stack:
        long = Long(stack)
        p = start_swap(stack, os.path.join(FOLDER, 'tiny.h1b'))
        wait_for('the newcomer to be kept', lambda: 'ev=newcomer-kept' in log_of(stack, 'supervisor'))
        p.kill()
        p.communicate()
        ask(stack, 0, 'tiny')
        stack.kill('engine.1.new')
        ask(stack, 0, 'tiny')
        long.join()
        r = run_halo(stack, 'swap', 'engine@1', '--finish')
        assert r.returncode == 0, (r.stdout, r.stderr)
        wait_for('one engine', lambda: set(stack.children()) == {'router', 'tokenizer', 'engine.1', 'gateway'})
        ask(stack, 0, 'tiny')


def log_of(stack, name):
    with open(os.path.join(stack.run, 'log', name + '.log'), encoding='utf-8') as f:
        return f.read()


def test_the_candidate_lane_may_have_another_model_but_is_not_compared():
    tiny = os.path.join(FOLDER, 'tiny.h1b')
    with Stack('--candidates', '1', '--candidate-args', f'--model {tiny}') as stack:
        wait_for('both', lambda: models(stack) == ['halo-demo'] and models(stack, 'v2') == ['tiny'])
        for lane, wrong, right in ('v1', 'tiny', 'halo-demo'), ('v2', 'halo-demo', 'tiny'):
            status, _, body = stack.request('POST', f'/{lane}/completions', {'model': wrong, 'prompt': 'x'})
            assert status == 404 and right in body['error']['message'], body
            status, _, body = stack.request('POST', f'/{lane}/completions', {'model': right, 'prompt': 'x', 'max_tokens': 3})
            assert status == 200, body
        r = run_halo(stack, 'lanes', 'share', '50')
        assert r.returncode == 1 and 'not compared' in r.stderr, (r.stdout, r.stderr)
        assert 'different models' in run_halo(stack, 'lanes').stdout


def test_receipts_name_the_model_that_made_a_reply():
    log = os.path.join(FOLDER, 'replies')
    with Stack('--gateway-args', f'--reply-log {log}', *NAMED) as stack:
        old = stack.chat('What is the capital of France?', max_tokens=8, model='chat')
        swap(stack, os.path.join(FOLDER, 'tiny.h1b'))
        new = stack.chat('What is the capital of France?', max_tokens=8, model='chat')
        assert old['halo']['model_hash'] != new['halo']['model_hash']
        assert run_halo(stack, 'verify', new['id']).returncode == 0
        r = run_halo(stack, 'verify', old['id'])
        assert r.returncode == 2 and 'another model' in r.stdout, (r.stdout, r.stderr)
        swap(stack, MODEL)
        assert run_halo(stack, 'verify', old['id']).returncode == 0


if __name__ == '__main__':
    with tempfile.TemporaryDirectory(prefix='halo-models-') as FOLDER:
        make_model('tiny', 7)
        main(sys.modules['__main__'])
