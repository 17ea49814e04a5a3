/* SPDX-License-Identifier: MIT */
/* The stand-in with the names of the CUDA driver. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/standin.h"

#define EXPORT __attribute__((visibility("default")))

enum {
    ATTRIBUTE_PROCESSORS = 16,
    ATTRIBUTE_SHARED = 97, /* of a block, where the function asks for it */
    FUNCTION_SHARED = 8,
    FUNCTION_CARVEOUT = 9,
    SHARED_DEFAULT = 48 << 10,
    SHARED_MOST = 227 << 10,
    ATTRIBUTE_MAJOR = 75,
    ATTRIBUTE_MINOR = 76,
    VERSION = 13000,
    LAUNCH_EARLY = 6, /* CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION */
};

/* CUlaunchConfig and CUlaunchAttribute. */
struct attribute {
    int id;
    char padding[4];
    int value[16];
};

struct config {
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
    void *stream;
    const struct attribute *attributes;
    unsigned n_attributes;
};

/* The library is opened by name, so no header has these. */
EXPORT int cuInit(unsigned flags);
EXPORT int cuDeviceGetName(char *name, int cap, int device);
EXPORT int cuDeviceGetAttribute(int *value, int attribute, int device);
EXPORT int cuDevicePrimaryCtxRetain(void **ctx, int device);
EXPORT int cuDevicePrimaryCtxRelease_v2(int device);
EXPORT int cuCtxSetCurrent(void *ctx);
EXPORT int cuGetErrorName(int error, const char **name);
EXPORT int cuMemcpyHtoDAsync_v2(uint64_t to, void *from, size_t bytes, void *stream);
EXPORT int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream);
EXPORT int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *stream);
EXPORT int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags);
EXPORT int cuDeviceGetCount(int *n);
EXPORT int cuDriverGetVersion(int *version);
EXPORT int cuMemGetInfo_v2(size_t *free_bytes, size_t *all_bytes);
EXPORT int cuMemAlloc_v2(uint64_t *address, size_t bytes);
EXPORT int cuMemFree_v2(uint64_t address);
EXPORT int cuMemHostAlloc(void **p, size_t bytes, unsigned flags);
EXPORT int cuMemFreeHost(void *p);
EXPORT int cuModuleLoadData(void **module, const void *image);
EXPORT int cuModuleUnload(void *module);
EXPORT int cuModuleGetFunction(void **function, void *module, const char *name);
EXPORT int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                          unsigned block_x, unsigned block_y, unsigned block_z,
                          unsigned shared_bytes, void *stream, void **args, void **extra);
EXPORT int cuFuncSetAttribute(void *function, int attribute, int value);
EXPORT int cuLaunchKernelEx(const struct config *config, void *function, void **args, void **extra);
EXPORT int cuStreamCreate(void **stream, unsigned flags);
EXPORT int cuStreamSynchronize(void *stream);
EXPORT int cuStreamDestroy_v2(void *stream);
EXPORT int cuStreamBeginCapture_v2(void *stream, int mode);
EXPORT int cuStreamEndCapture(void *stream, void **graph);
EXPORT int cuGraphLaunch(void *exec, void *stream);
EXPORT int cuGraphExecDestroy(void *exec);
EXPORT int cuGraphDestroy(void *graph);
EXPORT int cuEventCreate(void **event, unsigned flags);
EXPORT int cuEventRecord(void *event, void *stream);
EXPORT int cuEventElapsedTime(float *ms, void *begin, void *end);
EXPORT int cuEventDestroy_v2(void *event);

int cuInit(unsigned flags)
{
    int n = 0;
    return flags == 0 ? standin_count(&n) : STANDIN_INVALID;
}

int cuDeviceGetName(char *name, int cap, int device)
{
    (void)snprintf(name, (size_t)cap, "Stand-in %d", device);
    return STANDIN_OK;
}

int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    (void)device;
    int capability = atoi(standin_arch("sm_90") + strlen("sm_"));
    *value = attribute == ATTRIBUTE_MAJOR        ? capability / 10
             : attribute == ATTRIBUTE_MINOR      ? capability % 10
             : attribute == ATTRIBUTE_PROCESSORS ? 132
             : attribute == ATTRIBUTE_SHARED     ? SHARED_MOST
                                                 : 0;
    return STANDIN_OK;
}

int cuDevicePrimaryCtxRetain(void **ctx, int device)
{
    static int context;
    *ctx = &context;
    return device == 0 ? STANDIN_OK : STANDIN_INVALID_DEVICE;
}

int cuDevicePrimaryCtxRelease_v2(int device)
{
    (void)device;
    return STANDIN_OK;
}

int cuCtxSetCurrent(void *ctx)
{
    return ctx != NULL ? STANDIN_OK : STANDIN_INVALID;
}

int cuGetErrorName(int error, const char **name)
{
    *name = standin_error_name(error);
    return STANDIN_OK;
}

int cuMemcpyHtoDAsync_v2(uint64_t to, void *from, size_t bytes, void *stream)
{
    return standin_copy(STANDIN_IN, to, from, bytes, stream);
}

int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *stream)
{
    return standin_copy(STANDIN_OUT, from, to, bytes, stream);
}

int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *stream)
{
    return standin_fill(to, value, bytes, stream);
}

int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags)
{
    return flags == 0 ? standin_graph_instantiate(exec, graph) : STANDIN_INVALID;
}

int cuDeviceGetCount(int *n)
{
    return standin_count(n);
}

int cuDriverGetVersion(int *version)
{
    *version = VERSION;
    return STANDIN_OK;
}

int cuMemGetInfo_v2(size_t *free_bytes, size_t *all_bytes)
{
    return standin_mem_info(free_bytes, all_bytes);
}

int cuMemAlloc_v2(uint64_t *address, size_t bytes)
{
    return standin_malloc(address, bytes);
}

int cuMemFree_v2(uint64_t address)
{
    return standin_free(address);
}

int cuMemHostAlloc(void **p, size_t bytes, unsigned flags)
{
    (void)flags;
    return standin_host_malloc(p, bytes);
}

int cuMemFreeHost(void *p)
{
    return standin_host_free(p);
}

int cuModuleLoadData(void **module, const void *image)
{
    return standin_module_load(module, image);
}

int cuModuleUnload(void *module)
{
    return standin_module_unload(module);
}

int cuModuleGetFunction(void **function, void *module, const char *name)
{
    return standin_get_function(function, module, name);
}

/* Of all functions together. */
static int allowed_shared = SHARED_DEFAULT;

int cuFuncSetAttribute(void *function, int attribute, int value)
{
    if (function != NULL && attribute == FUNCTION_CARVEOUT && value >= 0 && value <= 100)
        return STANDIN_OK;
    if (function == NULL || attribute != FUNCTION_SHARED || value > SHARED_MOST)
        return STANDIN_INVALID;
    allowed_shared = value > allowed_shared ? value : allowed_shared;
    return STANDIN_OK;
}

int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                   void *stream, void **args, void **extra)
{
    if (extra != NULL || shared_bytes > (unsigned)allowed_shared)
        return STANDIN_INVALID;
    return standin_launch(function, (struct standin_dim){grid_x, grid_y, grid_z},
                          (struct standin_dim){block_x, block_y, block_z}, shared_bytes, stream,
                          args);
}

/* Launches run one after the other here; that kernels wait is seen by the harness. */
int cuLaunchKernelEx(const struct config *config, void *function, void **args, void **extra)
{
    for (unsigned i = 0; i < config->n_attributes; i++) {
        if (config->attributes[i].id != LAUNCH_EARLY || config->attributes[i].value[0] != 1)
            return STANDIN_INVALID;
    }
    return cuLaunchKernel(function, config->grid_x, config->grid_y, config->grid_z, config->block_x,
                          config->block_y, config->block_z, config->shared_bytes, config->stream,
                          args, extra);
}

int cuStreamCreate(void **stream, unsigned flags)
{
    return flags == 1 ? standin_stream_create(stream) : STANDIN_INVALID;
}

int cuStreamSynchronize(void *stream)
{
    return standin_synchronize(stream);
}

int cuStreamDestroy_v2(void *stream)
{
    return standin_stream_destroy(stream);
}

int cuStreamBeginCapture_v2(void *stream, int mode)
{
    (void)mode;
    return standin_begin_capture(stream);
}

int cuStreamEndCapture(void *stream, void **graph)
{
    return standin_end_capture(stream, graph);
}

int cuGraphLaunch(void *exec, void *stream)
{
    return standin_graph_launch(exec, stream);
}

int cuGraphExecDestroy(void *exec)
{
    return standin_exec_destroy(exec);
}

int cuGraphDestroy(void *graph)
{
    return standin_graph_destroy(graph);
}

int cuEventCreate(void **event, unsigned flags)
{
    (void)flags;
    return standin_event_create(event);
}

int cuEventRecord(void *event, void *stream)
{
    return standin_event_record(event, stream);
}

int cuEventElapsedTime(float *ms, void *begin, void *end)
{
    return standin_event_elapsed(ms, begin, end);
}

int cuEventDestroy_v2(void *event)
{
    return standin_event_destroy(event);
}
