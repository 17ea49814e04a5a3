#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""API keys as an operator uses them: halo key, halo up --keys, halo chat and doctor with and without one."""
import json
import os
import subprocess
import sys
import tempfile

from halo_stack import HALO, PATIENCE, Stack, main, wait_for


def halo(*args, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith('HALO_')}
    return subprocess.run([HALO, *args], capture_output=True, text=True, timeout=PATIENCE, check=False,
                          env={**clean, **env})


def test_keys_are_made_used_limited_and_revoked():
    with tempfile.TemporaryDirectory(prefix='halo-keys-') as d:
        keys = d + '/config/keys.json'
        r = halo('key', 'list', '--keys', keys)
        assert r.returncode == 1 and 'halo key add' in r.stderr, r
        r = halo('key', 'add', 'alice', '--keys', keys)
        assert r.returncode == 0 and r.stdout.startswith('sk-halo-'), r
        alice = r.stdout.strip()
        assert alice not in open(keys).read()
        with Stack('--keys', keys) as stack:
            where = ['--run', stack.run]
            bare = halo('chat', *where, 'Hello.')
            assert bare.returncode != 0 and 'API key' in bare.stderr, bare
            good = halo('chat', *where, 'What is the capital of France?', HALO_API_KEY=alice)
            assert good.returncode == 0 and 'Paris' in good.stdout, good
            assert halo('doctor', *where, HALO_API_KEY=alice).returncode == 0
            # A second key works at once, with its limits; the first is refused once it is revoked.
            r = halo('key', 'add', 'bob', '--requests-per-minute', '1', '--json', '--keys', keys)
            bob = json.loads(r.stdout)['key']
            wait_for('the new key', lambda: models(stack, bob) == 200)
            assert ask(stack, bob) == 200 and ask(stack, bob) == 429
            assert [k['name'] for k in json.loads(halo('key', 'list', '--json', '--keys', keys).stdout)] == ['alice', 'bob']
            assert halo('key', 'revoke', 'alice', '--keys', keys).returncode == 0
            wait_for('the end of the old key', lambda: models(stack, alice) == 401)
            again = stack.halo('up', '--run', stack.run, '--detach', '--http', '127.0.0.1:0')
            assert again.returncode == 1 and '--gateway-args' in again.stderr, again


def models(stack, key):
    return stack.request('GET', '/v1/models', None, {'authorization': 'Bearer ' + key})[0]


def ask(stack, key):
    body = {'model': 'halo-demo', 'messages': [{'role': 'user', 'content': 'Hi'}], 'max_tokens': 2}
    return stack.request('POST', '/v1/chat/completions', body, {'authorization': 'Bearer ' + key})[0]


def test_a_key_file_that_is_missing_or_open_stops_the_start():
    with tempfile.TemporaryDirectory(prefix='halo-keys-') as d:
        r = halo('up', '--run', d + '/run', '--keys', d + '/none.json')
        assert r.returncode == 1 and 'halo key add' in r.stderr, r
        assert halo('key', 'add', 'a', '--keys', d + '/k.json').returncode == 0
        os.chmod(d + '/k.json', 0o644)
        r = halo('up', '--run', d + '/run', '--keys', d + '/k.json')
        assert r.returncode == 1 and 'chmod 600' in r.stderr, r


if __name__ == '__main__':
    main(sys.modules['__main__'])
