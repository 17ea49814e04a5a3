#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each service of a stack serves under its filter of system calls, without rights and capabilities."""
import sys

from disturbed import REQUESTS, ask
from halo_stack import Stack, main
from processes import is_sanitized

SERVICES = ['engine.1', 'router', 'tokenizer', 'gateway']


def status_of(pid):
    with open(f'/proc/{pid}/status', encoding='ascii') as f:
        return dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)


def log_of(stack, name):
    with open(f'{stack.run}/log/{name}.log', encoding='utf-8') as f:
        return f.read()


def test_each_service_serves_under_its_filter():
    with Stack() as stack:
        for request in REQUESTS:
            ask(stack, request)
        for path in ['/metrics', '/v1/models', '/readyz']:
            assert stack.request('GET', path)[0] == 200
        children = stack.children()
        has_filter = not is_sanitized(children['gateway']['pid'])
        for name in SERVICES:
            assert children[name]['restarts'] == 0, children[name]
            status = status_of(children[name]['pid'])
            assert status['NoNewPrivs'] == '1', name
            assert int(status['CapEff'], 16) == int(status['CapPrm'], 16) == 0, (name, status['CapEff'])
            assert status['Seccomp'] == ('2' if has_filter else '0'), (name, status['Seccomp'])
            assert ('ev=sandbox-off' in log_of(stack, name)) != has_filter, name


def test_switched_off_it_warns():
    with Stack('--sandbox', 'off') as stack:
        stack.chat('Hello!', max_tokens=2)
        for name in SERVICES:
            assert status_of(stack.children()[name]['pid'])['Seccomp'] == '0', name
            assert 'level=warn' in log_of(stack, name) and 'ev=sandbox-off' in log_of(stack, name), name


if __name__ == '__main__':
    main(sys.modules['__main__'])
