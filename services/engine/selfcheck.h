/* SPDX-License-Identifier: MIT */
/* selfcheck: does this machine compute what the definition says?
 *
 * A few tokens go through the embedding, the first layer and the head of the real weights, once by
 * the reference kernels and once by the chosen ones. Logits must be finite and equal bit for bit. One
 * layer runs every kernel on every shape of the model and keeps the check within a second. With the fast
 * head (fast_head.h) its largest logits are compared with those of the full head as well. */
#ifndef HALO_ENGINE_SELFCHECK_H
#define HALO_ENGINE_SELFCHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "kernels/kernels.h"
#include "services/engine/backend.h"
#include "services/engine/kv.h"
#include "services/engine/model.h"

enum { SELFCHECK_ROWS = 5 }; /* of a step; logits of one are wanted */

/* What the engine will use. */
struct selfcheck {
    uint32_t n_threads;
    enum kv_type kv_type;
    bool has_fast_head;
    /* The backend to check, with one KV block, for the model given, which has one layer; NULL: the CPU's. */
    enum err (*open)(void *ctx, const struct model *m, struct backend **ret_backend);
    void *ctx;
};

/* *ret_hash is the logits' hash (FNV-1a), the same on every machine for one kv_type.
 * ERR_INTERNAL when the results
 * differ or are not finite; ERR_NOMEM, ERR_AGAIN when memory or threads are lacking. */
MUST_CHECK enum err selfcheck_run(const struct model *m, const struct kernels *k,
                                  const struct selfcheck *how, uint64_t *ret_hash);

#endif
