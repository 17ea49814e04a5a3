#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What clients see of each fault of common/fault.def. Only builds with fault points (-Dc_args=-DHALO_FAULTS) have this test."""
import contextlib
import os
import re
import sys
import tempfile

from disturbed import REQUESTS, ask
from halo_stack import Stack, in_parallel, main

EXPECTED = []


def ask_all(stack):
    return in_parallel([lambda r=r: ask(stack, r) for r in REQUESTS])


@contextlib.contextmanager
def fault(text, *args):
    """A stack with that fault. Where the text ends with a colon, it happens once, and must happen."""
    handle, token = tempfile.mkstemp(prefix='halo-fault-')
    os.close(handle)
    is_once = text.endswith(':')
    os.environ['HALO_FAULT'] = text + token if is_once else text
    try:
        with Stack(*args) as stack:
            yield stack
            assert not is_once or not os.path.exists(token), f'{text} did not happen'
    finally:
        del os.environ['HALO_FAULT']
        with contextlib.suppress(FileNotFoundError):
            os.unlink(token)


def undisturbed():
    if not EXPECTED:
        with Stack() as stack:
            EXPECTED.append(ask_all(stack))
    return EXPECTED[0]


def same_bytes_under(text, *args):
    expected = undisturbed()
    with fault(text, *args) as stack:
        assert ask_all(stack) == expected
        return {name: child['restarts'] for name, child in stack.children().items()}


def test_a_lost_frame_breaks_the_link_and_is_sent_again():
    for service in ['gateway', 'tokenizer', 'router', 'engine']:
        restarts = same_bytes_under(f'{service}/lost_frame:9:')
        assert set(restarts.values()) == {0}, restarts


def test_a_slow_peer_makes_replies_slow_and_no_different():
    for service in ['tokenizer', 'router', 'gateway']:
        assert set(same_bytes_under(f'{service}/slow_peer:1').values()) == {0}


def test_a_loop_that_spins_is_replaced():
    for service in ['tokenizer', 'router', 'engine']:
        restarts = same_bytes_under(f'{service}/spin_loop:9:')
        assert sum(restarts.values()) >= 1, restarts


def test_a_step_that_spins_is_replaced_though_the_engine_still_beats():
    restarts = same_bytes_under('engine/spin_step:9:')
    assert restarts['engine.1'] == 1, restarts


def test_a_process_without_memory_ends_and_its_successor_goes_on():
    expected = undisturbed()
    for service, at in [('router', 20), ('engine', 120)]:  # after their start
        with fault(f'{service}/no_memory:{at}:') as stack:
            assert ask_all(stack) == expected
            assert sum(child['restarts'] for child in stack.children().values()) >= 1
            log = 'engine.1.log' if service == 'engine' else 'router.log'
            with open(os.path.join(stack.run, 'log', log), encoding='utf-8') as f:
                assert 'ev=out-of-memory ' in f.read()


def test_jumps_of_the_clock_change_nothing():
    for service in ['gateway', 'tokenizer', 'router', 'engine']:
        assert set(same_bytes_under(f'{service}/clock_jump:1').values()) == {0}


def test_a_full_disk_costs_a_restarted_engine_its_cache_and_nothing_else():
    same = same_bytes_under('engine/full_disk:1')
    assert set(same.values()) == {0}, same
    with fault('engine/full_disk:1') as stack:
        first = ask(stack, REQUESTS[0])
        r = stack.halo('restart', 'engine.1', '--run', stack.run)
        assert r.returncode == 0, r.stdout + r.stderr
        assert ask(stack, REQUESTS[0]) == first


def test_a_model_that_cannot_be_mapped_stops_the_start_with_a_reason():
    os.environ['HALO_FAULT'] = 'engine/failed_mmap:1'
    try:
        with Stack() as stack:
            raise RuntimeError(f'it started: {stack.children()}')
    except AssertionError as e:
        assert 'engine.1' in str(e) and re.search('map|memory', str(e)), e
    finally:
        del os.environ['HALO_FAULT']


if __name__ == '__main__':
    main(sys.modules['__main__'])
