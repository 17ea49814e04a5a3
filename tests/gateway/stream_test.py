# SPDX-License-Identifier: MIT
"""Streams: their chunks, pings, failures, clients that leave or do not read, lost tokenizers."""
import json
import re
import signal
import select
import socket
import subprocess
import time

from harness import (H2, MODEL, PATHS, PATIENCE_S, Stack, Stream, chat, completion, dechunk, events, run, stream, text_of)

CHAT = PATHS['chat']
LATE_MS = 100  # how soon a cancel must follow the client's leaving


def a_chat_stream_has_the_chunks_of_the_contract():
    with Stack() as s:
        headers, chunks = stream(s, CHAT, chat('one two'))
        assert (headers['content-type'], headers['cache-control'], headers['x-accel-buffering']) == \
            ('text/event-stream', 'no-cache', 'no') and headers['x-request-id'].startswith('req_')
        assert chunks.pop() == '[DONE]'
        assert {(c['id'], c['object'], c['model'], c['system_fingerprint']) for c in chunks} == \
            {(chunks[0]['id'], 'chat.completion.chunk', MODEL, 'fp_0123456789ab')}
        assert all('usage' not in c for c in chunks)
        assert [c['choices'] for c in chunks] == [
            [{'index': 0, 'delta': {'role': 'assistant', 'content': '', 'refusal': None}, 'logprobs': None, 'finish_reason': None}],
            [{'index': 0, 'delta': {'content': 'one '}, 'logprobs': None, 'finish_reason': None}],
            [{'index': 0, 'delta': {'content': 'two'}, 'logprobs': None, 'finish_reason': None}],
            [{'index': 0, 'delta': {}, 'logprobs': None, 'finish_reason': 'stop'}]]


def usage_comes_once_at_the_end_if_asked_for():
    with Stack() as s:
        _, chunks = stream(s, CHAT, chat('one two', stream_options={'include_usage': True}))
        assert [c['usage'] for c in chunks[:-2]] == [None] * 4
        assert chunks[-2]['choices'] == [] and chunks[-2]['usage'] == {
            'prompt_tokens': 7, 'completion_tokens': 2, 'total_tokens': 9, 'prompt_tokens_details': {'cached_tokens': 2}}


def chunks_depend_on_the_tokens_and_not_on_their_timing():
    seen = set()
    for delay_ms in 0, 3:
        with Stack(delay_ms=delay_ms) as s:
            for body in chat('@pieces'), chat('@pieces', logprobs=True), completion('@pieces', logprobs=1):
                _, chunks = stream(s, PATHS['chat' if 'messages' in body else 'completions'], body)
                seen.add(json.dumps([c['choices'] for c in chunks[:-1]]))
    assert len(seen) == 3


def tokens_without_text_have_a_chunk_only_for_their_log_probability():
    with Stack() as s:
        _, chunks = stream(s, CHAT, chat('@pieces'))
        assert [c['choices'][0]['delta'].get('content') for c in chunks[1:-2]] == ['a', 'é', 'bc', '"\n']
        _, chunks = stream(s, CHAT, chat('@pieces', logprobs=True))
        assert [c['choices'][0]['delta'].get('content') for c in chunks[1:-2]] == ['a', '', 'é', '', 'bc', '"\n']
        assert [c['choices'][0]['logprobs']['content'][0]['bytes'] for c in chunks[1:-2]] == \
            [[97], [195], [169], [98], [99], [34, 10]]


def several_choices_interleave_and_all_end():
    with Stack() as s:
        _, chunks = stream(s, CHAT, chat('one two three', n=3))
        for i in range(3):
            mine = [c['choices'][0] for c in chunks[:-1] if c['choices'][0]['index'] == i]
            assert ''.join(c['delta'].get('content', '') for c in mine) == 'one two three'
            assert mine[0]['delta']['role'] == 'assistant' and mine[-1]['finish_reason'] == 'stop'


def max_tokens_ends_with_length():
    with Stack() as s:
        _, chunks = stream(s, CHAT, chat('one two three', max_tokens=2))
        assert text_of(chunks) == 'one two ' and chunks[-2]['choices'][0]['finish_reason'] == 'length'


def a_silent_stream_is_kept_alive_by_comments():
    with Stack('--ping-ms', '30') as s:
        r = Stream(s.connect(), CHAT, chat('@hang', stream=True))
        assert '200' in r.read_head()
        first = r.read_until(b': ping\n\n')
        assert b'"role":"assistant"' in first
        assert b'role' not in r.read_until(b': ping\n\n')
        r.close()


def pings_change_nothing_but_comments():
    with Stack('--ping-ms', '10', delay_ms=40) as s:
        _, chunks = stream(s, CHAT, chat('one two three'))
        assert text_of(chunks) == 'one two three' and len(chunks) == 6


def a_failure_after_the_first_byte_is_an_event_and_then_a_reset():
    with Stack() as s:
        r = Stream(s.connect(), CHAT, chat('@midfail 28 broken', stream=True))
        r.read_head()
        raw, how = r.read_all()
        body, complete = dechunk(raw)
        assert how == 'reset' and not complete
        found = events(body)
        assert found[-1]['error']['code'] == 'internal' and found[-1]['error']['message'].endswith('broken')
        assert '[DONE]' not in found and text_of(found[:-1]) == '@midfail '


def a_failure_on_a_unix_socket_leaves_the_body_incomplete():
    with Stack('--unix', '{dir}/http.sock') as s:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE_S)
        sock.connect(s.dir + '/http.sock')
        r = Stream(sock, CHAT, chat('@midfail 28 broken', stream=True))
        r.read_head()
        body, complete = dechunk(r.read_all()[0])
        assert not complete and events(body)[-1]['error']['code'] == 'internal'


def a_failure_in_http2_resets_the_stream():
    with Stack() as s:
        p = subprocess.run(['curl', '-sN', '--http2-prior-knowledge', f'http://127.0.0.1:{s.port}{CHAT}', '-H',
                            'content-type: application/json', '-d', json.dumps(chat('@midfail 28 broken', stream=True))],
                           capture_output=True, timeout=PATIENCE_S)
        assert p.returncode == 92, p  # CURLE_HTTP2_STREAM
        assert events(p.stdout)[-1]['error']['code'] == 'internal'


# ---- clients that leave ------------------------------------------------------------------------------


def time_to_cancel(s, leave, body, path=CHAT, opened=False):
    r = Stream(s.connect(), path, body)
    number = s.fake.wait_line(r'^generate (\d+) 0').group(1)
    if opened:
        r.read_until(b'data: ')
    start = time.monotonic()
    leave(r)
    s.fake.wait_line(f'^cancel {number} ')
    took = time.monotonic() - start
    assert not [line for line in s.fake.drain_lines() if line.startswith(f'cancel {number} ')][1:]
    r.close()
    return took


def assert_prompt(times):
    """The median: the machine may be busy with other things now and then."""
    assert sorted(times)[len(times) // 2] < LATE_MS / 1000, times


def with_reset(r):
    r.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
    r.sock.close()


def a_client_that_leaves_is_cancelled_at_once():
    with Stack() as s:
        times = []
        for leave in Stream.close, with_reset, lambda r: r.sock.shutdown(socket.SHUT_WR):
            times.append(time_to_cancel(s, leave, chat('@hang', stream=True)))
            times.append(time_to_cancel(s, leave, chat('@hang')))
            times.append(time_to_cancel(s, leave, chat('@count 100000', stream=True), opened=True))
            times.append(time_to_cancel(s, leave, completion('@hang'), path=PATHS['completions']))
        assert_prompt(times)
        _, _, text = s.request('GET', '/metrics')
        assert b'halo_replies_ended_early_total{why="client_left"} 12' in text
        assert b'halo_replies_in_flight 0' in text


def every_choice_of_a_client_that_leaves_is_cancelled():
    with Stack() as s:
        r = Stream(s.connect(), CHAT, chat('@hang', n=4, stream=True))
        numbers = {s.fake.wait_line(r'^generate (\d+) 0').group(1) for _ in range(4)}
        r.close()
        assert {s.fake.wait_line(r'^cancel (\d+)').group(1) for _ in range(4)} == numbers


def an_http2_client_that_dies_is_cancelled_at_once():
    with Stack() as s:
        times = []
        for prompt in ['@hang', '@count 100000'] * 3:
            p = subprocess.Popen(['curl', '-sN', '--http2-prior-knowledge', f'http://127.0.0.1:{s.port}{CHAT}', '-H',
                                  'content-type: application/json', '-d', json.dumps(chat(prompt, stream=True))],
                                 stdout=subprocess.PIPE)
            number = s.fake.wait_line(r'^generate (\d+) 0').group(1)
            if prompt != '@hang':
                p.stdout.readline()
            start = time.monotonic()
            p.kill()
            s.fake.wait_line(f'^cancel {number} ')
            times.append(time.monotonic() - start)
            p.wait()
            p.stdout.close()
        assert_prompt(times)


def an_http2_stream_that_is_reset_is_cancelled_and_its_neighbour_goes_on():
    with Stack() as s:
        h = H2(s.connect())
        h.sock.sendall(h.request_bytes(1, CHAT, chat('@hang', stream=True)))
        number = s.fake.wait_line(r'^generate (\d+) 0').group(1)
        h.sock.sendall(h.request_bytes(3, CHAT, chat('one two', stream=True)) + h.reset_bytes(1))
        s.fake.wait_line(f'^cancel {number} ')
        text = b''
        flags = 0
        while not flags & 1:
            flags, payload = h.wait_frame(h.DATA, 3)
            text += payload
        assert events(text)[-1] == '[DONE]'
        h.sock.close()


def an_http2_request_that_is_reset_at_once_never_reaches_the_tokenizer():
    with Stack() as s:
        h = H2(s.connect())
        h.wait_frame(h.SETTINGS, 0)
        for i in range(1, 101, 2):
            h.sock.sendall(h.request_bytes(i, CHAT, chat('@hang', stream=True)) + h.reset_bytes(i))
        h.sock.sendall(h.request_bytes(101, CHAT, chat('last')))
        while h.wait_frame(h.DATA, 101)[0] & 1 == 0:
            pass
        s.fake.wait_line('^generate')
        lines = s.fake.drain_lines()
        assert len([line for line in lines if line.startswith('generate')]) == 1, lines
        h.sock.close()


# ---- clients that do not read ------------------------------------------------------------------------


def small_window(s):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(PATIENCE_S)
    sock.connect(('127.0.0.1', s.port))
    return sock


def wait_for_reset(sock):
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    assert poll.poll(PATIENCE_S * 1000), 'the connection is still open'


def a_client_that_does_not_read_is_given_up_at_the_cap():
    with Stack('--max-pending', '4096', delay_ms=0) as s:
        r = Stream(small_window(s), CHAT, chat('@big 100000', stream=True))
        s.fake.wait_line('^cancel ')
        s.gateway.wait_line('ev=reply .*end=client-stalled')
        assert r.read_all()[1] == 'reset'
        _, _, text = s.request('GET', '/metrics')
        assert b'halo_replies_ended_early_total{why="client_stalled"} 1' in text


def a_client_that_does_not_read_is_given_up_after_a_time():
    with Stack('--stall-ms', '100', '--max-pending', '1G', delay_ms=0) as s:
        r = Stream(small_window(s), CHAT, chat('@big 4000', stream=True))
        s.gateway.wait_line('ev=reply')
        assert r.read_all()[1] == 'reset'
        # A whole answer is guarded in the same way, after its reply has ended.
        r = Stream(small_window(s), CHAT, chat('@big 4000'))
        s.gateway.wait_line('ev=reply')
        wait_for_reset(r.sock)  # without reading: a client that reads in time gets it all
        assert r.read_all()[1] == 'reset'


def a_slow_client_gets_everything():
    with Stack(delay_ms=0) as s:
        r = Stream(small_window(s), CHAT, chat('@big 300', stream=True))
        r.read_head()
        while b'\r\n0\r\n\r\n' not in r.buffer:
            data = r.sock.recv(1000)
            assert data
            r.buffer += data
        body, complete = dechunk(r.buffer)
        assert complete and len(text_of(events(body))) == 300 * 1000


def an_http2_client_that_does_not_read_is_given_up_and_its_neighbour_goes_on():
    with Stack('--max-pending', '4096', delay_ms=0) as s:
        h = H2(s.connect(), initial_window=100)
        h.sock.sendall(h.request_bytes(1, CHAT, chat('@big 100000', stream=True)))
        number = s.fake.wait_line(r'^generate (\d+) 0').group(1)
        s.fake.wait_line(f'^cancel {number} ')
        h.sock.sendall(h.request_bytes(3, CHAT, chat('@fail 28 x')))
        h.wait_frame(h.HEADERS, 3)
        # Once the window opens, the stream that was given up is reset.
        h.sock.sendall(h.frame(h.WINDOW_UPDATE, 0, 1, (1 << 20).to_bytes(4, 'big')))
        h.wait_frame(h.RST_STREAM, 1)
        h.sock.close()


# ---- a lost tokenizer --------------------------------------------------------------------------------


def without_identity(chunks):
    text = json.dumps([{k: v for k, v in c.items() if k not in ('id', 'created')} if isinstance(c, dict) else c for c in chunks])
    return re.sub(r'"(id|created)": ("[^"]*"|\d+)', '', text)  # in the receipt


def a_stream_survives_kills_of_the_tokenizer_byte_for_byte():
    with Stack(delay_ms=2) as s:
        body = chat('@count 120', seed=1, logprobs=True, stream=True, stream_options={'include_usage': True})
        _, plain = stream(s, CHAT, body)
        r = Stream(s.connect(), CHAT, body)
        r.read_head()
        for n in 10, 50, 90:
            r.read_until(f'"content":"{n} "'.encode())
            s.kill_fake()
            s.start_fake(delay_ms=2)
            resumed = int(s.fake.wait_line(r'^generate \d+ (\d+)').group(1))
            assert resumed > n, resumed
        raw = r.read_until(b'\r\n0\r\n\r\n')
        r.close()
        _, again = stream(s, CHAT, body)
        assert without_identity(plain) == without_identity(again)
        _, _, text = s.request('GET', '/metrics')
        assert b'halo_resumes_total 3' in text
        assert b'[DONE]' in raw


def the_bytes_of_a_resumed_stream_are_those_of_an_undisturbed_one():
    with Stack(delay_ms=2) as s:
        body = chat('@count 60', seed=1, n=2, stream=True, request_id='same')
        texts = []
        for kills in [], [5, 30]:
            r = Stream(s.connect(), CHAT, body)
            r.read_head()
            seen = b''
            for n in kills:
                seen += r.read_until(f'"content":"{n} "'.encode())
                s.kill_fake()
                s.start_fake(delay_ms=2)
            seen += r.read_until(b'\r\n0\r\n\r\n')
            r.close()
            chunks = [c for c in events(dechunk(seen)[0])]
            per_choice = [[c for c in chunks[:-1] if c['choices'][0]['index'] == i] for i in range(2)]
            texts.append(re.sub(r'"created": \d+', '', json.dumps(per_choice)))
        assert texts[0] == texts[1]


def a_whole_answer_survives_a_kill_as_well():
    with Stack(delay_ms=2) as s:
        r = Stream(s.connect(), CHAT, chat('@count 50'))
        s.fake.wait_line('^generate')
        s.kill_fake()
        s.start_fake(delay_ms=1)
        head = r.read_head()
        r.read_until(b'"finish_reason":"stop"')
        assert '200' in head


def a_request_that_comes_while_the_tokenizer_is_away_waits_for_it():
    with Stack() as s:
        s.kill_fake()
        r = Stream(s.connect(), CHAT, chat('one two', stream=True))
        s.start_fake()
        assert '200' in r.read_head()
        assert text_of(events(dechunk(r.read_until(b'\r\n0\r\n\r\n'))[0])) == 'one two'


def when_the_tokenizer_stays_away_replies_fail():
    with Stack('--resume-ms', '50') as s:
        opened = Stream(s.connect(), CHAT, chat('@count 100000', stream=True))
        opened.read_until(b'"content":"3 "')
        waiting = Stream(s.connect(), CHAT, chat('@hang'))
        s.fake.wait_line('^generate')
        s.fake.wait_line('^generate')
        s.kill_fake()
        raw, how = opened.read_all()
        assert how == 'reset' and b'"error"' in raw and b'[DONE]' not in raw
        head = waiting.read_head()
        assert '503' in head and 'retry-after: 1' in head
        status, headers, answer = s.post(CHAT, chat())
        assert status == 503 and headers['retry-after'] == '1' and answer['error']['code'] == 'not_ready'
        status, _, answer = s.get('/readyz')
        assert status == 503 and 'tokenizer' in answer['reason']
        assert s.get('/healthz')[0] == 200
        s.start_fake()
        s.gateway.wait_line('ev=serving')
        assert s.get('/readyz')[0] == 200 and s.post(CHAT, chat())[0] == 200


def a_deadline_ends_a_reply():
    with Stack('--request-timeout-ms', '1') as s:
        status, _, answer = s.post(CHAT, chat('@hang'))
        assert status == 504 and answer['error']['code'] == 'timeout', answer


# ---- waiting -----------------------------------------------------------------------------------------


def place(s, req, position):
    s.fake.command(f'place {req} {position}')


def a_waiting_stream_hears_its_place_in_the_queue_once_per_change():
    with Stack() as s:
        st = Stream(s.connect(), CHAT, chat('@hang', stream=True))
        req = s.fake.wait_line(r'^generate (\d+)').group(1)
        place(s, req, 7)
        assert '200' in st.read_head()
        st.read_until(b': queue position 7\n\n')
        for position in 7, 7, 3:
            place(s, req, position)
        assert b'queue position 7' not in st.read_until(b': queue position 3\n\n')
        st.close()
        s.fake.wait_line('^cancel')


def a_place_is_told_to_no_client_that_waits_for_a_whole_answer():
    with Stack('--request-timeout-ms', '1000') as s:
        held = Stream(s.connect(), CHAT, chat('@hang'))
        req = s.fake.wait_line(r'^generate (\d+)').group(1)
        place(s, req, 7)
        head = held.read_head()
        assert '504' in head and b'queue' not in held.read_until(b'}}'), head
        held.close()


def several_choices_tell_the_place_of_the_first():
    with Stack() as s:
        st = Stream(s.connect(), CHAT, chat('@hang', stream=True, n=2))
        reqs = [s.fake.wait_line(r'^generate (\d+)').group(1) for _ in range(2)]
        place(s, reqs[0], 4)
        place(s, reqs[1], 5)
        place(s, reqs[0], 2)
        text = st.read_until(b': queue position 2\n\n')
        assert b'queue position 4' in text and b'queue position 5' not in text, text
        st.close()
        s.fake.wait_line('^cancel')


run(globals())
