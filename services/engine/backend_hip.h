/* SPDX-License-Identifier: MIT */
/* backend_hip: the forward pass on a GPU, with the kernels of kernels/hip.
 *
 * A step is one copy to the device, one launch of a graph, and one copy back for the tokens whose
 * largest logits are wanted (and one of whole rows for the others); the host waits once, or twice where
 * more logits lie near the largest than the device sorts out. Graphs are made
 * once per shape, which is rounded up so that there are few, and kept, the least recently used going first.
 *
 * Each step has a number that its last kernel copies into the result. A result without it, or with ids
 * that no vocabulary has, is an error: what was not computed is never taken for an answer. */
#ifndef HALO_ENGINE_BACKEND_HIP_H
#define HALO_ENGINE_BACKEND_HIP_H

#include <stdint.h>

#include "common/err.h"
#include "services/engine/backend.h"
#include "services/engine/hip_weights.h"
#include "services/engine/kv.h"
#include "services/engine/model.h"

struct backend_hip_config {
    struct hip_weights *weights; /* borrowed until backend_free, as all here */
    const struct model *model; /* of the weights, or of their first layers */
    enum kv_type kv_type;
    uint32_t n_blocks;
    uint32_t max_items; /* of one step */
    uint32_t max_rows;
    uint32_t max_logits;
    uint32_t limit_ms; /* a step that takes longer hangs; 0: nobody watches */
    void (*on_hang)(void *ctx,
                    uint32_t limit_ms); /* on a thread of its own; must end the process */
    void *ctx;
};

/* Bytes of device memory beside weights and KV blocks. */
uint64_t backend_hip_buffer_bytes(const struct backend_hip_config *config);

/* ERR_NOMEM, with a line with the remedy in `why`, when blocks and buffers do not fit; ERR_IO when the
 * GPU fails; ERR_AGAIN when there is no thread for the watch. */
MUST_CHECK enum err backend_hip_new(const struct backend_hip_config *config, char *why,
                                    size_t cap_why, struct backend **ret_backend);

/* Graphs made so far, and those kept. For tests. */
uint64_t backend_hip_n_graphs_made(const struct backend *b);
uint32_t backend_hip_n_graphs(const struct backend *b);

#endif
