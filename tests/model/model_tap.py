# SPDX-License-Identifier: MIT
"""What the tests of this folder share: the program, a folder of their own, TAP."""
import os
import shutil
import subprocess
import sys
import tempfile
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get('HALO_BUILD', os.path.join(ROOT, 'build')))
HALO = os.path.join(BUILD, 'services/halo/halo')
HALO_MODEL = os.path.join(BUILD, 'services/model/halo-model')
DEMO = os.path.join(ROOT, 'deploy/models/halo-demo.h1b')
WORK = tempfile.mkdtemp(prefix='halo-model-')


def path(*parts):
    return os.path.join(WORK, *parts)


def run(program, *args, timeout=120):
    return subprocess.run([program, *args], capture_output=True, text=True, timeout=timeout, check=False)


def convert(source, *args, out='out.h1b'):
    """The path of the converted file; fails if the conversion does."""
    r = run(HALO_MODEL, 'convert', source, path(out), *args)
    assert r.returncode == 0, r.stderr
    return path(out)


def refused(source, *args, says=()):
    """The one line of a refusal; no output file or part of one is left."""
    before = sorted(os.listdir(WORK))
    r = run(HALO_MODEL, 'convert', source, path('refused.h1b'), *args)
    assert r.returncode == 1, (r.returncode, r.stdout, r.stderr)
    lines = [line for line in r.stderr.splitlines() if line.startswith('halo convert: ')]
    assert len(lines) == 1 and r.stderr.splitlines()[-1] == lines[0], r.stderr
    for text in [says] if isinstance(says, str) else says:
        assert text in lines[0], (text, lines[0])
    assert sorted(os.listdir(WORK)) == before
    return lines[0]


def main(names):
    tests = [(n[5:], f) for n, f in names.items() if n.startswith('test_')]
    only = sys.argv[1:]
    tests = [t for t in tests if not only or t[0] in only]
    print(f'1..{len(tests)}', flush=True)
    for number, (title, test) in enumerate(tests, 1):
        try:
            test()
            print(f'ok {number} - {title}', flush=True)
        except BaseException:  # noqa: B036: the report is the result
            for line in traceback.format_exc().splitlines():
                print(f'# {line}')
            print(f'not ok {number} - {title}', flush=True)
    shutil.rmtree(WORK, ignore_errors=True)
