#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The Debian package: built, looked at by lintian, and installed, upgraded and purged in a container
(package_inside.py). Part of --soak, because it builds everything once more; or name a package that is
built already in HALO_DEB."""
import os
import shutil
import subprocess
import sys
import tempfile

import container
from tap import ROOT, sh


def build():
    if deb := os.environ.get('HALO_DEB'):
        return deb
    if os.environ.get('HALO_SOAK') != 'true':
        container.skip('builds everything once more: tests/run --soak')
    if shutil.which('dh') is None:
        container.skip('debhelper is not installed')
    r = subprocess.run([os.path.join(ROOT, 'deploy/build-deb')], capture_output=True, text=True, check=False)
    assert r.returncode == 0, r.stdout[-3000:] + r.stderr[-3000:]
    return os.path.join(ROOT, r.stdout.splitlines()[-1].replace('../../', 'build/'))


def lint(deb):
    if shutil.which('lintian') is None:
        print('# lintian is not installed')
        return
    r = sh('lintian', '--fail-on', 'error,warning', '--allow-root', deb)
    assert r.returncode == 0, r.stdout


def newer(deb, target):
    """The same package with a higher version."""
    with tempfile.TemporaryDirectory(prefix='halo-deb-') as d:
        for argv in (['dpkg-deb', '-R', deb, d], ['sed', '-i', 's/^Version: .*/&+next/', d + '/DEBIAN/control'],
                     ['dpkg-deb', '--root-owner-group', '-Zgzip', '-z1', '-b', d, target]):
            r = sh(*argv)
            assert r.returncode == 0, (argv, r.stderr)


def prepare(root, out):
    policy = os.path.join(root, 'usr/sbin/policy-rc.d')
    if os.path.exists(policy):  # of containers that must not start services; this one shall
        os.remove(policy)
    shutil.copy(DEB, out + '/halo_old.deb')
    newer(DEB, out + '/halo_new.deb')


if reason := container.why_not():
    container.skip(reason)
DEB = build()
lint(DEB)
container.run('package_inside.py', prepare)
sys.exit(0)
