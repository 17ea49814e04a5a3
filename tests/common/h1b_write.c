/* SPDX-License-Identifier: MIT */
#include "tests/common/h1b_write.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(uint8_t *p, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *p, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++)
        value |= (uint64_t)p[i] << 8 * i;
    return value;
}

static void sha256(const void *data, size_t n, uint8_t *ret_hash)
{
    if (EVP_Digest(data, n, ret_hash, NULL, EVP_sha256(), NULL) != 1)
        abort();
}

static size_t aligned(size_t n)
{
    return (n + 63) & ~(size_t)63;
}

size_t h1b_write_bytes(const struct h1b_item *items, uint32_t n, uint8_t **ret_bytes)
{
    size_t size = 64 + (size_t)n * 192;
    for (uint32_t i = 0; i < n; i++)
        size = aligned(size) + (size_t)items[i].size;
    uint8_t *bytes = calloc(1, size);
    if (!bytes)
        abort();
    memcpy(bytes, "H1B", 3);
    put(bytes + 4, 5, 4);
    put(bytes + 8, size, 8);
    put(bytes + 0x10, n, 4);
    put(bytes + 0x18, 64, 8);
    size_t at = 64 + (size_t)n * 192;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *entry = bytes + 64 + (size_t)i * 192;
        at = aligned(at);
        memcpy(entry, items[i].name, strlen(items[i].name));
        put(entry + 0x60, items[i].dtype, 4);
        put(entry + 0x64, items[i].n_dims, 4);
        for (size_t d = 0; d < 4; d++)
            put(entry + 0x68 + 8 * d, items[i].dims[d], 8);
        put(entry + 0x88, at, 8);
        put(entry + 0x90, items[i].size, 8);
        if (items[i].size > 0)
            memcpy(bytes + at, items[i].data, (size_t)items[i].size);
        sha256(bytes + at, (size_t)items[i].size, entry + 0x98);
        at += (size_t)items[i].size;
    }
    h1b_write_rehash(bytes);
    *ret_bytes = bytes;
    return size;
}

void h1b_write_rehash(uint8_t *bytes)
{
    sha256(bytes + get(bytes + 0x18, 8), (size_t)get(bytes + 0x10, 4) * 192, bytes + 0x20);
}

void h1b_write_file(const char *path, const uint8_t *bytes, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
        abort();
}
