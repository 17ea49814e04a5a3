#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The Debian package under systemd: installation, upgrade under load, removal, purge."""
import os
import subprocess
import sys

from inside import QUESTION, SERVICES, Stream, ask, is_serving, main, sh, show, wait_for


def files():
    return [n for n in sh('dpkg', '-L', 'halo').splitlines() if os.path.isfile(n)]


def test_installation_makes_the_user_and_starts_the_stack():
    sh('dpkg', '-i', '/out/halo_old.deb')
    wait_for('readiness', is_serving)
    assert 'Paris' in ask(QUESTION)[1]
    assert sh('getent', 'passwd', 'halo') and 'halo' in sh('id', '-Gn', 'halo').split()
    for unit in 'halo.target', 'halo-gateway.socket':
        assert sh('systemctl', 'is-enabled', unit) == 'enabled'
    for s in SERVICES:
        assert show(s, 'ActiveState') == 'active', s
    assert 'Paris' in sh('halo', 'chat', 'What is the capital of France?')


def test_an_upgrade_renews_every_process_and_cuts_no_stream():
    quiet = Stream(1500).text()
    pids = {s: show(s, 'MainPID') for s in SERVICES}
    inode = os.stat('/usr/bin/halo-gateway').st_ino
    streams = [Stream(1900), Stream(1900)]
    upgrade = subprocess.Popen(['dpkg', '-i', '/out/halo_new.deb'], stdout=subprocess.DEVNULL)
    later = Stream(1500)
    assert upgrade.wait(60) == 0
    wait_for('the new gateway', lambda: show('halo-gateway', 'MainPID') not in (pids['halo-gateway'], '0'))
    for s in SERVICES:
        assert show(s, 'ActiveState') == 'active' and show(s, 'MainPID') != pids[s], s
        assert show(s, 'NRestarts') == '0', s
    assert os.stat('/usr/bin/halo-gateway').st_ino != inode
    assert 'deleted' not in os.readlink(f'/proc/{show("halo-gateway", "MainPID")}/exe')
    texts = {s.text() for s in streams}
    assert len(texts) == 1 and texts.pop().startswith(quiet) and later.text() == quiet


def test_an_operators_configuration_survives_an_upgrade():
    with open('/etc/halo/halo.conf', 'a', encoding='utf-8') as f:
        f.write('# mine\n')
    sh('dpkg', '-i', '--force-confold', '/out/halo_old.deb')
    assert open('/etc/halo/halo.conf', encoding='utf-8').read().endswith('# mine\n')
    wait_for('readiness', is_serving)


def test_a_stopped_stack_stays_stopped_at_an_upgrade():
    sh('systemctl', 'stop', 'halo.target')
    sh('dpkg', '-i', '--force-confold', '/out/halo_new.deb')
    for s in SERVICES:
        assert show(s, 'ActiveState') == 'inactive', s
    sh('systemctl', 'start', 'halo.target')
    wait_for('readiness', is_serving)


def test_keys_can_be_demanded():
    key = sh('halo', 'key', 'add', 'alice', '--keys', '/etc/halo/keys.json').split()
    key = next(word for word in key if word.startswith('sk-halo-'))
    sh('chgrp', 'halo', '/etc/halo/keys.json')
    sh('chmod', '0640', '/etc/halo/keys.json')
    sh('sed', '-i', 's|^# keys =.*|keys = /etc/halo/keys.json|', '/etc/halo/halo.conf')
    pid = show('halo-gateway', 'MainPID')
    sh('systemctl', 'reload', 'halo-gateway')
    wait_for('the new gateway', lambda: show('halo-gateway', 'MainPID') not in (pid, '0'))
    wait_for('the old one to be gone', lambda: not os.path.exists(f'/proc/{pid}'))
    assert ask(QUESTION)[0] == 401
    assert 'Paris' in ask(QUESTION, key=key)[1]


def test_removal_stops_everything_and_purge_leaves_nothing():
    have = files()
    sh('dpkg', '-r', 'halo')
    for s in SERVICES:
        assert show(s, 'ActiveState') == 'inactive', s
    assert not os.path.exists('/run/halo') and os.path.exists('/etc/halo/halo.conf')
    sh('dpkg', '-P', 'halo')
    left = [n for n in have + ['/etc/halo', '/var/lib/halo', '/usr/share/halo'] if os.path.exists(n)]
    assert not left, left
    assert not sh('getent', 'passwd', 'halo', check=False)
    assert not [n for d, _, names in os.walk('/etc/systemd/system') for n in names if n.startswith('halo')]


if __name__ == '__main__':
    main(sys.modules['__main__'])
