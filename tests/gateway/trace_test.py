# SPDX-License-Identifier: MIT
"""Request ids, trace contexts, and what the gateway keeps of each request."""
import json
import re

from harness import PATHS, Stack, Stream, chat, completion, run, stream

CHAT = PATHS['chat']
TRACE, SPAN = '0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'
OURS = re.compile(r'00-([0-9a-f]{32})-([0-9a-f]{16})-01')


def dumped(s, **headers):
    """The answer's headers, and the generate frame that the tokenizer got."""
    _, headers, reply = s.post(CHAT, chat('@dump'), **headers)
    return headers, json.loads(reply['choices'][0]['message']['content'])


def trace_of(s, ident):
    status, _, trace = s.get(f'/traces/{ident}')
    assert status == 200, trace
    return trace


def spans_of(trace):
    return {x['name']: x for x in trace['spans']}


def a_trace_context_is_taken_answered_and_passed_on():
    with Stack() as s:
        headers, frame = dumped(s, traceparent=f'00-{TRACE}-{SPAN}-01')
        assert headers['traceparent'] == frame['trace']
        trace, span = OURS.fullmatch(frame['trace']).groups()
        assert trace == TRACE and span != SPAN
        kept = trace_of(s, TRACE)
        assert (kept['trace_id'], kept['span_id'], kept['parent_id']) == (TRACE, span, SPAN)
        s.gateway.wait_line(f'ev=reply .*trace={TRACE} ')


def a_trace_context_is_made_where_none_is_given():
    with Stack() as s:
        seen = set()
        for given in [], [('traceparent', 'nonsense')], [('traceparent', f'00-{"0" * 32}-{SPAN}-01')]:
            headers, frame = dumped(s, **dict(given))
            assert headers['traceparent'] == frame['trace']
            seen.add(OURS.fullmatch(frame['trace']).group(1))
            assert trace_of(s, headers['x-request-id'])['parent_id'] is None
        assert len(seen) == 3 and '0' * 32 not in seen


def refusals_have_ids_too():
    with Stack() as s:
        status, headers, _ = s.post(CHAT, {}, traceparent=f'00-{TRACE}-{SPAN}-00')
        assert status == 400 and headers['traceparent'].startswith(f'00-{TRACE}-') and headers['traceparent'].endswith('-00')


def a_request_id_is_taken_if_it_is_one():
    with Stack() as s:
        headers, _ = dumped(s, **{'x-request-id': 'job-17.b_2'})
        assert headers['x-request-id'] == 'job-17.b_2' and trace_of(s, 'job-17.b_2')['end'] == 'stop'
        for wrong in 'a b', 'x' * 65, 'ü'.encode().decode('latin-1'), '':
            headers, _ = dumped(s, **{'x-request-id': wrong})
            assert re.fullmatch('req_[0-9a-f]{32}', headers['x-request-id']), (wrong, headers)


def a_trace_has_the_spans_of_all_processes():
    with Stack() as s:
        headers, chunks = stream(s, CHAT, chat('one two three'))
        trace = trace_of(s, headers['x-request-id'])
        assert trace == {**trace_of(s, chunks[0]['id']), 's': trace['s']}, 'the id of the answer finds it as well'
        assert (trace['end'], trace['tokens'], trace['prompt_tokens'], trace['choices']) == ('stop', 3, 7, 1)
        spans = spans_of(trace)
        assert set(spans) == {'read', 'tokenizer', 'tokenize', 'route', 'queue', 'prefill', 'decode', 'detokenize', 'write'}
        assert spans['prefill']['ns'] == 4000000 and spans['decode']['at'] == 'engine.7'
        assert (spans['detokenize']['ns'], spans['detokenize']['busy_ns']) == (6000000, 3000000)
        assert all(x['how'] == 'done' for x in trace['spans'])
        end = trace['s'] * 1e9
        for name in 'read', 'tokenizer', 'write':
            assert 0 <= spans[name]['start_ns'] and spans[name]['start_ns'] + spans[name]['ns'] <= end + 1000, trace


def choices_are_told_apart():
    with Stack() as s:
        _, headers, _ = s.post(CHAT, chat('one two', n=3))
        trace = trace_of(s, headers['x-request-id'])
        assert sorted(x['choice'] for x in trace['spans'] if x['name'] == 'decode') == [0, 1, 2]
        assert trace['choices'] == 3 and sum(x['name'] == 'write' for x in trace['spans']) == 1


def a_lost_tokenizer_shows():
    with Stack(delay_ms=20) as s:
        r = Stream(s.connect(), CHAT, chat('@count 12', stream=True))
        r.read_until(b'"2 "')
        s.kill_fake()
        s.start_fake(1)
        r.read_until(b'[DONE]')
        r.close()
        trace = trace_of(s, s.get('/traces')[2]['traces'][0]['id'])
        tries = [x for x in trace['spans'] if x['name'] == 'tokenizer']
        assert [x['how'] for x in tries] == ['lost', 'done'], trace
        assert tries[0]['start_ns'] + tries[0]['ns'] <= tries[1]['start_ns'] and trace['tokens'] == 12


def failures_and_clients_that_leave_are_named():
    with Stack() as s:
        _, headers, _ = s.post(CHAT, chat('@fail 28 broken'))
        trace = trace_of(s, headers['x-request-id'])
        assert trace['end'] == 'ERR_INTERNAL' and [x['how'] for x in trace['spans'] if x['name'] == 'tokenizer'] == ['failed'], trace
        r = Stream(s.connect(), CHAT, chat('@hang', stream=True))
        s.fake.wait_line('^generate .*')
        s.fake.wait_line('^generate .*')
        assert s.get('/traces')[2]['traces'][0]['end'] == 'running'
        r.close()
        s.fake.wait_line('^cancel')
        trace = trace_of(s, s.get('/traces')[2]['traces'][0]['id'])
        assert trace['end'] == 'client-left'
        assert [x['how'] for x in trace['spans'] if x['name'] == 'tokenizer'] == ['cancelled']


def the_oldest_is_forgotten_and_says_so_but_never_one_in_flight():
    with Stack('--traces', '3') as s:
        r = Stream(s.connect(), CHAT, chat('@hang', stream=True))
        s.fake.wait_line('^generate')
        ids = [s.post(PATHS['completions'], completion(f'one {i}'))[1]['x-request-id'] for i in range(5)]
        found = s.get('/traces')[2]
        assert found['kept'] == 3 and {t['id'] for t in found['traces']} >= set(ids[3:])
        assert [t['end'] for t in found['traces']].count('running') == 1 and len(found['traces']) == 3
        status, _, gone = s.get(f'/traces/{ids[0]}')
        assert status == 404 and 'last 3 requests' in gone['error']['message'], gone
        r.close()


def traces_are_not_for_those_behind_a_proxy():
    with Stack() as s:
        headers, _ = stream(s, CHAT, chat('one'))
        for path in '/traces', '/traces/' + headers['x-request-id']:
            assert s.request('GET', path)[0] == 200
            for name in 'x-forwarded-for', 'forwarded':
                status, _, text = s.request('GET', path, headers={name: 'for=192.0.2.1'})
                assert status == 404 and b'There is nothing at' in text


def stages_are_histograms():
    with Stack() as s:
        stream(s, CHAT, chat('one two three'))
        text = s.request('GET', '/metrics')[2].decode()
        for name, sum_s in [('vllm:request_queue_time_seconds', 0.005), ('halo_tokenize_seconds', 0.001),
                            ('vllm:request_prefill_time_seconds', 0.004), ('vllm:request_time_per_output_token_seconds', 0.003),
                            ('halo_detokenize_seconds', 0.001), ('halo_write_seconds', None)]:
            count = re.search(rf'^{name}_count{{.*}} (\d+)$', text, re.M)
            assert count and count.group(1) == '1', (name, count)
            total = float(re.search(rf'^{name}_sum{{.*}} (\S+)$', text, re.M).group(1))
            assert total > 0 and (sum_s is None or abs(total - sum_s) < 1e-9), (name, total)


run(globals())
