# SPDX-License-Identifier: MIT
"""What the tests of this folder share: TAP, waiting, programs that end with the test."""
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get('HALO_BUILD', os.path.join(ROOT, 'build')))
PATIENCE = float(os.environ.get('HALO_PATIENCE', '60'))


class Skip(Exception):
    """A test that cannot run here; the text says what is missing."""


def service(name):
    return os.path.join(BUILD, 'services', name, 'halo-' + name)


def sh(*args, **kw):
    return subprocess.run(args, capture_output=True, text=True, timeout=PATIENCE * 3, check=False, **kw)


def build_option(name):
    r = sh('meson', 'introspect', '--buildoptions', BUILD)
    assert r.returncode == 0, r.stderr
    return next(o['value'] for o in json.loads(r.stdout) if o['name'] == name)


def wait_for(what, condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, f'waited {seconds:.0f} s in vain for: {what}'
        threading.Event().wait(0.02)
    return result


def free_port():
    with contextlib.closing(socket.create_server(('127.0.0.1', 0))) as s:
        return s.getsockname()[1]


@contextlib.contextmanager
def running(argv, log, **kw):
    """The program while the block runs; its output goes to the file `log`."""
    with open(log, 'ab') as f:
        p = subprocess.Popen(argv, stdout=f, stderr=f, **kw)
    try:
        yield p
    finally:
        p.terminate()
        try:
            p.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()


def main(module):
    tests = [(n[5:], f) for n, f in vars(module).items() if n.startswith('test_')]
    tests = [(n, f) for n, f in tests if not sys.argv[1:] or n in sys.argv[1:]]
    print(f'1..{len(tests)}', flush=True)
    for number, (name, test) in enumerate(tests, 1):
        began = time.monotonic()
        try:
            test()
            print(f'ok {number} - {name} # {time.monotonic() - began:.1f} s', flush=True)
        except Skip as e:
            print(f'ok {number} - {name} # SKIP {e}', flush=True)
        except BaseException:  # noqa: B036: the report is the result
            for line in traceback.format_exc().splitlines():
                print(f'# {line}')
            print(f'not ok {number} - {name}', flush=True)
