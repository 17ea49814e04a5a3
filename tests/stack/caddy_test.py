#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The shipped Caddyfile with the real Caddy in front of a running stack."""
import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile

from halo_stack import PATIENCE, ROOT, Stack, main, wait_for

STACK = PORT = TLS = None


@contextlib.contextmanager
def caddy(stack):
    """Caddy on a free port over the gateway's Unix socket: (port, TLS context that trusts it)."""
    home = tempfile.mkdtemp(prefix='halo-caddy-')
    with contextlib.closing(socket.create_server(('127.0.0.1', 0))) as s:
        port = s.getsockname()[1]
    env = {**os.environ, 'HALO_SITE': f'https://localhost:{port}', 'XDG_DATA_HOME': home, 'XDG_CONFIG_HOME': home,
           'HALO_UPSTREAM': 'unix/' + os.path.join(stack.run, 'gateway.http')}
    with open(os.path.join(home, 'log'), 'wb') as log:
        p = subprocess.Popen(['caddy', 'run', '--config', os.path.join(ROOT, 'caddy/Caddyfile'), '--adapter', 'caddyfile'],
                             env=env, stdout=log, stderr=log)
        ca = os.path.join(home, 'caddy/pki/authorities/local/root.crt')

        def is_up():
            assert p.poll() is None, open(os.path.join(home, 'log'), encoding='utf-8').read()
            with contextlib.suppress(OSError):  # a failed handshake is one: the certificate is being made
                trust = ssl.create_default_context(cafile=ca)
                with socket.create_connection(('127.0.0.1', port), 1) as s, trust.wrap_socket(s, server_hostname='localhost'):
                    return True
            return False
        try:
            wait_for('Caddy', is_up)
            yield port, ssl.create_default_context(cafile=ca)
        finally:
            p.terminate()
            p.wait(PATIENCE)
            shutil.rmtree(home, ignore_errors=True)


def request(method, path, body=None):
    with contextlib.closing(http.client.HTTPSConnection('localhost', PORT, timeout=PATIENCE, context=TLS)) as c:
        c.request(method, path, json.dumps(body) if body else None, {'content-type': 'application/json'})
        r = c.getresponse()
        return r.status, r.read().decode()


def test_a_chat_streams_through_tls():
    status, text = request('POST', '/v1/chat/completions', {
        'model': 'halo-demo', 'messages': [{'role': 'user', 'content': 'What is the capital of France?'}],
        'temperature': 0, 'stream': True})
    assert status == 200 and 'Paris' in text and text.endswith('data: [DONE]\n\n'), (status, text)


def test_only_the_api_is_open_to_the_outside():
    assert request('GET', '/v1/models')[0] == 200
    assert request('GET', '/healthz')[0] == 200
    for path in ('/metrics', '/readyz', '/', '/v1'):
        status, text = request('GET', path)
        assert status == 404 and json.loads(text)['error']['code'] == 'not_found', (path, status, text)


def test_a_client_that_leaves_frees_its_sequence():
    with contextlib.closing(http.client.HTTPSConnection('localhost', PORT, timeout=PATIENCE, context=TLS)) as c:
        c.request('POST', '/v1/chat/completions', json.dumps({
            'model': 'halo-demo', 'messages': [{'role': 'user', 'content': 'Tell me a long story.'}], 'stream': True,
            'max_tokens': 1900, 'ignore_eos': True}), {'content-type': 'application/json'})
        r = c.getresponse()
        for _ in range(6):
            assert r.readline()
        wait_for('the sequence to show', lambda: STACK.metric('vllm:num_requests_running') >= 1)
    wait_for('the sequence to be gone', lambda: STACK.metric('vllm:num_requests_running') == 0)


if __name__ == '__main__':
    with Stack() as STACK, caddy(STACK) as (PORT, TLS):
        main(sys.modules['__main__'])
