/* SPDX-License-Identifier: MIT */
/* mapping: a whole file mapped read-only, for readers that walk through it once. An empty file maps to
 * no bytes. Any thread may use a mapping; one at a time opens and finishes it. */
#ifndef HALO_MODEL_MAPPING_H
#define HALO_MODEL_MAPPING_H

#include <stddef.h>
#include <stdint.h>

#include "services/model/why.h"

struct mapping {
    const uint8_t *bytes;
    size_t size;
};

/* ERR_IO or ERR_NOT_FOUND when it cannot be opened or is no regular file. */
MUST_CHECK enum err mapping_init(struct mapping *m, const char *path, struct why *why);
void mapping_fini(struct mapping *m);

/* Lets go of the memory behind n bytes at p, which lie in the mapping: they are read again from the
 * file when touched. Keeps the resident size of a conversion at what it works on. */
void mapping_release(const void *p, size_t n);

#endif
