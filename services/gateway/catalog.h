/* SPDX-License-Identifier: MIT */
/* catalog: the models that can be asked, as the tokenizer's status names them.
 *
 * A model whose engines were lost stays for patience_ms: requests for it wait, since engines come back. One
 * whose place another model has (`retired`) goes at once, and what names it is refused from then on.
 * No two have one name: the first in the status has it. */
#ifndef HALO_GATEWAY_CATALOG_H
#define HALO_GATEWAY_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/frames.h"

enum { CATALOG_MAX = 64 };

struct catalog_model {
    char *name;
    char *hash;
    char *license;
    char *description;
    char *numerics;
    uint32_t context;
    uint32_t vocab_size;
    uint32_t lanes; /* that serve it, a bit each; 0: not known, so all */
    uint64_t created;
    uint64_t lost_ms; /* clock_now_ms() when its last engine was lost; 0: there is one */
};

struct catalog {
    struct catalog_model models[CATALOG_MAX]; /* those that take requests first */
    size_t n;
    uint32_t patience_ms;
};

void catalog_init(struct catalog *c, uint32_t patience_ms);
void catalog_fini(struct catalog *c);

void catalog_update(struct catalog *c, const struct frame_status *f);

/* The number of models that take requests. */
size_t catalog_n_served(const struct catalog *c);

/* The i-th model that can be asked in a lane; NULL behind the last. A lane of which nothing is known has
 * all. Valid until the catalog is updated, or the loop turns. */
const struct catalog_model *catalog_at(const struct catalog *c, uint32_t lane, size_t i);

/* The same by its name; NULL: there is none. */
const struct catalog_model *catalog_find(const struct catalog *c, uint32_t lane, struct str name);

/* NULL when there is a model to ask; else why not. With `is_patient` one that was lost counts for
 * patience_ms. */
const char *catalog_why_not(const struct catalog *c, bool is_patient);

#endif
