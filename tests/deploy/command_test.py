#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The halo command in front of a stack that systemd runs, with a systemctl and a journalctl that are
scripts of the test."""
import contextlib
import http.server
import json
import os
import sys
import tempfile
import threading

from tap import BUILD, main, sh

HALO = os.path.join(BUILD, 'services/halo/halo')
UNITS = '''Id=halo-engine@1.service
LoadState=loaded
ActiveState=active
Result=success
ExecMainStatus=0
MainPID=111
NRestarts=0
StatusText=serving halo-demo on cpu
StateChangeTimestamp=@1795450000

Id=halo-gateway.service
LoadState=loaded
ActiveState={state}
Result={result}
ExecMainStatus=1
MainPID=0
NRestarts={restarts}
StatusText=
StateChangeTimestamp=@1795450000

Id=halo-doctor.service
Type=oneshot
LoadState=loaded
ActiveState=inactive
Result=success

Id=halo-old.service
LoadState=not-found
ActiveState=inactive
'''
DIR = None


def script(name, text):
    path = os.path.join(DIR, 'bin', name)
    with open(path, 'w', encoding='utf-8') as f:
        f.write(f'#!/bin/sh\necho "{name} $*" >>{DIR}/calls\n{text}\n')
    os.chmod(path, 0o755)


@contextlib.contextmanager
def stack(state='active', result='success', restarts=0, url='http://127.0.0.1:9'):
    """A run directory as the installed tmpfiles.d makes it, and what systemd would say."""
    with open(os.path.join(DIR, 'units'), 'w', encoding='utf-8') as f:
        f.write(UNITS.format(state=state, result=result, restarts=restarts))
    script('systemctl', f'case $1 in show) cat {DIR}/units ;; restart) test "$2" != halo-none.service ;; esac')
    script('journalctl', 'echo "ts=2026-01-01T00:00:00.000Z level=info svc=engine ev=ready"')
    with contextlib.suppress(FileNotFoundError):
        os.remove(DIR + '/calls')
    run = tempfile.mkdtemp(dir=DIR)
    with open(os.path.join(run, 'systemd'), 'w', encoding='utf-8') as f:
        f.write(url + '\n')
    os.chmod(os.path.join(run, 'systemd'), 0o644)
    yield run


def halo(*args):
    env = {**os.environ, 'PATH': f'{DIR}/bin:' + os.environ['PATH'], 'NO_COLOR': '1'}
    return sh(HALO, *args, env=env)


def calls():
    with open(DIR + '/calls', encoding='utf-8') as f:
        return f.read()


def test_status_shows_units_as_processes():
    with stack() as run:
        r = halo('status', '--run', run)
        assert r.returncode == 0 and 'systemctl start|stop halo.target' in r.stdout, r
        assert 'engine.1     ready' in r.stdout and 'serving halo-demo on cpu' in r.stdout and 'old' not in r.stdout and 'doctor' not in r.stdout, r.stdout
        j = json.loads(halo('status', '--run', run, '--json').stdout)
        assert [c['name'] for c in j['children']] == ['engine.1', 'gateway'] and j['ready'] and j['children'][0]['pid'] == 111
        assert j['children'][0]['since_ms'] == 1795450000000


def test_a_failed_unit_is_named_with_its_end():
    with stack('failed', 'exit-code', 7) as run:
        r = halo('status', '--run', run)
        assert r.returncode == 1 and 'last end: exit-code, status 1' in r.stdout, r
        d = halo('doctor', '--run', run)
        assert d.returncode == 2 and 'gateway' in d.stdout and 'failed, restarts 7' in d.stdout, d.stdout


def test_restart_asks_systemctl_for_the_unit_of_that_name():
    with stack() as run:
        assert halo('restart', 'engine.1', '--run', run).returncode == 0
        assert 'systemctl restart halo-engine@1.service\n' in calls()
        assert halo('restart', '--run', run).returncode == 0  # all, one after the other
        assert calls().endswith('systemctl restart halo-engine@1.service\nsystemctl restart halo-gateway.service\n')
        r = halo('restart', 'none', '--run', run)
        assert r.returncode == 1 and 'systemctl restart halo-none.service' in r.stderr, r


def test_logs_come_from_the_journal():
    with stack() as run:
        r = halo('logs', 'engine.1', '--lines', '7', '--follow', '--run', run)
        assert r.returncode == 0 and 'ev=ready' in r.stdout, r
        assert '--lines 7 --unit halo-engine@1.service --follow' in calls(), calls()
        halo('logs', '--run', run)
        assert '--unit halo-*.service\n' in calls(), calls()


def test_up_and_down_name_systemctl():
    with stack() as run:
        for verb in 'up', 'down':
            r = halo(verb, '--run', run)
            assert r.returncode == 1 and 'halo.target' in r.stderr, (verb, r)


def test_the_url_of_the_stack_is_used():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header('content-length', '2')
            self.end_headers()
            self.wfile.write(b'{}')

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with stack(url=f'http://127.0.0.1:{server.server_port}') as run:
        d = halo('doctor', '--run', run)
        assert '/healthz' in d.stdout and 'answers 200' in d.stdout and 'runs the stack' in d.stdout, d.stdout
    server.shutdown()


def test_a_file_that_others_can_write_is_not_believed():
    with stack() as run:
        os.chmod(run + '/systemd', 0o666)
        assert halo('status', '--run', run).returncode == 3
        os.remove(run + '/systemd')
        os.symlink('/etc/hostname', run + '/systemd')
        assert halo('status', '--run', run).returncode == 3


if __name__ == '__main__':
    with tempfile.TemporaryDirectory(prefix='halo-cmd-') as DIR:
        os.mkdir(DIR + '/bin')
        main(sys.modules['__main__'])
