# SPDX-License-Identifier: MIT
"""A running stack of the real binaries, for scenario tests. Standard library only.

A test file defines functions named test_*; main() runs them and prints TAP. Every wait is bounded
and waits for an event, never for a time to pass."""
import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get('HALO_BUILD', os.path.join(ROOT, 'build')))
HALO = os.path.join(BUILD, 'services/halo/halo')
MODEL = os.path.join(ROOT, 'deploy/models/halo-demo.h1b')
# Sanitized builds are several times slower.
# The same with fewer tokens and blows, where each takes ten times as long.
IS_SANITIZED = bool(os.environ.get('HALO_SANITIZED'))
PATIENCE = float(os.environ.get('HALO_PATIENCE', '60'))


class Skip(Exception):
    """Raised by a test that cannot run here; the text says what is missing."""


def wait_for(what, condition, seconds=PATIENCE):
    """Asks until condition() is true, with short pauses; the result of the last call."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f'waited {seconds:.0f} s in vain for: {what}')
        threading.Event().wait(0.01)


class Stack:
    """`halo up --detach` in a temporary run directory on a free port."""

    def __init__(self, *args):
        self.run = tempfile.mkdtemp(prefix='halo-test-')
        self.args = args
        self.port = None

    def __enter__(self):
        r = self.halo('up', '--run', self.run, '--http', '127.0.0.1:0', '--model', MODEL, '--detach', *self.args)
        if r.returncode != 0:
            self.show_logs()
            shutil.rmtree(self.run, ignore_errors=True)
            raise AssertionError(f'halo up failed ({r.returncode}): {r.stderr}{r.stdout}')
        with open(os.path.join(self.run, 'stack.json'), encoding='utf-8') as f:
            self.port = int(json.load(f)['url'].rsplit(':', 1)[1].rstrip('/'))
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.show_logs()
        r = self.halo('down', '--run', self.run)
        forbidden = self.forbidden_calls()
        shutil.rmtree(self.run, ignore_errors=True)
        if kind is None and r.returncode != 0:
            raise AssertionError(f'halo down failed: {r.stderr}')
        assert kind is not None or not forbidden, forbidden

    def halo(self, *args, **kw):
        return subprocess.run([HALO, *args], capture_output=True, text=True, timeout=PATIENCE * 3, check=False, **kw)

    def show_logs(self):
        folder = os.path.join(self.run, 'log')
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            with open(os.path.join(folder, name), encoding='utf-8', errors='replace') as f:
                for line in f.read().splitlines()[-25:]:
                    print(f'# {name}: {line}')

    def forbidden_calls(self):
        """What the sandbox ended a process for."""
        lines = []
        for name in os.listdir(os.path.join(self.run, 'log')):
            with open(os.path.join(self.run, 'log', name), encoding='utf-8', errors='replace') as f:
                lines += [f'{name}: {line}' for line in f if 'ev=forbidden-call' in line]
        return lines

    def children(self):
        r = self.halo('status', '--run', self.run, '--json')
        assert r.returncode in (0, 1), r.stderr  # 1: not all are ready
        return {c['name']: c for c in json.loads(r.stdout)['children']}

    def kill(self, name, sig=signal.SIGKILL):
        os.kill(self.children()[name]['pid'], sig)

    def connect(self, timeout=PATIENCE):
        return http.client.HTTPConnection('127.0.0.1', self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None):
        """(status, headers, parsed JSON or text)"""
        with contextlib.closing(self.connect()) as c:
            data = body if isinstance(body, (bytes, str, type(None))) else json.dumps(body)
            c.request(method, path, data, {'content-type': 'application/json', **(headers or {})})
            r = c.getresponse()
            raw = r.read()
            kind = r.getheader('content-type') or ''
            return r.status, dict(r.getheaders()), json.loads(raw) if 'json' in kind else raw.decode()

    def chat(self, text, **fields):
        messages = text if isinstance(text, list) else [{'role': 'user', 'content': text}]
        status, _, reply = self.request('POST', '/v1/chat/completions',
                                        {'model': 'halo-demo', 'messages': messages, **fields})
        assert status == 200, (status, reply)
        return reply

    def stream(self, path, body, on_event=None):
        """All events of a stream as parsed JSON; on_event(number) is called after each. Raises unless the
        stream ends with [DONE]."""
        events = []
        with contextlib.closing(self.connect()) as c:
            c.request('POST', path, json.dumps({**body, 'stream': True}), {'content-type': 'application/json'})
            r = c.getresponse()
            assert r.status == 200, (r.status, r.read())
            while True:
                line = r.readline()
                assert line, f'the stream ended without [DONE] after {len(events)} events'
                if not line.startswith(b'data: '):
                    continue
                data = line[6:].strip()
                if data == b'[DONE]':
                    return events
                event = json.loads(data)
                assert 'error' not in event, event
                events.append(event)
                if on_event is not None:
                    on_event(len(events))

    def stream_chat(self, text, on_event=None, **fields):
        return self.stream('/v1/chat/completions',
                           {'model': 'halo-demo', 'messages': [{'role': 'user', 'content': text}], **fields}, on_event)

    def metric(self, name):
        _, _, text = self.request('GET', '/metrics')
        for line in text.splitlines():
            if line.startswith(name) and line[len(name)] in ' {':
                return float(line.rsplit(' ', 1)[1])
        raise AssertionError(f'no metric {name}')


def content(events):
    """The text of a streamed chat, one list element per chunk, and the finish reason."""
    pieces = [e['choices'][0]['delta'].get('content') for e in events if e['choices']]
    finish = [e['choices'][0]['finish_reason'] for e in events if e['choices'] and e['choices'][0]['finish_reason']]
    return [p for p in pieces if p], finish[-1] if finish else None


def in_parallel(jobs):
    """Runs all jobs in threads; their results in order, or the first exception."""
    results, errors = [None] * len(jobs), []

    def work(i):
        try:
            results[i] = jobs[i]()
        except BaseException as e:  # noqa: B036: shown by the main thread
            errors.append(e)

    threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(len(jobs))]
    for t in threads:
        t.start()
    for t in threads:
        t.join(PATIENCE * 3)
        assert not t.is_alive(), 'a request did not end'
    if errors:
        raise errors[0]
    return results


def main(module):
    tests = [(n, f) for n, f in vars(module).items() if n.startswith('test_')]
    only = sys.argv[1:]
    tests = [(n, f) for n, f in tests if not only or n in only]
    print(f'1..{len(tests)}', flush=True)
    for number, (name, test) in enumerate(tests, 1):
        title = name[5:]
        t0 = time.monotonic()
        try:
            test()
            print(f'ok {number} - {title} # {time.monotonic() - t0:.1f} s', flush=True)
        except Skip as e:
            print(f'ok {number} - {title} # SKIP {e}', flush=True)
        except BaseException:  # noqa: B036: the report is the result
            for line in traceback.format_exc().splitlines():
                print(f'# {line}')
            print(f'not ok {number} - {title}', flush=True)
