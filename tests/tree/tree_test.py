#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks of the tree itself: what a compiler does not see. Prints TAP."""
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.abspath(sys.argv[1])
BUILD = os.path.abspath(sys.argv[2])
CFLAGS = ['-std=gnu11', '-D_GNU_SOURCE', '-DH2O_USE_LIBUV=0', '-fsyntax-only', '-Wall', '-Wextra', '-Werror', '-xc',
          '-I', ROOT, '-I', BUILD, '-I', os.path.join(BUILD, 'common')]


def files(*endings):
    listed = subprocess.run(['git', '-C', ROOT, 'ls-files', '-co', '--exclude-standard'], capture_output=True, text=True)
    names = listed.stdout.splitlines()
    if listed.returncode != 0:
        names = [os.path.relpath(os.path.join(d, f), ROOT) for d, subs, fs in os.walk(ROOT)
                 for f in fs if not os.path.relpath(d, ROOT).startswith(('build', '.git'))]
    return sorted(n for n in names if n.endswith(endings) and os.path.exists(os.path.join(ROOT, n)))


def text(name):
    with open(os.path.join(ROOT, name), encoding='utf-8') as f:
        return f.read()


def headers_compile_alone():
    wrong = []
    arm = shutil.which('aarch64-linux-gnu-gcc')
    for name in files('.h'):
        if 'neon' in name and not arm:
            print(f'# {name} not compiled: no aarch64-linux-gnu-gcc here')
        elif name.startswith(('common/', 'proto/', 'kernels/', 'services/')):
            compiler = arm if 'neon' in name else 'cc'
            flags = ['-mavx2', '-mfma', '-mf16c'] if 'avx2' in name else []
            if 'avx512' in name:
                flags = ['-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512vnni', '-mfma', '-mf16c']
            r = subprocess.run([compiler, *CFLAGS, *flags, '-'], input=f'#include "{name}"\n', capture_output=True, text=True)
            if r.returncode != 0:
                wrong.append(f'{name}: {r.stderr.splitlines()[0] if r.stderr else r.returncode}')
    return wrong


def layers_are_kept():
    """common <- proto <- services; kernels need libc only; no service includes a sibling."""
    allowed = {'common': {'common'}, 'proto': {'common', 'proto'}, 'kernels': {'kernels'}}
    wrong = []
    for name in files('.c', '.h'):
        parts = name.split('/')
        for inc in re.findall(r'^#include "([^"]+)"', text(name), re.M):
            top = inc.split('/')[0]
            if parts[0] in allowed and top not in allowed[parts[0]]:
                wrong.append(f'{name} includes {inc}')
            if parts[0] == 'services' and top == 'services' and inc.split('/')[1] != parts[1]:
                wrong.append(f'{name} includes its sibling {inc}')
            if parts[0] == 'services' and top == 'kernels' and parts[1] != 'engine':
                wrong.append(f'{name} includes {inc}: only the engine knows kernels')
            if inc.startswith('../') or '/' not in inc:
                wrong.append(f'{name}: {inc} is not written from the root')
    return wrong


def only_main_exits():
    return [f'{n}: exit() outside main.c' for n in files('.c')
            if n.startswith(('common/', 'proto/', 'kernels/', 'services/')) and not n.endswith('main.c')
            and re.search(r'(?<![_\w])exit\s*\(', re.sub(r'/\*.*?\*/', '', text(n), flags=re.S))]


def no_banned_functions():
    banned = r'(?<![\w])(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|atof|gmtime|localtime|gets|usleep|rand)\s*\('
    return [f'{n}: {m}' for n in files('.c', '.h') if not n.startswith('tests/')
            for m in re.findall(banned, re.sub(r'/\*.*?\*/|"(\\.|[^"\\])*"', '', text(n), flags=re.S))]


def every_source_names_its_licence():
    return [n for n in files('.c', '.h', '.def', '.hip') if not text(n).startswith('/* SPDX-License-Identifier: MIT */')]


def no_file_is_longer_than_900_lines():
    return [f'{n}: {text(n).count(chr(10))}' for n in files('.c', '.h') if text(n).count('\n') > 900]


def main_c_is_short():
    return [f'{n}: {text(n).count(chr(10))} lines' for n in files('/main.c') if text(n).count('\n') > 120]


def sources_are_formatted():
    names = files('.c', '.h')
    r = subprocess.run(['clang-format', '--dry-run', '-Werror', *names], cwd=ROOT, capture_output=True, text=True)
    return sorted({line.split(':')[0] for line in r.stderr.splitlines() if 'error:' in line})


def top_level_is_as_agreed():
    want = {'meson.build', 'services', 'common', 'kernels', 'proto', 'deploy', 'caddy', 'tests', 'README.md', 'LICENSE'}
    have = {n.split('/')[0] for n in files('')}
    return sorted(n for n in have if not n.startswith('.') and n not in want) + sorted(f'missing: {n}' for n in want - have)


CHECKS = [headers_compile_alone, layers_are_kept, only_main_exits, no_banned_functions, every_source_names_its_licence,
          no_file_is_longer_than_900_lines, main_c_is_short, sources_are_formatted, top_level_is_as_agreed]
print(f'1..{len(CHECKS)}')
for number, check in enumerate(CHECKS, 1):
    wrong = check()
    print(f'{"not ok" if wrong else "ok"} {number} - {check.__name__}')
    for line in wrong:
        print(f'# {line}')
sys.exit(0)
