# SPDX-License-Identifier: MIT
"""What the processes of a stack use, from /proc."""
import json
import os

TICKS = os.sysconf('SC_CLK_TCK')


def pids(stack):
    """name -> pid of all processes of the stack, the supervisor with them"""
    r = stack.halo('status', '--run', stack.run, '--json')
    assert r.returncode == 0, r.stdout + r.stderr
    status = json.loads(r.stdout)
    return {'supervisor': status['pid'], **{c['name']: c['pid'] for c in status['children']}}


def memory_kb(pid, field='VmRSS'):
    with open(f'/proc/{pid}/status', encoding='ascii') as f:
        for line in f:
            if line.startswith(field + ':'):
                return int(line.split()[1])
    raise AssertionError(f'no {field} of process {pid}')


def n_fds(pid):
    return len(os.listdir(f'/proc/{pid}/fd'))


def n_threads(pid):
    return len(os.listdir(f'/proc/{pid}/task'))


def cpu_seconds(pid):
    """utime + stime"""
    with open(f'/proc/{pid}/stat', encoding='ascii') as f:
        after_name = f.read().rsplit(')', 1)[1].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS


def is_sanitized(pid):
    with open(f'/proc/{pid}/maps', encoding='utf-8') as f:
        maps = f.read()
    return 'libasan' in maps or 'libtsan' in maps
