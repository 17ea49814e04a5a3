/* SPDX-License-Identifier: MIT */
/* hip_weights: a model in a GPU's memory, in one allocation.
 *
 * All packings become T2, which holds the same trits; beside the head goes a copy of it in 8 bits; norms, scales, embedding, head and the RoPE tables
 * go over as they are. Immutable once made: any number of backends may share it. */
#ifndef HALO_ENGINE_HIP_WEIGHTS_H
#define HALO_ENGINE_HIP_WEIGHTS_H

#include <stdint.h>

#include "common/err.h"
#include "kernels/hip/plan.h"
#include "services/engine/hip_device.h"
#include "services/engine/model.h"

struct hip_weights {
    struct hip_device *device; /* borrowed */
    struct hip_model model; /* what kernels/hip takes; is_kv_int8 is the backend's business */
    uint64_t base;
    uint64_t bytes;
};

/* Reads all of the model once. On failure writes one line with the remedy into `why`: ERR_UNSUPPORTED
 * when the kernels cannot run the model, ERR_NOMEM when it does not fit, ERR_IO when the GPU fails. */
MUST_CHECK enum err hip_weights_new(struct hip_device *device, const struct model *m, char *why,
                                    size_t cap_why, struct hip_weights **ret_weights);

/* NULL is allowed. */
void hip_weights_free(struct hip_weights *w);

#endif
