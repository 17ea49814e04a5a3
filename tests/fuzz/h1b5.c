/* SPDX-License-Identifier: MIT */
/* A .h1b file of version 5. Its hashes are put right first, so that what lies behind them is reached. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

enum {
    HEADER_SIZE = 64,
    ENTRY_SIZE = 192,
};

static uint64_t get(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static void put_hashes(uint8_t *p, size_t size)
{
    uint64_t n = get(p + 0x10, 4);
    uint64_t table = get(p + 0x18, 8);
    for (size_t i = 0; i < 8; i++)
        p[8 + i] = (uint8_t)((uint64_t)size >> 8 * i);
    if (table < HEADER_SIZE || table > size || n > (size - table) / ENTRY_SIZE)
        return;
    for (uint64_t i = 0; i < n; i++) {
        uint8_t *entry = p + table + i * ENTRY_SIZE;
        uint64_t offset = get(entry + 0x88, 8);
        uint64_t length = get(entry + 0x90, 8);
        if (offset <= size && length <= size - offset)
            (void)EVP_Digest(p + offset, (size_t)length, entry + 0x98, NULL, EVP_sha256(), NULL);
    }
    (void)EVP_Digest(p + table, (size_t)n * ENTRY_SIZE, p + 0x20, NULL, EVP_sha256(), NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEADER_SIZE)
        return 0;
    uint8_t *copy = malloc(size);
    if (copy == NULL)
        abort();
    memcpy(copy, data, size);
    memcpy(copy, "H1B\0\5\0\0\0", 8);
    put_hashes(copy, size);
    char path[32];
    int fd = -1;
    fuzz_file(copy, size, path, &fd);
    struct source_options options = {0};
    struct source s;
    struct why why;
    if (source_open(&s, path, &options, &why) == ERR_OK) {
        fuzz_read_all(&s);
        source_close(&s);
    }
    (void)close(fd);
    free(copy);
    return 0;
}
