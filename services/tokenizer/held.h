/* SPDX-License-Identifier: MIT */
/* Requests that wait for the vocabulary of their model: this process has just started and an engine is still
 * to be asked, or is being started again itself. They are kept as they came and given back when something was
 * learnt, in the order in which they came. */
#ifndef HALO_TOKENIZER_HELD_H
#define HALO_TOKENIZER_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "proto/frames.h"

struct held;
struct peer;

enum {
    HELD_MS = 60000, /* the longest wait, as the router's for an engine */
    HELD_MAX_BYTES = 256 << 20, /* of all */
};

struct held_list {
    struct loop *loop;
    struct held *first;
    struct held **last;
    size_t n_bytes;
    /* One has waited too long: ERR_TIMEOUT is its own deadline, ERR_NO_ENGINE is HELD_MS. */
    void (*expired)(struct peer *gateway, uint64_t req, enum err why);
};

void held_init(struct held_list *l, struct loop *loop,
               void (*expired)(struct peer *gateway, uint64_t req, enum err why));
void held_fini(struct held_list *l);

/* Keeps a copy. ERR_FULL: HELD_MAX_BYTES are kept. */
MUST_CHECK enum err held_add(struct held_list *l, struct peer *gateway,
                             const struct frame_generate *f);

/* Whether the gateway's request is among them; with held_drop, it no longer is. */
bool held_has(const struct held_list *l, const struct peer *gateway, uint64_t req);
bool held_drop(struct held_list *l, const struct peer *gateway, uint64_t req);

/* All of a gateway; gives their number. */
size_t held_drop_all(struct held_list *l, const struct peer *gateway);

/* Empties the list and calls `again` with each, its deadline shortened by its wait; it may be held anew. */
void held_release(struct held_list *l,
                  void (*again)(struct peer *gateway, const struct frame_generate *f));

#endif
