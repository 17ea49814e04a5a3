# SPDX-License-Identifier: MIT
"""A copy of this machine that is booted with a real systemd: systemd-nspawn over an overlay of /, whose
changes are lost. Runs one script in it, which writes TAP to /out/tap. Needs root."""
import os
import shutil
import subprocess
import sys
import tempfile

from tap import ROOT, build_option, sh

BOOT_S = 240

CI_TARGET = '[Unit]\nRequires=basic.target ci.service\nAfter=basic.target\nAllowIsolate=yes\n'
CI_SERVICE = '''[Unit]
After=basic.target
[Service]
Type=oneshot
TimeoutStartSec=240
ExecStart=/usr/bin/python3 /out/{script}
StandardOutput=append:/out/log
StandardError=append:/out/log
'''


def skip(why):
    print(f'1..1\nok 1 - real_systemd # SKIP {why}')
    sys.exit(0)


def why_not():
    if os.geteuid() != 0:
        return 'only root can boot a container'
    if shutil.which('systemd-nspawn') is None:
        return 'systemd-nspawn is not installed (package systemd-container)'
    if build_option('b_sanitize') != 'none':
        return 'sanitizers do not run in the sandbox of the units'
    return None


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)


def mount_root(folder):
    """A root that is this machine's, with writes going to memory; None if the kernel refuses."""
    if sh('mount', '-t', 'tmpfs', '-o', 'size=1g', 'tmpfs', folder).returncode != 0:
        return None
    for name in ('upper', 'work', 'root', 'out'):
        os.mkdir(os.path.join(folder, name))
    root = os.path.join(folder, 'root')
    r = sh('mount', '-t', 'overlay', 'overlay', '-o',
           f'lowerdir=/,upperdir={folder}/upper,workdir={folder}/work', root)
    return root if r.returncode == 0 else None


def boot(folder, root, script):
    write(os.path.join(root, 'etc/systemd/system/ci.target'), CI_TARGET)
    write(os.path.join(root, 'etc/systemd/system/ci.service'), CI_SERVICE.format(script=script))
    for name in (script, 'inside.py'):
        shutil.copy(os.path.join(ROOT, 'tests/deploy', name), os.path.join(folder, 'out', name))
    return subprocess.run(
        ['systemd-nspawn', '-q', '-D', root, '-b', '--private-network', '--register=no', '--keep-unit', '--link-journal=no',
         '-M', f'halo-test-{os.getpid()}', '--console=pipe', f'--bind={folder}/out:/out', 'systemd.unit=ci.target'],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace', timeout=BOOT_S, check=False)


def run(script, prepare):
    """Boots and runs the script; prepare(root, out) puts things into the container before."""
    if reason := why_not():
        skip(reason)
    folder = tempfile.mkdtemp(prefix='halo-systemd-')
    try:
        root = mount_root(folder)
        if root is None:
            skip('this kernel lets us mount neither tmpfs nor overlay')
        prepare(root, os.path.join(folder, 'out'))
        r = boot(folder, root, script)
        tap = os.path.join(folder, 'out/tap')
        if not os.path.exists(tap):
            if 'systemd 2' not in r.stdout:
                skip('systemd-nspawn cannot boot here: ' + (r.stderr.strip().splitlines() or ['no reason given'])[-1])
            print('1..1\nnot ok 1 - the_container_runs_the_tests')
            print('\n'.join('# ' + line for line in r.stdout.splitlines()[-60:]))
            if os.path.exists(os.path.join(folder, 'out/log')):
                with open(os.path.join(folder, 'out/log'), encoding='utf-8') as f:
                    print('\n'.join('# ' + line for line in f.read().splitlines()[-60:]))
            return
        with open(tap, encoding='utf-8') as f:
            print(f.read(), end='')
    finally:
        sh('umount', '-R', os.path.join(folder, 'root'))
        sh('umount', '-l', folder)
        shutil.rmtree(folder, ignore_errors=True)

