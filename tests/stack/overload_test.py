#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""More requests than can be served: who gets a turn, what the others are told, and what those hear that wait."""
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading

from halo_stack import HALO, PATIENCE, Stack, in_parallel, main, wait_for

CHAT = '/v1/chat/completions'
BODY = {'model': 'halo-demo', 'temperature': 0, 'ignore_eos': True, 'max_tokens': 60}


def body(i, **fields):
    return {**BODY, 'messages': [{'role': 'user', 'content': f'Tell me about the number {i}.'}], **fields}


def keys_of(path, *names):
    out = []
    for name in names:
        r = subprocess.run([HALO, 'key', 'add', name, '--keys', path], capture_output=True, text=True, timeout=PATIENCE,
                           check=True)
        out.append({'authorization': 'Bearer ' + r.stdout.strip()})
    return out


class Flood:
    """Requests that are sent at once; their clients leave at the end."""

    def __init__(self, stack, n, headers, **fields):
        self.sockets, self.lock, self.n_ended = [], threading.Lock(), 0
        head = ''.join(f'{k}: {v}\r\n' for k, v in headers.items())
        for i in range(n):
            data = json.dumps(body(i, **fields)).encode()
            s = socket.create_connection(('127.0.0.1', stack.port), PATIENCE)
            s.sendall(f'POST {CHAT} HTTP/1.1\r\nhost: x\r\n{head}content-type: application/json\r\n'
                      f'content-length: {len(data)}\r\n\r\n'.encode() + data)
            threading.Thread(target=self._read, args=(s,), daemon=True).start()
            self.sockets.append(s)

    def _read(self, s):
        with contextlib.suppress(OSError):
            if s.recv(100):
                with self.lock:
                    self.n_ended += 1

    def leave(self):
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()


def test_a_key_that_floods_delays_anothers_request_by_two_service_times():
    with tempfile.TemporaryDirectory(prefix='halo-keys-') as d:
        flooder, other = keys_of(d + '/keys.json', 'flooder', 'other')
        with Stack('--keys', d + '/keys.json', '--engine-args', '--max-seqs 1') as stack:
            flood = Flood(stack, 100, flooder, max_tokens=1000)
            wait_for('the flood', lambda: stack.metric('vllm:num_requests_waiting') >= 80)
            before = flood.n_ended
            status, _, answer = stack.request('POST', CHAT, body(1000), other)
            during = flood.n_ended - before
            flood.leave()
    assert status == 200 and answer['usage']['completion_tokens'] == BODY['max_tokens'], answer
    # One runs and one stands behind it in the engine; a third answer may have been under way to us.
    assert during <= 3, f'{during} of the flood came first'


def test_beyond_the_capacity_everybody_is_served_or_told_when_to_come_again():
    with Stack('--engine-args', '--max-seqs 2', '--router-args', '--queue-limit 8') as stack:

        def one(i):
            return stack.request('POST', CHAT, body(i, max_tokens=20))

        answers = in_parallel([lambda i=i: one(i) for i in range(100)])
        answers += in_parallel([lambda i=i: one(i) for i in range(100)])  # now the rate is known
        served = [a for s, _, a in answers if s == 200]
        refused = [{k.lower(): v for k, v in h.items()} for s, h, _ in answers if s == 429]
        assert len(served) + len(refused) == 200 and len(served) >= 20 and len(refused) >= 20, (len(served), len(refused))
        for a in served:
            assert a['usage']['completion_tokens'] == 20, a
        waits = [int(h['retry-after-ms']) for h in refused]
        for ms, h in zip(waits, refused):
            assert 0 < ms <= 60000 and int(h['retry-after']) == (ms - 1) // 1000 + 1, h
        assert len(set(waits)) > len(waits) // 4, waits  # not all at the same moment
        assert stack.metric('halo_refused_total{why="queue"}') == len(refused)
        # Whoever comes when he was told is served.
        assert stack.request('POST', CHAT, body(1, max_tokens=20))[0] == 200


def test_what_cannot_be_finished_in_time_is_refused_at_once():
    args = '--engine-args', '--max-seqs 1', '--gateway-args', '--request-timeout-ms 5000', '--router-args', '--queue-limit 60000'
    with Stack(*args) as stack:
        in_parallel([lambda i=i: stack.request('POST', CHAT, body(i)) for i in range(12)])
        # Far more than five seconds' worth: what is admitted is not waited for, what is refused comes at once.
        flood = Flood(stack, 600, {})
        wait_for('refusals', lambda: stack.metric('halo_refused_total{why="queue"}') > 100)
        waiting = stack.metric('vllm:num_requests_waiting')
        flood.leave()
        assert waiting < 500, waiting


def test_a_stream_that_waits_hears_its_place_and_then_its_reply():
    with Stack('--engine-args', '--max-seqs 1') as stack:
        alone = stack.stream(CHAT, body(7))
        flood = Flood(stack, 40, {}, max_tokens=1500)
        wait_for('the flood', lambda: stack.metric('vllm:num_requests_waiting') >= 20)
        places, events = [], []
        with contextlib.closing(stack.connect()) as c:
            c.request('POST', CHAT, json.dumps(body(7, stream=True)), {'content-type': 'application/json'})
            r = c.getresponse()
            assert r.status == 200
            for line in iter(r.readline, b'data: [DONE]\n'):
                assert line, 'the stream ended early'
                if line.startswith(b': queue position '):
                    places.append(int(line.rsplit(b' ', 1)[1]))
                    if len(places) == 1:
                        flood.leave()
                elif line.startswith(b'data: '):
                    events.append(json.loads(line[6:]))
        assert places and places == sorted(places, reverse=True), places

    def said(all_events):
        return [e['choices'][0]['delta'].get('content') for e in all_events]
    assert said(events) == said(alone)


if __name__ == '__main__':
    main(sys.modules['__main__'])
