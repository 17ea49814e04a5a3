#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Looks at the machine code of the GPU kernels: hip_isa_test.py BUILD/kernels/hip kernels.def. Prints TAP."""
import os
import re
import subprocess
import sys

FOLDER, DEF = sys.argv[1:3]
KERNELS = re.findall(r'^HIP_KERNEL\((\w+),', open(DEF, encoding='utf-8').read(), re.M)
DOT = ['few_1', 'few_2', 'few_4', 'few_direct_1', 'few_direct_4', 'head_bounds_1', 'head_bounds_4', 'linear_1', 'linear_2', 'linear_4', 'linear_group_1', 'linear_group_4', 'attention8_row_1', 'attention8_row_4', 'attention8_row128_1', 'attention8_row128_4']
MATRIX = ['linear_split_16', 'linear_split_32', 'linear_split_64', 'linear_matrix', 'head_bounds_16', 'head_bounds_32', 'head_bounds_64', 'attention8', 'attention8_128']
CHUNKS = ['attention_32', 'attention8', 'attention8_128']
RDNA = ['gfx1151', 'gfx1150', 'gfx1100', 'gfx1101', 'gfx1102', 'gfx1103', 'gfx1200', 'gfx1201']
CDNA = {'gfx90a': 'v_mfma_i32_16x16x16i8', 'gfx942': 'v_mfma_i32_16x16x32_i8'}
PTX = ['sm_80', 'sm_90', 'sm_90a']
# Vector registers: up to 96 leave 16 waves of 32 a SIMD on gfx1151, 144 leave 10, 208 leave 7 (matmul.h's
# shared memory lets 6 run).
VGPRS = {'linear_1': 112, 'linear_split_64': 144, 'linear_matrix': 144,
         'head_bounds_32': 128, 'head_bounds_64': 192, 'head_bounds_4': 112}
VGPRS.update({k: 232 if k in CHUNKS else 200 for k in KERNELS if k.startswith('attention')})
VGPRS_ELSE = 112
# Scalars in lanes of a vector register: what a block of these knows of its task is much, and all of it uniform.
SGPR_SPILLS = {k: 140 for k in KERNELS if k.startswith('attention')}


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def path(arch):
    return os.path.join(FOLDER, arch + ('.ptx' if arch in PTX else '.hsaco'))


def metadata(arch):
    """Kernel name to the fields of its notes."""
    found = {}
    for part in re.split(r'\n  - ', run('llvm-readelf-19', '--notes', path(arch))):
        fields = dict(re.findall(r'\.(\w+): +(\S+)', part))
        if 'wavefront_size' in fields:
            found[fields['symbol'].removesuffix('.kd').removeprefix('halo_')] = fields
    return found


def code(arch):
    """Kernel name to its instructions."""
    found, name = {}, None
    for line in run('llvm-objdump-19', '-d', '--no-show-raw-insn', path(arch)).splitlines():
        label = re.match(r'[0-9a-f]+ <halo_(\w+)>:', line)
        if label:
            name = label[1]
            found[name] = []
        elif name and line.startswith('\t'):
            found[name].append(line.split('//')[0].strip())
    return found


def has(instructions, what):
    return any(i.startswith(what) for i in instructions)


NOTES = {arch: metadata(arch) for arch in [*RDNA, *CDNA]} if os.path.exists(path('gfx1151')) else {}
CODE = {arch: code(arch) for arch in NOTES}


def every_target_has_every_kernel():
    wrong = [f'{a}: {sorted(set(KERNELS) ^ set(found))}' for a, found in CODE.items() if set(found) != set(KERNELS)]
    return wrong + [f'{a}: no {k}' for a in PTX for k in KERNELS if f'.visible .entry halo_{k}(' not in open(path(a)).read()]


def waves_are_32_on_rdna_and_64_on_cdna():
    return [f'{a} {k}: {f["wavefront_size"]}' for a, n in NOTES.items() for k, f in n.items()
            if f['wavefront_size'] != ('32' if a in RDNA else '64')]


def nothing_spills_and_nothing_lies_in_scratch():
    """Scalars may go into lanes of a vector register on CDNA, which has half as many scalar registers' worth of masks."""
    wrong = []
    for a, n in NOTES.items():
        for k, f in n.items():
            most = SGPR_SPILLS.get(k, 0 if a in RDNA else 24)
            if int(f['vgpr_spill_count']) or int(f['private_segment_fixed_size']) or int(f['sgpr_spill_count']) > most:
                wrong.append(f'{a} {k}: {f["vgpr_spill_count"]} {f["sgpr_spill_count"]} {f["private_segment_fixed_size"]}')
            wrong += [f'{a} {k}: {i}' for i in CODE[a][k] if i.startswith(('scratch_', 'flat_'))]
    return wrong


def registers_leave_room_for_waves():
    return [f'{a} {k}: {f["vgpr_count"]}' for a, n in NOTES.items() if a in RDNA for k, f in n.items()
            if int(f['vgpr_count']) > VGPRS.get(k, VGPRS_ELSE)]


def products_of_bytes_are_done_by_fours():
    return [f'{a} {k}' for a in CODE for k in DOT
            if not has(CODE[a][k], 'v_dot4_i32_iu8' if a in RDNA else 'v_dot4_i32_i8') and not has(CODE[a][k], 'v_dot4c_i32_i8')]


def matrix_kernels_use_the_matrix_units():
    return [f'{a} {k}' for a in CODE for k in MATRIX if not has(CODE[a][k], CDNA.get(a, 'v_wmma_i32_16x16x16_iu8'))]


def weights_are_loaded_16_bytes_at_once():
    wide = ('global_load_b128', 'global_load_dwordx4')
    return [f'{a} {k}' for a in CODE for k in ['linear_1', 'linear_4', 'head_1', 'head_4', 'head_bounds_1', 'head_bounds_4'] if not has(CODE[a][k], wide)]


def exchanges_of_halves_stay_with_the_next_exchange():
    """LLVM 19 may sink v_permlanex16 into a branch: the exchange by 8 must follow it without one between."""
    wrong = []
    for a in CODE:
        for k, instructions in CODE[a].items():
            for n, i in enumerate(instructions):
                if i.startswith('v_permlanex16'):
                    rest = instructions[n:n + 60]
                    until = next((m for m, j in enumerate(rest) if 'row_xmask:8' in j), None)
                    if until is None or any('saveexec' in j or 'branch' in j or 'endpgm' in j for j in rest[:until]):
                        wrong.append(f'{a} {k}: instruction {n}')
    return wrong


def floats_are_rounded_as_defined():
    """Round to nearest, subnormals kept; division by the whole sequence; no approximate square root alone."""
    wrong = []
    for a in CODE:
        section = re.search(r' \.rodata +PROGBITS +(\w+) (\w+)', run('llvm-readelf-19', '-S', path(a)))
        shift = int(section[2], 16) - int(section[1], 16)
        for at, k in re.findall(r': (\w+) +64 OBJECT .* halo_(\w+)\.kd', run('llvm-readelf-19', '-s', path(a))):
            with open(path(a), 'rb') as f:
                f.seek(int(at, 16) + shift + 48)  # COMPUTE_PGM_RSRC1 of the kernel's descriptor
                mode = int.from_bytes(f.read(4), 'little') >> 12 & 255
            if mode != 0xf0:
                wrong.append(f'{a} {k}: rounding and subnormals {mode:#x}')
        for k in ['norm', 'few_1', 'attention_row_1']:
            if not has(CODE[a][k], 'v_div_fixup_f32'):
                wrong.append(f'{a} {k}: division')
    for a in PTX:
        text = open(path(a)).read()
        wrong += [f'{a}: {w}' for w in ['.ftz', 'div.approx', 'div.full', 'sqrt.approx', 'rcp.approx', 'ex2.'] if w in text]
        wrong += [f'{a}: no {w}' for w in ['div.rn.f32', 'sqrt.rn.f32', 'fma.rn.f32', 'dp4a.s32', 'wgmma.mma_async' if a == 'sm_90a' else 'mma.sync', 'ld.global.v4'] if w not in text]
    return wrong


CHECKS = [every_target_has_every_kernel, waves_are_32_on_rdna_and_64_on_cdna, nothing_spills_and_nothing_lies_in_scratch,
          registers_leave_room_for_waves, products_of_bytes_are_done_by_fours, matrix_kernels_use_the_matrix_units,
          weights_are_loaded_16_bytes_at_once, exchanges_of_halves_stay_with_the_next_exchange, floats_are_rounded_as_defined]
print(f'1..{len(CHECKS)}')
for number, check in enumerate(CHECKS, 1):
    wrong = check()
    print(f'{"not ok" if wrong else "ok"} {number} - {check.__name__}')
    for line in wrong[:20]:
        print(f'# {line}')
