#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The installed units under a real systemd: systemd_inside.py runs in a container."""
import container
from tap import BUILD, sh


def install(root, out):
    del out
    r = sh('meson', 'install', '-C', BUILD, '--no-rebuild', '--quiet', '--destdir', root)
    assert r.returncode == 0, r.stderr
    r = sh('systemd-sysusers', f'--root={root}')
    assert r.returncode == 0, r.stderr


container.run('systemd_inside.py', install)
