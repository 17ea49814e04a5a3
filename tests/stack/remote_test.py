#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Engines on other machines: network namespaces with a switch between them, whose power can be cut. The test
and the stack run in one namespace, the worker in another; without the right to make them it is left out."""
import contextlib
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from disturbed import Clients, ask, REQUESTS
from halo_stack import BUILD, MODEL, PATIENCE, Skip, Stack, main, wait_for
from processes import n_fds

ENGINE = os.path.join(BUILD, 'services/engine/halo-engine')
HALO = os.path.join(BUILD, 'services/halo/halo')
CUTS = int(os.environ.get('HALO_CABLE_CUTS', '0'))  # further ones, of random lengths
ROUTER_IP, WORKER_IP, PORT = '10.77.0.1', '10.77.0.2', 8443
INSIDE = 'HALO_TEST_NAMESPACE'


def enter_namespace():
    """Runs this program again where it may make networks of its own."""
    if INSIDE in os.environ:
        return
    for flags in (['-n'], ['-rn']):
        if subprocess.run(['unshare', *flags, 'true'], capture_output=True, check=False).returncode == 0:
            os.execvpe('unshare', ['unshare', *flags, sys.executable, *sys.argv], {**os.environ, INSIDE: '1'})


def ip(words, namespace=None):
    enter = ['nsenter', '-t', str(namespace), '-n'] if namespace else []
    r = subprocess.run([*enter, 'ip', *words.split()], capture_output=True, text=True, check=False)
    if r.returncode != 0:
        raise Skip(f'ip {words}: {r.stderr.strip()}')


class Machines:
    """This one, the worker's, and the switch between them."""

    def __enter__(self):
        if INSIDE not in os.environ:
            raise Skip('no right to make network namespaces')
        self.holders = [subprocess.Popen(['unshare', '-n', 'sleep', '3600']) for _ in range(2)]
        self.worker, self.switch = (h.pid for h in self.holders)
        ours = os.readlink('/proc/self/ns/net')
        for pid in (self.worker, self.switch):
            wait_for('a namespace', lambda p=pid: os.readlink(f'/proc/{p}/ns/net') != ours)
        ip('link set lo up')
        ip('link add cable type veth peer name port1')
        ip('link add cable2 type veth peer name port2')
        for link in ('port1', 'port2'):
            ip(f'link set {link} netns {self.switch}')
        ip(f'link set cable2 netns {self.worker}')
        ip('link add hub type bridge', self.switch)
        for link in ('port1', 'port2'):
            ip(f'link set {link} master hub', self.switch)
            ip(f'link set {link} up', self.switch)
        ip(f'addr add {ROUTER_IP}/24 dev cable')
        ip('link set cable up')
        ip(f'addr add {WORKER_IP}/24 dev cable2', self.worker)
        ip('link set cable2 up', self.worker)
        ip('link set lo up', self.worker)
        self.power(True)
        return self

    def power(self, is_on):
        """Without it nothing passes, and neither end is told."""
        ip(f'link set hub {"up" if is_on else "down"}', self.switch)

    def __exit__(self, *_):
        subprocess.run(['ip', 'link', 'del', 'cable'], capture_output=True, check=False)
        for h in self.holders:
            h.kill()
            h.wait()


class Worker:
    """halo-engine on the other machine."""

    def __init__(self, machines, tls, folder, *args, name='b', ca='ca'):
        self.run = tempfile.mkdtemp(prefix='worker-', dir=folder)
        self.log = os.path.join(self.run, 'log')
        with open(self.log, 'w', encoding='utf-8') as log:
            self.process = subprocess.Popen(
                ['nsenter', '-t', str(machines.worker), '-n', ENGINE, '--run', self.run, '--model', MODEL, '--threads', '1',
                 '--router', f'tls+tcp://{ROUTER_IP}:{PORT}', '--tls-cert', f'{tls}/{name}.pem', '--tls-key',
                 f'{tls}/{name}.key', '--tls-ca', f'{tls}/{ca}.pem', *args], stdout=log, stderr=log)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            print('\n'.join(f'# worker: {line}' for line in self.text().splitlines()[-25:]))
        self.process.terminate()
        assert self.process.wait(PATIENCE) in (0, -signal.SIGKILL) or kind is not None, self.text()
        assert 'ev=forbidden-call' not in self.text()

    def text(self):
        with open(self.log, encoding='utf-8') as f:
            return f.read()

    def says(self, pattern):
        wait_for(f'the worker to say {pattern}', lambda: re.search(pattern, self.text()))


def halo(*args):
    r = subprocess.run([HALO, *args], capture_output=True, text=True, check=False)
    assert r.returncode == 0, r.stderr
    return r.stdout


def engines(stack):
    return {e['name']: e for e in json.loads(stack.halo('status', '--run', stack.run, '--json').stdout)['engines']}


def router_log(stack):
    with open(f'{stack.run}/log/router.log', encoding='utf-8') as f:
        return f.read()


def n_lines(stack, pattern):
    return len(re.findall(pattern, router_log(stack)))


@contextlib.contextmanager
def a_stack(*args):
    """(machines, stack, folder of certificates): the router listens for workers, one engine is here"""
    with tempfile.TemporaryDirectory(prefix='halo-remote-') as folder, Machines() as machines:
        tls = os.path.join(folder, 'tls')
        halo('cert', 'new', tls, ROUTER_IP)
        halo('cert', 'worker', tls, 'b')
        words = (f'--listen-tls tls+tcp://{ROUTER_IP}:{PORT} --tls-cert {tls}/router.pem --tls-key {tls}/router.key '
                 f'--tls-ca {tls}/ca.pem --tls-workers b,c')
        with Stack('--router-args', words, '--engine-args', '--threads 1', *args) as stack:
            yield machines, stack, folder


def test_a_cut_cable_costs_no_stream_and_the_worker_comes_back():
    with a_stack() as (machines, stack, folder), Worker(machines, f'{folder}/tls', folder) as worker:
        clients = Clients(stack, 6)
        wait_for('the worker', lambda: 'engine.b.1' in engines(stack))
        assert engines(stack)['engine.b.1']['address'].startswith(WORKER_IP + ':')
        assert engines(stack)['engine.1']['address'] == ''
        wait_for('replies there', lambda: engines(stack)['engine.b.1']['running'] > 1)
        machines.power(False)
        cut = time.monotonic()
        wait_for('the router to notice', lambda: n_lines(stack, 'ev=engine-down name=engine.b.1'))
        noticed = time.monotonic() - cut
        assert noticed < 3 + PATIENCE / 4, noticed
        worker.says('ev=router-down')
        seen = clients.n_replies
        wait_for('replies without the worker', lambda: clients.n_replies >= seen + 6)
        machines.power(True)
        mended = time.monotonic()
        wait_for('the worker to be back', lambda: n_lines(stack, 'ev=engine-up name=engine.b.1') == 2)
        back = time.monotonic() - mended
        wait_for('replies there again', lambda: engines(stack)['engine.b.1']['running'] > 1)
        clients.strike(['router'], signal.SIGKILL, 'the death of the router')
        wait_for('the worker at the new router', lambda: engines(stack).get('engine.b.1', {}).get('running', 0) > 1)
        worker.process.kill()
        worker.process.wait()
        seen = clients.n_replies
        wait_for('replies after its death', lambda: clients.n_replies >= seen + 6)
        clients.stop()
        clients.check()
        replays = re.search(r'ev=engine-down name=engine.b.1 why=\S+ replays=(\d+)', router_log(stack))
        assert int(replays.group(1)) > 0, replays.group(0)
        print(f'# cut cable noticed after {noticed:.1f} s, {replays.group(1)} replies went on elsewhere; worker back '
              f'{back:.1f} s after the cable; {clients.n_replies} replies, none failed or different', flush=True)


def test_cables_may_fail_again_and_again():
    if CUTS == 0:
        raise Skip('HALO_CABLE_CUTS=N cuts a cable N times')
    rng = random.Random(1)
    with a_stack() as (machines, stack, folder), Worker(machines, f'{folder}/tls', folder) as worker:
        clients = Clients(stack, 8)
        for _ in range(CUTS):
            wait_for('replies there', lambda: engines(stack).get('engine.b.1', {}).get('running', 0) > 1)
            machines.power(False)
            time.sleep(rng.choice([0.05, 0.5, 1.5, 2.9, 3.3, 5.0]))
            machines.power(True)
        wait_for('replies there', lambda: engines(stack).get('engine.b.1', {}).get('running', 0) > 1)
        clients.stop()
        clients.check()
        wait_for('nothing to run there', lambda: engines(stack)['engine.b.1']['running'] == 0)
        assert worker.process.poll() is None
        print(f'# {CUTS} cuts, {n_lines(stack, "ev=engine-down name=engine.b.1")} lost links, {clients.n_replies} replies, '
              'none failed or different', flush=True)


def is_let_in(cert=None, newest=None):
    """Whether a caller with these files hears a word of the router's: it greets after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if newest:
        context.maximum_version = newest
    if cert:
        context.load_cert_chain(f'{cert}.pem', f'{cert}.key')
    try:
        with socket.create_connection((ROUTER_IP, PORT), PATIENCE) as s, context.wrap_socket(s) as t:
            return t.recv(8) != b''
    except OSError:
        return False


def test_strangers_get_no_word_and_others_do_not_notice():
    with a_stack() as (machines, stack, folder), Worker(machines, f'{folder}/tls', folder):
        tls, other = f'{folder}/tls', f'{folder}/other'
        wait_for('the worker', lambda: 'engine.b.1' in engines(stack))
        clients = Clients(stack, 4)
        halo('cert', 'new', other, ROUTER_IP)
        halo('cert', 'worker', other, 'b')
        assert is_let_in(f'{tls}/b')
        router = stack.children()['router']['pid']
        n_open = n_fds(router)
        assert not is_let_in()
        assert not is_let_in(f'{other}/b')
        assert not is_let_in(f'{tls}/router')
        assert not is_let_in(f'{tls}/b', ssl.TLSVersion.TLSv1_2)
        silent = [socket.create_connection((ROUTER_IP, PORT), PATIENCE) for _ in range(150)]
        with socket.create_connection((ROUTER_IP, PORT), PATIENCE) as noise:
            noise.sendall(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n' * 100)
            with contextlib.suppress(ConnectionResetError):
                while noise.recv(4096):
                    pass
        with Worker(machines, tls, folder, '--name', '2') as second:
            second.says('ev=router-up')
            wait_for('a second worker among them', lambda: 'engine.b.2' in engines(stack))
        for s in silent:  # each is hung up on, the newest within the time for a greeting
            s.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                assert s.recv(1) == b''
            s.close()
        wait_for('replies', lambda: clients.n_replies >= 8)
        wait_for('the router to close what strangers opened', lambda: n_fds(router) <= n_open)
        clients.stop()
        clients.check()
        assert n_lines(stack, 'ev=engine-down name=engine.b.1') == 0
        assert n_lines(stack, 'ev=caller-refused from=' + ROUTER_IP.replace('.', r'\.')) > 0


def test_an_unfit_worker_is_refused_in_words():
    with a_stack() as (machines, stack, folder):
        tls = f'{folder}/tls'
        halo('cert', 'worker', tls, 'd')
        with Worker(machines, tls, folder, '--kv-type', 'int8') as other_numbers:
            other_numbers.says('ev=refused-by-router why="it computes other numbers .kv-int8')
            assert 'engine.b.1' not in engines(stack)
        with Worker(machines, tls, folder, name='d') as not_listed:
            not_listed.says("ev=refused .*why=\"the certificate is d's, who is not among")
        halo('cert', 'router', tls, 'elsewhere.example')
        with Worker(machines, tls, folder) as wrong_host:
            wrong_host.says('ev=not-connected .*why="its certificate: IP address mismatch"')
        assert n_lines(stack, 'ev=certificate-read') == 1
        halo('cert', 'router', tls, ROUTER_IP)
        with Worker(machines, tls, folder) as good:
            good.says('ev=router-up')
        assert ask(stack, REQUESTS[0])


if __name__ == '__main__':
    enter_namespace()
    main(sys.modules['__main__'])
