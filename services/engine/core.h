/* SPDX-License-Identifier: MIT */
/* core: everything of an engine but its process: model, kernels, backend and scheduler, opened from
 * the options in this order and checked before use. */
#ifndef HALO_ENGINE_CORE_H
#define HALO_ENGINE_CORE_H

#include <stdbool.h>

#include "services/engine/backend.h"
#include "services/engine/hip_core.h"
#include "services/engine/kv_file.h"
#include "services/engine/model.h"
#include "services/engine/options.h"
#include "services/engine/scheduler.h"

struct core {
    const struct kernels *kernels;
    struct hip_core gpu; /* zeros: none is used */
    void (*on_gpu_hang)(void *ctx, uint32_t limit_ms); /* set before core_open; NULL: not noticed */
    struct model *model;
    struct sizes sizes;
    struct backend *backend;
    struct scheduler *scheduler;
    uint64_t known_answer; /* of the self-check */
};

/* Opens all parts of a core that is zero but for on_gpu_hang. False, and the reason logged, if one refuses; core_close is due
 * either way. */
bool core_open(struct core *c, const struct options *o);

/* What besides the model makes a reply what it is: the numbers of this KV type and these kernels, by the
 * known answer, and the rules of sampling. Engines of one model and equal numbers go on with each
 * other's replies. Never 0. */
uint64_t core_numbers(const struct core *c);

/* The KV blocks, for carry.h. */
struct kv_file_cache core_kv_cache(const struct core *c, const struct options *o);

/* The worker must have stopped. */
void core_close(struct core *c);

#endif
