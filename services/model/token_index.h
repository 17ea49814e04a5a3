/* SPDX-License-Identifier: MIT */
/* token_index: from a token's text, as a file spells it, to its id. Borrows the texts. */
#ifndef HALO_MODEL_TOKEN_INDEX_H
#define HALO_MODEL_TOKEN_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"

#define TOKEN_NONE UINT32_MAX

struct token_index {
    const struct str *texts;
    uint32_t *slots; /* open addressing, at most half full; TOKEN_NONE is free */
    size_t mask;
};

/* For texts[0..n), n < 2^31, which stay where they are until token_index_fini. Of equal texts the
 * lowest id is found. ERR_NOMEM. */
MUST_CHECK enum err token_index_init(struct token_index *x, const struct str *texts, size_t n);
void token_index_fini(struct token_index *x);

/* TOKEN_NONE when no token is spelt so. */
uint32_t token_index_find(const struct token_index *x, struct str text);

#endif
