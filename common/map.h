/* SPDX-License-Identifier: MIT */
/* Map from 64-bit numbers to pointers: open addressing, linear probing, no tombstones. A struct map of
 * zeros is empty and ready. Keys may be chosen by a peer: the hash is keyed by a random number. */
#ifndef HALO_COMMON_MAP_H
#define HALO_COMMON_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_slot;

struct map {
    struct map_slot *slots;
    size_t cap; /* a power of two, or 0 */
    size_t n; /* keys in it */
    uint64_t salt;
};

/* Frees the table; the values are the caller's. */
void map_fini(struct map *m);

/* NULL if the key is not there. */
void *map_get(const struct map *m, uint64_t key);

/* Puts or replaces. value is not NULL. */
void map_put(struct map *m, uint64_t key, void *value);

/* Takes the key out and gives its value; NULL if it was not there. */
void *map_remove(struct map *m, uint64_t key);

/* Goes through all entries in no particular order: start with *cursor = 0; false at the end. The map
 * must not change meanwhile. */
bool map_next(const struct map *m, size_t *cursor, uint64_t *ret_key, void **ret_value);

#endif
