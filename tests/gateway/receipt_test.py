# SPDX-License-Identifier: MIT
"""Receipts, and the log of replies that `halo verify` reads."""
import hashlib
import json
import os
import re
import stat
import struct
import subprocess
import tempfile

from harness import GATEWAY, MODEL, PATHS, PATIENCE_S, SECRET, KeyFile, Stack, bearer, chat, completion, entry, events, run

CHAT, COMPLETIONS = PATHS['chat'], PATHS['completions']
FORMAT = {'version': 1, 'endpoint': 'chat', 'model': MODEL, 'protocol': 2, 'numerics': '',
          'model_hash': '0123456789abcdef' * 4}


def sha(data):
    return hashlib.sha256(data if isinstance(data, bytes) else data.encode()).hexdigest()


def ids(n):
    """What the fake tokenizer's tokens hash to."""
    return sha(struct.pack(f'<{n}I', *(i % 128 for i in range(n))))


def receipt(s, body, path=CHAT):
    status, _, answer = s.post(path, body)
    assert status == 200, answer
    return answer['halo']


def of_stream(s, body, path=CHAT):
    """The receipt of a stream and the number of chunks that have one."""
    chunks = events(s.request('POST', path, json.dumps({**body, 'stream': True}))[2])[:-1]
    found = [c for c in chunks if 'halo' in c]
    assert found == chunks[-1:], 'in the last chunk alone'
    return found[0]['halo']


def what_matters(r):
    return {k: v for k, v in r.items() if k not in ('id', 'created')}


def a_receipt_tells_what_the_reply_was_made_of_and_what_came():
    with Stack() as s:
        status, headers, answer = s.post(CHAT, chat('one two', seed=-5))
        r = answer['halo']
        assert status == 200 and FORMAT.items() <= r.items() and r['seed'] == -5
        assert (r['id'], r['created']) == (answer['id'], answer['created'])
        version = subprocess.run([GATEWAY, '--version'], capture_output=True, text=True, check=True).stdout
        assert r['build'] == version.split(' ', 1)[1].strip()
        assert r['choices'] == [{'index': 0, 'finish': 'stop', 'n': 2, 'tokens': ids(2), 'text': sha('one two')}]
        assert all(re.fullmatch('[0-9a-f]{64}', r[k]) for k in ('prompt', 'sampling'))
        drawn = s.post(CHAT, chat('one two'))
        assert drawn[2]['halo']['seed'] == int(drawn[1]['x-halo-seed'])


def a_stream_has_the_receipt_of_the_whole_answer():
    with Stack() as s:
        for path, body in (CHAT, chat('one two', seed=1)), (CHAT, chat('@pieces', seed=1, n=3)), \
                (CHAT, chat('a b c', seed=1, logprobs=True, max_tokens=2)), \
                (COMPLETIONS, completion('a b', seed=1)), (COMPLETIONS, completion(['a b', 'c'], seed=1, echo=True)):
            whole = what_matters(receipt(s, body, path))
            assert what_matters(of_stream(s, body, path)) == whole
            assert what_matters(of_stream(s, {**body, 'stream_options': {'include_usage': True}}, path)) == whole
            assert [c['index'] for c in whole['choices']] == list(range(len(whole['choices'])))


def its_hashes_change_with_what_they_are_of_and_with_nothing_else():
    with Stack() as s:
        base = receipt(s, chat('a b', seed=1))
        same = [{'stream_options': None}, {'logprobs': True}, {'user': 'x'}, {'seed': 2}, {'cache_salt': 'x'}]
        for fields in same:
            r = receipt(s, chat('a b', **{'seed': 1, **fields}))
            assert (r['prompt'], r['sampling']) == (base['prompt'], base['sampling']), fields
        prompts, samplings = {base['prompt']}, {base['sampling']}
        for fields in {'chat_template_kwargs': {'x': 1}}, {'continue_final_message': True}, {'add_generation_prompt': False}:
            prompts.add(receipt(s, chat('a b', **fields))['prompt'])
        prompts.add(receipt(s, chat('a  b'))['prompt'])
        assert len(prompts) == 5
        changes = [{'temperature': 0.5}, {'top_p': 0.5}, {'top_k': 4}, {'min_p': 0.5}, {'repetition_penalty': 2}, {'n': 2},
                   {'frequency_penalty': 1}, {'presence_penalty': 1}, {'max_tokens': 9}, {'min_tokens': 1}, {'stop': 'z'},
                   {'stop': ['z', 'y']}, {'stop_token_ids': [7]}, {'logit_bias': {'7': 1}}, {'ignore_eos': True},
                   {'include_stop_str_in_output': True}]
        samplings |= {receipt(s, chat('a b', **fields))['sampling'] for fields in changes}
        assert len(samplings) == len(changes) + 1


def only_the_best_of_several_candidates_are_in_it():
    with Stack() as s:
        r = receipt(s, completion('a b', n=2, best_of=4), COMPLETIONS)
        assert [c['index'] for c in r['choices']] == [0, 1]


# ---- the log -------------------------------------------------------------------------------------------


def lines(path):
    with open(path, encoding='utf-8') as f:
        return [json.loads(line) for line in f]


def the_log_has_every_whole_reply_and_its_request():
    keys = KeyFile(entry('alice', SECRET))
    with Stack('--reply-log', '{dir}/log', '--keys', keys.path) as s:
        body = json.dumps(chat('one "two" é\n', n=2), indent=1)
        answer = s.post(CHAT, body, **bearer())[2]
        status, _, text = s.request('POST', COMPLETIONS, json.dumps(completion('a', stream=True)), {
            'content-type': 'application/json', **bearer()})
        assert status == 200
        s.post(CHAT, chat('@fail 5 no'), **bearer())
        s.post(CHAT, chat('x', model='none'), **bearer())
        found = lines(s.dir + '/log')
        assert stat.S_IMODE(os.stat(s.dir + '/log').st_mode) == 0o600 and len(found) == 2
        assert found[0]['request'] == body and found[0]['halo'] == answer['halo'] and found[0]['key'] == 'alice'
        assert found[0]['replies'] == [c['message']['content'] for c in answer['choices']]
        assert found[1]['halo'] == events(text)[-2]['halo'] and found[1]['replies'] == ['a']


def without_the_option_nothing_is_written():
    with Stack() as s:
        before = set(os.listdir(s.dir))
        s.post(CHAT, chat('one two'))
        assert set(os.listdir(s.dir)) == before


def the_log_is_rotated_by_size_and_follows_a_file_that_is_moved():
    with Stack('--reply-log', '{dir}/log', '--reply-log-bytes', '4096', '--reply-log-files', '2') as s:
        made = [receipt(s, chat('one two ' * 20))['id'] for _ in range(30)]
        names = sorted(n for n in os.listdir(s.dir) if n.startswith('log'))
        assert names == ['log', 'log.1', 'log.2']
        kept = [r['halo']['id'] for n in reversed(names) for r in lines(f'{s.dir}/{n}')]
        assert kept == made[-len(kept):] and all(os.path.getsize(f'{s.dir}/{n}') <= 4096 for n in names)
        os.rename(s.dir + '/log', s.dir + '/elsewhere')
        last = receipt(s, chat('x'))['id']
        assert [r['halo']['id'] for r in lines(s.dir + '/log')] == [last]


def a_log_that_cannot_be_written_stops_the_start_but_not_the_service():
    with tempfile.TemporaryDirectory(prefix='halo-log-') as d:
        with open(d + '/open', 'w', encoding='utf-8'):
            os.chmod(d + '/open', 0o644)
        os.symlink(d + '/other', d + '/link')
        for path, why in (d + '/none/log', 'No such'), (d + '/open', '0600'), (d + '/link', 'symbolic'), (d, 'directory'):
            r = subprocess.run([GATEWAY, '--run', d, '--listen', '127.0.0.1:0', '--reply-log', path],
                               capture_output=True, text=True, timeout=PATIENCE_S, check=False)
            assert r.returncode == 1 and why in r.stderr and path in r.stderr, r
    with Stack('--reply-log', '{dir}/logs') as s:
        os.rename(s.dir + '/logs', s.dir + '/old')
        os.mkdir(s.dir + '/logs')
        assert receipt(s, chat('one two')) and receipt(s, chat('one two'))
        s.gateway.wait_line('ev=reply-not-logged')
        os.rmdir(s.dir + '/logs')
        assert receipt(s, chat('a')) and len(lines(s.dir + '/logs')) == 1


run(globals())
