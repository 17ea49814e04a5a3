/* SPDX-License-Identifier: MIT */
/* backend_cpu: the forward pass on this machine's processors, with the kernels of one instruction
 * set and a pool of threads. */
#ifndef HALO_ENGINE_BACKEND_CPU_H
#define HALO_ENGINE_BACKEND_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "kernels/kernels.h"
#include "services/engine/backend.h"
#include "services/engine/kv.h"
#include "services/engine/model.h"

struct backend_cpu_config {
    const struct model *model; /* borrowed until backend_free */
    const struct kernels *kernels;
    uint32_t n_threads;
    enum kv_type kv_type;
    uint32_t n_blocks;
    uint32_t max_rows;
    uint32_t max_logits;
    bool has_fast_head; /* keeps a copy of the head for steps that want top logits only */
};

/* Bytes of one KV block of this model. */
uint64_t backend_cpu_block_bytes(const struct model *m, enum kv_type type);

/* Bytes of the LM head that steps have read so far. */
uint64_t backend_cpu_head_bytes(const struct backend *b);

/* ERR_NOMEM when the KV blocks or the activations do not fit into memory. */
MUST_CHECK enum err backend_cpu_new(const struct backend_cpu_config *config,
                                    struct backend **ret_backend);

/* Fills the whole cache with random keys and values, for measurements at a depth. */
void backend_cpu_fill_cache(struct backend *b);

#endif
