# SPDX-License-Identifier: MIT
"""halo cert: cert_test.py HALO. Prints TAP."""
import os
import re
import subprocess
import sys
import tempfile
import traceback

HALO = sys.argv[1]


def cert(*args):
    return subprocess.run([HALO, 'cert', *args], capture_output=True, text=True, check=False)


def good(*args):
    r = cert(*args)
    assert r.returncode == 0, r
    return r.stdout


def mode(path):
    return os.stat(path).st_mode & 0o777


def keys_are_closed_and_certificates_say_who_they_are_for(folder):
    tls = f'{folder}/tls'
    old = os.umask(0)
    good('new', tls, 'a.example', '10.0.0.1', 'fd00::1')
    good('worker', tls, 'gpu1', '--days', '90')
    os.umask(old)
    assert sorted(os.listdir(tls)) == ['ca.key', 'ca.pem', 'gpu1.key', 'gpu1.pem', 'router.key', 'router.pem']
    for name in ('ca', 'gpu1', 'router'):
        assert mode(f'{tls}/{name}.key') == 0o600 and mode(f'{tls}/{name}.pem') == 0o644, name
    shown = good('show', *(f'{tls}/{n}.pem' for n in ('ca', 'router', 'gpu1')))
    assert re.search(r'authority, valid until .*\(365[0-9] days', shown), shown
    assert re.search(r'router: router, valid until .*\(36[45] days left\)\n  for a.example\n  for 10.0.0.1\n  for fd00::1\n', shown), shown
    assert re.search(r'gpu1: worker, valid until .*\((89|90) days left\)\n  for gpu1\n', shown), shown


def an_authority_is_never_overwritten_but_its_certificates_are_renewed(folder):
    tls = f'{folder}/tls'
    good('new', tls, 'a.example')
    with open(f'{tls}/ca.key', 'rb') as f:
        key = f.read()
    r = cert('new', tls, 'b.example')
    assert r.returncode == 1 and 'there is an authority' in r.stderr, r
    good('router', tls, 'b.example')
    assert 'for b.example' in good('show', f'{tls}/router.pem')
    with open(f'{tls}/ca.key', 'rb') as f:
        assert f.read() == key


def what_makes_no_certificate_is_refused_in_words(folder):
    tls = f'{folder}/tls'
    r = cert('worker', tls, 'gpu1')
    assert r.returncode == 1 and 'ca.pem' in r.stderr, r
    good('new', tls, 'a.example')
    for words in (['worker', tls, '../gpu1'], ['worker', tls, 'ca'], ['worker', tls, 'x' * 33], ['router', tls, 'a,IP:1.2.3.4'],
                  ['router', tls, ''], ['show', f'{tls}/ca.key'], ['show', f'{folder}/none']):
        r = cert(*words)
        assert r.returncode == 1 and r.stderr.startswith('halo cert: '), (words, r)
    for words in ([], ['new', tls], ['worker', tls], ['show'], ['make', tls]):
        assert cert(*words).returncode == 2, words
    os.replace(f'{tls}/router.key', f'{tls}/ca.key')
    r = cert('worker', tls, 'gpu1')
    assert r.returncode == 1 and 'is not the key of' in r.stderr, r


TESTS = [keys_are_closed_and_certificates_say_who_they_are_for, an_authority_is_never_overwritten_but_its_certificates_are_renewed,
         what_makes_no_certificate_is_refused_in_words]
print(f'1..{len(TESTS)}')
for number, test in enumerate(TESTS, 1):
    try:
        with tempfile.TemporaryDirectory() as place:
            test(place)
        print(f'ok {number} - {test.__name__}')
    except Exception:
        for line in traceback.format_exc().splitlines():
            print(f'# {line}')
        print(f'not ok {number} - {test.__name__}')
