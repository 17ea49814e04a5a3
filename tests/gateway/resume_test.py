# SPDX-License-Identifier: MIT
"""Clients that lose their stream and come back: the rest is byte for byte what an undisturbed stream
would have had, for as long and in as much memory as was said, and for nobody else."""
import json
import re
import time

from harness import H2, PATHS, PATIENCE_S, SECRET, Stack, bearer, chat, completion, dechunk, entry, keyed_stack, run

CHAT = PATHS['chat']
KEEP = {'x-halo-resume': '60'}


class Reader:
    """One GET or POST on a connection of its own; the events come with their numbers."""

    def __init__(self, s, method, path, body=None, **headers):
        self.sock = s.connect()
        self.raw = b''  # what came of the body, without chunk borders
        self.wire = b''
        data = json.dumps(body).encode() if body is not None else b''
        lines = [f'{method} {path} HTTP/1.1', 'host: x', f'content-length: {len(data)}',
                 *(['content-type: application/json'] if data else []),
                 *(f'{k}: {v}' for k, v in headers.items())]
        self.sock.sendall('\r\n'.join(lines).encode() + b'\r\n\r\n' + data)
        head = self._until(b'\r\n\r\n')
        self.status = int(head.split()[1])
        self.headers = dict(l.split(': ', 1) for l in head.decode().split('\r\n')[1:] if ': ' in l)
        self.complete = False

    def _receive(self):
        part = self.sock.recv(65536)
        self.wire += part
        return part

    def _until(self, mark):
        while mark not in self.wire:
            assert self._receive(), self.wire
        head, self.wire = self.wire.split(mark, 1)
        return head

    def numbered(self):
        """(number, block) of each whole event so far; comments are left out."""
        body, self.complete = dechunk(self.wire)
        found = []
        for block in body.decode().split('\n\n')[:-1]:
            if not block.startswith(':'):
                number, data = re.fullmatch(r'id: (\d+)\n(data: .*)', block).groups()
                found.append((int(number), data))
        return found

    def read(self, n):
        """Until n events have come; then leaves."""
        while len(self.numbered()) < n:
            assert self._receive(), 'the stream ended'
        self.sock.close()
        return self.numbered()[:n]

    def read_all(self):
        """To the end of the answer; how it ended is in `complete`."""
        try:
            while not self.wire.endswith(b'\r\n0\r\n\r\n') and self._receive():
                pass
        except ConnectionResetError:
            pass
        self.sock.close()
        return self.numbered()


def post(s, body, path=CHAT, **headers):
    return Reader(s, 'POST', path, {**body, 'stream': True}, **{**KEEP, **headers})


def go_on(s, stream_id, from_number=None, **headers):
    query = '' if from_number is None else f'?from={from_number}'
    return Reader(s, 'GET', f'/v1/streams/{stream_id}{query}', **headers)


def data_of(numbered):
    """What does not change from one reply to the next."""
    return [re.sub(r'"(id|created|seed)":("[^"]*"|\d+)', '', data) for _, data in numbered]


def metric(s, name):
    text = s.request('GET', '/metrics')[2].decode()
    return float(re.search(f'^{re.escape(name)} (.*)$', text, re.M).group(1))


def wait_metric(s, name, value):
    end = time.monotonic() + PATIENCE_S
    while metric(s, name) != value:
        assert time.monotonic() < end, (name, metric(s, name))


def whole(s, stream_id, **headers):
    return go_on(s, stream_id, **headers).read_all()


BODIES = [(CHAT, chat('@count 60')), (CHAT, chat('@count 30', n=3)),
          (CHAT, chat('@count 40', logprobs=True, top_logprobs=2, stream_options={'include_usage': True})),
          (PATHS['completions'], completion('@count 50', logprobs=1)), (PATHS['completions'], completion('@pieces'))]


def a_reconnected_stream_has_the_bytes_of_an_undisturbed_one():
    with Stack(delay_ms=2) as s:
        for path, body in BODIES:
            undisturbed = post(s, body, path).read_all()
            first = post(s, body, path)
            stream_id = first.headers['x-halo-stream']
            assert re.fullmatch('[0-9a-f]{40}', stream_id) and first.headers['x-halo-resume'] == '60'
            got = first.read(3)
            rest = go_on(s, stream_id, 3)
            assert rest.status == 200 and rest.headers['x-halo-stream'] == stream_id
            got += rest.read_all()
            assert rest.complete and got[-1][1] == 'data: [DONE]'
            assert data_of(got) == data_of(undisturbed)
            assert [n for n, _ in got] == list(range(1, len(got) + 1))
            assert whole(s, stream_id) == got and go_on(s, stream_id, 5).read_all() == got[5:]


def it_can_break_at_every_event():
    with Stack(delay_ms=1) as s:
        first = post(s, chat('@count 12'))
        stream_id = first.headers['x-halo-stream']
        got = first.read(1)
        while got[-1][1] != 'data: [DONE]':
            got += go_on(s, stream_id, None, **{'last-event-id': got[-1][0]}).read(1)
        assert got == whole(s, stream_id) and len(got) == 15
        assert metric(s, 'halo_streams_continued_total') == 15


def last_event_id_counts_more_than_the_query():
    with Stack() as s:
        all_events = post(s, chat('a b c'))
        stream_id = all_events.headers['x-halo-stream']
        got = all_events.read_all()
        assert go_on(s, stream_id, 1, **{'last-event-id': '3'}).read_all() == got[3:]
        assert go_on(s, stream_id, len(got)).status == 204, 'so that EventSource stops'
        assert go_on(s, stream_id, len(got) + 1).status == 400
        for bad in '?from=', '?from=x', '?from=-1', '?from=1&x=2', '?to=1', '?from=99999999999999999999':
            assert s.get(f'/v1/streams/{stream_id}{bad}')[0] == 400, bad
        assert s.request('HEAD', f'/v1/streams/{stream_id}')[0] == 200
        assert s.request('HEAD', '/v1/streams/' + '0' * 40)[0] == 404


def without_the_header_a_client_that_leaves_ends_its_reply():
    with Stack() as s:
        for headers in {}, {'x-halo-resume': '0'}:
            r = Reader(s, 'POST', CHAT, chat('@count 100000', stream=True, max_tokens=100000), **headers)
            assert 'x-halo-stream' not in r.headers
            while b'"9 "' not in r.wire:
                r._receive()
            assert b'id: ' not in dechunk(r.wire)[0].split(b'data: ')[0]
            r.sock.close()
            s.fake.wait_line('^cancel')


def the_default_can_be_to_keep_streams():
    with Stack('--keep-s', '60') as s:
        r = Reader(s, 'POST', CHAT, chat('@count 20', stream=True))
        got = r.read(2)
        assert got + go_on(s, r.headers['x-halo-stream'], 2).read_all() == whole(s, r.headers['x-halo-stream'])
        assert 'x-halo-stream' not in s.post(CHAT, chat())[1], 'whole answers are not kept'


def what_cannot_be_honoured_is_refused():
    with Stack('--keep-max-s', '30') as s:
        for value in '31', '-1', '1.5', 'x', '1 1', '99999999999999999999':
            status, _, body = s.post(CHAT, chat(stream=True), **{'x-halo-resume': value})
            assert status == 400 and body['error']['param'] == 'x-halo-resume', (value, status, body)
        status, _, body = s.post(CHAT, chat(), **{'x-halo-resume': '5'})
        assert status == 400 and 'stream' in body['error']['message']


def nobody_who_comes_back_in_time_finds_nothing():
    with Stack() as s:
        r = post(s, chat('@count 100000', max_tokens=100000), **{'x-halo-resume': '1'})
        r.read(2)
        s.fake.wait_line('^cancel')
        assert go_on(s, r.headers['x-halo-stream'], 2).status == 404
        r = post(s, chat('a b'), **{'x-halo-resume': '1'})
        r.read_all()
        wait_metric(s, 'halo_streams_kept', 0)
        assert go_on(s, r.headers['x-halo-stream']).status == 404
        assert metric(s, 'halo_streams_bytes') == 0
        assert metric(s, 'halo_replies_ended_early_total{why="client_left"}') == 1


def a_second_client_takes_the_stream_over_from_the_first():
    with Stack(delay_ms=5) as s:
        first = post(s, chat('@count 60'))
        stream_id = first.headers['x-halo-stream']
        while len(first.numbered()) < 3:
            first._receive()
        second = go_on(s, stream_id, 3)
        got = first.read_all()
        assert not first.complete and '[DONE]' not in got[-1][1], 'the first must not look finished'
        rest = second.read_all()
        assert second.complete and got[:3] + rest == whole(s, stream_id)


def a_deleted_stream_is_gone_and_its_reply_cancelled():
    with Stack() as s:
        r = post(s, chat('@count 100000', max_tokens=100000))
        stream_id = r.headers['x-halo-stream']
        status, _, body = s.request('DELETE', f'/v1/streams/{stream_id}')
        assert status == 200 and json.loads(body)['deleted'] is True
        s.fake.wait_line('^cancel')
        r.numbered = lambda: [(0, '')]
        r.read_all()
        assert b'"code":"cancelled"' in r.wire and b'[DONE]' not in r.wire
        assert s.request('DELETE', f'/v1/streams/{stream_id}')[0] == 404
        assert go_on(s, stream_id).status == 404
        status, headers, _ = s.request('POST', f'/v1/streams/{stream_id}', b'{}')
        assert status == 405 and headers['allow'] == 'GET, DELETE'
        wait_metric(s, 'halo_replies_in_flight', 0)


def others_are_told_that_there_is_no_such_stream():
    _, stack = keyed_stack(entry('alice', SECRET), entry('bob', 'b' * 20))
    with stack as s:
        r = post(s, chat('@count 30'), **bearer())
        stream_id = r.headers['x-halo-stream']
        got = r.read(2)
        unknown = s.request('GET', f'/v1/streams/{stream_id[:8]}{"0" * 32}', None, bearer())
        strangers = [s.request('GET', f'/v1/streams/{stream_id}', None, h)
                     for h in (bearer('b' * 20), {}, bearer('nobody'))]
        assert unknown[0] == 404 and all((code, body) == (404, unknown[2]) for code, _, body in strangers)
        assert s.request('DELETE', f'/v1/streams/{stream_id}', None, bearer('b' * 20))[0] == 404
        assert go_on(s, stream_id, 2, **bearer()).read_all() == whole(s, stream_id, **bearer())[2:] and got
        for nonsense in 'x', stream_id[:-1], stream_id + '0', stream_id.upper(), '..%2f..%2fetc', '%00' * 13:
            assert s.request('GET', f'/v1/streams/{nonsense}', None, bearer())[0] == 404, nonsense


def a_tokenizer_that_dies_while_nobody_reads_changes_nothing():
    with Stack(delay_ms=5) as s:
        undisturbed = data_of(post(s, chat('@count 80')).read_all())
        r = post(s, chat('@count 80'))
        got = r.read(10)
        wait_metric(s, 'halo_streams_parked', 1)
        s.kill_fake()
        s.start_fake(1)
        s.fake.wait_line(r'^generate \d+ [1-9]')
        assert data_of(got + go_on(s, r.headers['x-halo-stream'], 10).read_all()) == undisturbed


def a_failed_reply_fails_again_for_who_comes_back():
    with Stack(delay_ms=5) as s:
        r = post(s, chat('@midfail 5 no luck'))
        got = r.read_all()
        assert not r.complete and 'no luck' in got[-1][1]
        again = go_on(s, r.headers['x-halo-stream'], 1)
        assert again.read_all() == got[1:] and not again.complete


def beyond_its_bytes_a_stream_loses_its_oldest_events():
    with Stack('--keep-stream-bytes', '20000') as s:
        r = post(s, chat('@big 100'))
        got = r.read_all()
        stream_id = r.headers['x-halo-stream']
        status, _, body = s.get(f'/v1/streams/{stream_id}?from=3')
        assert status == 410 and body['error']['code'] == 'events_not_kept'
        first = int(re.search(r'after number (\d+)\.$', body['error']['message']).group(1))
        assert first < len(got) and go_on(s, stream_id, first).read_all() == got[first:]
        assert go_on(s, stream_id, first - 1).status == 410
        assert metric(s, 'halo_streams_bytes') < 22000


def beyond_all_bytes_the_streams_that_ended_first_go():
    with Stack('--keep-bytes', '60000', delay_ms=0) as s:
        ids = []
        for _ in range(4):
            r = post(s, chat('@big 20'))
            got = r.read_all()
            ids.append(r.headers['x-halo-stream'])
        assert [go_on(s, i).status for i in ids] == [404, 404, 200, 200]
        assert whole(s, ids[3]) == got and metric(s, 'halo_streams_bytes') <= 60000


def a_long_journal_reaches_a_slow_client_in_full():
    with Stack('--max-pending', '70000', delay_ms=0) as s:
        r = post(s, chat('@big 3000', max_tokens=4000))
        got = r.read_all()
        assert len(got) == 3003 and whole(s, r.headers['x-halo-stream']) == got


def a_stream_goes_on_over_http2():
    with Stack() as s:
        r = post(s, chat('@count 10'))
        got = r.read_all()
        c = H2(s.connect())
        path = f'/v1/streams/{r.headers["x-halo-stream"]}?from=4'
        headers = b''.join(c.literal(n, v) for n, v in [
            (':method', 'GET'), (':scheme', 'http'), (':path', path), (':authority', 'x')])
        c.sock.sendall(c.frame(c.HEADERS, 5, 1, headers))
        body, flags = b'', 0
        while not flags & 1:
            flags, part = c.wait_frame(c.DATA, 1)
            body += part
        assert body.decode() == ''.join(f'id: {n}\n{d}\n\n' for n, d in got[4:])


def sigterm_does_not_wait_for_clients_that_left():
    with Stack() as s:
        post(s, chat('@count 100000', max_tokens=100000)).read(2)
        post(s, chat('a')).read_all()
        wait_metric(s, 'halo_streams_parked', 1)
        begun = time.monotonic()
        assert s.gateway.end() == 0 and time.monotonic() - begun < 15


run(globals())
