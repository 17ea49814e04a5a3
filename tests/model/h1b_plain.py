# SPDX-License-Identifier: MIT
"""Reads .h1b version 5 (layout: common/h1b.h) with the standard library only, for tests of converters.

    sections = read("model.h1b")              # name -> Section
    codes(sections["w.weight"])               # rows of -1, 0, +1 of any packing
"""
import collections
import struct

Section = collections.namedtuple("Section", "dtype dims data hash")
U8, U32, F32, F16, T2, T5, S3, B1 = 0, 1, 2, 3, 16, 17, 18, 19


def read(path):
    with open(path, "rb") as file:
        raw = file.read()
    magic, version, size, n, _, table = struct.unpack_from("<4sIQIIQ", raw)
    assert magic == b"H1B\0" and version == 5 and size == len(raw)
    sections = {}
    for i in range(n):
        name, dtype, n_dims, *rest = struct.unpack_from("<96sII4QQQ32s", raw, table + 192 * i)
        offset, length, digest = rest[4:]
        sections[name.rstrip(b"\0").decode()] = Section(
            dtype, tuple(rest[:n_dims]), raw[offset : offset + length], digest)
    return sections


def floats(section):
    size, letter = (4, "f") if section.dtype == F32 else (2, "e")
    return list(struct.unpack(f"<{len(section.data) // size}{letter}", section.data))


def numbers(section):
    return list(struct.unpack(f"<{len(section.data) // 4}I", section.data))


def t2(unit, column):
    return (unit[column % 32] >> 2 * (column // 32) & 3) - 1


def t5(unit, column):
    fraction = unit[column % 64]
    for _ in range(column // 64):
        fraction = 3 * fraction & 255
    return (3 * fraction >> 8) - 1


def s3(unit, column):
    group, place = divmod(column, 4)
    nibble = unit[group % 16] >> 4 * (group // 16) & 15
    zero = nibble & 3
    if place == zero:
        return 0
    first = -1 if unit[16 + group // 8] >> group % 8 & 1 else 1
    index = place - (place > zero)
    return -first if index > 0 and nibble >> 1 + index & 1 else first


def b1(unit, column):
    return 1 if unit[column % 16] >> column // 16 & 1 else -1


PACKINGS = {T2: (128, 32, t2), T5: (320, 64, t5), S3: (128, 20, s3), B1: (128, 16, b1)}


def codes(section):
    rows, cols = section.dims
    n_cols, n_bytes, trit = PACKINGS[section.dtype]
    row_bytes = -(-cols // n_cols) * n_bytes
    out = []
    for r in range(rows):
        row = section.data[r * row_bytes : (r + 1) * row_bytes]
        units = [row[i : i + n_bytes] for i in range(0, row_bytes, n_bytes)]
        out.append([trit(units[c // n_cols], c % n_cols) for c in range(cols)])
    return out


def scale_at(section, rows, cols, r, c):
    values = floats(section)
    if len(section.dims) == 2:
        return values[r * section.dims[1] + c // (cols // section.dims[1])]
    return values[r // (rows // section.dims[0])]
