#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Starting and stopping: what goes wrong is said in one line, and nothing half-started is left."""
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile

from halo_stack import BUILD, HALO, MODEL, PATIENCE, Stack, main, wait_for


def run(*args):
    return subprocess.run(args, capture_output=True, text=True, timeout=PATIENCE * 2, check=False)


def processes_of(run_dir):
    """Command lines of processes that name the run directory."""
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        with contextlib.suppress(OSError), open(f'/proc/{pid}/cmdline', 'rb') as f:
            line = f.read().replace(b'\0', b' ').decode()
            if run_dir in line and 'halo' in line and int(pid) != os.getpid():
                found.append(line)
    return found


@contextlib.contextmanager
def run_dir():
    path = tempfile.mkdtemp(prefix='halo-test-')
    try:
        yield path
    finally:
        left = processes_of(path)
        shutil.rmtree(path, ignore_errors=True)
        assert not left, left


def up_fails(path, *args):
    r = run(HALO, 'up', '--run', path, '--detach', '--http', '127.0.0.1:0', *args)
    assert r.returncode != 0, r.stdout
    assert not processes_of(path), processes_of(path)
    return r.stderr + r.stdout


def test_a_corrupt_model_is_named_with_the_place():
    with run_dir() as path:
        bad = os.path.join(path, 'bad.h1b')
        with open(MODEL, 'rb') as f:
            data = bytearray(f.read())
        data[len(data) // 2] ^= 1
        with open(bad, 'wb') as f:
            f.write(data)
        text = up_fails(path, '--model', bad)
        assert 'bad.h1b' in text, text


def test_a_foreign_and_a_cut_model_are_named():
    with run_dir() as path:
        foreign = os.path.join(path, 'foreign.h1b')
        with open(foreign, 'wb') as f:
            f.write(b'GGUF' + bytes(100))
        assert 'foreign.h1b' in up_fails(path, '--model', foreign)
        cut = os.path.join(path, 'cut.h1b')
        with open(MODEL, 'rb') as f, open(cut, 'wb') as g:
            g.write(f.read(1000000))
        assert 'cut.h1b' in up_fails(path, '--model', cut)
        assert 'none.h1b' in up_fails(path, '--model', os.path.join(path, 'none.h1b'))


def test_a_port_in_use_is_named_with_the_remedy():
    with run_dir() as path, contextlib.closing(socket.create_server(('127.0.0.1', 0))) as s:
        port = s.getsockname()[1]
        r = run(HALO, 'up', '--run', path, '--detach', '--http', f'127.0.0.1:{port}', '--model', MODEL)
        assert r.returncode != 0
        assert str(port) in r.stderr + r.stdout and '--http' in r.stderr + r.stdout, r.stderr + r.stdout


def test_unknown_options_stop_every_program():
    for name in ('gateway', 'tokenizer', 'router', 'engine', 'supervisor'):
        program = os.path.join(BUILD, f'services/{name}/halo-{name}')
        r = run(program, '--no-such-option')
        assert r.returncode == 2 and '--no-such-option' in r.stderr and '--help' in r.stderr, (name, r.stderr)
        r = run(program, '--help')
        assert r.returncode == 0 and '--run DIR' in r.stdout, (name, r.stdout)
    r = run(HALO, 'frobnicate')
    assert r.returncode == 2 and 'frobnicate' in r.stderr, r.stderr


def test_halo_bench_is_halo_bench():
    own = run(os.path.join(BUILD, 'services/engine/halo-bench'), '--help')
    assert own.returncode == 0 and '--step-tokens' in own.stdout, own
    through_halo = run(HALO, 'bench', '--help')
    assert (through_halo.returncode, through_halo.stdout) == (0, own.stdout), through_halo
    r = run(HALO, 'bench', '--model', MODEL, '--pp', '32', '--tg', '4', '--runs', '1', '--json')
    assert r.returncode == 0 and json.loads(r.stdout), r
    assert run(HALO, 'bench', '--batch', 'many').returncode == 2


def test_a_missing_run_directory_is_named():
    for name in ('tokenizer', 'router', 'engine', 'gateway'):
        program = os.path.join(BUILD, f'services/{name}/halo-{name}')
        model = ['--model', MODEL] if name in ('tokenizer', 'engine') else []
        r = run(program, '--run', '/nonexistent/halo', *model)
        assert r.returncode != 0 and '/nonexistent/halo' in r.stderr, (name, r.stderr)


def test_two_stacks_live_side_by_side():
    with Stack() as a, Stack() as b:
        assert a.port != b.port
        for s in (a, b):
            assert s.chat('Hello!', temperature=0, max_tokens=4)['usage']['completion_tokens'] >= 1


def test_two_engines_share_the_work():
    with Stack('--engines', '2') as s:
        assert set(s.children()) >= {'gateway', 'tokenizer', 'router', 'engine.1', 'engine.2'}
        assert s.chat('Hello!', temperature=0, max_tokens=4)['usage']['completion_tokens'] >= 1


def test_down_leaves_nothing():
    s = Stack()
    s.__enter__()
    path = s.run
    assert processes_of(path)
    assert s.halo('down', '--run', path).returncode == 0
    wait_for('the processes to be gone', lambda: not processes_of(path))
    assert not [n for n in os.listdir(path) if n.endswith('.sock')], os.listdir(path)
    assert s.halo('status', '--run', path).returncode != 0
    shutil.rmtree(path)


if __name__ == '__main__':
    main(sys.modules['__main__'])
