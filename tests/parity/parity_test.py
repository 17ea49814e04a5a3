#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Converts the models of this folder from their Hugging Face form, runs them in the engine, and compares
the logits with those that transformers computed for the same ids (make_fixtures.py).

Prints TAP and a table. Usage: parity_test.py PARITY_LOGITS HALO_MODEL HALO_TOKENIZER HALO_PPL DEMO_MODEL
"""
import array
import ast
import json
import lzma
import math
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LOGITS, MODEL, TOKENIZER, PPL, DEMO = sys.argv[1:6]
PPL_TOLERANCE = 0.001
INT8_CACHE_TOLERANCE = 0.05


class Skip(Exception):
    """The test cannot run here; the text says why."""


def read_npy(path):
    """(rows, columns, values) of a float32 matrix."""
    raw = path.read_bytes()
    assert raw[:8] == b'\x93NUMPY\x01\0', path
    (n,) = struct.unpack_from('<H', raw, 8)
    header = ast.literal_eval(raw[10:10 + n].decode())
    assert header['descr'] == '<f4' and not header['fortran_order'], header
    values = array.array('f', raw[10 + n:])
    rows, columns = header['shape']
    assert len(values) == rows * columns
    return rows, columns, values


def run(*args, status=0, **kw):
    r = subprocess.run(args, capture_output=True, timeout=120, **kw)
    assert r.returncode in (0, status), (args, r.returncode, r.stderr.decode(errors='replace'))
    return r.stdout


def convert(folder, reference, out):
    run(MODEL, 'convert', '--quiet', *reference.get('convert', []), folder, out)


def engine_logits(model, ids, cache):
    """By every set of instructions that this machine has: the same bytes, of which one copy."""
    ids = array.array('I', ids).tobytes()
    best = run(LOGITS, model, 'best', cache, input=ids)
    for isa in 'ref', 'avx2', 'avxvnni', 'avx512', 'neon':
        got = run(LOGITS, model, isa, cache, input=ids, status=2)
        assert got in (b'', best), f'other logits by {isa}'
    return array.array('f', best)


def relative(got, want):
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(got, want)) / sum(b * b for b in want))


def compare(got, want, columns):
    """(relative error, largest difference, share of rows with the same largest column, share of rows
    that differ by float rounding alone)"""
    rows = [(got[i:i + columns], want[i:i + columns]) for i in range(0, len(want), columns)]
    top1 = sum(list(g).index(max(g)) == list(w).index(max(w)) for g, w in rows) / len(rows)
    close = sum(relative(g, w) < 1e-5 for g, w in rows) / len(rows)
    return relative(got, want), max(abs(a - b) for a, b in zip(got, want)), top1, close


def check_model(folder):
    reference = json.loads((folder / 'reference.json').read_text())
    with tempfile.TemporaryDirectory() as scratch:
        model = os.path.join(scratch, folder.name + '.h1b')
        convert(folder, reference, model)
        got = {cache: engine_logits(model, reference['ids'], cache) for cache in ('f16', 'int8')}
    bad = []
    for what, cache in [(w, 'f16') for w in reference['references']] + [('halo', 'int8')]:
        expected = reference['references'][what]
        rows, columns, want = read_npy(folder / f'logits_{what}.npy')
        assert len(got[cache]) == len(want) == len(reference['ids']) * columns
        error, most, top1, close = compare(got[cache], want, columns)
        print(f'# {folder.name:16} {cache:5} {what:6} {error:9.2e} {most:9.2e} {top1:6.1%} {close:6.1%}  '
              f'{expected["source"]}')
        most_error = expected['relative'] if cache == 'f16' else INT8_CACHE_TOLERANCE
        if not (error <= most_error and top1 >= expected['top1']):
            bad.append((what, cache, error, top1, expected))
    assert not bad, bad


def wikitext():
    folders = [os.environ.get('HALO_SHARED', ''), ROOT.parent / 'shared']
    for folder in folders:
        path = pathlib.Path(folder) / 'corpus/wikitext-2/wiki.test.raw.xz'
        if path.is_file():
            return lzma.decompress(path.read_bytes())
    raise Skip('no WikiText-2 here (HALO_SHARED)')


def check_perplexity():
    path = HERE / 'demo_ppl.json'
    reference = json.loads(path.read_text())
    ids = run(TOKENIZER, '--model', DEMO, '--encode', input=wikitext())
    best = min(reference['runs'], key=lambda r: r['n_ids'])
    got = json.loads(run(PPL, '--model', DEMO, '--window', str(reference['window']), '--stride',
                         str(reference['stride']), '--json', input=ids[:4 * best['n_ids']]))
    print(f'# demo, {best["n_ids"]} tokens: perplexity {got["ppl"]:.4f}, {reference["source"]}: {best["ppl"]:.4f}')
    assert got['nll']['n'] == best['n_scored']
    assert abs(got['ppl'] / best['ppl'] - 1) < PPL_TOLERANCE


def main():
    tests = [(f.parent.name + ' agrees', lambda f=f: check_model(f.parent))
             for f in sorted(HERE.glob('*/reference.json'))]
    if (HERE / 'demo_ppl.json').is_file():
        tests.append(('perplexity of the demo model agrees', check_perplexity))
    if not tests:
        print('1..0 # SKIP no fixtures here: skipped')
        return
    print(f'1..{len(tests)}')
    print('# model            cache logits  rel.error  max.diff  top-1  <1e-5  compared with')
    for n, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f'ok {n} - {name}', flush=True)
        except Skip as e:
            print(f'ok {n} - {name} # SKIP {e}: skipped', flush=True)
        except (AssertionError, KeyError, OSError, ValueError, subprocess.SubprocessError) as e:
            for line in f'{type(e).__name__}: {e}'.splitlines():
                print(f'# {line}')
            print(f'not ok {n} - {name}', flush=True)


main()
