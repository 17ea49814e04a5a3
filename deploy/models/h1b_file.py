# SPDX-License-Identifier: MIT
"""Reads and writes .h1b version 5, Halo's model container (layout: common/h1b.h).

    sections = {"config": np.frombuffer(b"{}", np.uint8), "w": Ternary(codes)}
    write("model.h1b", sections)
    sections = read("model.h1b")            # name -> array, or Ternary for packed tensors

Dtypes follow the arrays: uint8, uint32, float32, float16, and Ternary for two-bit tensors.
Needs numpy only.
"""
import hashlib
import struct

import numpy as np

MAGIC, VERSION, ALIGN, ENTRY, NAME_BYTES = b"H1B\0", 5, 64, 192, 96
DTYPES = {0: np.dtype("<u1"), 1: np.dtype("<u4"), 2: np.dtype("<f4"), 3: np.dtype("<f2")}
DTYPE_T2 = 16
GROUP_COLUMNS, GROUP_BYTES = 128, 32


class Ternary:
    """A matrix of values -1, 0, +1 (int8, [rows, columns])."""

    def __init__(self, values):
        self.values = np.asarray(values, dtype=np.int8)
        if self.values.ndim != 2 or np.abs(self.values).max(initial=0) > 1:
            raise ValueError("a ternary tensor is a matrix of -1, 0 and 1")


def pack_ternary(values):
    """[rows, columns] of -1, 0, +1 to T2 bytes: code t+1, column 32k+m of a group of 128 columns in
    bits 2k..2k+1 of the group's byte m, rows padded with code 1."""
    rows, columns = values.shape
    groups = -(-columns // GROUP_COLUMNS)
    codes = np.ones((rows, groups * GROUP_COLUMNS), np.uint8)
    codes[:, :columns] = values + 1
    codes = codes.reshape(rows, groups, 4, GROUP_BYTES)
    packed = codes[:, :, 0] | codes[:, :, 1] << 2 | codes[:, :, 2] << 4 | codes[:, :, 3] << 6
    return packed.tobytes()


def unpack_ternary(data, rows, columns):
    """The inverse of pack_ternary; refuses code 3."""
    groups = -(-columns // GROUP_COLUMNS)
    packed = np.frombuffer(data, np.uint8).reshape(rows, groups, 1, GROUP_BYTES)
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    codes = ((packed >> shifts) & 3).reshape(rows, groups * GROUP_COLUMNS)
    if codes.max(initial=0) > 2:
        raise ValueError("code 3 in a ternary tensor")
    return codes[:, :columns].astype(np.int8) - 1


def _encode(value):
    """(dtype number, dims, bytes) of a section's value."""
    if isinstance(value, Ternary):
        return DTYPE_T2, value.values.shape, pack_ternary(value.values)
    value = np.ascontiguousarray(value)
    for number, dtype in DTYPES.items():
        if value.dtype == dtype:
            return number, value.shape, value.astype(dtype).tobytes()
    raise ValueError(f"no .h1b dtype for {value.dtype}")


def write(path, sections):
    """Writes `sections` (name -> array or Ternary) in their order. Returns the model hash."""
    table, blobs = b"", []
    offset = ALIGN + len(sections) * ENTRY
    offset += -offset % ALIGN
    for name, value in sections.items():
        dtype, dims, data = _encode(value)
        raw_name = name.encode()
        if not raw_name or len(raw_name) >= NAME_BYTES or not 1 <= len(dims) <= 4:
            raise ValueError(f"bad name or shape of section {name!r}")
        all_dims = list(dims) + [1] * (4 - len(dims))
        table += struct.pack(
            "<96sII4QQQ32s8x",
            raw_name,
            dtype,
            len(dims),
            *all_dims,
            offset,
            len(data),
            hashlib.sha256(data).digest(),
        )
        blobs.append((offset, data))
        offset += len(data) + -len(data) % ALIGN
    size = blobs[-1][0] + len(blobs[-1][1])
    model_hash = hashlib.sha256(table).digest()
    with open(path, "wb") as out:
        out.write(
            struct.pack("<4sIQIIQ32s", MAGIC, VERSION, size, len(sections), 0, ALIGN, model_hash)
        )
        out.write(table)
        for start, data in blobs:
            out.write(b"\0" * (start - out.tell()))
            out.write(data)
    return model_hash.hex()


def read(path):
    """All sections of a file, name -> array or Ternary, after checking every hash."""
    with open(path, "rb") as file:
        raw = file.read()
    magic, version, size, n, flags, table_at, model_hash = struct.unpack_from("<4sIQIIQ32s", raw)
    if magic != MAGIC or version != VERSION or size != len(raw) or flags != 0:
        raise ValueError(f"{path}: not a whole .h1b version 5 file")
    table = raw[table_at : table_at + n * ENTRY]
    if hashlib.sha256(table).digest() != model_hash:
        raise ValueError(f"{path}: the section table is damaged")
    sections = {}
    for i in range(n):
        name, dtype, n_dims, *rest = struct.unpack_from("<96sII4QQQ32s", table, i * ENTRY)
        name = name.rstrip(b"\0").decode()
        dims, (offset, length, digest) = rest[:n_dims], rest[4:]
        data = raw[offset : offset + length]
        if hashlib.sha256(data).digest() != digest:
            raise ValueError(f"{path}: section {name} is damaged")
        if dtype == DTYPE_T2:
            sections[name] = Ternary(unpack_ternary(data, *dims))
        else:
            sections[name] = np.frombuffer(data, DTYPES[dtype]).reshape(dims)
    return sections
