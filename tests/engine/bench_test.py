#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs halo-bench on a tiny random model. Prints TAP. Usage: bench_test.py HALO_BENCH"""
import json
import subprocess
import sys
import tempfile

BENCH = sys.argv[1]
TINY = ['--shape', 'tiny', '--threads', '2', '--pp', '16', '--tg', '8', '--runs', '2']


def bench(*args):
    return subprocess.run([BENCH, *args], capture_output=True, text=True, timeout=60)


def measure(*args):
    r = bench(*TINY, '--json', *args)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)


def json_says_what_was_counted():
    out = measure('--depth', '32', '--batch', '1,3', '--head', 'full')
    model = out['model']
    # 2 layers: q and o 64 x 72, k and v 32 x 72, gate and up 200 x 72, down 72 x 200.
    assert model['weights'] == 2 * (2 * 64 * 72 + 2 * 32 * 72 + 3 * 200 * 72)
    # With a scale of four bytes each.
    assert model['code_bytes'] == 2 * (32 * (64 + 2 * 32 + 2 * 200 + 72 + 2 * 72) + 7 * 4)
    assert model['head_bytes'] == 331 * 72 * 2
    assert model['kv_bytes_per_position'] == 2 * 2 * 2 * 16 * 2
    pp, tg = out['results']
    assert (pp['test'], tg['test']) == ('pp16', 'tg8@32')
    kv = model['kv_bytes_per_position'] * (32 + 4.5)
    assert tg['kv_bytes_per_token'] == kv
    assert tg['bytes_per_token'] == model['code_bytes'] + model['head_bytes'] + kv
    fast = measure('--head', 'fast')['model']
    # Rows are padded to 512 columns. 4 bits of each are always read, all 8 and the full row at worst.
    assert 331 * (256 + 3 * 4) <= fast['head_bytes'] <= 331 * (512 + 4 * 3 * 4 + 72 * 2)


def every_packing_is_measured():
    rows = 2 * (64 + 2 * 32 + 2 * 200 + 72)  # of one unit each, but for the 2 x 72 of down
    for packing, of_unit, units_of_down in ('t5', 64, 1), ('s3', 20, 2):
        model = measure('--packing', packing)['model']
        assert model['packing'] == packing.upper()
        assert model['code_bytes'] == of_unit * (rows + 2 * 72 * units_of_down) + 2 * 7 * 4
    r = bench(*TINY, '--packing', 't2/64')
    assert r.returncode == 2 and 'no whole groups' in r.stderr, r.stderr
    r = bench('--shape', 'demo', '--pp', '16', '--tg', '4', '--runs', '1', '--packing', 'b1/128')
    assert r.returncode == 0 and 'B1/128' in r.stdout, r.stdout + r.stderr


def decode_is_measured_at_each_depth():
    """A shape's context grows with the depth; int8 takes a byte and a share of a scale per element."""
    out = measure('--depth', '0,64,1000', '--kv-type', 'int8')
    assert out['model']['kv_type'] == 'int8'
    assert out['model']['kv_bytes_per_position'] == 2 * 2 * 2 * (16 + 4)
    decodes = [r for r in out['results'] if r['limit'] == 'read']
    assert [r['test'] for r in decodes] == ['tg8', 'tg8@64', 'tg8@1000']
    for r in decodes:
        assert r['kv_bytes_per_token'] == 160 * (r['depth'] + 4.5)
        assert r['loss'] < 1 and 0 <= r['loss_explained'] < 1
    assert decodes[0]['loss'] == decodes[0]['loss_explained'] == 0 < decodes[2]['loss_explained']
    memory = out['memory']
    assert memory['kv_bytes'] == 160 * 1024  # 1008 positions in whole blocks
    assert abs(memory['ratio'] - memory['peak_bytes'] / (memory['weight_bytes'] + memory['kv_bytes'])) < 1e-6


def figures_are_plausible():
    out = measure('--batch', '1,3')
    machine = out['machine']
    assert machine['threads'] == 2
    assert 1e8 < machine['read_bytes_per_s']['median'] < 1e13
    assert 0 <= machine['int8_macs_per_s']['median'] < 1e15
    for r in out['results']:
        speed = r['tokens_per_s']
        assert 1 < speed['median'] < 1e8 and speed['sd'] >= 0
        assert 0 <= r['share_of_limit']['median'] < 100
    assert [b['batch'] for b in out['batched']] == [1, 3]
    for b in out['batched']:
        assert abs(b['s_tg'] * b['t_tg'] - b['batch'] * 8) < 1e-3
        assert abs(b['s'] * (b['t_pp'] + b['t_tg']) - b['batch'] * 24) < 1e-3


def all_instruction_sets_run_or_refuse():
    for isa in 'ref', 'avx2', 'avxvnni', 'avx512', 'neon':
        r = bench(*TINY, '--isa', isa)
        assert r.returncode == 0 or (r.returncode == 2 and 'lacks' in r.stderr), r.stderr


def with_figures(out, factor):
    changed = json.loads(json.dumps(out))
    for r in changed['results']:
        for key in 'tokens_per_s', 'share_of_limit':
            r[key] = {'mean': 0, 'sd': 0, 'median': (r[key]['median'] or 1) * factor}
    return changed


def a_slower_run_than_the_baseline_fails():
    out = measure()
    for factor, status in (1e-3, 0), (1e3, 1):
        with tempfile.NamedTemporaryFile('w', suffix='.json') as f:
            json.dump(with_figures(out, factor), f)
            f.flush()
            r = bench('--shape', 'tiny', '--pp', '16', '--tg', '32', '--runs', '1', '--baseline', f.name)
        assert r.returncode == status, r.stderr
        assert ('SLOWER' in r.stderr) == (status == 1), r.stderr
        assert ', before' not in [line for line in r.stderr.splitlines() if 'tg32' in line][-1]  # not in the file


def nonsense_is_refused():
    for args in (['--pp', '1,x'], ['--pp', ''], ['--batch', '2', '--pp', '0'], ['--depth', '1,x'], ['--shape', 'huge'],
                 ['--model', '/nonexistent']):
        r = bench('--shape', 'tiny', *args)
        assert r.returncode == 2 and r.stderr.startswith('halo-bench: '), (args, r.returncode, r.stderr)


TESTS = [json_says_what_was_counted, decode_is_measured_at_each_depth, every_packing_is_measured, figures_are_plausible,
         all_instruction_sets_run_or_refuse, a_slower_run_than_the_baseline_fails,
         nonsense_is_refused]
print(f'1..{len(TESTS)}')
for number, test in enumerate(TESTS, 1):
    try:
        test()
        print(f'ok {number} - {test.__name__}')
    except (AssertionError, KeyError, ValueError) as e:
        print(f'not ok {number} - {test.__name__}')
        print(f'# {type(e).__name__}: {str(e)!r}')
