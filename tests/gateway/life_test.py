# SPDX-License-Identifier: MIT
"""The process: starting, sockets, readiness, limits, draining."""
import json
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import tempfile

from harness import GATEWAY, H2, MODEL, PATHS, PATIENCE_S, Process, Stack, Stream, chat, completion, dechunk, events, run, text_of

CHAT = PATHS['chat']


def fails_to_start(*args, run_dir=None):
    """What it says on standard error."""
    with tempfile.TemporaryDirectory(prefix='halo-gw-') as d:
        p = subprocess.run([GATEWAY, '--run', run_dir or d, *args], capture_output=True, text=True, timeout=PATIENCE_S)
        assert p.returncode not in (0, -6, -11), p
        return [line for line in p.stderr.splitlines() if not line.startswith('ts=')]


def connect_unix(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(PATIENCE_S)
    s.connect(path)
    return s


# ---- sockets -----------------------------------------------------------------------------------------


def a_port_in_use_is_named_with_the_remedy():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        s.listen()
        address = f'127.0.0.1:{s.getsockname()[1]}'
        lines = fails_to_start('--listen', address)
        assert len(lines) == 1 and address in lines[0] and '--listen' in lines[0], lines


def addresses_that_are_none_are_refused():
    for address in 'nonsense', '127.0.0.1', '127.0.0.1:', ':80', '127.0.0.1:port', '127.0.0.1:99999', '[::1', '':
        lines = fails_to_start('--listen', address)
        assert len(lines) == 1 and 'HOST:PORT' in lines[0], (address, lines)
    assert '--unix' in fails_to_start('--listen', 'none')[0]


def a_unix_socket_serves_with_the_asked_mode_and_goes_at_the_end():
    for mode in '0600', '0660':
        with Stack('--unix', '{dir}/http.sock', '--unix-mode', mode) as s:
            path = s.dir + '/http.sock'
            assert stat.S_IMODE(os.stat(path).st_mode) == int(mode, 8)
            r = Stream(connect_unix(path), CHAT, chat('one two', stream=True))
            r.read_head()
            assert text_of(events(dechunk(r.read_until(b'\r\n0\r\n\r\n'))[0])) == 'one two'
            number = s.fake.wait_line(r'^generate (\d+)').group(1)
            r = Stream(connect_unix(path), CHAT, chat('@hang', stream=True))
            s.fake.wait_line('^generate')
            r.close()
            s.fake.wait_line('^cancel')
            assert s.gateway.end() == 0 and not os.path.exists(path), number


def a_unix_socket_in_use_is_refused_and_a_stale_one_replaced():
    with tempfile.TemporaryDirectory(prefix='halo-gw-') as d:
        path = d + '/http.sock'
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen()
            lines = fails_to_start('--listen', 'none', '--unix', path)
            assert len(lines) == 1 and path in lines[0], lines
        with Stack('--listen', 'none', '--unix', path, listen=False):
            assert b'200' in ask_unix(path, '/healthz')
    assert 'too long' in fails_to_start('--unix', '/tmp/' + 'x' * 200)[0]


def ask_unix(path, url):
    with connect_unix(path) as s:
        s.sendall(f'GET {url} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'.encode())
        data = b''
        while part := s.recv(65536):
            data += part
        return data


def sockets_of_systemd_are_taken_over():
    with socket.socket() as tcp, tempfile.TemporaryDirectory(prefix='halo-gw-') as d, \
            socket.socket(socket.AF_UNIX) as local:
        tcp.bind(('127.0.0.1', 0))
        tcp.listen()
        local.bind(d + '/x.sock')
        local.listen()
        script = f'exec 3<&{tcp.fileno()} 4<&{local.fileno()}; export LISTEN_FDS=2 LISTEN_PID=$$; exec "$0" "$@"'
        p = Process(['bash', '-c', script, GATEWAY, '--run', d, '--listen', '127.0.0.1:1'], 'stderr',
                    pass_fds=[tcp.fileno(), local.fileno()])
        p.wait_line('ev=listening unix=')
        with socket.create_connection(tcp.getsockname(), PATIENCE_S) as s:
            s.sendall(b'GET /healthz HTTP/1.1\r\n\r\n')
            assert b'200 OK' in s.recv(1000)
        assert b'200 OK' in ask_unix(d + '/x.sock', '/healthz')
        assert p.end() == 0 and os.path.exists(d + '/x.sock')


def a_unix_socket_is_opened_beside_those_of_systemd():
    with socket.socket() as tcp, tempfile.TemporaryDirectory(prefix='halo-gw-') as d:
        tcp.bind(('127.0.0.1', 0))
        tcp.listen()
        script = f'exec 3<&{tcp.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" "$@"'
        p = Process(['bash', '-c', script, GATEWAY, '--run', d, '--unix', d + '/x.sock'], 'stderr', pass_fds=[tcp.fileno()])
        p.wait_line('ev=listening unix=')
        assert b'200 OK' in ask_unix(d + '/x.sock', '/healthz')
        assert p.end() == 0 and not os.path.exists(d + '/x.sock')


def an_unusable_run_directory_is_refused():
    assert fails_to_start(run_dir='/nonexistent/halo')


# ---- readiness ---------------------------------------------------------------------------------------


def it_is_ready_only_while_an_engine_serves_a_model():
    with Stack(fake=False) as s:
        status, headers, answer = s.get('/readyz')
        assert status == 503 and 'tokenizer' in answer['reason'] and headers['retry-after'] == '1'
        assert s.get('/healthz')[0] == 200 and s.get('/v1/models')[2]['data'] == []
        status, _, answer = s.post(CHAT, chat())
        assert status == 503 and answer['error']['code'] == 'not_ready'
        s.start_fake()
        s.gateway.wait_line('ev=serving')
        assert s.get('/readyz')[2] == {'status': 'ready'}
        s.fake.command('models 0')
        s.gateway.wait_line('ev=not-serving')
        status, _, answer = s.get('/readyz')
        assert status == 503 and answer['reason'] == 'no engine is ready'
        # Requests may still wait for the engine to come back.
        assert s.post(CHAT, chat())[0] == 200
        s.fake.command('models 1')
        s.gateway.wait_line('ev=serving')
        assert s.get('/readyz')[0] == 200


def after_resume_ms_without_a_model_requests_are_refused():
    with Stack('--resume-ms', '0') as s:
        s.fake.command('models 0')
        s.gateway.wait_line('ev=not-serving')
        status, headers, answer = s.post(CHAT, chat())
        assert status == 503 and headers['retry-after'] == '1' and 'no engine' in answer['error']['message']
        assert s.get('/v1/models')[2]['data'] == []


def the_service_manager_is_told():
    with tempfile.TemporaryDirectory(prefix='halo-gw-') as d, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as n:
        n.bind(d + '/notify')
        n.settimeout(PATIENCE_S)
        env = {**os.environ, 'NOTIFY_SOCKET': d + '/notify', 'WATCHDOG_USEC': '60000'}
        with Stack(fake=False, env=env) as s:
            assert n.recv(1000) == b'WATCHDOG=1'
            s.start_fake()
            while b'READY=1' not in (data := n.recv(1000)):
                assert data == b'WATCHDOG=1', data
            while n.recv(1000) != b'STATUS=serving':
                pass
            s.gateway.popen.terminate()
            while n.recv(1000) != b'STOPPING=1':
                pass


# ---- limits ------------------------------------------------------------------------------------------


def replies_beyond_max_streams_get_429():
    with Stack('--max-streams', '2') as s:
        held = [Stream(s.connect(), CHAT, chat('@hang')) for _ in range(2)]
        for _ in held:
            s.fake.wait_line('^generate')
        status, headers, answer = s.post(CHAT, chat())
        assert (status, answer['error']['code']) == (429, 'too_many_streams') and headers['retry-after'] == '1'
        held[0].close()
        s.fake.wait_line('^cancel')
        assert s.post(CHAT, chat())[0] == 200
        _, _, text = s.request('GET', '/metrics')
        assert b'halo_refused_total{why="max_streams"} 1' in text
        held[1].close()


def a_body_limit_can_be_set():
    with Stack('--max-body', '2k') as s:
        assert s.post(CHAT, chat('x' * 1500))[0] == 200
        assert s.post(CHAT, chat('x' * 2048))[0] == 413


def idle_and_slow_connections_are_closed():
    with Stack('--idle-ms', '100') as s:
        idle = s.connect()
        slow = s.connect()
        slow.sendall(b'POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 100\r\n\r\n{')
        assert idle.recv(1) == b'' and slow.recv(1) == b''


def an_open_reply_is_not_idle():
    with Stack('--idle-ms', '100', delay_ms=30) as s:
        for body in chat('@count 10', stream=True), chat('@count 10'):
            status, _, _ = s.request('POST', CHAT, json.dumps(body))
            assert status == 200
        h = H2(s.connect())
        h.sock.sendall(h.request_bytes(1, CHAT, chat('@count 10', stream=True)))
        text = b''
        flags = 0
        while not flags & 1:
            flags, payload = h.wait_frame(h.DATA, 1)
            text += payload
        assert events(text)[-1] == '[DONE]'


def connections_beyond_the_descriptors_wait_without_burning_time():
    few = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with Stack('--idle-ms', '700', preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))) as s:
        idle = [s.connect() for _ in range(500)]
        assert few > 600 and idle[0].recv(1) == b''  # after 700 ms
        with open(f'/proc/{s.gateway.popen.pid}/stat', encoding='ascii') as f:
            ticks = sum(int(x) for x in f.read().split()[13:15])
        assert ticks < 40, ticks  # hundredths of a second
        assert idle[-1].recv(1) == b''  # it was accepted in the end
        for c in idle:
            c.close()
        assert s.post(CHAT, chat())[0] == 200


def many_streams_at_once_all_end():
    with Stack(delay_ms=1) as s:
        body = completion('@count 20', n=8, stream=True, max_tokens=50)
        streams = [Stream(s.connect(), PATHS['completions'], body) for _ in range(50)]
        for r in streams:
            r.read_head()
            text, complete = dechunk(r.read_until(b'\r\n0\r\n\r\n'))
            assert complete and len(events(text)) == 8 * 21 + 1
            r.close()


# ---- the end -----------------------------------------------------------------------------------------


def sigterm_lets_open_replies_end_and_refuses_new_connections():
    with Stack(delay_ms=5) as s:
        r = Stream(s.connect(), CHAT, chat('@count 40', stream=True))
        whole = Stream(s.connect(), CHAT, chat('@count 40'))
        idle = s.connect()
        h = H2(s.connect())
        h.sock.sendall(h.request_bytes(1, CHAT, chat('@count 40', stream=True)))
        for _ in range(3):
            s.fake.wait_line('^generate')
        r.read_until(b'"content":"2 "')
        s.gateway.popen.terminate()
        s.gateway.wait_line('ev=draining')
        try:
            s.connect().close()
            raise AssertionError('a new connection was accepted')
        except ConnectionRefusedError:
            pass
        raw, how = r.read_all()
        assert how == 'closed' or b'[DONE]' in raw
        assert dechunk(raw[raw.index(b'\r\n', raw.index(b'\r\n\r\n')) + 2:])[1] or raw.endswith(b'0\r\n\r\n')
        assert '200' in whole.read_head() and whole.read_until(b'"finish_reason":"stop"')
        flags = 0
        while not flags & 1:
            flags, payload = h.wait_frame(h.DATA, 1)
        assert payload.endswith(b'[DONE]\n\n') or payload == b''
        assert s.gateway.popen.wait(PATIENCE_S) == 0
        idle.close()


def replies_that_outlast_the_drain_end_with_an_error_and_a_reset():
    with Stack('--drain-ms', '50') as s:
        r = Stream(s.connect(), CHAT, chat('@count 100000', stream=True))
        r.read_until(b'"content":"2 "')
        waiting = Stream(s.connect(), CHAT, chat('@hang'))
        s.fake.wait_line('^generate')
        s.fake.wait_line('^generate')
        s.gateway.popen.terminate()
        raw, how = r.read_all()
        assert how == 'reset' and b'shutting down' in raw and b'[DONE]' not in raw
        assert '503' in waiting.read_head()
        assert s.gateway.popen.wait(PATIENCE_S) == 0


def while_draining_it_says_that_it_is_not_ready():
    with Stack() as s:
        c = s.connect()
        c.sendall(b'GET /readyz HTTP/1.1\r\n\r\n')
        assert b'200 OK' in c.recv(1000)
        r = Stream(s.connect(), CHAT, chat('@hang'))
        s.fake.wait_line('^generate')
        s.gateway.popen.terminate()
        s.gateway.wait_line('ev=draining')
        c.sendall(b'GET /readyz HTTP/1.1\r\n\r\n')
        answer = c.recv(1000)
        assert b'503' in answer and b'shutting down' in answer and b'Connection: close' in answer
        r.close()


def sigint_ends_it_too():
    with Stack() as s:
        assert s.gateway.end(signal.SIGINT) == 0


# ---- metrics -----------------------------------------------------------------------------------------


def metrics_have_the_names_that_scrapers_know():
    with Stack() as s:
        s.post(CHAT, chat('one two three'))
        s.post(CHAT, chat('one two three', max_tokens=1))
        _, headers, text = s.request('GET', '/metrics')
        assert headers['content-type'].startswith('text/plain; version=0.0.4')
        text = text.decode()
        of = f'engine="0",model_name="{MODEL}"'
        for line in [f'vllm:num_requests_running{{{of}}} 3', f'vllm:num_requests_waiting{{{of}}} 2',
                     f'vllm:kv_cache_usage_perc{{{of}}} 0.25', f'vllm:prefix_cache_queries_total{{{of}}} 1000',
                     f'vllm:prefix_cache_hits_total{{{of}}} 600', f'vllm:num_preemptions_total{{{of}}} 0',
                     f'vllm:spec_decode_num_draft_tokens_total{{{of}}} 50',
                     f'vllm:spec_decode_num_accepted_tokens_total{{{of}}} 40',
                     f'vllm:prompt_tokens_total{{{of}}} 14', f'vllm:generation_tokens_total{{{of}}} 4',
                     f'vllm:request_success_total{{{of},finished_reason="stop"}} 1',
                     f'vllm:request_success_total{{{of},finished_reason="length"}} 1',
                     f'vllm:time_to_first_token_seconds_count{{{of}}} 2', f'vllm:inter_token_latency_seconds_count{{{of}}} 2',
                     f'vllm:e2e_request_latency_seconds_bucket{{{of},le="+Inf"}} 2',
                     f'vllm:request_generation_tokens_sum{{{of}}} 4', f'vllm:request_params_n_count{{{of}}} 2',
                     'halo_ready 1', 'halo_tokenizer_up 1', 'halo_replies_in_flight 0',
                     'halo_http_requests_total{route="/chat/completions",code="200"} 2']:
            assert line + '\n' in text, (line, text)
        names = set()
        for line in text.splitlines():
            if line.startswith('# TYPE'):
                name = line.split()[2]
                assert name not in names, name
                names.add(name)
            elif not line.startswith('#'):
                assert re.fullmatch(r'[a-z0-9_:]+(\{([a-z_]+="[^"]*",?)+\})? [0-9.e+-]+', line), line


run(globals())
