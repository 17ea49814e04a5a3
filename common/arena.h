/* SPDX-License-Identifier: MIT */
/* Arena: memory of one request or one frame, given back all at once. Not thread-safe.
 * A struct arena of zeros is empty and ready. */
#ifndef HALO_COMMON_ARENA_H
#define HALO_COMMON_ARENA_H

#include <stddef.h>

#include "common/str.h"

struct arena_chunk;

struct arena {
    struct arena_chunk *head;
    size_t used_bytes; /* given out since the last reset */
    size_t cap_bytes; /* arena_alloc gives NULL beyond this; 0 is unlimited */
};

/* `size` bytes aligned to 16, not initialised; NULL when memory or the cap is exhausted. */
void *arena_alloc(struct arena *a, size_t size);

/* n * size zeroed bytes, overflow-checked; NULL as arena_alloc. */
void *arena_zalloc(struct arena *a, size_t n, size_t size);

/* A NUL-terminated copy; NULL as arena_alloc. */
char *arena_strdup(struct arena *a, struct str s);

/* Forgets everything but keeps the first chunk for reuse. */
void arena_reset(struct arena *a);

/* Frees everything. */
void arena_fini(struct arena *a);

#endif
