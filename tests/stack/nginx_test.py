#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The shipped deploy/nginx/halo.conf with the real nginx in front of a running stack."""
import shutil
import sys

import fronts
from halo_stack import Stack, main

STACK = FRONT = None


def test_a_chat_streams_through_tls_on_both_lanes():
    with fronts.candidate_engine(STACK):
        fronts.check_lanes_stream(FRONT)


def test_only_what_is_meant_for_the_outside_is_open():
    fronts.check_routes(FRONT)


def test_the_studio_comes_with_types_and_a_strict_policy():
    fronts.check_studio(FRONT)


def test_security_headers_are_everywhere():
    fronts.check_headers(FRONT)


def test_large_bodies_are_refused_in_json():
    fronts.check_large_bodies(FRONT)


def test_tokens_are_not_held_back():
    fronts.check_first_token_is_not_held_back(FRONT, STACK)


def test_a_client_that_leaves_frees_its_sequence():
    fronts.check_leaving(FRONT, STACK)


def test_a_request_waits_while_the_gateway_restarts():
    with fronts.nginx(f'127.0.0.1:{STACK.port}') as front:
        fronts.check_requests_wait_for_a_restart(front, STACK)


def test_a_failure_is_told_in_band():
    fronts.check_a_failure_is_told_in_band(FRONT, STACK)


def test_the_death_of_the_proxy_is_seen_and_cancels():
    with fronts.nginx(f'unix:{STACK.run}/gateway.http') as front:
        fronts.check_the_proxys_death(front, STACK)


def test_a_killed_gateway_breaks_its_streams_visibly():
    for http, (status, is_whole) in fronts.cut_streams(FRONT, STACK).items():
        assert status != 0 and not is_whole, (http, status)


if __name__ == '__main__':
    if shutil.which('nginx') is None:
        print('1..1\nok 1 - nginx # SKIP nginx is not installed (package nginx-light)')
        sys.exit(0)
    with Stack('--gateway-args', '--drain-ms 100') as STACK, fronts.nginx(f'unix:{STACK.run}/gateway.http') as FRONT:
        main(sys.modules['__main__'])
