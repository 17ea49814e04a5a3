/* SPDX-License-Identifier: MIT */
/* hip_core: whether a program computes on a GPU, and what it holds there: the device, the weights, the
 * backend. --backend cpu never looks for one; auto says what it found and goes on without; hip is an
 * error without one. What is decided and why is logged. */
#ifndef HALO_ENGINE_HIP_CORE_H
#define HALO_ENGINE_HIP_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "services/engine/backend.h"
#include "services/engine/backend_hip.h"
#include "services/engine/hip_device.h"
#include "services/engine/hip_weights.h"
#include "services/engine/kv.h"
#include "services/engine/model.h"

/* What the operator asked for. */
struct hip_wish {
    const char *backend; /* "auto", "cpu", "hip" */
    const char *gpu; /* "auto" or a number */
    const char *library; /* NULL: where hip_runtime_open looks */
};

#define HIP_BACKENDS "auto|cpu|hip"

/* Zeros: on the CPU. */
struct hip_core {
    struct hip_device *device;
    struct hip_weights *weights;
};

/* Whether text is "auto" or a number. */
bool hip_core_is_gpu(const char *text);

/* Opens the GPU, if that is asked for. False, and the reason logged, if the program must not start. */
bool hip_core_find(struct hip_core *c, const struct hip_wish *wish);

/* Copies the weights to the GPU, if there is one. With "auto" the CPU is taken where that fails. False as
 * above. */
bool hip_core_load(struct hip_core *c, const struct hip_wish *wish, const struct model *m);

/* Bytes for KV blocks beside a backend of that config, less a tenth for others. */
uint64_t hip_core_kv_room(const struct hip_core *c, const struct backend_hip_config *config);

/* A backend with c's weights, which this sets. The reason of a failure is logged. */
MUST_CHECK enum err hip_core_backend(const struct hip_core *c, struct backend_hip_config config,
                                     struct backend **ret_backend);

/* For struct selfcheck; ctx is a struct hip_check. */
struct hip_check {
    const struct hip_core *core;
    enum kv_type kv_type;
    uint32_t limit_ms; /* as in struct backend_hip_config */
    void (*on_hang)(void *ctx, uint32_t limit_ms);
};
enum err hip_core_open_check(void *ctx, const struct model *m, struct backend **ret_backend);

/* The backends must have been freed. */
void hip_core_close(struct hip_core *c);

#endif
