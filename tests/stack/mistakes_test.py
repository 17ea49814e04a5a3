#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What an operator gets wrong: one line says what and what to do, the exit status is not 0, and nothing starts."""
import contextlib
import os
import socket
import subprocess
import sys
import tempfile

from halo_stack import BUILD, MODEL, PATIENCE, main

FOLDERS = {'halo': 'halo', 'halo-gateway': 'gateway', 'halo-router': 'router', 'halo-tokenizer': 'tokenizer',
           'halo-engine': 'engine', 'halo-supervisor': 'supervisor'}
SERVICES = ['halo-gateway', 'halo-router', 'halo-tokenizer', 'halo-engine', 'halo-supervisor']


def said(program, *args, user=None):
    path = os.path.join(BUILD, 'services', FOLDERS[program], program)
    r = subprocess.run([path, *args], capture_output=True, text=True, timeout=PATIENCE, check=False, user=user,
                       stdin=subprocess.DEVNULL)
    assert r.returncode in (1, 2, 3), (program, args, r)
    lines = r.stderr.splitlines()
    assert 1 <= len(lines) <= 2 and 'ev=ready' not in r.stderr and 'ev=listening' not in r.stderr, (program, args, r.stderr)
    return lines[-1]


def check(words, program, *args, **more):
    line = said(program, *args, **more)
    for word in words:
        assert word in line, (program, args, line, word)


@contextlib.contextmanager
def folder():
    with tempfile.TemporaryDirectory(prefix='halo-mistake-') as d:
        os.chmod(d, 0o700)
        yield d


def write(path, text, mode=0o600):
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def test_an_unknown_option_is_named_with_the_list_of_the_known_ones():
    for program in SERVICES:
        check(['unknown option --nosuch', f'{program} --help'], program, '--nosuch')
        check(['log-level', 'loud', 'debug|info|warn|error'], program, '--log-level', 'loud')
    check(['no verb nosuch', 'halo --help'], 'halo', 'nosuch')


def test_a_configuration_that_cannot_be_read_is_named_with_the_remedy():
    with folder() as d:
        conf = write(d + '/halo.conf', '[halo-gateway]\nlistne = none\n')
        check([conf + ':2', 'unknown option listne'], 'halo-gateway', '--config', conf)
        slip = write(d + '/slip.conf', '[halo-gatewya]\nlisten = none\n')
        check([slip + ':1', '[halo-gatewya]', 'is it [halo-gateway]'], 'halo-gateway', '--config', slip)
        for program in SERVICES:
            check(['/nonexistent', 'No such file', f'{program} --print-defaults'], program, '--config', '/nonexistent')
            check([d, 'Is a directory'], program, '--config', d)
        if os.geteuid() == 0 and os.access(BUILD, os.X_OK):
            with contextlib.suppress(PermissionError):  # the build may lie where nobody else can go
                check([conf, 'Permission denied', '65534'], 'halo-gateway', '--config', conf, user=65534)


def test_a_run_directory_that_will_not_do_is_named_with_the_remedy():
    with folder() as d:
        plain = write(d + '/plain', '')
        for program, more in ('halo-gateway', []), ('halo-router', []), ('halo-engine', ['--model', MODEL]), \
                ('halo-tokenizer', ['--model', MODEL]):
            check([d + '/none', 'does not exist', 'halo up'], program, '--run', d + '/none', *more)
            check([plain, 'is no directory'], program, '--run', plain, *more)
        os.chmod(d, 0o777)
        check([d, 'mode 777', 'chmod 0700'], 'halo-router', '--run', d)


def test_a_stack_that_does_not_run_is_said_not_to():
    with folder() as d:
        for verb in ('status',), ('chat', 'hello'), ('top',), ('restart', 'engine.1'), ('drain', 'engine.1'):
            check(['halo up', '--run'], 'halo', verb[0], '--run', d, *verb[1:])


def test_an_address_that_cannot_be_had_is_named_with_the_remedy():
    with folder() as d, contextlib.closing(socket.create_server(('127.0.0.1', 0))) as s:
        taken = f'127.0.0.1:{s.getsockname()[1]}'
        run = '--run', d
        check([taken, 'in use', '--listen'], 'halo-gateway', *run, '--listen', taken)
        check(['nonsense', '127.0.0.1:8180'], 'halo-gateway', *run, '--listen', 'nonsense')
        check(['--unix'], 'halo-gateway', *run, '--listen', 'none')
        check(['/nonexistent/s', '--unix'], 'halo-gateway', *run, '--listen', 'none', '--unix', '/nonexistent/s')


def test_a_key_file_that_will_not_do_is_named_with_the_remedy():
    with folder() as d:
        base = '--run', d, '--listen', '127.0.0.1:0', '--keys'
        check([d + '/none', 'halo key add'], 'halo-gateway', *base, d + '/none')
        check([d, 'is no file'], 'halo-gateway', *base, d)
        for mode in 0o644, 0o666, 0o660:
            check([d + '/open', 'chmod 600'], 'halo-gateway', *base, write(d + '/open', '{"version":1,"keys":[]}', mode))
        check([d + '/bad', 'no key file'], 'halo-gateway', *base, write(d + '/bad', 'sk-halo-1234'))


def test_a_model_that_will_not_do_is_named_with_the_remedy():
    with folder() as d:
        empty = write(d + '/empty.h1b', '')
        for program in 'halo-engine', 'halo-tokenizer':
            for path in '/nonexistent.h1b', d, empty:
                check([path, 'halo convert'], program, '--run', d, '--model', path)
        check(['--model'], 'halo-engine', '--run', d)
        check(['--model'], 'halo-tokenizer', '--run', d, '--encode')


if __name__ == '__main__':
    main(sys.modules['__main__'])
