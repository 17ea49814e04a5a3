#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What `meson install` puts where, and whether systemd is content with the units."""
import os
import re
import shutil
import sys
import tempfile

from tap import BUILD, ROOT, build_option, main, service, sh

UNITS = ['halo-gateway.service', 'halo-tokenizer.service', 'halo-router.service', 'halo-engine@.service']
TASKS = ['halo-doctor.service', 'halo-verify.service']
MOST_EXPOSURE = 2.0
OUT = PREFIX = None

# Under the prefix; the folder caddy/ is compared with the sources.
WANT = '''
bin/halo bin/halo-bench bin/halo-engine bin/halo-gateway bin/halo-router bin/halo-supervisor bin/halo-tokenizer
bin/halo-load bin/halo-model bin/halo-ppl
lib/systemd/system/halo.target lib/systemd/system/halo-gateway.socket lib/systemd/system/halo-gateway.service
lib/systemd/system/halo-tokenizer.service lib/systemd/system/halo-router.service
lib/systemd/system/halo-engine@.service lib/systemd/system/halo-doctor.service lib/systemd/system/halo-doctor.timer
lib/systemd/system/halo-verify.service lib/systemd/system/halo-verify.timer
lib/sysusers.d/halo.conf lib/tmpfiles.d/halo.conf
share/halo/halo-demo.h1b share/halo/halo-demo.md
share/halo/caddy/Caddyfile share/halo/caddy/studio/index.html share/halo/nginx/halo.conf share/halo/systemd/remote.conf
share/doc/halo/LICENSE share/doc/halo/README.md share/doc/halo/OPERATING.md share/bash-completion/completions/halo
'''.split()


def etc():
    return os.path.join(OUT, os.path.join(build_option('prefix'), build_option('sysconfdir')).lstrip('/'), 'halo')


def unit(name):
    return os.path.join(PREFIX, 'lib/systemd/system', name)


def text(path):
    with open(path, encoding='utf-8') as f:
        return f.read()


def test_every_file_is_installed():
    missing = [n for n in WANT if not os.path.isfile(os.path.join(PREFIX, n))]
    assert not missing, missing
    assert os.path.isfile(os.path.join(etc(), 'halo.conf')), etc()
    for d, _, names in os.walk(os.path.join(ROOT, 'caddy')):
        for n in names:
            source = os.path.join(d, n)
            copy = os.path.join(PREFIX, 'share/halo', os.path.relpath(source, ROOT))
            assert text(copy) == text(source), copy


def test_nothing_else_is_installed():
    have = {os.path.relpath(os.path.join(d, n), PREFIX) for d, _, names in os.walk(PREFIX) for n in names}
    other = sorted(n for n in have - set(WANT) if not n.startswith(('bin/halo-', 'share/halo/caddy/', 'etc/halo/', 'share/man/man1/halo')))
    assert not other, other


def test_the_configuration_names_every_option_and_starts_every_service():
    conf = os.path.join(etc(), 'halo.conf')
    for name in 'gateway', 'tokenizer', 'router', 'engine':
        section = text(conf).split(f'[halo-{name}]\n')[1].split('\n[')[0]
        for option_name in re.findall(r'^  --(?:\[no-\])?([a-z0-9-]+)', sh(service(name), '--help').stdout, re.M):
            if option_name not in ('config', 'print-config', 'print-defaults', 'print-man', 'version', 'help'):
                assert re.search(rf'^(# )?{option_name} =', section, re.M), (name, option_name)
        r = sh(service(name), '--config', conf, '--print-config')
        assert r.returncode == 0, r.stderr
        if name == 'engine':
            assert re.search(r'^model = /.*/share/halo/halo-demo\.h1b$', r.stdout, re.M), r.stdout


def test_each_program_and_each_verb_has_a_manual_page():
    verbs = re.findall(r'^VERB\((\w+),', text(os.path.join(ROOT, 'services/halo/verbs.def')), re.M)
    for page in ['halo', 'halo-gateway', 'halo-engine', 'halo-supervisor', *('halo-' + v for v in verbs)]:
        path = os.path.join(PREFIX, 'share/man/man1', page + '.1')
        assert text(path).startswith('.TH "' + page.replace('-', '\\-') + '" 1'), page
        if shutil.which('groff'):
            r = sh('groff', '-man', '-ww', '-z', '-Tutf8', path)
            assert r.returncode == 0 and not r.stderr, (page, r.stderr)


def complete(*words):
    """What bash offers for the last word."""
    script = ('shopt -s extglob; source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _halo; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    bin_dir = os.path.join(BUILD, 'services/halo')
    r = sh('bash', '-c', script, 'bash', os.path.join(PREFIX, 'share/bash-completion/completions/halo'), *words,
           env={**os.environ, 'PATH': bin_dir + ':' + os.environ['PATH']})
    assert r.returncode == 0 and not r.stderr, r.stderr
    return r.stdout.split()


def test_bash_completes_verbs_options_and_values():
    assert complete('halo', 'up') == ['up'] and 'chat' in complete('halo', '')
    assert complete('halo', 'up', '--eng') == ['--engines', '--engine-args']
    assert complete('halo', 'up', '--log-level', 'w') == ['warn']
    assert '--json' in complete('halo', 'status', '-')


def test_no_placeholder_is_left_in_a_unit():
    for name in os.listdir(os.path.join(PREFIX, 'lib/systemd/system')):
        assert '@bin' not in text(unit(name)) and '@conf' not in text(unit(name)) and '@doc' not in text(unit(name)), name


def test_systemd_finds_no_mistake_in_the_units():
    """In a copy whose commands exist on this machine: verify looks for them."""
    with tempfile.TemporaryDirectory(prefix='halo-units-') as d:
        names = os.listdir(os.path.join(PREFIX, 'lib/systemd/system'))
        for name in names:
            with open(os.path.join(d, name), 'w', encoding='utf-8') as f:
                f.write(re.sub(r'^ExecStart=\S+', 'ExecStart=/bin/true', text(unit(name)), flags=re.M))
        paths = [os.path.join(d, n.replace('@.', '@1.')) for n in names]
        os.rename(os.path.join(d, 'halo-engine@.service'), os.path.join(d, 'halo-engine@1.service'))
        r = sh('systemd-analyze', 'verify', '--man=no', '--recursive-errors=no', *paths)
        assert r.returncode == 0, r.stdout + r.stderr
        ours = [line for line in r.stderr.splitlines() if 'halo' in line]
        assert not ours, ours


def test_every_service_is_sandboxed():
    for name in UNITS + TASKS:
        r = sh('systemd-analyze', 'security', '--offline=true', f'--threshold={MOST_EXPOSURE * 10:.0f}', '--no-pager', unit(name))
        print('#', r.stdout.strip().splitlines()[-1].strip('→ ').encode('ascii', 'ignore').decode())
        assert r.returncode == 0, r.stdout


def test_every_service_says_ready_is_watched_and_gives_up_loudly():
    for name in UNITS:
        u = text(unit(name))
        for line in ('Type=notify', 'WatchdogSec=', 'Restart=always', 'StartLimitBurst=', 'RestartPreventExitStatus=2', 'UMask=0077'):
            assert re.search(f'^{line}', u, re.M), (name, line)


def test_users_and_directories_are_understood_by_systemd():
    with tempfile.TemporaryDirectory(prefix='halo-root-') as d:
        os.makedirs(os.path.join(d, 'etc'))
        r = sh('systemd-sysusers', f'--root={d}', os.path.join(PREFIX, 'lib/sysusers.d/halo.conf'))
        assert r.returncode == 0 and re.search('^halo:', text(os.path.join(d, 'etc/passwd')), re.M), r.stderr
        r = sh('systemd-tmpfiles', f'--root={d}', '--create', os.path.join(PREFIX, 'lib/tmpfiles.d/halo.conf'))
        assert r.returncode == 0, r.stderr
        assert os.stat(os.path.join(d, 'run/halo')).st_mode & 0o777 == 0o711
        assert text(os.path.join(d, 'run/halo/systemd')).startswith('http://127.0.0.1:8180')


def test_the_operators_guide_knows_every_error_and_only_what_exists():
    guide = text(os.path.join(ROOT, 'deploy/OPERATING.md'))
    sources = {}
    for top in 'services', 'proto', 'common':
        for d, _, names in os.walk(os.path.join(ROOT, top)):
            sources.update({os.path.join(d, n): text(os.path.join(d, n)) for n in names if n.endswith(('.c', '.def'))})
    code = ''.join(s for n, s in sources.items() if '/supervisor/' not in n)  # which does not run under systemd
    errors = set(re.findall(r'log_error\("([a-z-]+)"', code))
    unknown = sorted(e for e in errors if f'`{e}`' not in guide)
    assert not unknown, f'not in OPERATING.md: {unknown}'
    for metric in re.findall(r'\b(?:halo_|vllm:)[a-z_]+', guide.replace('halo_*.deb', '')):
        assert f'"{metric}"' in code, f'{metric} is no metric'
    options = ''.join(sh(service(n), '--help').stdout for n in ('gateway', 'tokenizer', 'router', 'engine'))
    for name in 'drain-ms', 'kv-tokens', 'kv-type', 'max-seqs', 'queue-limit', 'resume-ms', 'isa', 'head', 'keys':
        assert f'`{name}' in guide or f'{name} =' in guide, name
        assert re.search(rf'--{name}\b', options), name
    for path in re.findall(r'\[[^]]*\]\(([^)#]+)\)', guide):
        assert os.path.exists(os.path.join(ROOT, 'deploy', path)), path


if __name__ == '__main__':
    OUT = tempfile.mkdtemp(prefix='halo-install-')
    try:
        r = sh('meson', 'install', '-C', BUILD, '--no-rebuild', '--quiet', '--destdir', OUT)
        assert r.returncode == 0, r.stdout + r.stderr
        PREFIX = os.path.join(OUT, build_option('prefix').lstrip('/'))
        main(sys.modules['__main__'])
    finally:
        shutil.rmtree(OUT, ignore_errors=True)
