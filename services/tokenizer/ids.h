/* SPDX-License-Identifier: MIT */
/* A growing array of token ids. All zero is an empty one; the owner calls ids_fini. */
#ifndef HALO_TOKENIZER_IDS_H
#define HALO_TOKENIZER_IDS_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct ids {
    uint32_t *v;
    size_t n;
    size_t cap;
};

/* Makes room for n_more ids behind the n present ones. */
MUST_CHECK enum err ids_reserve(struct ids *ids, size_t n_more);
MUST_CHECK enum err ids_append(struct ids *ids, const uint32_t *v, size_t n);

static inline MUST_CHECK enum err ids_push(struct ids *ids, uint32_t id)
{
    if (ids->n == ids->cap) {
        enum err e = ids_reserve(ids, 1);
        if (e != ERR_OK)
            return e;
    }
    ids->v[ids->n++] = id;
    return ERR_OK;
}

void ids_fini(struct ids *ids);

#endif
