#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bytes that no peer of ours would send, at every socket of a running stack: no process ends."""
import contextlib
import os
import random
import socket
import sys

from halo_stack import PATIENCE, Stack, main

STACK = None
# The first bytes of nng's ipc transport (SP, version 0, protocol req0 = 0x30), and of a message.
REQ0_HEADER = b'\0SP\0\0\x30\0\0'


def poke(path, data):
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
        s.settimeout(2)
        with contextlib.suppress(OSError):
            s.connect(path)
            s.sendall(data)
            s.recv(256)


def message(body):
    return b'\x01' + len(body).to_bytes(8, 'big') + body


def test_hostile_bytes_at_the_sockets_end_no_process():
    before = {n: c['pid'] for n, c in STACK.children().items()}
    rng = random.Random(1)
    sockets = [n for n in os.listdir(STACK.run) if n.endswith('.sock')]
    assert {'router.sock', 'tokenizer.sock'} <= set(sockets), sockets
    deep = b'\x91' * 5000
    huge = b'\x93\x01\x01\xdf\xff\xff\xff\xff'
    for name in sockets:
        path = os.path.join(STACK.run, name)
        poke(path, b'GET / HTTP/1.1\r\n\r\n')
        poke(path, REQ0_HEADER + b'\x01' + (1 << 60).to_bytes(8, 'big'))
        for body in (b'', deep, huge, b'\x93\x01\x01\x80', rng.randbytes(2000)):
            poke(path, REQ0_HEADER + message(b'\x80\0\0\1' + body))
    assert {n: c['pid'] for n, c in STACK.children().items()} == before
    assert STACK.chat('Hello!', temperature=0, max_tokens=4)['usage']['completion_tokens'] >= 1


def test_hostile_http_ends_no_process():
    before = {n: c['pid'] for n, c in STACK.children().items()}
    rng = random.Random(2)
    attacks = [
        b'\0' * 1000, b'GET\r\n\r\n', b'GET / HTTP/9.9\r\n\r\n', b'POST /v1/chat/completions HTTP/1.1\r\n\r\n',
        b'POST /v1/chat/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n',
        b'POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\nx',
        b'POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
        b'GET /' + b'a' * 100000 + b' HTTP/1.1\r\n\r\n',
        b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + rng.randbytes(500),
        b'GET /%00/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n',
    ] + [b'POST /v1/completions HTTP/1.1\r\nContent-Length: 300\r\n\r\n' + rng.randbytes(300) for _ in range(30)]
    for data in attacks:
        with contextlib.closing(socket.create_connection(('127.0.0.1', STACK.port), timeout=2)) as s:
            with contextlib.suppress(OSError):
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
    assert {n: c['pid'] for n, c in STACK.children().items()} == before
    assert STACK.request('GET', '/healthz')[0] == 200


if __name__ == '__main__':
    with Stack() as STACK:
        main(sys.modules['__main__'])
