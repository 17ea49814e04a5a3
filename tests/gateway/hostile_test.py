# SPDX-License-Identifier: MIT
"""Clients that do wrong, by the thousand. Meanwhile a well-behaved stream goes on: the time between two of
its events stays bounded, and nothing that the others do makes the process grow for good."""
import contextlib
import json
import os
import resource
import socket
import struct
import threading
import time

from harness import GATEWAY, H2, PATHS, PATIENCE_S, Stack, Stream, chat, run

CHAT = PATHS['chat']
GAP_MAX_S = 4  # of the witness, on a machine that does fifteen other things; a blocked loop has no bound
MIB = 1 << 20


class Witness:
    """A stream that is read as it comes. `check` says that it went on until now."""

    def __init__(self, stack):
        self.stream = Stream(stack.connect(), CHAT, chat('@count 4000', stream=True))
        self.n, self.gap, self.last, self.lock = 0, 0.0, time.monotonic(), threading.Lock()
        self.over = False
        self.stream.read_until(b'data: ')
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with contextlib.suppress(OSError, EOFError):
            while True:
                self.stream.read_until(b'\n\n')
                now = time.monotonic()
                with self.lock:
                    self.n += 1
                    self.gap = max(self.gap, now - self.last)
                    self.last = now
        self.over = True

    def check(self):
        with self.lock:
            n = self.n
        end = time.monotonic() + PATIENCE_S
        while self.n < n + 3:  # it goes on
            assert not self.over and time.monotonic() < end, (self.over, self.n, n)
            threading.Event().wait(0.005)
        assert self.gap < GAP_MAX_S, f'{self.gap:.1f} s between two events'
        self.stream.sock.shutdown(socket.SHUT_RDWR)  # a close alone waits for the reader
        self.stream.close()


@contextlib.contextmanager
def witnessed(*options, delay_ms=20, **popen):
    """A gateway under attack. Afterwards it answers, and the witness was served all the time."""
    with Stack(*options, delay_ms=delay_ms, **popen) as s:
        w = Witness(s)
        yield s
        w.check()
        assert s.get('/healthz')[0] == 200


def rss(s):
    with open(f'/proc/{s.gateway.popen.pid}/statm', encoding='ascii') as f:
        return int(f.read().split()[1]) * resource.getpagesize()


with open(GATEWAY, 'rb') as program:
    IS_SANITIZED = b'__asan_' in program.read()  # its memory says nothing


def ended(sock):
    """Waits until the other side has closed; what came before."""
    data = b''
    with contextlib.suppress(ConnectionError):
        while True:
            part = sock.recv(65536)
            if not part:
                break
            data += part
    return data


def head(path=CHAT, length=None, more=''):
    text = f'POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{more}'
    return (text + (f'content-length: {length}\r\n\r\n' if length is not None else '')).encode()


# ---- connections -------------------------------------------------------------------------------------


def ten_thousand_idle_connections_cost_little_and_disturb_nobody():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with witnessed('--idle-ms', '600000') as s:
        said = next(line for line in s.gateway.lines if 'ev=limits' in line)
        allowed = int(said.split('connections=')[1].split()[0])
        n = min(10000, allowed - 50, hard - 200)
        if n < 10000:
            print(f'# {n} connections: the limit of descriptors here is {hard}')
        before = rss(s)
        held = [s.connect() for _ in range(n)]
        assert s.get('/healthz')[0] == 200  # it has accepted all before this one
        grown = rss(s) - before
        print(f'# {n} idle connections: {grown / n:.0f} bytes each')
        assert IS_SANITIZED or grown < n * 4096, grown
        for c in held[:50]:  # and they can still be used
            c.sendall(b'GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n')
        for c in held[:50]:
            assert c.recv(100).startswith(b'HTTP/1.1 200')
        for c in held:
            c.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def idle_connections_are_closed_after_a_time():
    with witnessed('--idle-ms', '300') as s:
        held = [s.connect() for _ in range(50)]
        for c in held:
            assert ended(c) == b''


def a_client_that_vanished_is_asked_whether_it_lives():
    """A cut cable sends nothing: only the kernel's keepalive timer finds out."""
    with witnessed() as s:
        c = s.connect()
        c.sendall(head(length=10))
        s.get('/healthz')
        local = f'{s.port:04X}'
        remote = f'{c.getsockname()[1]:04X}'
        with open('/proc/net/tcp', encoding='ascii') as f:
            rows = [line.split() for line in f]
        timers = [r[5].split(':')[0] for r in rows if r[1].endswith(':' + local) and r[2].endswith(':' + remote)]
        assert timers == ['02'], timers
        c.close()


def a_connection_that_is_half_closed_is_let_go():
    with witnessed() as s:
        held = []
        for _ in range(30):
            c = s.connect()
            c.sendall(head(length=1000) + b'{"model"')
            c.shutdown(socket.SHUT_WR)
            held.append(c)
        for c in held:
            ended(c)


# ---- slow clients ------------------------------------------------------------------------------------


def dripping_headers_end_after_a_time_however_long_they_drip():
    drip_until_closed(lambda: b'GET /healthz HTTP/1.1\r\n', b'x-a: b\r\n')


def dripping_bodies_end_after_a_time_however_long_they_drip():
    drip_until_closed(lambda: head(length=100000), b' ')


def dripping_chunks_end_after_a_time_however_long_they_drip():
    drip_until_closed(lambda: head(more='transfer-encoding: chunked\r\n\r\n'), b'1\r\n \r\n')


def drip_until_closed(opening, drop):
    with witnessed('--idle-ms', '700') as s:
        held = {s.connect() for _ in range(40)}
        for c in held:
            c.sendall(opening())
            c.setblocking(False)
        end = time.monotonic() + PATIENCE_S
        while held:
            assert time.monotonic() < end, f'{len(held)} connections live on'
            threading.Event().wait(0.05)
            for c in list(held):
                try:
                    c.sendall(drop)
                    if c.recv(1000) == b'':
                        held.discard(c)
                except BlockingIOError:
                    pass
                except ConnectionError:
                    held.discard(c)


def clients_that_stop_reading_hold_little_and_are_given_up():
    with witnessed('--max-pending', '65536', '--stall-ms', '60000', delay_ms=1) as s:
        before = rss(s)
        held = []
        for _ in range(40):
            c = socket.socket()
            c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.settimeout(PATIENCE_S)
            c.connect(('127.0.0.1', s.port))
            held.append(Stream(c, CHAT, chat('@big 100000', stream=True)))
        most = 0
        for _ in held:
            s.gateway.wait_line('end=client-stalled')
            most = max(most, rss(s) - before)
        assert IS_SANITIZED or most < 40 * MIB, most
        for r in held:
            assert r.read_all()[1] == 'reset'
        text = s.request('GET', '/metrics')[2]
        assert b'halo_replies_ended_early_total{why="client_stalled"} 40' in text


# ---- too much, and nonsense --------------------------------------------------------------------------


def oversize_headers_are_refused_and_hold_nothing():
    with witnessed() as s:
        before = rss(s)
        for name in b'x' * 500000, b'x: ' + b'y' * 2000000, b'x: y\r\n' * 20000:
            c = s.connect()
            with contextlib.suppress(ConnectionError):
                c.sendall(b'GET /healthz HTTP/1.1\r\n' + name)
            answer = ended(c)
            assert answer == b'' or answer.startswith((b'HTTP/1.1 400', b'HTTP/1.0 400')), answer[:100]
            c.close()
        assert IS_SANITIZED or rss(s) - before < 8 * MIB


def oversize_bodies_are_refused_and_hold_nothing():
    with witnessed('--max-body', '1M') as s:
        before = rss(s)
        for _ in range(5):
            assert s.post(CHAT, b'{"a":"' + b'x' * (2 * MIB) + b'"}')[0] == 413
        for opening in head(length=10**15), head(more='transfer-encoding: chunked\r\n\r\n'):
            c = s.connect()
            piece = b'10000\r\n' + b'x' * 65536 + b'\r\n'
            with contextlib.suppress(ConnectionError):
                c.sendall(opening)
                for _ in range(1000):  # 64 MB, if nobody minds
                    c.sendall(piece)
                raise AssertionError('64 MB were taken')
            c.close()
        assert IS_SANITIZED or rss(s) - before < 40 * MIB


def requests_in_one_packet_are_answered_in_order_and_garbage_ends_the_connection():
    with witnessed() as s:
        get = b'GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n'
        c = s.connect()
        c.sendall(get * 1000 + b'\0\1\2 garbage\r\n\r\n')
        answer = ended(c)
        assert answer.count(b'HTTP/1.1 200') == 1000, answer.count(b'HTTP/1.1 200')
        for garbage in b'\xff' * 5000, b'GET ', b'GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n', b'\r\n' * 5000, \
                b'POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdefg':
            for before in b'', get, head(length=2) + b'{}':
                c = s.connect()
                with contextlib.suppress(ConnectionError):
                    c.sendall(before + garbage)
                    c.shutdown(socket.SHUT_WR)
                ended(c)


def a_pipelined_stream_does_not_start_the_next_before_its_end():
    with witnessed() as s:
        body = json.dumps(chat('@count 3', stream=True)).encode()
        c = s.connect()
        c.sendall((head(length=len(body)) + body) * 5 + b'GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n')
        answer = ended(c)
        assert answer.count(b'data: [DONE]') == 5 and answer.endswith(b'{"status":"ok"}\n')


# ---- HTTP/2 ------------------------------------------------------------------------------------------

PING, CONTINUATION = 6, 9


def h2_attack(attack):
    """Runs the attack on several connections; sending may fail, which is an answer, too."""
    with witnessed() as s:
        before = rss(s)
        held = []
        for _ in range(4):
            sock = s.connect()
            sock.settimeout(5)
            h = H2(sock)
            with contextlib.suppress(OSError):
                attack(h, sock)
            held.append(sock)
        s.get('/healthz')
        grown = rss(s) - before
        for sock in held:
            sock.close()
        assert IS_SANITIZED or grown < 24 * MIB, f'{grown / MIB:.0f} MiB'


def resets_by_the_thousand_start_nothing():
    def attack(h, sock):
        sock.sendall(b''.join(h.request_bytes(i, CHAT, chat('@hang')) + h.reset_bytes(i) for i in range(1, 8001, 2)))
    h2_attack(attack)


def pings_and_settings_by_the_thousand_are_bounded():
    def attack(h, sock):  # and never reads the answers
        many = h.frame(PING, 0, 0, b'12345678') * 2000 + h.frame(H2.SETTINGS, 0, 0) * 2000
        for _ in range(30):
            sock.sendall(many)
    h2_attack(attack)


def streams_beyond_the_limit_are_refused():
    def attack(h, sock):
        sock.sendall(b''.join(h.request_bytes(i, CHAT, chat('@hang')) for i in range(1, 4001, 2)))
    h2_attack(attack)


def headers_that_never_end_are_refused():
    def attack(h, sock):
        sock.sendall(h.frame(H2.HEADERS, 0, 1, h.literal('x', 'y')))
        for _ in range(4000):  # 64 MB
            sock.sendall(h.frame(CONTINUATION, 0, 1, b'\0\1x\x7f\x81\x7f' + b'y' * 16370))
        raise AssertionError('64 MB of headers were taken')
    h2_attack(attack)


def a_header_that_is_repeated_by_reference_is_bounded():
    def attack(h, sock):
        block = b'\x40\1x\x7f\xe1\x1e' + b'y' * 4000  # into the table, then named over and over
        for i in range(1, 201, 2):
            sock.sendall(h.frame(H2.HEADERS, 5, i, (block if i == 1 else b'') + b'\xbe' * 8000))
    h2_attack(attack)


def windows_that_never_open_hold_little():
    with witnessed('--max-pending', '65536', '--stall-ms', '1000', delay_ms=2) as s:
        before = rss(s)
        sock = s.connect()
        h = H2(sock, initial_window=0)
        for i in range(1, 101, 2):
            sock.sendall(h.request_bytes(i, CHAT, chat('@big 4000', stream=True)))
        for _ in range(50):
            s.gateway.wait_line('end=client-stalled')
        assert IS_SANITIZED or rss(s) - before < 50 * 65536 * 6
        sock.close()


def frames_that_make_no_sense_end_their_connection_alone():
    def attack(h, sock):
        sock.sendall(struct.pack('>I', 1 << 20)[1:] + b'\0\0\0\0\0\1' + b'x' * 100000)
        ended(sock)
    h2_attack(attack)
    for bad in (H2.frame(H2.DATA, 0, 0, b'x'), H2.frame(H2.HEADERS, 4, 2, b'\x82'), H2.frame(H2.WINDOW_UPDATE, 0, 0, b'\0\0\0\0'),
                H2.frame(CONTINUATION, 4, 1, b''), H2.frame(PING, 0, 1, b'1234'), os.urandom(2000)):
        h2_attack(lambda h, sock, bad=bad: (sock.sendall(bad), sock.shutdown(socket.SHUT_WR), ended(sock)))


run(globals())
