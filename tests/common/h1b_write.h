/* SPDX-License-Identifier: MIT */
/* h1b_write: writes .h1b files for tests, straight from the description in common/h1b.h. */
#ifndef HALO_TESTS_COMMON_H1B_WRITE_H
#define HALO_TESTS_COMMON_H1B_WRITE_H

#include <stddef.h>
#include <stdint.h>

struct h1b_item {
    const char *name;
    uint32_t dtype;
    uint32_t n_dims;
    uint64_t dims[4]; /* all four; unused ones are 1 */
    const void *data;
    uint64_t size;
};

/* The whole file in memory: *ret_bytes is freed by the caller; its length is returned. Nothing is
 * checked, so that tests can describe broken files. Aborts when memory runs out. */
size_t h1b_write_bytes(const struct h1b_item *items, uint32_t n, uint8_t **ret_bytes);

/* Puts the table's hash into the header again after a test changed an entry. */
void h1b_write_rehash(uint8_t *bytes);

/* Writes `n` bytes to `path`; aborts on failure. */
void h1b_write_file(const char *path, const uint8_t *bytes, size_t n);

#endif
