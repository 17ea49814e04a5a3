# SPDX-License-Identifier: MIT
"""Proxies in front of a running stack: the shipped configurations with the real programs."""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile

from halo_stack import BUILD, MODEL, PATIENCE, ROOT, wait_for

STORY = {'model': 'halo-demo', 'messages': [{'role': 'user', 'content': 'Tell me a long story.'}], 'stream': True,
         'max_tokens': 1900, 'ignore_eos': True}
QUESTION = {'model': 'halo-demo', 'messages': [{'role': 'user', 'content': 'What is the capital of France?'}],
            'temperature': 0}


def free_port():
    with contextlib.closing(socket.create_server(('127.0.0.1', 0))) as s:
        return s.getsockname()[1]


@contextlib.contextmanager
def candidate_engine(stack):
    """A second engine, for the lane of /v2."""
    engine = os.path.join(BUILD, 'services/engine/halo-engine')
    with subprocess.Popen([engine, '--run', stack.run, '--model', MODEL, '--name', 'candidate', '--lane', '1', '--threads', '1'],
                          stderr=subprocess.DEVNULL) as p:
        try:
            wait_for('the candidate', lambda: stack.metric('halo_engines') == 2)
            yield
        finally:
            p.terminate()


class Front:
    """A proxy that serves https://localhost:port with certificates that `ca` signed."""

    def __init__(self, port, ca, log):
        self.port, self.ca, self.log = port, ca, log
        self.process = None  # of the proxy, while it runs

    def url(self, path):
        return f'https://localhost:{self.port}{path}'

    def connect(self):
        return http.client.HTTPSConnection('localhost', self.port, timeout=PATIENCE,
                                           context=ssl.create_default_context(cafile=self.ca))

    def request(self, method, path, body=None):
        """Status, headers in lower case, text."""
        with contextlib.closing(self.connect()) as c:
            data = body if isinstance(body, (bytes, type(None))) else json.dumps(body)
            c.request(method, path, data, {'content-type': 'application/json'})
            r = c.getresponse()
            return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read().decode()

    def curl(self, path, *args, body=None):
        """curl with the front's authority, started."""
        more = ['-H', 'content-type: application/json', '-d', json.dumps(body)] if body else []
        return subprocess.Popen(['curl', '-sSN', '--cacert', self.ca, *more, *args, self.url(path)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def is_up(self):
        with contextlib.suppress(OSError, http.client.HTTPException):  # a failed handshake is an OSError
            return self.request('GET', '/healthz')[0] == 200
        return False


@contextlib.contextmanager
def started(argv, front, env=None):
    with open(front.log, 'wb') as log:
        p = front.process = subprocess.Popen(argv, env=env, stdout=log, stderr=log, start_new_session=True)

    def is_up():
        assert p.poll() is None, open(front.log, encoding='utf-8').read()
        return front.is_up()
    try:
        wait_for(argv[0], is_up)
        yield front
    finally:
        p.terminate()
        try:
            p.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()


@contextlib.contextmanager
def caddy(upstream, config=os.path.join(ROOT, 'caddy/Caddyfile')):
    home = tempfile.mkdtemp(prefix='halo-caddy-')
    port = free_port()
    env = {**os.environ, 'HALO_SITE': f'https://localhost:{port}', 'HALO_UPSTREAM': upstream,
           'HALO_STUDIO': os.path.join(ROOT, 'caddy/studio'), 'XDG_DATA_HOME': home, 'XDG_CONFIG_HOME': home}
    front = Front(port, os.path.join(home, 'caddy/pki/authorities/local/root.crt'), os.path.join(home, 'log'))
    try:
        with started(['caddy', 'run', '--config', config, '--adapter', 'caddyfile'], front, env):
            yield front
    finally:
        shutil.rmtree(home, ignore_errors=True)


def nginx_config(home, upstream, port):
    """A whole nginx.conf around the shipped part, with the paths of the test."""
    with open(os.path.join(ROOT, 'deploy/nginx/halo.conf'), encoding='utf-8') as f:
        part = f.read()
    for found, new in (('unix:/run/halo/gateway.http', upstream), ('listen 443', f'listen 127.0.0.1:{port}'),
                       ('    listen [::]:443 ssl http2;\n', ''), ('/etc/halo/tls', home),
                       ('/usr/share/halo/caddy/studio', os.path.join(ROOT, 'caddy/studio')),
                       ('include mime.types', 'include /etc/nginx/mime.types')):
        assert found in part, found
        part = part.replace(found, new)
    temps = ''.join(f'{n}_temp_path {home}/{n};\n' for n in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
    user = 'user root;\n' if os.geteuid() == 0 else ''
    return (f'{user}daemon off;\nmaster_process on;\nworker_processes 1;\npid {home}/pid;\nerror_log stderr;\nevents {{}}\n'
            f'http {{\naccess_log off;\n{temps}{part}}}\n')


@contextlib.contextmanager
def nginx(upstream):
    home = tempfile.mkdtemp(prefix='halo-nginx-')
    port = free_port()
    front = Front(port, home + '/cert.pem', home + '/log')
    try:
        r = subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                            '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
                            '-keyout', home + '/key.pem', '-out', front.ca], capture_output=True, text=True, check=False)
        assert r.returncode == 0, r.stderr
        with open(home + '/nginx.conf', 'w', encoding='utf-8') as f:
            f.write(nginx_config(home, upstream, port))
        with started(['nginx', '-c', home + '/nginx.conf', '-p', home, '-e', home + '/log'], front):
            yield front
    finally:
        shutil.rmtree(home, ignore_errors=True)


# ---- what holds for every front ----------------------------------------------------------------------


def check_lanes_stream(front):
    for lane in '/v1', '/v2':
        status, headers, text = front.request('POST', lane + '/chat/completions', {**QUESTION, 'stream': True})
        assert status == 200 and headers['content-type'].startswith('text/event-stream'), (status, headers)
        assert 'Paris' in text and text.endswith('data: [DONE]\n\n'), text


def check_routes(front):
    assert front.request('GET', '/v1/models')[0] == 200
    assert json.loads(front.request('GET', '/healthz')[2])['status'] == 'ok'
    assert json.loads(front.request('GET', '/readyz')[2])['status'] == 'ready'
    for path in '/lemon/api/v1/health', '/mcp':  # answered by the gateway, which has them not yet
        status, _, text = front.request('GET', path)
        assert status == 404 and path in json.loads(text)['error']['message'], (path, status, text)
    for path in '/metrics', '/v1', '/admin', '/v3/models', '/studio/none', '/healthz/x', '/metrics/', '//metrics', '/v1/../metrics':
        status, headers, text = front.request('GET', path)
        assert status == 404 and json.loads(text)['error'], (path, status, text)
        assert 'halo_ready' not in text and headers['content-type'].startswith('application/json'), path
    for path, target in ('/', '/studio/'), ('/studio', '/studio/'):
        status, headers, _ = front.request('GET', path)
        assert status in (302, 308) and headers['location'].endswith(target), (path, status, headers)


def check_studio(front):
    want = {'/studio/': 'text/html', '/studio/studio.css': 'text/css', '/studio/studio.js': 'javascript',
            '/studio/icon.svg': 'image/svg+xml'}
    for path, kind in want.items():
        status, headers, text = front.request('GET', path)
        assert status == 200 and kind in headers['content-type'] and text, (path, status, headers)
        policy = headers['content-security-policy']
        assert "default-src 'none'" in policy and 'unsafe' not in policy, policy
        assert headers['x-content-type-options'] == 'nosniff' and headers['x-frame-options'] == 'DENY', headers
        for reference in re.findall(r'(?:src|href)="([^"#]+)"', text) if kind == 'text/html' else []:
            assert '//' not in reference, reference
            assert front.request('GET', '/studio/' + reference)[0] == 200, reference
    assert front.request('GET', '/studio/../../README.md')[0] in (400, 404)


def check_headers(front):
    for path in '/v1/models', '/metrics', '/studio/':
        headers = front.request('GET', path)[1]
        for name in ('strict-transport-security', 'x-content-type-options', 'referrer-policy', 'x-frame-options'):
            assert name in headers, (path, name)


def check_large_bodies(front):
    """Beyond the gateway's limit and beyond the proxy's: refused in JSON."""
    for mib in 5, 17:
        with contextlib.suppress(ConnectionError, ssl.SSLError):  # the answer may come before the body is sent
            status, _, text = front.request('POST', '/v1/chat/completions', b'{"x":"' + b'y' * (mib << 20) + b'"}')
            assert status == 413 and json.loads(text)['error']['code'] == 'body_too_large', (mib, status, text)


def check_leaving(front, stack):
    """A client that leaves, by either version of HTTP, frees its sequence."""
    for version in '--http1.1', '--http2':
        p = front.curl('/v1/chat/completions', version, body=STORY)
        for _ in range(6):
            assert p.stdout.readline()
        wait_for('the sequence to show', lambda: stack.metric('vllm:num_requests_running') >= 1)
        p.kill()
        p.communicate()
        wait_for('the sequence to be gone', lambda: stack.metric('vllm:num_requests_running') == 0)


def check_first_token_is_not_held_back(front, stack):
    """The first piece comes while the reply goes on."""
    for version in '--http1.1', '--http2':
        p = front.curl('/v1/chat/completions', version, body=STORY)
        while b'"content":"' not in (line := p.stdout.readline()):
            assert line
        assert stack.metric('halo_replies_in_flight') == 1
        p.kill()
        p.communicate()
        wait_for('the reply to be gone', lambda: stack.metric('halo_replies_in_flight') == 0)


def cut_streams(front, stack):
    """The gateway is killed in the middle of a stream: curl's exit status by version of HTTP, and whether
    the stream claimed to be whole."""
    results = {}
    for version in '--http1.1', '--http2':
        wait_for('readiness', lambda: front.request('GET', '/readyz')[0] == 200)
        gateway = stack.children()['gateway']['pid']
        p = front.curl('/v1/chat/completions', version, body=STORY)
        for _ in range(6):
            assert p.stdout.readline()
        os.kill(gateway, signal.SIGKILL)
        out, _ = p.communicate(timeout=PATIENCE)
        results[version] = (p.returncode, b'[DONE]' in out)
    return results


def end_in_stream(front, stack, version):
    """What a client gets whose reply has begun when the gateway is told to stop."""
    wait_for('readiness', lambda: front.request('GET', '/readyz')[0] == 200)
    pids = {name: c['pid'] for name, c in stack.children().items()}
    p = front.curl('/v1/chat/completions', version, body=STORY)
    first = p.stdout.readline() + p.stdout.readline()
    os.kill(pids['engine.1'], signal.SIGSTOP)  # so that the reply does not end before
    try:
        os.kill(pids['gateway'], signal.SIGTERM)
        return first + p.communicate(timeout=PATIENCE)[0]
    finally:
        os.kill(pids['engine.1'], signal.SIGCONT)


def has_ended(pid):
    """Its sockets are closed: it is gone or waits to be reaped."""
    with contextlib.suppress(OSError), open(f'/proc/{pid}/stat', encoding='utf-8') as f:
        return f.read().rsplit(')', 1)[1].split()[0] == 'Z'
    return True


def check_a_failure_is_told_in_band(front, stack):
    """A gateway that must end a reply says so in the stream, which every proxy passes on."""
    for version in '--http1.1', '--http2':
        for _ in range(5):  # the demo model may be done before it is stopped
            out = end_in_stream(front, stack, version)
            if b'[DONE]' not in out:
                break
        assert b'data: {"error":' in out and b'[DONE]' not in out, out[-500:]


def check_the_proxys_death(front, stack):
    """The client sees it, and the reply is cancelled."""
    p = front.curl('/v1/chat/completions', body=STORY)
    for _ in range(6):
        assert p.stdout.readline()
    os.killpg(front.process.pid, signal.SIGKILL)
    out, _ = p.communicate(timeout=PATIENCE)
    assert p.returncode != 0 and b'[DONE]' not in out, p.returncode
    wait_for('the sequence to be gone', lambda: stack.metric('vllm:num_requests_running') == 0)


def check_requests_wait_for_a_restart(front, stack):
    """The proxy must use the socket that the supervisor holds. What it sends on a connection to the old
    gateway, while that is dying or before the proxy has seen its end, is lost: the end is awaited, and one
    request may be."""
    pid = stack.children()['gateway']['pid']
    os.kill(pid, signal.SIGKILL)
    wait_for('the end of the gateway', lambda: has_ended(pid))
    for may_be_lost in True, False:
        status, _, text = front.request('POST', '/v1/chat/completions', QUESTION)
        if status != 503 or not may_be_lost:
            break
    assert status == 200 and 'Paris' in text, (status, text)
