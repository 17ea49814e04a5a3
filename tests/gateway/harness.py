# SPDX-License-Identifier: MIT
"""Starts the real halo-gateway against fake_tokenizer in a temporary run directory, speaks HTTP to it,
and prints the results of test functions as TAP. Nothing here sleeps: every wait is for an event."""
import hashlib
import http.client
import inspect
import json
import os
import queue
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

GATEWAY = os.environ['HALO_GATEWAY']
FAKE = os.environ['HALO_FAKE_TOKENIZER']
PATIENCE_S = 20  # for anything that should take milliseconds; generous for busy machines
MODEL = 'fake-model'
SECRET = 'sk-halo-' + 'A' * 43


class Process:
    """A child whose output lines can be awaited."""

    def __init__(self, args, listen_to, **options):
        self.lines = []
        self.queue = queue.Queue()
        pipes = {'stdin': subprocess.PIPE, listen_to: subprocess.PIPE}
        self.popen = subprocess.Popen(args, text=True, bufsize=1, **pipes, **options)
        self.stream = getattr(self.popen, listen_to)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.stream:
            self.queue.put(line.rstrip('\n'))
        self.queue.put(None)

    def wait_line(self, pattern, timeout=PATIENCE_S):
        """The next line that matches; earlier ones are kept in self.lines."""
        end = time.monotonic() + timeout
        while True:
            try:
                line = self.queue.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f'no line {pattern!r}; saw {self.lines[-5:]}') from None
            if line is None:
                raise AssertionError(f'ended before {pattern!r}; saw {self.lines[-5:]}')
            self.lines.append(line)
            found = re.search(pattern, line)
            if found:
                return found

    def drain_lines(self):
        """All lines that have come so far."""
        while not self.queue.empty():
            line = self.queue.get()
            if line is not None:
                self.lines.append(line)
        return self.lines

    def command(self, text):
        self.popen.stdin.write(text + '\n')
        self.wait_line('^ok')

    def end(self, signum=signal.SIGTERM):
        if self.popen.poll() is None:
            self.popen.send_signal(signum)
        code = self.popen.wait(PATIENCE_S)
        self.popen.stdin.close()
        return code


class Stack:
    """A gateway and, unless told otherwise, a fake tokenizer."""

    def __init__(self, *options, delay_ms=1, fake=True, listen=True, **popen):
        self.dir = tempfile.mkdtemp(prefix='halo-gw-')
        self.fake = None
        self.port = None
        if fake:
            self.start_fake(delay_ms)
        args = [GATEWAY, '--run', self.dir, *(o.replace('{dir}', self.dir) for o in options)]
        if listen:
            args += ['--listen', '127.0.0.1:0']
        self.gateway = Process(args, 'stderr', **popen)
        if listen:
            self.port = int(self.gateway.wait_line(r'ev=listening host=\S+ port=(\d+)').group(1))
        if fake:
            self.gateway.wait_line('ev=serving')

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.fake:
            self.fake.end(signal.SIGKILL)
        code = self.gateway.end(signal.SIGKILL if exc[0] else signal.SIGTERM)
        shutil.rmtree(self.dir, ignore_errors=True)
        if exc[0] is None:
            assert code == 0, f'halo-gateway ended with {code}: {self.gateway.drain_lines()[-20:]}'

    def start_fake(self, delay_ms=1):
        self.fake = Process([FAKE, self.dir, str(delay_ms)], 'stdout')

    def kill_fake(self):
        self.fake.end(signal.SIGKILL)
        self.gateway.wait_line('ev=tokenizer-down')

    def connect(self):
        return socket.create_connection(('127.0.0.1', self.port), PATIENCE_S)

    def request(self, method, path, body=None, headers=None):
        """Status, headers, body."""
        c = http.client.HTTPConnection('127.0.0.1', self.port, timeout=PATIENCE_S)
        try:
            sent = {'content-type': 'application/json'} if body is not None else {}
            sent.update(headers or {})
            c.request(method, path, body, sent)
            r = c.getresponse()
            return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
        finally:
            c.close()

    def post(self, path, body, **more):
        """Status, headers, JSON."""
        data = body if isinstance(body, (bytes, str)) else json.dumps(body)
        if isinstance(data, str):
            data = data.encode()
        status, headers, text = self.request('POST', path, data, more)
        return status, headers, json.loads(text)

    def get(self, path):
        status, headers, text = self.request('GET', path)
        return status, headers, json.loads(text)


def chat(text='one two three', **more):
    return {'model': MODEL, 'messages': [{'role': 'user', 'content': text}], **more}


def completion(prompt='one two three', **more):
    return {'model': MODEL, 'prompt': prompt, **more}


PATHS = {'chat': '/v1/chat/completions', 'completions': '/v1/completions'}


class Stream:
    """A streamed answer on a socket of its own, read as it comes."""

    def __init__(self, sock, path, body, version='1.1'):
        self.sock = sock
        self.buffer = b''
        data = json.dumps(body).encode()
        self.sock.sendall(
            f'POST {path} HTTP/{version}\r\nhost: x\r\ncontent-type: application/json\r\n'
            f'content-length: {len(data)}\r\n\r\n'.encode() + data)

    def _more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def read_until(self, mark):
        while mark not in self.buffer:
            self._more()
        head, self.buffer = self.buffer.split(mark, 1)
        return head + mark

    def read_head(self):
        return self.read_until(b'\r\n\r\n').decode()

    def read_all(self):
        """Everything to the end of the connection; how it ended."""
        try:
            while True:
                self._more()
        except EOFError:
            return self.buffer, 'closed'
        except ConnectionResetError:
            return self.buffer, 'reset'

    def close(self):
        self.sock.close()


def dechunk(data):
    """The bytes in a chunked body, and whether it is complete."""
    out = b''
    while True:
        size, found, rest = data.partition(b'\r\n')
        try:
            n = int(size, 16)
        except ValueError:
            return out, False
        if not found or len(rest) < n + 2 or rest[n:n + 2] != b'\r\n':
            return out, False
        if n == 0:
            return out, True
        out += rest[:n]
        data = rest[n + 2:]


def events(text):
    """The data of the events of an SSE body; JSON is parsed."""
    found = []
    for block in text.decode().split('\n\n'):
        for line in block.split('\n'):
            if line.startswith('data: '):
                data = line[6:]
                found.append(data if data == '[DONE]' else json.loads(data))
            elif line:
                assert line.startswith(':'), f'not an SSE line: {line!r}'
    return found


def stream(stack, path, body):
    """Headers and events of a whole streamed answer."""
    status, headers, text = stack.request('POST', path, json.dumps({**body, 'stream': True}))
    assert status == 200, (status, text)
    return headers, events(text)


def text_of(chunks):
    """What the chunks of one-choice stream say."""
    out = ''
    for c in chunks:
        for choice in c['choices'] if c != '[DONE]' else []:
            out += choice['text'] if 'text' in choice else choice['delta'].get('content', '')
    return out


def entry(name, secret, **limits):
    return {'name': name, 'sha256': hashlib.sha256(secret.encode()).hexdigest(), 'created': 1, **limits}


class KeyFile:
    def __init__(self, *entries):
        self.dir = tempfile.TemporaryDirectory(prefix='halo-keys-')
        self.path = self.dir.name + '/keys.json'
        self.write(*entries)

    def write(self, *entries, mode=0o600):
        with open(self.path + '.new', 'w') as f:
            json.dump({'version': 1, 'keys': entries}, f)
        os.chmod(self.path + '.new', mode)
        os.rename(self.path + '.new', self.path)


def keyed_stack(*entries):
    keys = KeyFile(*entries)
    return keys, Stack('--keys', keys.path)


def bearer(secret=SECRET):
    return {'authorization': 'Bearer ' + secret}


class H2:
    """As much HTTP/2 as the tests need: literal headers, no flow control of its own."""
    DATA, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, GOAWAY = 0, 1, 3, 4, 8, 7

    def __init__(self, sock, initial_window=None):
        self.sock = sock
        settings = b'' if initial_window is None else struct.pack('>HI', 4, initial_window)
        self.sock.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + self.frame(self.SETTINGS, 0, 0, settings))

    @staticmethod
    def frame(kind, flags, stream_id, payload=b''):
        return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream_id) + payload

    @staticmethod
    def literal(name, value):
        assert len(name) < 127 and len(value) < 127
        return bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()

    def request_bytes(self, stream_id, path, body):
        data = json.dumps(body).encode()
        headers = b''.join(self.literal(n, v) for n, v in [
            (':method', 'POST'), (':scheme', 'http'), (':path', path), (':authority', 'x'),
            ('content-type', 'application/json')])
        return self.frame(self.HEADERS, 4, stream_id, headers) + self.frame(self.DATA, 1, stream_id, data)

    def reset_bytes(self, stream_id, code=8):
        return self.frame(self.RST_STREAM, 0, stream_id, struct.pack('>I', code))

    def _exactly(self, n):
        data = b''
        while len(data) < n:
            part = self.sock.recv(n - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def read_frame(self):
        """Kind, flags, stream, payload. SETTINGS are acknowledged."""
        head = self._exactly(9)
        payload = self._exactly(int.from_bytes(head[:3], 'big'))
        if head[3] == self.SETTINGS and not head[4] & 1:
            self.sock.sendall(self.frame(self.SETTINGS, 1, 0))
        return head[3], head[4], int.from_bytes(head[5:9], 'big') & 0x7fffffff, payload

    def wait_frame(self, kind, stream_id):
        while True:
            k, flags, s, payload = self.read_frame()
            if k == kind and s == stream_id:
                return flags, payload


def run(module):
    """Runs the module's functions that have no parameters, prints TAP, and ends the process."""
    tests = [f for f in module.values() if inspect.isfunction(f) and f.__module__ == '__main__'
             and not inspect.signature(f).parameters]
    print(f'1..{len(tests)}')
    for i, test in enumerate(tests, 1):
        name = test.__name__.replace('_', ' ')
        try:
            test()
            print(f'ok {i} - {name}', flush=True)
        except Exception:
            for line in traceback.format_exc().splitlines():
                print(f'# {line}')
            print(f'not ok {i} - {name}', flush=True)
    sys.exit(0)
