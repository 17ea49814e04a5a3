#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The shipped Caddyfile with the real Caddy in front of a running stack."""
import json
import os
import subprocess
import sys
import tempfile

import fronts
from halo_stack import HALO, PATIENCE, ROOT, Stack, main

STACK = FRONT = None
CADDYFILE = os.path.join(ROOT, 'caddy/Caddyfile')


def adapted(**env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith('HALO_')}
    return subprocess.run(['caddy', 'adapt', '--config', CADDYFILE, '--adapter', 'caddyfile'], env={**clean, **env},
                          capture_output=True, text=True, timeout=PATIENCE, check=False)


def version():
    r = subprocess.run(['caddy', 'version'], capture_output=True, text=True, check=True)
    return tuple(int(n) for n in r.stdout.split()[0].lstrip('v').split('-')[0].split('.'))


def test_without_a_site_it_is_refused_by_name():
    r = adapted()
    assert r.returncode != 0 and 'HALO_SITE-is-not-set' in r.stderr, r
    assert adapted(HALO_SITE='https://halo.example.org').returncode == 0


def test_it_is_written_as_caddy_fmt_writes():
    r = subprocess.run(['caddy', 'fmt', CADDYFILE], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert r.stdout == open(CADDYFILE, encoding='utf-8').read(), 'caddy fmt would change it'


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
    with fronts.caddy(f'127.0.0.1:{STACK.port}') as front:
        fronts.check_requests_wait_for_a_restart(front, STACK)


def test_doctor_looks_at_the_certificate():
    def certificate(**env):
        r = subprocess.run([HALO, 'doctor', '--json', '--url', FRONT.url('')], env={**os.environ, **env},
                           capture_output=True, text=True, timeout=PATIENCE, check=False)
        return next(c for c in json.loads(r.stdout)['checks'] if c['check'] == 'certificate')

    trusted = certificate(SSL_CERT_FILE=FRONT.ca)
    assert trusted['outcome'] == 'ok' and 'days left' in trusted['found'], trusted
    foreign = certificate(SSL_CERT_FILE='')
    assert foreign['outcome'] == 'fail' and 'SSL_CERT_FILE' in foreign['remedy'], foreign


def test_a_failure_is_told_in_band():
    fronts.check_a_failure_is_told_in_band(FRONT, STACK)


def test_the_death_of_the_proxy_is_seen_and_cancels():
    with fronts.caddy(f'unix/{STACK.run}/gateway.http') as front:
        fronts.check_the_proxys_death(front, STACK)


def test_a_killed_gateway_never_makes_a_stream_look_whole():
    """Caddy before 2.7.6 ends it cleanly, with every transport; [DONE] is missing all the same."""
    upstreams = [f'unix/{STACK.run}/gateway.http', f'127.0.0.1:{STACK.port}', f'h2c://127.0.0.1:{STACK.port}']
    for upstream in upstreams:
        with tempfile.NamedTemporaryFile('w', suffix='.Caddyfile') as f:
            f.write('{\n\tadmin off\n\tskip_install_trust\n}\n{$HALO_SITE} {\n\treverse_proxy {$HALO_UPSTREAM}\n}\n')
            f.flush()
            with fronts.caddy(upstream, f.name) as front:
                for http, (status, is_whole) in fronts.cut_streams(front, STACK).items():
                    assert not is_whole, (upstream, http)
                    assert (status == 0) == (version() < (2, 7, 6)), (upstream, http, status)


if __name__ == '__main__':
    with Stack('--gateway-args', '--drain-ms 100') as STACK, fronts.caddy(f'unix/{STACK.run}/gateway.http') as FRONT:
        main(sys.modules['__main__'])
