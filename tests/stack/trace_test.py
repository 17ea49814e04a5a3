#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""halo trace on the real stack: every process's part of a request, and the ones that died meanwhile."""
import json
import os
import signal
import sys

from halo_stack import IS_SANITIZED, Stack, main

LONG = 200 if IS_SANITIZED else 800  # tokens

# In the order of their beginning, as far as it is certain.
ALL = ['read', 'tokenizer', 'tokenize', 'router', 'route', 'engine', 'queue', 'prefill', 'decode', 'detokenize', 'write']


def trace(stack, ident, *more):
    r = stack.halo('trace', '--run', stack.run, ident, *more)
    assert r.returncode == 0, r.stderr
    return r.stdout


def spans(stack, ident):
    found = json.loads(trace(stack, ident, '--json'))
    assert found['dropped_spans'] == 0
    return found, sorted(found['spans'], key=lambda s: s['start_ns'])


def within(inner, outer):
    return outer['start_ns'] <= inner['start_ns'] and \
        inner['start_ns'] + inner['ns'] <= outer['start_ns'] + outer['ns']


def test_a_request_is_followed_through_all_processes():
    with Stack() as stack:
        pids = {name: c['pid'] for name, c in stack.children().items()}
        reply = stack.chat('Tell me a story.', max_tokens=20)
        found, all_spans = spans(stack, reply['id'])
        by = {s['name']: s for s in all_spans}
        assert sorted(by) == sorted(ALL) and len(all_spans) == len(ALL), all_spans
        for inner, outer in [('tokenize', 'tokenizer'), ('router', 'tokenizer'), ('route', 'router'), ('engine', 'router'),
                             ('queue', 'engine'), ('prefill', 'engine'), ('decode', 'engine')]:
            assert within(by[inner], by[outer]), (inner, outer, all_spans)
        assert all(s['pid'] == pids['engine.1' if s['process'] == 'engine' else s['process']] for s in all_spans), (pids, all_spans)
        assert by['queue']['start_ns'] + by['queue']['ns'] == by['prefill']['start_ns']
        assert by['tokenize']['tokens'] == found['prompt_tokens'] and by['decode']['tokens'] == found['tokens'] - 1
        picture = trace(stack, reply['id'])
        assert all(name in picture for name in ALL) and 'lost' not in picture
        listed = stack.halo('trace', '--run', stack.run).stdout
        assert found['id'] in listed
        chrome = os.path.join(stack.run, 'chrome.json')
        assert trace(stack, found['trace_id'], '--chrome', chrome) == ''
        with open(chrome, encoding='utf-8') as f:
            events = json.load(f)['traceEvents']
        assert sorted(e['name'] for e in events if e['ph'] == 'X') == sorted(ALL)
        r = stack.halo('trace', '--run', stack.run, 'req_0')
        assert r.returncode == 1 and 'keeps the last 1024 requests' in r.stderr, r


def killed(stack, name, of=lambda trace: None):
    """What became of a stream whose process died: the pid comes from the table of children, or `of` a trace."""
    pids = {child: c['pid'] for child, c in stack.children().items()}

    def on_event(n):
        if n == 20:
            running = [t['id'] for t in stack.request('GET', '/traces')[2]['traces'] if t['end'] == 'running']
            assert len(running) == 1, running
            os.kill(of(stack.request('GET', '/traces/' + running[0])[2]) or pids[name], signal.SIGKILL)

    events = stack.stream_chat('Tell me a long story about a fox and a bear.', on_event, max_tokens=LONG, seed=3, ignore_eos=True)
    found, all_spans = spans(stack, events[0]['id'])
    assert (found['tokens'], found['end']) == (LONG, 'length')
    assert 'lost' in trace(stack, found['id'])
    return {n: [s['how'] for s in all_spans if s['name'] == n] for n in ALL}, all_spans


def test_processes_that_die_meanwhile_are_seen():
    with Stack('--engines', '2') as stack:
        how, all_spans = killed(stack, 'engine', lambda t: [s['pid'] for s in t['spans'] if s['name'] == 'prefill'][0])
        assert how['engine'] == ['lost', 'done'] and how['router'] == how['tokenizer'] == ['done'], how
        tries = [s for s in all_spans if s['name'] in ('prefill', 'decode')]
        assert [s['name'] for s in tries] == ['prefill', 'prefill', 'decode'] and tries[0]['pid'] != tries[1]['pid'], tries
        how, _ = killed(stack, 'router')
        assert how['router'] == ['lost', 'done'] and how['tokenizer'] == how['decode'] == ['done'], how
        how, _ = killed(stack, 'tokenizer')
        assert how['tokenizer'] == ['lost', 'done'] and how['router'] == how['engine'] == how['decode'] == ['done'], how


if __name__ == '__main__':
    main(sys.modules['__main__'])
