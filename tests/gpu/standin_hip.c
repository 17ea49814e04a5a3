/* SPDX-License-Identifier: MIT */
/* The stand-in with the names of libamdhip64. */
#include <stdio.h>
#include <string.h>

#include "tests/gpu/standin.h"

#define EXPORT __attribute__((visibility("default")))

enum {
    PROPERTIES_NEW_BYTES = 1472,
    PROPERTIES_NEW_ARCH = 1160,
    PROPERTIES_OLD_BYTES = 792,
    PROPERTIES_OLD_ARCH = 396,
    COPY_IN = 1,
    COPY_OUT = 2,
    SHARED_MOST = 64 << 10, /* of a block */
    ATTRIBUTE_PROCESSORS = 63,
    VERSION = 60342134,
};

/* The library is opened by name, so no header has these. */
EXPORT int hipInit(unsigned flags);
EXPORT int hipGetDeviceCount(int *n);
EXPORT int hipSetDevice(int device);
EXPORT int hipDeviceGetName(char *name, int cap, int device);
EXPORT int hipDeviceGetAttribute(int *value, int attribute, int device);
EXPORT int hipGetDeviceProperties(void *properties, int device);
EXPORT int hipGetDevicePropertiesR0600(void *properties, int device);
EXPORT int hipRuntimeGetVersion(int *version);
EXPORT const char *hipGetErrorName(int error);
EXPORT int hipMemGetInfo(size_t *free_bytes, size_t *all_bytes);
EXPORT int hipMalloc(uint64_t *address, size_t bytes);
EXPORT int hipFree(uint64_t address);
EXPORT int hipHostMalloc(void **p, size_t bytes, unsigned flags);
EXPORT int hipHostFree(void *p);
EXPORT int hipMemcpyAsync(uint64_t to, uint64_t from, size_t bytes, int kind, void *stream);
EXPORT int hipMemsetAsync(uint64_t to, int value, size_t bytes, void *stream);
EXPORT int hipModuleLoadData(void **module, const void *image);
EXPORT int hipModuleUnload(void *module);
EXPORT int hipModuleGetFunction(void **function, void *module, const char *name);
EXPORT int hipModuleLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                 unsigned block_x, unsigned block_y, unsigned block_z,
                                 unsigned shared_bytes, void *stream, void **args, void **extra);
EXPORT int hipStreamCreateWithFlags(void **stream, unsigned flags);
EXPORT int hipStreamSynchronize(void *stream);
EXPORT int hipStreamDestroy(void *stream);
EXPORT int hipStreamBeginCapture(void *stream, int mode);
EXPORT int hipStreamEndCapture(void *stream, void **graph);
EXPORT int hipGraphInstantiate(void **exec, void *graph, void **node, char *log, size_t cap_log);
EXPORT int hipGraphLaunch(void *exec, void *stream);
EXPORT int hipGraphExecDestroy(void *exec);
EXPORT int hipGraphDestroy(void *graph);
EXPORT int hipEventCreateWithFlags(void **event, unsigned flags);
EXPORT int hipEventRecord(void *event, void *stream);
EXPORT int hipEventElapsedTime(float *ms, void *begin, void *end);
EXPORT int hipEventDestroy(void *event);

int hipInit(unsigned flags)
{
    int n = 0;
    return flags == 0 ? standin_count(&n) : STANDIN_INVALID;
}

int hipGetDeviceCount(int *n)
{
    return standin_count(n);
}

int hipSetDevice(int device)
{
    int n = 0;
    int e = standin_count(&n);
    return e != STANDIN_OK || (device >= 0 && device < n) ? e : STANDIN_INVALID_DEVICE;
}

int hipDeviceGetName(char *name, int cap, int device)
{
    (void)snprintf(name, (size_t)cap, "Stand-in %d", device);
    return STANDIN_OK;
}

int hipDeviceGetAttribute(int *value, int attribute, int device)
{
    (void)device;
    *value = attribute == ATTRIBUTE_PROCESSORS ? 20 : 0;
    return STANDIN_OK;
}

static int fill_properties(char *properties, size_t bytes, size_t at)
{
    memset(properties, 0x77, bytes);
    (void)snprintf(properties + at, 256, "%s:sramecc-:xnack-", standin_arch("gfx1151"));
    return STANDIN_OK;
}

/* As in ROCm 6 and later, the old name has the old struct. */
int hipGetDeviceProperties(void *properties, int device)
{
    (void)device;
    return fill_properties(properties, PROPERTIES_OLD_BYTES, PROPERTIES_OLD_ARCH);
}

#ifndef STANDIN_OLD
int hipGetDevicePropertiesR0600(void *properties, int device)
{
    (void)device;
    return fill_properties(properties, PROPERTIES_NEW_BYTES, PROPERTIES_NEW_ARCH);
}
#endif

int hipRuntimeGetVersion(int *version)
{
    *version = VERSION;
    return STANDIN_OK;
}

const char *hipGetErrorName(int error)
{
    return standin_error_name(error);
}

int hipMemGetInfo(size_t *free_bytes, size_t *all_bytes)
{
    return standin_mem_info(free_bytes, all_bytes);
}

int hipMalloc(uint64_t *address, size_t bytes)
{
    return standin_malloc(address, bytes);
}

int hipFree(uint64_t address)
{
    return standin_free(address);
}

int hipHostMalloc(void **p, size_t bytes, unsigned flags)
{
    (void)flags;
    return standin_host_malloc(p, bytes);
}

int hipHostFree(void *p)
{
    return standin_host_free(p);
}

int hipMemcpyAsync(uint64_t to, uint64_t from, size_t bytes, int kind, void *stream)
{
    if (kind == COPY_IN)
        return standin_copy(STANDIN_IN, to, (void *)(uintptr_t)from, bytes, stream);
    if (kind == COPY_OUT)
        return standin_copy(STANDIN_OUT, from, (void *)(uintptr_t)to, bytes, stream);
    return STANDIN_INVALID;
}

int hipMemsetAsync(uint64_t to, int value, size_t bytes, void *stream)
{
    return standin_fill(to, (uint8_t)value, bytes, stream);
}

int hipModuleLoadData(void **module, const void *image)
{
    return standin_module_load(module, image);
}

int hipModuleUnload(void *module)
{
    return standin_module_unload(module);
}

int hipModuleGetFunction(void **function, void *module, const char *name)
{
    return standin_get_function(function, module, name);
}

int hipModuleLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                          unsigned block_x, unsigned block_y, unsigned block_z,
                          unsigned shared_bytes, void *stream, void **args, void **extra)
{
    if (extra != NULL || shared_bytes > SHARED_MOST)
        return STANDIN_INVALID;
    return standin_launch(function, (struct standin_dim){grid_x, grid_y, grid_z},
                          (struct standin_dim){block_x, block_y, block_z}, shared_bytes, stream,
                          args);
}

int hipStreamCreateWithFlags(void **stream, unsigned flags)
{
    return flags == 1 ? standin_stream_create(stream) : STANDIN_INVALID;
}

int hipStreamSynchronize(void *stream)
{
    return standin_synchronize(stream);
}

int hipStreamDestroy(void *stream)
{
    return standin_stream_destroy(stream);
}

int hipStreamBeginCapture(void *stream, int mode)
{
    (void)mode;
    return standin_begin_capture(stream);
}

int hipStreamEndCapture(void *stream, void **graph)
{
    return standin_end_capture(stream, graph);
}

int hipGraphInstantiate(void **exec, void *graph, void **node, char *log, size_t cap_log)
{
    (void)node;
    (void)log;
    (void)cap_log;
    return standin_graph_instantiate(exec, graph);
}

int hipGraphLaunch(void *exec, void *stream)
{
    return standin_graph_launch(exec, stream);
}

int hipGraphExecDestroy(void *exec)
{
    return standin_exec_destroy(exec);
}

int hipGraphDestroy(void *graph)
{
    return standin_graph_destroy(graph);
}

int hipEventCreateWithFlags(void **event, unsigned flags)
{
    (void)flags;
    return standin_event_create(event);
}

int hipEventRecord(void *event, void *stream)
{
    return standin_event_record(event, stream);
}

int hipEventElapsedTime(float *ms, void *begin, void *end)
{
    return standin_event_elapsed(ms, begin, end);
}

int hipEventDestroy(void *event)
{
    return standin_event_destroy(event);
}
