#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The units under systemd: start, sandbox, the halo command, restarts and hangs under load, stop."""
import os
import shutil
import signal
import subprocess
import sys
import threading

from inside import PATIENCE, QUESTION, SERVICES, Stream, ask, is_serving, main, sh, show, wait_for


def write_watchdog():
    os.makedirs('/etc/systemd/system/halo-engine@1.service.d', exist_ok=True)
    with open('/etc/systemd/system/halo-engine@1.service.d/x.conf', 'w', encoding='utf-8') as f:
        f.write('[Service]\nWatchdogSec=4\n')  # 30 s are long for a test
    sh('systemctl', 'daemon-reload')


def test_the_target_brings_up_a_stack_that_answers():
    sh('systemctl', 'start', 'halo.target')
    wait_for('readiness', is_serving)
    status, text = ask(QUESTION)
    assert status == 200 and 'Paris' in text, (status, text)
    assert 'Paris' in ask(QUESTION, unix='/run/halo/gateway.http')[1]
    for s in SERVICES:
        assert show(s, 'ActiveState') == 'active' and show(s, 'StatusText'), s


def test_the_services_run_confined():
    for s in SERVICES:
        with open(f'/proc/{show(s, "MainPID")}/status', encoding='utf-8') as f:
            fields = dict(line.split(':\t', 1) for line in f.read().splitlines() if ':\t' in line)
        assert fields['CapEff'] == '0' * 16 and fields['NoNewPrivs'] == '1' and fields['Seccomp'] == '2', (s, fields)
        assert fields['Uid'].split()[0] != '0', s
    assert sh('journalctl', '-q', '-o', 'cat', '-u', 'halo-tokenizer', '--grep', 'jit=1').count('jit=1') >= 1


def test_the_halo_command_knows_that_systemd_runs_the_stack():
    status = sh('halo', 'status')
    assert all(f'\n{n} ' in status for n in ('router', 'tokenizer', 'engine.1', 'gateway')) and status.count(' ready ') == 4, status
    assert 'Paris' in sh('halo', 'chat', 'What is the capital of France?')
    assert 'ev=ready' in sh('halo', 'logs', 'engine.1')
    doctor = subprocess.run(['halo', 'doctor'], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert doctor.returncode < 2 and 'Paris' in doctor.stdout, doctor.stdout
    sh('halo', 'drain', 'engine@1', '--force')
    assert 'drained' in sh('halo', 'status')
    sh('halo', 'undrain', 'engine@1')
    pid = show('halo-tokenizer', 'MainPID')
    sh('halo', 'restart', 'tokenizer')
    assert show('halo-tokenizer', 'MainPID') != pid


def test_timers_look_after_the_stack():
    for task in 'doctor', 'verify':
        assert show(f'halo-{task}.timer', 'ActiveState') == 'active' and show(f'halo-{task}.timer', 'NextElapseUSecMonotonic' if task == 'doctor' else 'NextElapseUSecRealtime'), task
    sh('systemctl', 'start', 'halo-doctor')
    said = sh('journalctl', '-q', '-o', 'cat', '-u', 'halo-doctor')
    assert show('halo-doctor', 'Result') == 'success' and 'Paris' in said and 'engine.1' in said, said
    sh('systemctl', 'start', 'halo-verify')  # no replies are logged: nothing to do
    assert show('halo-verify', 'ConditionResult') == 'no' and show('halo-verify', 'Result') == 'success'
    sh('systemctl', 'stop', 'halo-engine@1')
    assert subprocess.run(['systemctl', 'start', 'halo-doctor'], check=False, capture_output=True, timeout=PATIENCE * 2).returncode != 0
    assert show('halo-doctor', 'ActiveState') == 'failed' and show('halo-doctor', 'ExecMainStatus') == '2'
    sh('systemctl', 'start', 'halo-engine@1')
    wait_for('readiness', is_serving)
    sh('systemctl', 'start', 'halo-doctor')  # the alarm is over


def test_a_worker_restarts_under_load_and_the_streams_are_the_same():
    wait_for('readiness', is_serving)
    quiet = Stream(1500).text()
    for unit in 'halo-engine@1', 'halo-router', 'halo-tokenizer':
        streams = [Stream(1500), Stream(1500)]
        sh('systemctl', 'restart', unit)
        for s in streams:
            assert s.text() == quiet, unit


def test_a_hung_engine_is_killed_by_its_watchdog_and_the_stream_goes_on():
    quiet = Stream(1500).text()
    s = Stream(1500)
    pid = int(show('halo-engine@1', 'MainPID'))
    os.kill(pid, signal.SIGSTOP)
    wait_for('another engine', lambda: show('halo-engine@1', 'MainPID') not in (str(pid), '0'))
    assert s.text() == quiet
    assert int(show('halo-engine@1', 'NRestarts')) >= 1


def test_a_swap_changes_the_unit_under_load_and_the_streams_are_the_same():
    quiet = Stream(1500).text()
    pid = show('halo-engine@1', 'MainPID')
    os.makedirs('/opt/next', exist_ok=True)
    shutil.copy(os.path.realpath(f'/proc/{pid}/exe'), '/opt/next/halo-engine')
    s = Stream(1500)
    said = sh('halo', 'swap', 'engine@1', '--args', '--max-seqs 8', '--build', '/opt/next')
    assert s.text() == quiet and 'went on at the newcomer' in said, said
    new = show('halo-engine@1', 'MainPID')
    with open(f'/proc/{new}/cmdline', encoding='utf-8') as f:
        assert f.read().split('\0')[-3:-1] == ['--max-seqs', '8']
    assert new != pid and os.stat(f'/proc/{new}/exe').st_ino == os.stat('/opt/next/halo-engine').st_ino
    assert show('halo-engine@1-swap', 'ActiveState') == 'inactive' and not os.path.exists('/run/systemd/system/halo-engine@1-swap.service.d')
    assert 'engine.1 ' in sh('halo', 'status') and 'swap' not in sh('halo', 'status')
    # What does not start changes nothing, and the words of the swap before stay.
    r = subprocess.run(['halo', 'swap', 'engine@1', '--args', '--no-such-option'], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert r.returncode == 1 and 'nothing has changed' in r.stderr and 'no-such-option' in r.stderr, r
    assert show('halo-engine@1', 'MainPID') == new and 'no-such' not in sh('systemctl', 'cat', 'halo-engine@1')
    sh('halo', 'swap', '1', '--args', '--spec-tokens 0')
    assert 'HALO_SWAP_ARGS= --max-seqs 8 --spec-tokens 0' in sh('systemctl', 'cat', 'halo-engine@1')
    assert ask(QUESTION)[0] == 200
    sh('systemctl', 'revert', 'halo-engine@1')
    write_watchdog()
    sh('systemctl', 'restart', 'halo-engine@1')
    assert show('halo-engine@1', 'BindReadOnlyPaths') == '' and Stream(1500).text() == quiet


def test_a_reload_of_the_gateway_brings_a_new_process_and_cuts_no_stream():
    quiet = Stream(1500).text()
    pid = show('halo-gateway', 'MainPID')
    s = Stream(1500)
    sh('systemctl', 'reload', 'halo-gateway')
    wait_for('the new process', lambda: show('halo-gateway', 'MainPID') not in (pid, '0'))
    assert ask(method='GET', path='/readyz')[0] == 200 and s.text() == quiet
    wait_for('the end of the old one', lambda: not os.path.exists(f'/proc/{pid}'))
    assert show('halo-gateway', 'ActiveState') == 'active' and show('halo-gateway', 'NRestarts') == '0'
    os.kill(int(show('halo-gateway', 'MainPID')), signal.SIGKILL)  # systemd watches over the new one, too
    wait_for('a restart', lambda: show('halo-gateway', 'NRestarts') == '1' and is_serving())


def test_while_the_gateway_restarts_clients_wait_and_none_is_refused():
    refused, answered, stop = [], [], threading.Event()

    def knock():
        while not stop.is_set():
            try:
                answered.append(ask(method='GET', path='/healthz')[0])
            except OSError as e:
                refused.append(e)

    s = Stream(1500)
    t = threading.Thread(target=knock)
    t.start()
    sh('systemctl', 'restart', 'halo-gateway')
    sh('systemctl', 'kill', '--kill-who=main', '-s', 'KILL', 'halo-gateway')
    wait_for('the next gateway', is_serving)
    stop.set()
    t.join(PATIENCE)
    s.text()
    # A request that the killed process had accepted is lost; the others wait in the queue.
    assert set(answered) == {200} and not [e for e in refused if isinstance(e, ConnectionRefusedError)], refused
    assert len(refused) <= 1, refused


def test_what_fails_ends_with_a_status_that_says_so():
    with open('/etc/systemd/system/halo-engine@9.service.d/x.conf', 'w', encoding='utf-8') as f:
        f.write('[Service]\nEnvironment="HALO_ENGINE_ARGS=--no-such-option"\n')
    sh('systemctl', 'daemon-reload')
    subprocess.run(['systemctl', 'start', 'halo-engine@9'], check=False, capture_output=True, timeout=PATIENCE)
    assert show('halo-engine@9', 'Result') == 'exit-code' and show('halo-engine@9', 'ExecMainStatus') == '2'
    assert show('halo-engine@9', 'NRestarts') == '0'


def test_the_target_stops_everything():
    sh('systemctl', 'stop', 'halo.target')
    for s in SERVICES + ['halo-gateway.socket']:
        wait_for(f'{s} to stop', lambda s=s: show(s, 'ActiveState') == 'inactive')
        assert show(s, 'Result') == 'success', s


if __name__ == '__main__':
    os.makedirs('/etc/systemd/system/halo-engine@9.service.d', exist_ok=True)
    write_watchdog()
    main(sys.modules['__main__'])
