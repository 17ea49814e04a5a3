# SPDX-License-Identifier: MIT
"""API keys: who gets in, budgets, changes of the key file while the gateway runs."""
import json
import os
import subprocess
import tempfile

from harness import GATEWAY, PATHS, SECRET, KeyFile, Stack, bearer, chat, entry, keyed_stack, run

CHAT = PATHS['chat']
def the_api_needs_a_key_and_the_probes_do_not():
    _, stack = keyed_stack(entry('alice', SECRET))
    with stack as s:
        for headers, hint in ({}, 'Authorization'), (bearer('sk-wrong'), 'unknown'), \
                ({'authorization': 'Basic ' + SECRET}, 'Authorization'), (bearer(SECRET + 'A'), 'unknown'), \
                ({'x-api-key': 'no'}, 'unknown'):
            status, got, body = s.post(CHAT, chat(), **headers)
            assert status == 401 and got['www-authenticate'] == 'Bearer', (status, got)
            assert body['error']['code'] == 'invalid_api_key' and hint in body['error']['message'], body
            assert SECRET not in json.dumps(body)
        assert s.get('/v1/models')[0] == 401
        assert s.get('/healthz')[0] == 200 and s.get('/readyz')[0] == 200
        for headers in bearer(), {'authorization': 'bearer ' + SECRET}, {'x-api-key': SECRET}:
            assert s.post(CHAT, chat(), **headers)[0] == 200
        status, _, text = s.request('GET', '/v1/models', None, bearer())
        assert status == 200 and b'fake-model' in text


def a_budget_of_requests_ends_in_429_with_the_time_to_wait():
    _, stack = keyed_stack(entry('alice', SECRET, requests_per_minute=2), entry('bob', 'b' * 20))
    with stack as s:
        left = []
        for _ in range(2):
            status, headers, _ = s.post(CHAT, chat(), **bearer())
            left.append(headers['x-ratelimit-remaining-requests'])
            assert status == 200 and headers['x-ratelimit-limit-requests'] == '2'
        assert left == ['1', '0']
        status, headers, body = s.post(CHAT, chat(), **bearer())
        assert status == 429 and body['error']['code'] == 'rate_limit_exceeded', body
        assert 1 <= int(headers['retry-after']) <= 30 and headers['x-ratelimit-remaining-requests'] == '0'
        assert 20000 <= int(headers['retry-after-ms']) <= 30000 and headers['x-ratelimit-reset-requests'] in ('59s', '60s')
        status, headers, _ = s.post(CHAT, chat(), **bearer('b' * 20))
        assert status == 200 and 'x-ratelimit-limit-requests' not in headers
        # A request that is refused for itself costs nothing.
        assert s.post(CHAT, {'model': 'x'}, **bearer('b' * 20))[0] == 400
        text = s.request('GET', '/metrics')[2].decode()
        assert 'halo_key_requests_total{key="alice"} 2\n' in text and 'halo_key_requests_total{key="bob"} 1\n' in text
        assert text.count('# TYPE halo_key_requests_total') == 1


def a_budget_of_tokens_counts_prompts_and_replies():
    _, stack = keyed_stack(entry('alice', SECRET, tokens_per_minute=15))
    with stack as s:
        used = 0
        for _ in range(2):  # 9 tokens each: the second begins with 6 left
            headers = {'authorization': 'Bearer ' + SECRET}
            status, _, answer = s.post(CHAT, chat('one two'), **headers)
            assert status == 200, answer
            used += answer['usage']['total_tokens']
        assert used == 18
        status, headers, body = s.post(CHAT, chat('one two'), **bearer())
        assert status == 429 and 'tokens' in body['error']['message'], body
        assert headers['x-ratelimit-remaining-tokens'] == '0'


def a_stream_says_what_is_left():
    _, stack = keyed_stack(entry('alice', SECRET, requests_per_minute=5))
    with stack as s:
        status, headers, text = s.request('POST', CHAT, json.dumps(chat(stream=True)),
                                          {'authorization': 'Bearer ' + SECRET})
        assert status == 200 and headers['x-ratelimit-remaining-requests'] == '4' and b'[DONE]' in text


def changes_of_the_file_hold_from_the_next_request_on():
    keys, stack = keyed_stack(entry('alice', SECRET))
    with stack as s:
        assert s.post(CHAT, chat(), **bearer())[0] == 200
        keys.write(entry('carol', 'c' * 30))
        s.gateway.wait_line('ev=keys n=1')
        assert s.post(CHAT, chat(), **bearer())[0] == 401
        assert s.post(CHAT, chat(), **bearer('c' * 30))[0] == 200
        # A damaged or open file changes nothing.
        keys.write(entry('dave', 'd' * 30), mode=0o644)
        s.gateway.wait_line('ev=keys-not-read .*chmod 600')
        assert s.post(CHAT, chat(), **bearer('c' * 30))[0] == 200
        assert s.post(CHAT, chat(), **bearer('d' * 30))[0] == 401


def keys_do_not_share_cached_prefixes():
    _, stack = keyed_stack(entry('alice', SECRET), entry('bob', 'b' * 20))
    with stack as s:
        for more in {}, {'cache_salt': 'same'}:
            tenants = [frame_of(s, secret, **more)['tenant'] for secret in (SECRET, 'b' * 20, SECRET)]
            assert tenants[0] != tenants[1] and tenants[0] == tenants[2] and '0' not in tenants


def a_request_counts_towards_its_keys_share_whatever_its_salt():
    _, stack = keyed_stack(entry('alice', SECRET), entry('bob', 'b' * 20))
    with stack as s:
        shares = {frame_of(s, SECRET, **more)['share'] for more in ({}, {'cache_salt': 'x'}, {'cache_salt': 'y'})}
        assert len(shares) == 1 and '0' not in shares
        assert frame_of(s, 'b' * 20)['share'] not in shares
    with Stack() as s:
        assert frame_of(s, '', cache_salt='x')['share'] == '0'


def frame_of(s, secret, **more):
    status, _, text = s.request('POST', CHAT, json.dumps(chat('@dump', **more)),
                                {'authorization': 'Bearer ' + secret})
    assert status == 200, text
    return json.loads(json.loads(text)['choices'][0]['message']['content'])


def a_refusal_of_the_queue_says_what_is_left_too():
    _, stack = keyed_stack(entry('alice', SECRET, requests_per_minute=5))
    with stack as s:
        status, headers, _ = s.post(CHAT, chat('@busy 70'), **bearer())
        assert status == 429 and headers['x-ratelimit-remaining-requests'] == '4', headers


def a_gateway_without_its_keys_does_not_start():
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o700)
        missing = subprocess.run([GATEWAY, '--run', d, '--listen', '127.0.0.1:0', '--keys', d + '/none'],
                                 capture_output=True, text=True, timeout=20)
        assert missing.returncode == 1 and 'halo key add' in missing.stderr, missing


run(globals())
