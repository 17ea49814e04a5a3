/* SPDX-License-Identifier: MIT */
/* hip_runtime: the library that drives the GPU, found at run time: ROCm's libamdhip64 or NVIDIA's CUDA
 * driver. One table of function pointers (hip_runtime.def) has the calls that are alike in both; the
 * functions below are those that are not.
 *
 * Nothing of ROCm or CUDA is needed to build or start the engine. The tests give their own library with
 * the same names. Thread-safe as far as the library is; CUDA wants hip_runtime_use first in each thread. */
#ifndef HALO_ENGINE_HIP_RUNTIME_H
#define HALO_ENGINE_HIP_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum hip_kind { HIP_KIND_AMD, HIP_KIND_CUDA };

enum {
    HIP_STREAM_NON_BLOCKING = 1,
    HIP_CAPTURE_THREAD_LOCAL = 1,
    HIP_ERROR_NOMEM = 2, /* in both libraries */
    HIP_ARCH_MAX = 64,
};

/* CUlaunchConfig with CUlaunchAttribute, by the CUDA driver's documents (12.0 and later). */
struct hip_cuda_attribute {
    uint32_t id;
    uint32_t padding;
    uint64_t value[8];
};

struct hip_cuda_config {
    unsigned grid[3], block[3], shared_bytes;
    void *stream;
    struct hip_cuda_attribute *attributes;
    unsigned n_attributes;
};

struct hip_runtime {
    enum hip_kind kind;
    void *library;
    char library_name[256];
    void *ctx; /* CUDA's primary context of `device` */
    int device;
    int version; /* as the library counts: 60342134, 13000 */
#define HIP_BOTH(member, hip, cuda, ...) int (*member)(__VA_ARGS__);
#define HIP_AMD(member, hip, is_optional, ...) int (*member)(__VA_ARGS__);
#define HIP_CUDA(member, cuda, is_optional, ...) int (*member)(__VA_ARGS__);
#include "services/engine/hip_runtime.def"
    const char *(*amd_error_name)(int error);
    int (*cuda_error_name)(int error, const char **ret_name);
};

/* Opens `library`, or if that is NULL the first that there is of libamdhip64.so.7, .6, .5, libamdhip64.so
 * and libcuda.so.1 whose driver finds a device. ERR_NOT_FOUND if there is none; `why` says then in one
 * line what was looked for and what each said. */
MUST_CHECK enum err hip_runtime_open(const char *library, struct hip_runtime *r, char *why,
                                     size_t cap_why);
void hip_runtime_close(struct hip_runtime *r);

/* Devices that the library finds; 0 if it says nothing. */
int hip_runtime_n_devices(const struct hip_runtime *r);

/* Makes `device` that of all further calls of this thread; returns the library's error. */
int hip_runtime_use(struct hip_runtime *r, int device);

/* Makes the device of hip_runtime_use that of this other thread, too. */
int hip_runtime_use_here(const struct hip_runtime *r);

/* "gfx1151", or "sm_90" of a compute capability. False if the library does not say. */
bool hip_runtime_arch(const struct hip_runtime *r, int device, char arch[static HIP_ARCH_MAX]);

/* Multiprocessors, as the runtime counts them; 0 if it does not say. */
uint32_t hip_runtime_n_processors(const struct hip_runtime *r, int device);

/* Shared memory that a block may have after hip_runtime_allow_shared of its kernel. */
uint32_t hip_runtime_shared_bytes(const struct hip_runtime *r, int device);
int hip_runtime_allow_shared(const struct hip_runtime *r, void *function, uint32_t bytes);

/* "hipErrorOutOfMemory" */
const char *hip_runtime_error_name(const struct hip_runtime *r, int error);

/* The error as one of ours; ERR_OK for 0. */
enum err hip_runtime_err(int error);

int hip_runtime_copy_in(const struct hip_runtime *r, uint64_t to, const void *from, size_t bytes,
                        void *stream);
int hip_runtime_copy_out(const struct hip_runtime *r, void *to, uint64_t from, size_t bytes,
                         void *stream);
int hip_runtime_fill(const struct hip_runtime *r, uint64_t to, uint8_t value, size_t bytes,
                     void *stream);
/* Launches a kernel whose blocks may start before the launch ahead in the stream has ended; only for a
 * CUDA driver that has cuda_launch_ex. */
int hip_runtime_launch_early(const struct hip_runtime *r, void *function,
                             const uint32_t grid[static 3], uint32_t n_threads,
                             uint32_t shared_bytes, void *stream, void **args);
int hip_runtime_graph_instantiate(const struct hip_runtime *r, void *graph, void **ret_exec);

#endif
