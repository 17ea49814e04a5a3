#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Engines with unlike KV caches (f16, int8) behind one router: they give other bytes, so a stream that loses
its engine goes on at one of its own kind, or ends with an error. It never becomes a mixture."""
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading

from halo_stack import BUILD, MODEL, PATIENCE, Stack, in_parallel, main, wait_for

N_STREAMS = 6
TEXTS = ['Tell me a story about a fox.', 'Tell me a story about the sea.', 'Count from one to twenty.', 'Who are you?']


def body(number):
    return {'model': 'halo-demo', 'messages': [{'role': 'user', 'content': TEXTS[number % len(TEXTS)]}],
            'max_tokens': 1000, 'ignore_eos': True, 'temperature': 1, 'seed': number, 'stream': True}


def ask(stack, number, on_event=None, start=None):
    """The text, and how it ended: a finish reason or 'error'."""
    text, end = '', 'error'
    with contextlib.closing(stack.connect()) as c, contextlib.suppress(ConnectionError):
        c.connect()
        if start is not None:
            start.wait(PATIENCE)
        c.request('POST', '/v1/chat/completions', json.dumps(body(number)), {'content-type': 'application/json'})
        r = c.getresponse()
        assert r.status == 200, (r.status, r.read())
        n = 0
        for line in iter(r.readline, b''):
            event = json.loads(line[6:]) if line.startswith(b'data: {') else {}
            for choice in event.get('choices', []):
                text += choice['delta'].get('content') or ''
                end = choice['finish_reason'] or end
                n += 1
                if on_event is not None:
                    on_event(n)
    return text, end


@contextlib.contextmanager
def second_engine(stack):
    """An int8 engine of ours: nobody starts it again when it dies."""
    log = open(os.path.join(stack.run, 'log', 'int8'), 'wb')
    p = subprocess.Popen([os.path.join(BUILD, 'services/engine/halo-engine'), '--run', stack.run, '--model', MODEL,
                          '--name', '2', '--kv-type', 'int8'], stdout=log, stderr=log)
    try:
        wait_for('two engines', lambda: stack.metric('halo_engines') == 2)
        yield p
    finally:
        p.kill()
        p.wait(PATIENCE)
        log.close()


def run(stack, names=(), further=()):
    """All streams; when the first has had some events, the processes are killed."""
    children = stack.children() if names else {}
    pids = [*further, *(children[name]['pid'] for name in names)]
    once, start = threading.Lock(), threading.Barrier(N_STREAMS)

    def on_event(n):
        if n == 30 and once.acquire(blocking=False):
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

    return in_parallel([lambda i=i: ask(stack, i, on_event, start) for i in range(N_STREAMS)])


def alone(*args):
    with Stack('--engines', '1', *args) as stack:
        return [text for text, _ in run(stack)]


def check(replies, f16, int8):
    """How many came whole from each, and how many ended with an error: then what came is a beginning."""
    n = [0, 0, 0]
    for i, (text, end) in enumerate(replies):
        if end == 'error':
            assert f16[i].startswith(text) or int8[i].startswith(text), (i, text, f16[i], int8[i])
            n[2] += 1
        else:
            assert text in (f16[i], int8[i]), (i, text, f16[i], int8[i])
            n[0 if text == f16[i] else 1] += 1
    return n


def test_a_stream_stays_with_its_kind_of_engine():
    f16, int8 = alone(), alone('--engine-args', '--kv-type int8')
    assert sum(a != b for a, b in zip(f16, int8)) > N_STREAMS / 2, 'the caches make no difference'
    with Stack('--engines', '1', '--router-args', '--engine-wait-ms 5000') as stack:
        with second_engine(stack):
            n = check(run(stack, ['engine.1']), f16, int8)
            assert n[2] == 0, n
            wait_for('two engines', lambda: stack.metric('halo_engines') == 2)
            n = check(run(stack, ['engine.1', 'router']), f16, int8)
            assert n[2] == 0, n
        n_errors = 0
        for _ in range(10):  # it may have had none to lose
            with second_engine(stack) as p:
                n_errors += check(run(stack, ['tokenizer'], [p.pid]), f16, int8)[2]
            if n_errors > 0:
                return
        raise AssertionError('no stream lost its kind of engine')


if __name__ == '__main__':
    main(sys.modules['__main__'])
