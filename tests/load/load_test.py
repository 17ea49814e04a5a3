#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Drives halo-load against a scripted server and against its own fake neighbours. Prints TAP.
Usage: load_test.py HALO_LOAD HALO"""
import json
import math
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as xml

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fake_server import Server  # noqa: E402

LOAD, HALO = sys.argv[1:]
TMP = tempfile.mkdtemp(prefix='halo-load-test-')
PATIENCE_S = 60


def run(*args, env=None):
    return subprocess.run([LOAD, *map(str, args)], capture_output=True, text=True, timeout=PATIENCE_S,
                          env={**os.environ, **(env or {})})


def load(*args, status=0, env=None):
    """The JSON of a run that ends with that status."""
    path = os.path.join(TMP, 'out.json')
    r = run(*args, '--json', path, '--seed', 7, env=env)
    assert r.returncode == status, (r.returncode, r.stdout, r.stderr)
    with open(path, encoding='utf-8') as f:
        out = json.load(f)
    out['text'] = r.stdout
    return out


# ---- over HTTP -----------------------------------------------------------------------------------


def counts_are_exact():
    with Server(TMP) as s:
        for url in s.url, f'unix:{s.path}':
            s.bodies.clear()
            out = load('--url', url, '--requests', 25, '--concurrency', 4, '--max-tokens', 9)
            assert (out['completed'], out['failed'], out['failures']) == (25, 0, {}), out
            assert out['total_output_tokens'] == 25 * 9 == out['total_events']
            assert out['total_input_tokens'] == 25 * 11 and out['total_cached_tokens'] == 25 * 2
            assert out['max_concurrent_requests'] == 4 and s.peak <= 4
            assert sum(out['events_per_second']) == 225
            assert out['model_id'] == 'good' and len(s.bodies) == 25
            for row in ('Successful requests:', 'Mean TTFT (ms):', 'P99 ITL (ms):', 'Median E2EL (ms):'):
                assert row in out['text'], row


def connections_are_kept_or_not():
    with Server(TMP) as s:
        out = load('--url', s.url, '--model', 'good', '--requests', 20, '--concurrency', 2, '--max-tokens', 2)
        assert out['connections'] == 2 and out['completed'] == 20, out
        out = load('--url', s.url, '--model', 'good', '--requests', 20, '--concurrency', 2, '--max-tokens', 2,
                   '--no-keep-alive')
        assert out['connections'] == 20 and out['completed'] == 20, out
        out = load('--url', s.url, '--model', 'once', '--requests', 20, '--concurrency', 1, '--max-tokens', 2)
        assert out['completed'] == 20 and out['connections'] == 20, out  # stale ones fail nothing


def failures_are_counted_by_kind():
    kinds = {'cut': 'cut', 'unfinished': 'cut', 'closed': 'cut', 'reset': 'reset', 'error': 'error', 'full': 'status',
             'json': 'protocol', 'babble': 'protocol'}
    with Server(TMP) as s:
        for model, kind in kinds.items():
            out = load('--url', s.url, '--model', model, '--requests', 6, '--concurrency', 3, status=1)
            assert (out['completed'], out['failed']) == (0, 6), (model, out)
            assert out['failures'] == {kind: 6}, (model, out['failures'])
            assert out['total_output_tokens'] == 0 and 'no request succeeded' in out['text']
        details = load('--url', s.url, '--model', 'full', '--requests', 3, status=1)['failure_details']
        assert details == [{'kind': 'status', 'detail': '429 wait a little', 'n': 3}], details
        out = load('--url', s.url, '--model', 'error', '--requests', 3, status=1)
        assert '\x1b' not in out['text'] and 'is lost' in out['text']


def failed_and_good_replies_are_told_apart():
    with Server(TMP) as s:
        out = load('--url', s.url, '--model', 'good+cut+full+silent', '--requests', 40, '--concurrency', 5,
                   '--max-tokens', 4, status=1)
        assert out['completed'] == 20 and out['failures'] == {'cut': 10, 'status': 10}, out
        assert out['total_output_tokens'] == 20 * 4  # by usage and by counting


def refusals_and_timeouts_are_failures():
    out = load('--url', 'http://127.0.0.1:1', '--model', 'x', '--requests', 3, status=1)
    assert out['failures'] == {'refused': 3}, out
    out = load('--url', f'unix:{TMP}/none', '--model', 'x', '--requests', 3, status=1)
    assert out['failures'] == {'refused': 3}, out
    with Server(TMP) as s:
        out = load('--url', s.url, '--model', 'hang', '--requests', 3, '--timeout', 0.3, status=1)
        assert out['failures'] == {'timeout': 3}, out
        assert 0.3 <= out['duration'] < 5, out['duration']


def requests_say_what_was_asked_for():
    with Server(TMP) as s:
        load('--url', s.url + '/v7', '--model', 'good', '--requests', 2, '--max-tokens', 5, '--temperature', 0.5,
             '--ignore-eos', '--body', '{"top_k": 3}', '--header', 'x-a: 1|x-b: two', env={'HALO_API_KEY': 'k3y'})
        body, head = s.bodies[0], s.heads[0]
        assert head.startswith('POST /v7/chat/completions HTTP/1.1\r\n'), head
        for line in 'x-a: 1', 'x-b: two', 'authorization: Bearer k3y':
            assert f'\r\n{line}\r\n' in head, (line, head)
        assert (body['max_tokens'], body['temperature'], body['top_k'], body['ignore_eos']) == (5, 0.5, 3, True)
        assert body['stream'] is True and body['stream_options'] == {'include_usage': True}
        assert len(body['messages'][0]['content'].split()) == 64
        load('--url', s.url, '--model', 'silent', '--requests', 2, '--api', 'ids', '--input-len', 12, '--vocab', 50)
        assert len(s.bodies[-1]['prompt']) == 12 and max(s.bodies[-1]['prompt']) < 50
        assert s.heads[-1].startswith('POST /v1/completions ')


def conversations_and_shared_beginnings():
    with Server(TMP) as s:
        load('--url', s.url, '--model', 'good', '--requests', 12, '--turns', 3, '--concurrency', 2, '--max-tokens', 2,
             '--prefix-len', 8, '--input-len', 4)
        turns = [b['messages'] for b in s.bodies]
        assert sorted(len(t) for t in turns) == [1] * 4 + [3] * 4 + [5] * 4, [len(t) for t in turns]
        for t in turns:
            if len(t) > 1:
                assert t[1] == {'role': 'assistant', 'content': 'w0 w1 '}, t
        first = {t[0]['content'] for t in turns}
        assert len(first) == 4 and len({tuple(f.split()[:8]) for f in first}) == 1, first


def prompts_come_from_a_file():
    path = os.path.join(TMP, 'prompts.jsonl')
    with open(path, 'w', encoding='utf-8') as f:
        f.write('{"prompt": "a \\"b\\"", "max_tokens": 3}\n{"messages": [{"role": "user", "content": "é"}]}\n')
    with Server(TMP) as s:
        out = load('--url', s.url, '--model', 'good', '--requests', 4, '--concurrency', 1, '--prompts', path,
                   '--max-tokens', 5)
        assert [b.get('prompt') for b in s.bodies] == ['a "b"', None] * 2
        assert s.bodies[1]['messages'] == [{'role': 'user', 'content': 'é'}]
        assert [b['max_tokens'] for b in s.bodies] == [3, 5, 3, 5] and out['failed'] == 0


def arrivals_are_those_of_the_seed_and_of_a_plausible_number():
    with Server(TMP) as s:
        args = ['--url', s.url, '--model', 'good', '--rate', 200, '--duration', 1.5, '--max-tokens', 1]
        a = load(*args)
        bodies = list(s.bodies)
        s.bodies.clear()
        b = load(*args)
        assert a['failed'] == b['failed'] == 0
        n = a['completed']
        assert abs(n - 300) < 4 * math.sqrt(300), n
        assert b['completed'] == n  # the arrivals depend on the seed, not on the machine
        assert sorted(x['seed'] for x in bodies) == sorted(x['seed'] for x in s.bodies)


def a_stall_is_not_omitted():
    """One reply that takes 0.5 s holds up those behind it: they count from when they were due."""
    with Server(TMP, stall_at={2: 0.5}) as s:
        out = load('--url', s.url, '--model', 'good', '--rate', 50, '--burstiness', 1000, '--requests', 30,
                   '--concurrency', 1, '--max-tokens', 1)
        assert out['completed'] == 30, out
        assert out['max_ttft_ms'] > 450 and out['median_ttft_ms'] > 100, (out['max_ttft_ms'], out['median_ttft_ms'])
        assert out['p99_send_lag_ms'] > 100, out['p99_send_lag_ms']


def goodput_counts_what_keeps_the_limits():
    with Server(TMP, stall_at={n: 0.3 for n in range(1, 9)}) as s:
        out = load('--url', s.url, '--model', 'good', '--requests', 20, '--concurrency', 4, '--max-tokens', 2,
                   '--goodput', 'ttft:250', 'tpot:5000')
        good = out['request_goodput'] * out['duration']
        assert 0 < good <= 12.001 and out['completed'] == 20, good
        assert 'Request goodput (req/s):' in out['text']


def an_interrupt_ends_it_with_what_there_is():
    with Server(TMP) as s:
        path = os.path.join(TMP, 'int.json')
        p = subprocess.Popen([LOAD, '--url', s.url, '--model', 'good+hang', '--requests', '4', '--concurrency', '4',
                              '--json', path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        end = threading.Event()
        while len(s.bodies) < 4 or s.in_flight > 2:
            assert p.poll() is None and not end.wait(0.01)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=PATIENCE_S)
        assert p.returncode == 1, (out, err)
        with open(path, encoding='utf-8') as f:
            got = json.load(f)
        assert got['completed'] == 2 and got['failures'] == {'stopped': 2}, got


def running_children(name):
    """Command lines of the programs of that name that run in our folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as f:
                words = f.read().split(b'\0')
        except OSError:
            continue
        if words[0].endswith(name.encode()) and TMP.encode() in b' '.join(words):
            found.append(words)
    return found


def its_children_die_with_it():
    p = subprocess.Popen([LOAD, '--stage', 'router', '--duration', '30', '--token-rate', '100'],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait = threading.Event()
    while not running_children('halo-router'):
        assert p.poll() is None and not wait.wait(0.01)
    p.kill()
    p.communicate()
    end = time.monotonic() + 20
    while running_children('halo-router'):
        assert time.monotonic() < end and not wait.wait(0.01)
    for name in os.listdir(TMP):
        if name.startswith('halo-load-'):
            shutil.rmtree(os.path.join(TMP, name))


def progress_is_shown_on_a_terminal():
    ours, its = pty.openpty()
    with Server(TMP, delay=0.3) as s:
        p = subprocess.Popen([LOAD, '--url', s.url, '--model', 'good', '--requests', '5', '--concurrency', '1'],
                             stdout=subprocess.DEVNULL, stderr=its)
        os.close(its)
        seen = b''
        while b'in flight' not in seen:
            seen += os.read(ours, 1000)
        assert p.wait(PATIENCE_S) == 0
    os.close(ours)
    assert b'\r    1 s  ' in seen, seen


def files_are_written():
    svg, table = os.path.join(TMP, 'a.svg'), os.path.join(TMP, 'a.txt')
    with Server(TMP, delay=0.02) as s:
        out = load('--url', s.url, '--model', 'good', '--requests', 50, '--svg', svg, '--histogram', table,
                   '--max-tokens', 3)
    root = xml.parse(svg).getroot()
    assert root.tag.endswith('svg') and len(root.findall('.//{*}path')) == 8  # 1 + 3 + 4 lines
    with open(table, encoding='utf-8') as f:
        rows = [line.split('\t') for line in f if not line.startswith('#')]
    counts = {k: sum(int(r[3]) for r in rows if r[0] == k) for k in ('ttft', 'tpot', 'itl', 'e2el')}
    assert counts == {'ttft': 50, 'tpot': 50, 'itl': 100, 'e2el': 50}, counts
    ttft = [r for r in rows if r[0] == 'ttft']
    assert float(ttft[0][1]) >= 20 and ttft[-1][4].startswith('1.0') and out['min_ttft_ms'] >= 20
    r = run('--url', 'http://127.0.0.1:1', '--model', 'x', '--requests', 1, '--svg', TMP + '/no/such/folder')
    assert r.returncode == 1 and 'cannot write' in r.stderr


def options_are_refused():
    for args, word in ((['--rate', 'x'], '--rate'), (['--rate', '-1'], '--rate'), (['--burstiness', '0'], '--burstiness'),
                       (['--goodput', 'ttft'], 'ttft:MS'), (['--goodput', 'ttft:1', 'x:1'], 'ttft:MS'),
                       (['ttft:1'], 'unexpected'), (['--url', 'https://x'], 'https is not spoken'),
                       (['--url', 'ftp://x'], 'expected http'), (['--body', '[1]'], 'JSON object'),
                       (['--header', 'nocolon'], 'name: value'), (['--stage', 'moon'], 'stage'),
                       (['--prompts', TMP + '/none', '--model', 'x'], 'cannot read'),
                       (['--turns', '2', '--api', 'ids'], 'turns'), (['--stage', 'router', '--prompts', 'x'], 'token ids'),
                       (['--compare-engine', '--rate', '3'], 'compare-engine'), (['--range-ratio', '2'], 'range-ratio'),
                       (['--footprint', '--compare-engine'], 'it alone'), (['--vocab', '3'], 'vocab'), (['--bin', '/none', '--stage', 'gateway'], '--bin'),
                       (['--stage', 'engine', '--model-file', '/none'], '/none'), (['--run', TMP], 'supervisor')):
        r = run(*args, '--requests', '1')
        assert r.returncode != 0 and word in r.stderr, (args, r.returncode, r.stderr)
        assert 'halo-load' in r.stderr.splitlines()[0]
    r = run('--help')
    assert r.returncode == 0 and '--goodput' in r.stdout and 'Example' in r.stdout


# ---- one process alone ---------------------------------------------------------------------------


def stage(name, *args, status=0):
    out = load('--stage', name, *args, status=status)
    assert [p['name'] for p in out['processes']] == [name] and not out['processes'][0]['ended'], out['processes']
    assert out['processes'][0]['resident_bytes'] > 1e6 and out['processes'][0]['waited_s'] >= 0
    return out


def the_gateway_alone_carries_all_tokens():
    out = stage('gateway', '--requests', 60, '--concurrency', 30, '--max-tokens', 20, '--input-len', 10)
    assert out['completed'] == 60 and out['total_output_tokens'] == out['total_events'] == 1200, out
    out = stage('gateway', '--requests', 4, '--concurrency', 4, '--max-tokens', 10, '--token-rate', 50)
    assert out['total_events'] == 40 and 10 < out['mean_itl_ms'] < 1000, out['mean_itl_ms']


def the_tokenizer_alone_carries_all_tokens():
    out = stage('tokenizer', '--requests', 40, '--max-tokens', 30, '--turns', 2)
    assert out['completed'] == 40 and out['total_output_tokens'] == 1200 and out['total_input_tokens'] > 40 * 20, out


def the_router_alone_carries_all_tokens():
    out = stage('router', '--requests', 60, '--max-tokens', 30, '--fake-engines', 3, '--input-len', 5)
    assert out['completed'] == 60 and out['total_output_tokens'] == 1800, out
    assert out['total_input_tokens'] == 300


def the_engine_alone_computes_all_tokens():
    out = stage('engine', '--requests', 6, '--concurrency', 3, '--max-tokens', 8, '--input-len', 16, '--ignore-eos',
                '--warmup', 1)
    assert out['completed'] == 6 and out['total_output_tokens'] == 48 and out['total_input_tokens'] == 96, out
    out = stage('engine', '--requests', 2, '--input-len', 100000, '--child-args', '--log-level error', status=1)
    assert out['failures'] == {'error': 2} and 'CONTEXT' in out['failure_details'][0]['detail'], out


def the_stack_is_compared_with_its_engine():
    path = os.path.join(TMP, 'compare.json')
    r = run('--compare-engine', '--rounds', 2, '--requests', 6, '--concurrency', 3, '--max-tokens', 6, '--input-len', 16,
            '--json', path)
    assert r.returncode == 0 and 'time to the first token that it adds' in r.stdout, (r.stdout, r.stderr)
    assert 'the replies differ' not in r.stdout
    with open(path, encoding='utf-8') as f:
        out = json.load(f)
    assert len(out['rounds']) == 2 and out['failed'] == 0
    parts = [out[f'{name}_cpu_us_per_token'] for name in ('gateway', 'tokenizer', 'router')]
    assert min(parts) > 0 and abs(sum(parts) - out['other_cpu_us_per_token']) < 0.01, out
    assert min(out['engine_cpu_us_per_token'], out['engine_alone_cpu_us_per_token']) > 0, out
    r = run('--compare-engine', '--over', 'tcp', '--rounds', 1, '--requests', 2, '--max-tokens', 2, '--input-len', 4)
    assert r.returncode == 0 and 'the replies differ' not in r.stdout, (r.stdout, r.stderr)
    for row in out['rounds']:
        assert all(v > 0 for v in row.values()), row


def a_supervised_stack_is_loaded_and_its_processes_are_shown():
    where = os.path.join(TMP, 'run')
    path = os.path.join(TMP, 'stack.json')
    up = subprocess.run([HALO, 'up', '--run', where, '--http', '127.0.0.1:0', '--detach'], capture_output=True, text=True,
                        timeout=PATIENCE_S)
    assert up.returncode == 0, up.stderr
    try:
        r = subprocess.run([HALO, 'load', '--run', where, '--url', f'unix:{where}/gateway.http', '--requests', '8',
                            '--max-tokens', '6', '--input-len', '5', '--ignore-eos', '--json', path],
                           capture_output=True, text=True, timeout=PATIENCE_S)
        assert r.returncode == 0, (r.stdout, r.stderr)
        with open(path, encoding='utf-8') as f:
            out = json.load(f)
        assert out['completed'] == 8 and out['total_output_tokens'] == 48 and out['model_id'] == 'halo-demo', out
        names = {p['name'] for p in out['processes']}
        assert {'gateway', 'tokenizer', 'router', 'engine.1'} <= names, names
        assert all(p['cpu_s'] > 0 for p in out['processes'] if p['name'] != 'supervisor'), out['processes']
    finally:
        subprocess.run([HALO, 'down', '--run', where], capture_output=True, timeout=PATIENCE_S)


def a_footprint_is_told_with_its_goals():
    path = os.path.join(TMP, 'footprint.json')
    r = run('--footprint', '--json', path)
    assert r.returncode in (0, 1) and r.stdout.count('(goal: less than ') == 4, (r.stdout, r.stderr)  # busy machines miss some
    with open(path, encoding='utf-8') as f:
        out = json.load(f)
    assert all(out[name] > 0 for name in ('start_ms', 'idle_percent', 'gateway_mb')) and len(out) == 4, out
    assert (r.returncode == 0) == (r.stdout.count(': kept') == 4), r.stdout


def nothing_is_left_behind():
    left = [n for n in os.listdir(TMP) if n.startswith('halo-load-')]
    assert left == [], left


TESTS = [counts_are_exact, connections_are_kept_or_not, failures_are_counted_by_kind,
         failed_and_good_replies_are_told_apart, refusals_and_timeouts_are_failures, requests_say_what_was_asked_for,
         conversations_and_shared_beginnings, prompts_come_from_a_file,
         arrivals_are_those_of_the_seed_and_of_a_plausible_number, a_stall_is_not_omitted,
         goodput_counts_what_keeps_the_limits, an_interrupt_ends_it_with_what_there_is, its_children_die_with_it,
         progress_is_shown_on_a_terminal, files_are_written,
         options_are_refused, the_gateway_alone_carries_all_tokens, the_tokenizer_alone_carries_all_tokens,
         the_router_alone_carries_all_tokens, the_engine_alone_computes_all_tokens,
         the_stack_is_compared_with_its_engine, a_supervised_stack_is_loaded_and_its_processes_are_shown,
         a_footprint_is_told_with_its_goals, nothing_is_left_behind]
os.environ['TMPDIR'] = TMP  # run directories of halo-load
print(f'1..{len(TESTS)}')
for number, test in enumerate(TESTS, 1):
    try:
        test()
        print(f'ok {number} - {test.__name__}', flush=True)
    except Exception as e:
        print(f'not ok {number} - {test.__name__}', flush=True)
        for line in f'{type(e).__name__}: {e}'.splitlines():
            print(f'# {line}')
subprocess.run(['rm', '-rf', TMP], check=False)
