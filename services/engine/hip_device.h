/* SPDX-License-Identifier: MIT */
/* hip_device: one GPU, made ready: its runtime library, the code object for it, the kernels, a stream and
 * pinned memory through which all copies of the setting up go.
 *
 * The first failure of a call is logged as "gpu-failed" with what to do about it; after that the device is of no further use. One
 * thread at a time calls these functions; each function makes the device that thread's own first. */
#ifndef HALO_ENGINE_HIP_DEVICE_H
#define HALO_ENGINE_HIP_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "kernels/hip/plan.h"
#include "services/engine/hip_runtime.h"

struct hip_device {
    struct hip_runtime runtime;
    char name[128]; /* as the maker has it */
    char arch[HIP_ARCH_MAX];
    const char *object_arch; /* of the code object: the same, or for CUDA an earlier one */
    bool has_warpgroups; /* which sm_90a's kernels use */
    uint32_t n_processors;
    uint32_t shared_bytes; /* that a block may have */
    uint64_t memory_bytes;
    void *module;
    void *functions[HIP_N_KERNELS];
    void *stream;
    void *staging; /* pinned */
    size_t staging_bytes;
    bool has_early; /* launches may start before the one ahead has ended */
    bool has_failed;
};

struct hip_device_config {
    const char *library; /* NULL: as hip_runtime_open looks for it */
    int32_t index; /* of the device; -1: the first that there is a code object for */
};

/* On failure writes one line with the remedy into `why`: ERR_NOT_FOUND when there is no GPU,
 * ERR_UNSUPPORTED when there is no code object for it, ERR_IO when it fails. */
MUST_CHECK enum err hip_device_open(const struct hip_device_config *config, char *why,
                                    size_t cap_why, struct hip_device **ret_device);

/* NULL is allowed. */
void hip_device_free(struct hip_device *d);

/* Bytes that an allocation may have now. */
uint64_t hip_device_free_bytes(struct hip_device *d);

/* Device memory, not initialised, 256-byte aligned; hip_device_release takes 0, too. */
MUST_CHECK enum err hip_device_alloc(struct hip_device *d, uint64_t bytes, uint64_t *ret_address);
void hip_device_release(struct hip_device *d, uint64_t address);

/* Pinned memory of the host; host_release takes NULL, too. */
MUST_CHECK enum err hip_device_host_alloc(struct hip_device *d, size_t bytes, void **ret_p);
void hip_device_host_release(struct hip_device *d, void *p);

/* Copies through the pinned staging memory and waits. The memory on this side may be any. */
MUST_CHECK enum err hip_device_write(struct hip_device *d, uint64_t to, const void *from,
                                     uint64_t bytes);
MUST_CHECK enum err hip_device_read(struct hip_device *d, void *to, uint64_t from, uint64_t bytes);

/* Copies the first `bytes` of d->staging, which the caller filled, and waits. */
MUST_CHECK enum err hip_device_write_staged(struct hip_device *d, uint64_t to, size_t bytes);

/* The error of a library call as one of ours, logged. */
MUST_CHECK enum err hip_device_check(struct hip_device *d, int error, const char *call);

/* Adds one launch to the stream, or to what it captures. */
MUST_CHECK enum err hip_device_launch(struct hip_device *d, const struct hip_launch *launch);

#endif
