# SPDX-License-Identifier: MIT
"""An HTTP server that answers halo-load in scripted ways, on TCP and on a Unix socket. The model that a
request names chooses what happens; see BEHAVIOURS. Standard library only."""
import asyncio
import json
import os
import socket
import struct
import threading

SSE = b'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n'


def event(data):
    raw = b'data: ' + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b'\n\n'
    return b'%x\r\n%s\r\n' % (len(raw), raw)


def delta(text=None, finish=None):
    return event({'choices': [{'index': 0, 'delta': {'content': text} if text else {}, 'finish_reason': finish}]})


def usage(n_in, n_out):
    return event({'choices': [], 'usage': {'prompt_tokens': n_in, 'completion_tokens': n_out,
                                           'prompt_tokens_details': {'cached_tokens': 2}}})


END = event(b'[DONE]') + b'0\r\n\r\n'


def plain(status, body):
    return b'HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s' % (
        status.encode(), len(body), body)


class Server:
    """Use with `with`. Attributes: port, path, bodies (parsed), heads, n_connections."""

    def __init__(self, directory, delay=0.0, stall_at=None):
        self.path = os.path.join(directory, f'http.{id(self)}.sock')
        self.delay = delay
        self.stall_at = stall_at or {}  # number of a request -> seconds before its answer
        self.bodies, self.heads = [], []
        self.n_connections = 0
        self.in_flight = 0
        self.peak = 0
        self.loop = asyncio.new_event_loop()
        self.started = threading.Event()

    def __enter__(self):
        threading.Thread(target=self.run, daemon=True).start()
        assert self.started.wait(10)
        return self

    def __exit__(self, *exc):
        self.loop.call_soon_threadsafe(self.loop.stop)

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(lambda *_: None)  # clients that leave are part of the script
        tcp = self.loop.run_until_complete(asyncio.start_server(self.serve, '127.0.0.1', 0, backlog=1024))
        self.loop.run_until_complete(asyncio.start_unix_server(self.serve, self.path, backlog=1024))
        self.port = tcp.sockets[0].getsockname()[1]
        self.url = f'http://127.0.0.1:{self.port}'
        self.started.set()
        self.loop.run_forever()

    async def serve(self, reader, writer):
        self.n_connections += 1
        try:
            while await self.exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async def exchange(self, reader, writer):
        """One request and its answer; whether the connection stays."""
        head = (await reader.readuntil(b'\r\n\r\n')).decode()
        if head.startswith('GET'):
            writer.write(plain('200 OK', b'{"data":[{"id":"good"}]}'))
            return True
        length = next(int(h.split(':')[1]) for h in head.split('\r\n') if h.lower().startswith('content-length'))
        body = json.loads(await reader.readexactly(length))
        self.heads.append(head)
        self.bodies.append(body)
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        stays = await self.answer(len(self.bodies), body, writer)
        self.in_flight -= 1
        return stays and 'connection: close' not in head

    async def answer(self, number, body, writer):
        await asyncio.sleep(self.stall_at.get(number, 0) + self.delay)
        kind = body['model'].split('+')[number % len(body['model'].split('+'))]
        return await getattr(self, 'do_' + kind)(body, writer)

    async def tokens(self, body, writer, n):
        writer.write(SSE + event({'choices': [{'index': 0, 'delta': {'role': 'assistant', 'content': ''}}]}))
        for i in range(n):
            writer.write(delta(f'w{i} '))
            await writer.drain()

    # ---- BEHAVIOURS ----

    async def do_good(self, body, writer):
        n = body['max_tokens']
        await self.tokens(body, writer, n)
        writer.write(delta(finish='length') + usage(11, n) + END)
        return True

    async def do_silent(self, body, writer):
        """No usage: pieces are counted."""
        await self.tokens(body, writer, body['max_tokens'])
        writer.write(delta(finish='stop') + END)
        return True

    async def do_once(self, body, writer):
        """Closes the connection after the answer, without saying so: the next request finds it stale."""
        await self.do_good(body, writer)
        return False

    async def do_cut(self, body, writer):
        await self.tokens(body, writer, 3)
        writer.write(b'0\r\n\r\n')
        return True

    async def do_unfinished(self, body, writer):
        await self.tokens(body, writer, 3)
        writer.write(END)
        return True

    async def do_closed(self, body, writer):
        await self.tokens(body, writer, 3)
        return False

    async def do_reset(self, body, writer):
        await self.tokens(body, writer, 3)
        sock = writer.get_extra_info('socket')
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        writer.transport.abort()
        return False

    async def do_error(self, body, writer):
        await self.tokens(body, writer, 2)
        writer.write(event({'error': {'message': 'the engine\x1b[31m is lost'}}))
        return False

    async def do_full(self, body, writer):
        writer.write(plain('429 Too Many Requests', b'{"error":{"message":"wait a little"}}'))
        return True

    async def do_hang(self, body, writer):
        await asyncio.sleep(20)
        return False

    async def do_json(self, body, writer):
        writer.write(plain('200 OK', b'{"choices":[]}'))
        return True

    async def do_babble(self, body, writer):
        writer.write(b'220 mail.example ESMTP\r\n\r\n')
        return False
