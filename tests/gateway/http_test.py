# SPDX-License-Identifier: MIT
"""HTTP: paths, methods, bodies that are not JSON, sizes, error objects, CORS."""
import json

from harness import MODEL, PATHS, Stack, Stream, chat, completion, dechunk, run

stack = None
CHAT = PATHS['chat']


def refused(body, status=400, code='invalid_json', **headers):
    got, _, answer = stack.post(CHAT, body, **headers)
    error = answer['error']
    assert (got, error['code']) == (status, code), (body[:60], got, error)
    assert set(error) == {'message', 'type', 'param', 'code'} and error['message'], error
    return error


def bodies_that_are_not_json_are_refused_with_their_place():
    error = refused('{"model": "x",\n "messages": [}')
    assert 'line 2' in error['message'] and 'column' in error['message'], error
    for body in ['', ' ', '{', '}', 'nope', '{"a":1,}', "{'a':1}", '{"a":1}x', '[1,2', '{"a":NaN}', '{"a":Infinity}',
                 '{"a":1e999}', '{"a":99999999999999999999}', '{"a":01}', '{"a":+1}', '{"a":.5}', '{"a"}', '{"a":"\t"}',
                 '{"a":"\\x"}', '{"a":"\\ud800"}', '\ufeff{}', '// x\n{}', '{"a":tru}', '{"a":"\\u0000"}', '{"a\\u0000":1}']:
        refused(body)
    for body in ['[]', '"x"', '5', 'null']:
        refused(body)


def invalid_utf8_is_refused():
    for bad in [b'\xff', b'\xc3', b'\xc0\xaf', b'\xed\xa0\x80', b'\xf4\x90\x80\x80', b'\xe2\x82']:
        refused(b'{"model":"' + bad + b'"}')


def a_key_given_twice_is_refused():
    error = refused('{"model":"a","model":"b"}')
    assert 'duplicate' in error['message'], error
    refused('{"model":"a","metadata":{"x":"1","x":"2"}}')


def deep_nesting_is_refused_and_moderate_is_not():
    refused('{"metadata":' + '[' * 64 + ']' * 64 + '}')
    refused('{"metadata":' + '[' * 1000000)
    refused('[' * 65)
    error = refused('{"model":"x","metadata":' + '[' * 63 + ']' * 63 + '}', code='invalid_type')
    assert error['param'] == 'metadata'
    assert stack.post(CHAT, chat('[[[[' * 100 + '"' + '{' * 100))[0] == 200  # brackets in a text


def too_many_arrays_are_refused():
    error = refused('{"metadata":[' + '[],' * 70000 + '1]}')
    assert '65536' in error['message']


def a_long_body_is_refused_in_json_and_the_connection_lives():
    big = json.dumps(chat('x' * (4 * 1024 * 1024)))
    error = refused(big, 413, 'body_too_large')
    assert '--max-body' in error['message']
    ok = json.dumps(chat('@count 1 ' + 'x' * (4 * 1024 * 1024 - 1000)))
    assert stack.post(CHAT, ok)[0] == 200


def a_body_far_beyond_the_limit_does_not_end_the_process():
    s = stack.connect()
    s.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n'
              b'content-length: 1000000000000\r\n\r\n')
    assert b'413' in s.recv(1000)
    s.close()
    assert stack.get('/healthz')[0] == 200


def the_media_type_must_be_json():
    for kind in ['text/plain', 'application/x-www-form-urlencoded', 'application/jsonx', '']:
        refused(json.dumps(chat()), 415, 'unsupported_media_type', **{'content-type': kind})
    for kind in ['application/json; charset=utf-8', 'Application/JSON']:
        assert stack.post(CHAT, chat(), **{'content-type': kind})[0] == 200


def unknown_paths_and_methods_get_json():
    for path in ['/', '/v1', '/v1/', '/v1/chat', '/v3/models', '/v1/models/', '/metrics/x', '/v1/chat/completions/',
                 '/%00', '/../etc/passwd', '/v1/' + 'a' * 5000]:
        status, headers, answer = stack.get(path)
        assert status == 404 and answer['error']['code'] == 'unknown_path', (path, answer)
        assert headers['content-type'] == 'application/json'
    for method, path, allow in [('GET', CHAT, 'POST'), ('DELETE', CHAT, 'POST'), ('POST', '/v1/models', 'GET'),
                                ('PUT', '/healthz', 'GET'), ('OPTIONS', CHAT, 'POST'), ('FOO', '/metrics', 'GET')]:
        status, headers, text = stack.request(method, path)
        assert status == 405 and headers['allow'] == allow and b'method_not_allowed' in text, (method, path, text)


def get_routes_answer_head_without_a_body():
    for path in ['/healthz', '/readyz', '/v1/models', '/metrics']:
        _, _, text = stack.request('GET', path)
        status, headers, nothing = stack.request('HEAD', path)
        assert status == 200 and nothing == b''
        if path != '/metrics':
            assert int(headers['content-length']) == len(text), path


def models_are_listed_and_found():
    _, _, answer = stack.get('/v1/models')
    assert answer['object'] == 'list' and len(answer['data']) == 1
    model = answer['data'][0]
    assert (model['id'], model['object'], model['created'], model['owned_by'], model['max_model_len']) == \
        (MODEL, 'model', 1700000000, 'halo', 4096)
    assert stack.get('/v1/models/' + MODEL)[2] == model
    status, _, answer = stack.get('/v1/models/nobody/nothing')
    assert status == 404 and answer['error']['code'] == 'model_not_found'


def query_strings_do_not_change_the_route():
    assert stack.get('/v1/models?x=1&beta=true')[0] == 200


def a_chat_answer_has_every_member_of_the_contract():
    status, headers, answer = stack.post(CHAT, chat('one two'))
    assert status == 200 and set(answer) == {'id', 'object', 'created', 'model', 'system_fingerprint', 'choices', 'usage', 'halo'}
    assert answer['id'].startswith('chatcmpl-') and answer['object'] == 'chat.completion' and answer['model'] == MODEL
    assert answer['system_fingerprint'] == 'fp_0123456789ab'
    assert answer['choices'] == [{'index': 0, 'logprobs': None, 'finish_reason': 'stop', 'message': {
        'role': 'assistant', 'content': 'one two', 'refusal': None, 'annotations': []}}]
    assert answer['usage'] == {'prompt_tokens': 7, 'completion_tokens': 2, 'total_tokens': 9,
                               'prompt_tokens_details': {'cached_tokens': 2}}
    assert headers['x-request-id'][4:] == answer['id'][9:] and int(headers['content-length']) > 0


def a_completion_answer_has_every_member_of_the_contract():
    status, _, answer = stack.post(PATHS['completions'], completion('one two', max_tokens=1))
    assert status == 200 and answer['id'].startswith('cmpl-') and answer['object'] == 'text_completion'
    assert answer['choices'] == [{'text': 'one ', 'index': 0, 'logprobs': None, 'finish_reason': 'length'}]


def errors_of_the_processes_behind_have_their_status():
    for code, status, name, retry in [(6, 429, 'full', True), (21, 400, 'context_length_exceeded', False),
                                      (27, 503, 'no_engine', True), (8, 504, 'timeout', True), (28, 500, 'internal', False),
                                      (24, 400, 'template', False), (23, 404, 'model_not_found', False),
                                      (9, 503, 'cancelled', True), (0, 500, 'internal', False), (999, 500, 'internal', False)]:
        for streaming in False, True:
            got, headers, answer = stack.post(CHAT, chat(f'@fail {code} because', stream=streaming))
            assert (got, answer['error']['code']) == (status, name), (code, got, answer)
            assert ('retry-after' in headers) == retry and answer['error']['message'].endswith(': because'), (code, headers)


def a_full_queue_says_when_to_come_again():
    for ms, seconds in (1, '1'), (1000, '1'), (1001, '2'), (59500, '60'):
        status, headers, answer = stack.post(CHAT, chat(f'@busy {ms}', stream=True))
        assert (status, answer['error']['code']) == (429, 'full'), answer
        assert (headers['retry-after'], headers['retry-after-ms']) == (seconds, str(ms)), headers
    text = stack.request('GET', '/metrics')[2].decode()
    assert 'halo_refused_total{why="queue"} ' in text


def an_error_behind_ends_the_whole_answer_of_several_choices():
    status, _, answer = stack.post(CHAT, chat('@midfail 28 x', n=3))
    assert status == 500 and answer['error']['code'] == 'internal'


def keep_alive_connections_serve_request_after_request():
    s = stack.connect()
    for i in range(20):
        r = Stream(s, CHAT, chat(f'@count {i + 1}', stream=i % 2 == 0))
        head = r.read_head()
        assert 'HTTP/1.1 200' in head
        if i % 2 == 0:
            body, complete = dechunk(r.read_until(b'\r\n0\r\n\r\n'))
            assert complete and b'[DONE]' in body
        else:
            length = int(head.lower().split('content-length: ')[1].split('\r\n')[0])
            while len(r.buffer) < length:
                r._more()
            json.loads(r.buffer)
    s.close()


def an_http_1_0_stream_ends_with_the_connection():
    r = Stream(stack.connect(), CHAT, chat('one two', stream=True), version='1.0')
    assert 'chunked' not in r.read_head()
    text, how = r.read_all()
    assert how == 'closed' and text.endswith(b'data: [DONE]\n\n')


def odd_requests_are_answered_or_dropped_but_never_end_the_process():
    for raw in [b'\r\n\r\n', b'GET\r\n\r\n', b'GET / HTTP/9.9\r\n\r\n', b'\x00\x01\x02\x03' * 10, b'PRI * HTTP/2.0\r\n\r\nxx',
                b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + b'\xff' * 100, b'GET / HTTP/1.1\r\n' + b'a: b\r\n' * 200 + b'\r\n',
                b'POST /v1/chat/completions HTTP/1.1\r\ncontent-length: -5\r\n\r\n',
                b'POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n',
                b'POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n',
                b'GET /healthz HTTP/1.1\r\nexpect: x\r\ncontent-length: 1\r\n\r\n', b'CONNECT x:1 HTTP/1.1\r\n\r\n',
                b'GET http://[::1]:x/ HTTP/1.1\r\n\r\n', b'GET healthz HTTP/1.1\r\n\r\n', b'GET * HTTP/1.1\r\n\r\n']:
        s = stack.connect()
        s.sendall(raw)
        s.shutdown(1)
        try:
            while s.recv(65536):
                pass
        except ConnectionError:
            pass
        s.close()
    assert stack.get('/healthz')[2] == {'status': 'ok'}


def a_chunked_request_body_is_read():
    s = stack.connect()
    body = json.dumps(chat('one')).encode()
    s.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n'
              b'transfer-encoding: chunked\r\n\r\n')
    for i in range(0, len(body), 7):
        s.sendall(b'%x\r\n%s\r\n' % (len(body[i:i + 7]), body[i:i + 7]))
    s.sendall(b'0\r\n\r\n')
    assert s.recv(1000).startswith(b'HTTP/1.1 200')
    s.close()


def without_the_option_no_page_of_another_origin_is_let_in():
    _, headers, _ = stack.post(CHAT, chat(), origin='https://evil.example')
    assert not [h for h in headers if h.startswith('access-control')]


def with_the_option_the_named_origin_is_let_in():
    with Stack('--cors-origin', 'https://chat.example') as s:
        _, headers, _ = s.post(CHAT, chat(), origin='https://chat.example')
        assert headers['access-control-allow-origin'] == 'https://chat.example' and headers['vary'] == 'origin'
        _, headers, _ = s.post(CHAT, chat(), origin='https://evil.example')
        assert 'access-control-allow-origin' not in headers
        status, headers, _ = s.request('OPTIONS', CHAT, headers={
            'origin': 'https://chat.example', 'access-control-request-method': 'POST',
            'access-control-request-headers': 'content-type, authorization'})
        assert status == 200 and headers['access-control-allow-headers'] == 'content-type, authorization', headers


with Stack() as stack:
    run(globals())
