# SPDX-License-Identifier: MIT
"""Reads .h1b version 5 files straight from the description in common/h1b.h. Standard library only."""
import array
import hashlib
import json
import struct

U8, U32, F32, F16, T2, T5, S3, B1 = 0, 1, 2, 3, 16, 17, 18, 19


class Section:
    def __init__(self, dtype, dims, data):
        self.dtype, self.dims, self.data = dtype, dims, data

    def numbers(self):
        if self.dtype == F16:
            return list(struct.unpack(f'<{len(self.data) // 2}e', self.data))
        return list(array.array({U8: 'B', U32: 'I', F32: 'f'}[self.dtype], self.data))

    def trits(self):
        """Rows of -1, 0, +1 of a T2 section."""
        assert self.dtype == T2, self.dtype
        rows, cols = self.dims
        row_bytes = (cols + 127) // 128 * 32
        out = []
        for r in range(rows):
            row = self.data[r * row_bytes:(r + 1) * row_bytes]
            every = [(row[c // 128 * 32 + c % 32] >> (c % 128 // 32 * 2) & 3) - 1 for c in range(row_bytes * 4)]
            assert max(every) <= 1 and not any(every[cols:])
            out.append(every[:cols])
        return out


class File:
    def __init__(self, path):
        with open(path, 'rb') as f:
            raw = f.read()
        magic, version, size, n, flags, table, digest = struct.unpack_from('<4sIQIIQ32s', raw)
        assert (magic, version, size, flags) == (b'H1B\0', 5, len(raw), 0)
        assert hashlib.sha256(raw[table:table + n * 192]).digest() == digest
        self.hash = digest.hex()
        self.sections = {}
        for i in range(n):
            name, dtype, n_dims, *rest = struct.unpack_from('<96sII4QQQ32s8x', raw, table + i * 192)
            dims, (offset, length, digest) = rest[:4], rest[4:]
            assert dims[n_dims:] == [1] * (4 - n_dims) and offset % 64 == 0
            data = raw[offset:offset + length]
            assert len(data) == length and hashlib.sha256(data).digest() == digest
            self.sections[name.rstrip(b'\0').decode()] = Section(dtype, dims[:n_dims], data)

    def __getitem__(self, name):
        return self.sections[name]

    def config(self):
        return json.loads(self['config'].data)

    def template(self):
        return self['chat_template'].data.decode()

    def tokens(self):
        at = self['tokenizer.offsets'].numbers()
        raw = self['tokenizer.bytes'].data
        return [raw[a:b] for a, b in zip(at, at[1:])]
