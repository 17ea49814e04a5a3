# SPDX-License-Identifier: MIT
"""Walks the table of request fields (halo-gateway --print-fields) and proves the behaviour of each row
over HTTP. What a field does is read from the fake tokenizer's dump of the frame it was sent."""
import json
import subprocess

from harness import GATEWAY, MODEL, PATHS, Stack, completion, chat, run, stream

ROWS = [json.loads(line) for line in
        subprocess.run([GATEWAY, '--print-fields'], check=True, capture_output=True, text=True).stdout.splitlines()]
stack = None


def body_for(endpoint, **more):
    make = chat if endpoint == 'chat' else completion
    return {**make('@dump', seed=7), **more}


def ask(endpoint, **fields):
    return stack.post(PATHS[endpoint], body_for(endpoint, **fields))


def text_of(answer, i=0):
    choice = answer['choices'][i]
    return choice['message']['content'] if 'message' in choice else choice['text']


def frame_for(endpoint, **fields):
    """The frame that the tokenizer got for a request with these fields."""
    status, _, answer = ask(endpoint, **fields)
    assert status == 200, (fields, answer)
    frame = json.loads(text_of(answer))
    assert 3590000 < frame.pop('deadline_ms') <= 3600000
    frame.pop('trace')
    return frame


def assert_refused(endpoint, name, value, code=None, param=None, **fields):
    status, _, answer = ask(endpoint, **{name: value}, **fields)
    error = answer.get('error')
    assert status == 400, (name, value, status, answer)
    assert set(error) == {'message', 'type', 'param', 'code'}, error
    assert error['type'] == 'invalid_request_error', error
    assert error['param'].startswith(param or name), (name, error)
    assert code is None or error['code'] == code, (name, error)


def close(a, b):
    return abs(a - b) < 1e-5


def sampling(member):
    return lambda frame: frame['sampling'][member]


# For each honoured field: values, and where the frame shows what. Fields whose effect is not in the
# frame have a test function of their own below.
IN_FRAME = {
    'max_tokens': [(5, sampling('max_tokens'), 5)],
    'max_completion_tokens': [(6, sampling('max_tokens'), 6)],
    'min_tokens': [(3, sampling('min_tokens'), 3)],
    'stop': [('x', lambda f: f['stops'], ['x']), (['x', 'é'], lambda f: f['stops'], ['x', 'é']), ([], lambda f: f['stops'], [])],
    'stop_token_ids': [([3, 4], sampling('stop_ids'), [3, 4])],
    'ignore_eos': [(True, sampling('ignore_eos'), True)],
    'include_stop_str_in_output': [(True, lambda f: f['include_stop'], True)],
    'temperature': [(0, sampling('temperature'), 0), (0.25, sampling('temperature'), 0.25)],
    'top_p': [(0.5, sampling('top_p'), 0.5), (0, sampling('top_p'), 1e-6)],
    'top_k': [(40, sampling('top_k'), 40), (-1, sampling('top_k'), 0)],
    'min_p': [(0.1, sampling('min_p'), 0.1)],
    'repetition_penalty': [(1.25, sampling('repetition_penalty'), 1.25)],
    'repeat_penalty': [(1.5, sampling('repetition_penalty'), 1.5)],
    'frequency_penalty': [(-1.5, sampling('frequency_penalty'), -1.5)],
    'presence_penalty': [(1.5, sampling('presence_penalty'), 1.5)],
    'seed': [(123456789012, sampling('seed'), 123456789012), (-1, sampling('seed'), -1)],
    'logit_bias': [({'3': -100, '11': 2.5}, sampling('logit_bias'), {'3': -100.0, '11': 2.5})],
    'top_logprobs': [(4, sampling('top_logprobs'), 4)],
    'add_generation_prompt': [(False, lambda f: f['no_generation_prompt'], True)],
    'continue_final_message': [(True, lambda f: f['continue_final'], True)],
    'chat_template_kwargs': [({'a': [1, 'x']}, lambda f: json.loads(f['template_args']), {'a': [1, 'x']})],
    'cache_salt': [('tenant-1', lambda f: f['has_tenant'], True)],
}
COMPANIONS = {'top_logprobs': {'logprobs': True}}


def test_each_frame_field(endpoint, row):
    for value, where, expected in IN_FRAME[row['name']]:
        fields = {row['name']: value, **COMPANIONS.get(row['name'], {})}
        found = where(frame_for(endpoint, **fields))
        same = close(found, expected) if isinstance(expected, float) else found == expected
        assert same, (endpoint, fields, found, expected)


def honour_model(endpoint, row):
    assert frame_for(endpoint)['model'] == MODEL
    status, _, answer = ask(endpoint, model='other')
    assert status == 404 and answer['error']['code'] == 'model_not_found' and MODEL in answer['error']['message']
    body = body_for(endpoint)
    del body['model']
    status, _, answer = stack.post(PATHS[endpoint], body)
    assert status == 400 and answer['error']['param'] == 'model', answer


def honour_messages(endpoint, row):
    messages = [{'role': 'developer', 'content': 'D'}, {'role': 'system', 'content': 'S', 'name': 'boss'},
                {'role': 'assistant', 'content': 'A', 'refusal': None, 'tool_calls': []},
                {'role': 'user', 'content': [{'type': 'text', 'text': '@du'}, {'type': 'text', 'text': 'mp'}]}]
    frame = frame_for(endpoint, messages=messages)
    assert frame['kind'] == 1
    assert frame['messages'] == [{'role': 'system', 'content': 'D'}, {'role': 'system', 'content': 'S', 'name': 'boss'},
                                 {'role': 'assistant', 'content': 'A'}, {'role': 'user', 'content': '@dump'}], frame


def honour_prompt(endpoint, row):
    frame = frame_for(endpoint)
    assert frame['kind'] == 2 and frame['prompt'] == '@dump'
    frame = frame_for(endpoint, prompt=[5, 6, 7])
    assert frame['kind'] == 3 and frame['prompt_ids'] == [5, 6, 7]
    _, _, answer = ask(endpoint, prompt=['a b', 'c'])
    assert [(c['index'], c['text']) for c in answer['choices']] == [(0, 'a b'), (1, 'c')], answer
    _, _, answer = ask(endpoint, prompt=[[1], [2, 3]])
    assert [json.loads(c['text'])['prompt_ids'] for c in answer['choices']] == [[1], [2, 3]]
    assert answer['usage']['prompt_tokens'] == 14, answer


def honour_echo(endpoint, row):
    _, _, answer = ask(endpoint, prompt='a b', echo=True)
    assert answer['choices'][0]['text'] == 'a ba b', answer
    _, chunks = stream(stack, PATHS[endpoint], completion('a b', echo=True))
    assert chunks[0]['choices'][0]['text'] == 'a b'
    assert_refused(endpoint, 'echo', True, 'conflicting_parameters', logprobs=1)
    assert_refused(endpoint, 'echo', True, 'conflicting_parameters', prompt=[1, 2])


def honour_n(endpoint, row):
    _, headers, answer = ask(endpoint, n=3)
    assert headers['x-halo-seed'] == '7'
    assert [c['index'] for c in answer['choices']] == [0, 1, 2]
    assert [json.loads(text_of(answer, i))['sampling']['seed'] for i in range(3)] == [7, 8, 9]
    assert answer['usage']['prompt_tokens'] == 7 and answer['usage']['completion_tokens'] == 3


def honour_best_of(endpoint, row):
    _, _, answer = ask(endpoint, best_of=4, n=2)
    assert [c['index'] for c in answer['choices']] == [0, 1]
    assert answer['usage']['completion_tokens'] == 4
    seeds = [json.loads(c['text'])['sampling']['seed'] for c in answer['choices']]
    assert len(set(seeds)) == 2 and set(seeds) <= {7, 8, 9, 10}
    assert answer['choices'][0]['logprobs'] is None
    # The fake's candidates differ in their log probability.
    _, _, answer = ask(endpoint, best_of=4, n=4, logprobs=0)
    every = sorted((c['logprobs']['token_logprobs'][0] for c in answer['choices']), reverse=True)
    _, _, answer = ask(endpoint, best_of=4, n=2, logprobs=0)
    best = [c['logprobs']['token_logprobs'][0] for c in answer['choices']]
    assert best == every[:2] and best[0] > best[1], (best, every)
    assert_refused(endpoint, 'best_of', 1, 'conflicting_parameters', n=2)
    assert_refused(endpoint, 'best_of', 3, 'conflicting_parameters', stream=True)


def honour_stream(endpoint, row):
    headers, chunks = stream(stack, PATHS[endpoint], body_for(endpoint))
    assert headers['content-type'] == 'text/event-stream' and chunks[-1] == '[DONE]'


def honour_stream_options(endpoint, row):
    _, chunks = stream(stack, PATHS[endpoint], body_for(endpoint, stream_options={'include_usage': True, 'include_obfuscation': False}))
    assert all(c['usage'] is None for c in chunks[:-2])
    assert chunks[-2]['choices'] == [] and chunks[-2]['usage']['completion_tokens'] == 1
    assert_refused(endpoint, 'stream_options', {'include_usage': True}, 'conflicting_parameters')
    assert_refused(endpoint, 'stream_options', {'include_obfuscation': True}, 'unsupported_value', stream=True)
    assert_refused(endpoint, 'stream_options', {'other': 1}, 'unknown_parameter', stream=True)
    assert_refused(endpoint, 'stream_options', {'include_usage': 'yes'}, 'invalid_type', stream=True)


def honour_logprobs(endpoint, row):
    if endpoint == 'chat':
        _, _, answer = stack.post(PATHS['chat'], chat('@pieces', logprobs=True, top_logprobs=3))
        content = answer['choices'][0]['logprobs']['content']
        assert [e['bytes'] for e in content] == [[97], [195], [169], [98], [99], [34, 10]], content
        assert len(content[0]['top_logprobs']) == 3 and content[0]['top_logprobs'][2]['bytes'] == [255]
        _, _, answer = stack.post(PATHS['chat'], chat('@pieces', logprobs=False))
        assert answer['choices'][0]['logprobs'] is None
        assert_refused(endpoint, 'top_logprobs', 2, 'conflicting_parameters')
        return
    _, _, answer = stack.post(PATHS['completions'], completion('@pieces', logprobs=2))
    lp = answer['choices'][0]['logprobs']
    assert lp['tokens'] == ['a', 'bytes:\\xc3', 'bytes:\\xa9', 'b', 'c', '"\n'], lp
    assert lp['text_offset'] == [0, 1, 2, 2, 3, 4], lp
    assert all(set(t) == {'x', 'y'} for t in lp['top_logprobs']) and len(lp['token_logprobs']) == 6
    _, _, answer = stack.post(PATHS['completions'], completion('@pieces', logprobs=0))
    assert answer['choices'][0]['logprobs']['top_logprobs'] is None


def honour_service_tier(endpoint, row):
    for tier in 'auto', 'default':
        _, _, answer = ask(endpoint, service_tier=tier)
        assert answer['service_tier'] == 'default'
    assert 'service_tier' not in ask(endpoint)[2]
    assert_refused(endpoint, 'service_tier', 'flex', 'unsupported_value')


def honour_request_id(endpoint, row):
    _, headers, answer = ask(endpoint, request_id='my-id.1')
    assert headers['x-request-id'] == 'my-id.1' and answer['id'].endswith('-my-id.1')
    assert_refused(endpoint, 'request_id', 'no spaces', 'invalid_value')


WRONG_TYPES = {'boolean': ['true', 1], 'integer': ['5', 1.5, True, [1]], 'number': ['0.5', True, {}],
               'string': [5, ['x'], {}], 'array': ['x', {}, 5], 'object': ['x', [], 5]}


def check_bounds(endpoint, row):
    name = row['name']
    more = COMPANIONS.get(name, {})
    for value in WRONG_TYPES.get(row.get('type'), []):
        assert_refused(endpoint, name, value, 'invalid_type', **more)
    if row.get('type') in ('integer', 'number') and name != 'seed':
        step = 1 if row['type'] == 'integer' else 0.001
        low, high = row['min'], row['max']
        if row['type'] == 'integer':
            low, high = int(low), int(high)
        assert_refused(endpoint, name, low - step, 'invalid_value', **more)
        assert_refused(endpoint, name, high + step, 'invalid_value', **more)
    if row.get('type') == 'string':
        assert_refused(endpoint, name, 'x' * (int(row['max']) + 1), 'invalid_value')
    # null counts as absent; the required ones are then missing.
    status = ask(endpoint, **{name: None}, **more)[0]
    assert status == (400 if name in ('model', 'messages', 'prompt') else 200), (name, status)


def honoured_fields_have_their_effect():
    for row in ROWS:
        for endpoint in row['endpoints'] if row['policy'] == 'honoured' else []:
            if row['name'] in IN_FRAME:
                test_each_frame_field(endpoint, row)
            else:
                globals()['honour_' + row['name']](endpoint, row)  # a new field needs a test here


def honoured_fields_refuse_wrong_types_and_ranges():
    for row in ROWS:
        for endpoint in row['endpoints'] if row['policy'] == 'honoured' else []:
            check_bounds(endpoint, row)


def neutral_fields_accept_the_listed_values_and_change_nothing():
    for row in ROWS:
        for endpoint in row['endpoints'] if row['policy'] == 'neutral' else []:
            plain = frame_for(endpoint)
            for value in [*row['values'], None]:
                assert frame_for(endpoint, **{row['name']: value}) == plain, (row['name'], value)


def neutral_fields_refuse_every_other_value():
    for row in ROWS:
        for endpoint in row['endpoints'] if row['policy'] == 'neutral' else []:
            code = 'unsupported_value' if row['values'] else 'unsupported_parameter'
            for value in [{'x': 1}, ['y'], 'other', 17]:
                assert_refused(endpoint, row['name'], value, code)


def labels_are_accepted_and_change_nothing():
    for row in ROWS:
        for endpoint in row['endpoints'] if row['policy'] == 'label' else []:
            value = {'a': 'b'} if row['type'] == 'object' else 'somebody'
            assert frame_for(endpoint, **{row['name']: value}) == frame_for(endpoint)
            assert_refused(endpoint, row['name'], 5, 'invalid_type')


def refused_fields_are_refused_whatever_they_say():
    for row in ROWS:
        for endpoint in row['endpoints'] if row['policy'] == 'refused' else []:
            for value in [1, 'x', {}, []]:
                assert_refused(endpoint, row['name'], value, 'unsupported_parameter')


def unknown_fields_are_refused_by_name():
    for endpoint in PATHS:
        for value in [1, None, {}]:
            assert_refused(endpoint, 'temprature', value, 'unknown_parameter')
    assert_refused('chat', 'prompt', 'x', 'unknown_parameter')
    assert_refused('completions', 'messages', [], 'unknown_parameter')


def the_table_names_every_field_of_the_contract():
    contract = set('''messages model metadata top_logprobs temperature top_p user safety_identifier prompt_cache_key
        prompt_cache_retention prompt_cache_options service_tier modalities verbosity reasoning_effort
        max_completion_tokens max_tokens frequency_penalty presence_penalty web_search_options response_format audio store
        moderation stream stream_options stop logit_bias logprobs n prediction seed tools tool_choice parallel_tool_calls
        functions function_call top_k min_p typical_p repetition_penalty repeat_penalty repeat_last_n ignore_eos min_tokens
        stop_token_ids bad_words allowed_token_ids prompt_logprobs priority cache_salt request_id return_token_ids
        continue_final_message add_generation_prompt chat_template_kwargs structured_outputs grammar n_probs cache_prompt
        id_slot samplers timings_per_token return_progress mirostat dry_multiplier xtc_probability'''.split())
    completions = set('''model prompt best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty seed
        stop stream stream_options suffix temperature top_p user'''.split())
    assert contract <= {r['name'] for r in ROWS if 'chat' in r['endpoints']}
    assert completions <= {r['name'] for r in ROWS if 'completions' in r['endpoints']}


def conflicting_fields_are_refused():
    assert_refused('chat', 'max_tokens', 5, 'conflicting_parameters', max_completion_tokens=6)
    assert_refused('chat', 'repeat_penalty', 2, 'conflicting_parameters', repetition_penalty=2)
    assert_refused('chat', 'min_tokens', 9, 'conflicting_parameters', max_tokens=8)
    assert_refused('chat', 'continue_final_message', True, 'conflicting_parameters', add_generation_prompt=True)
    assert ask('chat', max_tokens=5, max_completion_tokens=5)[0] == 200


def elements_of_lists_are_checked_by_name():
    assert_refused('chat', 'stop', ['a', 5], 'invalid_type', 'stop[1]')
    assert_refused('chat', 'stop', ['a', ''], 'invalid_value', 'stop[1]')
    assert_refused('chat', 'stop', ['a'] * 17, 'invalid_value', 'stop')
    assert_refused('chat', 'stop_token_ids', [1, 'x'], 'invalid_type', 'stop_token_ids[1]')
    assert_refused('chat', 'stop_token_ids', [128], 'invalid_value', 'stop_token_ids')
    assert_refused('chat', 'logit_bias', {'x': 1}, 'invalid_value', 'logit_bias')
    assert_refused('chat', 'logit_bias', {'1': 101}, 'invalid_value', 'logit_bias')
    assert_refused('chat', 'logit_bias', {'1': 'x'}, 'invalid_type', 'logit_bias')
    assert_refused('chat', 'logit_bias', {'1': 1, '01': 2}, 'invalid_value', 'logit_bias')
    assert_refused('chat', 'logit_bias', {'4294967296': 1}, 'invalid_value', 'logit_bias')
    assert_refused('chat', 'logit_bias', {'128': 1}, 'invalid_value', 'logit_bias')
    assert_refused('completions', 'prompt', ['a', 5], 'invalid_type', 'prompt[1]')
    assert_refused('completions', 'prompt', [[1], []], 'invalid_type', 'prompt[1]')
    assert_refused('completions', 'prompt', [], 'invalid_value', 'prompt')
    assert_refused('completions', 'prompt', ['a'] * 33, 'invalid_value', 'prompt')
    assert_refused('completions', 'prompt', ['a'] * 32, 'invalid_value', 'n', n=8)
    assert_refused('completions', 'prompt', [1, -1], 'invalid_type', 'prompt[1]')
    assert_refused('completions', 'prompt', [1, 128], 'invalid_value', 'prompt')
    assert_refused('completions', 'prompt', [1] * 4096, 'context_length_exceeded', 'prompt')


def messages_are_checked_by_name():
    good = {'role': 'user', 'content': 'x'}
    for message, param, code in [
            ('x', 'messages[1]', 'invalid_type'),
            ({'content': 'x'}, 'messages[1].role', 'missing_required_parameter'),
            ({'role': 5, 'content': 'x'}, 'messages[1].role', 'invalid_type'),
            ({'role': 'tool', 'content': 'x'}, 'messages[1].role', 'unsupported_value'),
            ({'role': 'function', 'content': 'x'}, 'messages[1].role', 'unsupported_value'),
            ({'role': 'user'}, 'messages[1].content', 'missing_required_parameter'),
            ({'role': 'assistant', 'content': None}, 'messages[1].content', 'invalid_type'),
            ({'role': 'user', 'content': 5}, 'messages[1].content', 'invalid_type'),
            ({'role': 'user', 'content': []}, 'messages[1].content', 'invalid_type'),
            ({'role': 'user', 'content': ['x']}, 'messages[1].content[0]', 'invalid_type'),
            ({'role': 'user', 'content': [{'type': 'image_url', 'image_url': {'url': 'x'}}]}, 'messages[1].content[0]', 'unsupported_value'),
            ({'role': 'user', 'content': [{'type': 'text'}]}, 'messages[1].content[0]', 'invalid_type'),
            ({'role': 'user', 'content': [{'type': 'text', 'text': 'x', 'more': 1}]}, 'messages[1].content[0]', 'invalid_type'),
            ({'role': 'user', 'content': 'x', 'name': ''}, 'messages[1].name', 'invalid_value'),
            ({'role': 'user', 'content': 'x', 'name': 5}, 'messages[1].name', 'invalid_type'),
            ({'role': 'user', 'content': 'x', 'colour': 1}, 'messages[1].colour', 'unknown_parameter'),
            ({'role': 'assistant', 'content': 'x', 'tool_calls': [{}]}, 'messages[1].tool_calls', 'unsupported_parameter')]:
        assert_refused('chat', 'messages', [good, message], code, param)
    assert_refused('chat', 'messages', [], 'invalid_value')


def without_a_limit_the_rest_of_the_context_may_be_used():
    assert frame_for('chat')['sampling']['max_tokens'] == 4096
    assert frame_for('completions')['sampling']['max_tokens'] == 16
    assert frame_for('chat', max_tokens=1048576)['sampling']['max_tokens'] == 4096


def a_drawn_seed_is_told_and_fits_into_a_double():
    for _ in range(5):
        status, headers, answer = stack.post(PATHS['chat'], chat('@dump'))
        seed = int(headers['x-halo-seed'])
        assert status == 200 and json.loads(text_of(answer))['sampling']['seed'] == seed < 2**53


def a_negative_seed_is_told_as_it_was_given():
    assert stack.post(PATHS['chat'], chat(seed=-5))[1]['x-halo-seed'] == '-5'


def the_candidate_lane_is_asked_under_v2():
    status, _, answer = stack.post('/v2/chat/completions', chat('@dump'))
    assert status == 200 and json.loads(text_of(answer))['lane'] == 1
    assert frame_for('chat')['lane'] == 0


with Stack() as stack:
    run(globals())
