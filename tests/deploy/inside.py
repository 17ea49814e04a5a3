# SPDX-License-Identifier: MIT
"""What the scripts share that run in the container of container.py: commands, requests, TAP in /out/tap."""
import contextlib
import http.client
import json
import socket
import subprocess
import threading
import time
import traceback

PATIENCE = 60
QUESTION = {'model': 'halo-demo', 'messages': [{'role': 'user', 'content': 'What is the capital of France?'}], 'temperature': 0}
STORY = {'model': 'halo-demo', 'messages': [{'role': 'user', 'content': 'Tell me a long story.'}], 'stream': True,
         'ignore_eos': True, 'seed': 7}
SERVICES = ['halo-router', 'halo-tokenizer', 'halo-engine@1', 'halo-gateway']


def sh(*args, check=True):
    r = subprocess.run(args, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert not check or r.returncode == 0, (args, r.returncode, r.stdout, r.stderr)
    return r.stdout.strip()


def wait_for(what, condition):
    end = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < end, f'waited in vain for: {what}'
        threading.Event().wait(0.02)
    return result


def show(unit, key):
    return sh('systemctl', 'show', '--value', '-p', key, unit)


def connect(path=None):
    c = http.client.HTTPConnection('127.0.0.1', 8180, timeout=PATIENCE)
    if path:
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.settimeout(PATIENCE)
        c.sock.connect(path)
    return c


def ask(body=None, method='POST', path='/v1/chat/completions', unix=None, key=None):
    with contextlib.closing(connect(unix)) as c:
        more = {'authorization': f'Bearer {key}'} if key else {}
        c.request(method, path, json.dumps(body) if body else None, {'content-type': 'application/json', **more})
        r = c.getresponse()
        return r.status, r.read().decode()


class Stream(threading.Thread):
    """One reply that is read in the background."""

    def __init__(self, n_tokens):
        super().__init__(daemon=True)
        self.body = {**STORY, 'max_tokens': n_tokens}
        self.lines = []
        self.error = None
        self.start()
        wait_for('the first tokens', lambda: len(self.lines) > 5 or self.error)

    def run(self):
        try:
            with contextlib.closing(connect()) as c:
                c.request('POST', '/v1/chat/completions', json.dumps(self.body), {'content-type': 'application/json'})
                r = c.getresponse()
                while line := r.readline():
                    if line.startswith(b'data: '):
                        self.lines.append(line[6:].strip())
        except OSError as e:
            self.error = e

    def text(self):
        self.join(PATIENCE)
        assert not self.is_alive() and self.error is None and self.lines[-1] == b'[DONE]', (self.error, self.lines[-1:])
        return ''.join(json.loads(x)['choices'][0]['delta'].get('content') or '' for x in self.lines[:-1])


def is_serving():
    with contextlib.suppress(OSError):
        return ask(method='GET', path='/readyz')[0] == 200


def main(module):
    tests = [(n[5:], f) for n, f in vars(module).items() if n.startswith('test_')]
    bad = False
    with open('/out/tap', 'w', encoding='utf-8') as out:
        print(f'1..{len(tests)}', file=out, flush=True)
        for number, (name, test) in enumerate(tests, 1):
            began = time.monotonic()
            try:
                test()
                print(f'ok {number} - {name} # {time.monotonic() - began:.1f} s', file=out, flush=True)
            except BaseException:  # noqa: B036: the report is the result
                bad = True
                for line in traceback.format_exc().splitlines():
                    print(f'# {line}', file=out)
                print(f'not ok {number} - {name}', file=out, flush=True)
        if bad:
            for line in sh('journalctl', '-q', '--no-pager', '-n', '60', '-u', 'halo*', check=False).splitlines():
                print('#', line, file=out)
    subprocess.run(['systemctl', '--no-block', 'exit', '0'], check=False)
