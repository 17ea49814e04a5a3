/* SPDX-License-Identifier: MIT */
#include "services/engine/hip_runtime.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "common/check.h"

enum {
    AMD_COPY_IN = 1,
    AMD_COPY_OUT = 2,
    AMD_ATTRIBUTE_PROCESSORS = 63,
    CUDA_ATTRIBUTE_PROCESSORS = 16,
    CUDA_ATTRIBUTE_SHARED = 97, /* of a block at most, where the function asks for it */
    CUDA_FUNCTION_SHARED = 8, /* attribute of a function: so many it may have */
    /* What part of a multiprocessor's cache is shared memory, in percent. All of it, for all: a change between
     * two launches lets none of them overlap (8 % of a decode step on an H200). */
    CUDA_FUNCTION_CARVEOUT = 9,
    CARVEOUT_ALL = 100,
    SHARED_DEFAULT = 48 << 10,
    AMD_SHARED = 64 << 10, /* of all targets */
    CUDA_ATTRIBUTE_MAJOR = 75,
    CUDA_ATTRIBUTE_MINOR = 76,
    CUDA_ATTRIBUTE_EARLY = 6, /* of a launch: programmatic stream serialization */
    /* hipDeviceProp_t changed with ROCm 6: its size, and where gcnArchName lies. */
    PROPERTIES_R0600_ARCH = 1160,
    PROPERTIES_OLD_ARCH = 396,
    PROPERTIES_MAX = 8192,
    ARCH_NAME_MAX = 256, /* gcnArchName */
};

struct row {
    size_t at; /* of the member, in struct hip_runtime */
    const char *hip, *cuda; /* NULL: not in that library */
    bool is_optional;
};

#define MEMBER(name) offsetof(struct hip_runtime, name)
static const struct row ROWS[] = {
#define HIP_BOTH(member, hip, cuda, ...) {MEMBER(member), hip, cuda, false},
#define HIP_AMD(member, hip, is_optional, ...) {MEMBER(member), hip, NULL, is_optional},
#define HIP_CUDA(member, cuda, is_optional, ...) {MEMBER(member), NULL, cuda, is_optional},
#include "services/engine/hip_runtime.def"
    {MEMBER(amd_error_name), "hipGetErrorName", NULL, false},
    {MEMBER(cuda_error_name), NULL, "cuGetErrorName", false},
};

/* ---- the library ---- */

/* The name of a function that the library lacks, or NULL. */
static const char *bind(struct hip_runtime *r)
{
    for (size_t i = 0; i < ARRAY_LEN(ROWS); i++) {
        const char *name = r->kind == HIP_KIND_AMD ? ROWS[i].hip : ROWS[i].cuda;
        if (name == NULL)
            continue;
        void *symbol = dlsym(r->library, name);
        if (symbol == NULL && !ROWS[i].is_optional)
            return name;
        memcpy((char *)r + ROWS[i].at, &symbol, sizeof symbol); /* a function's address, by POSIX */
    }
    return NULL;
}

/* Adds "LIBRARY: WHAT" to the reasons. */
static void add_reason(char *why, size_t cap_why, const char *library, const char *what)
{
    size_t n = strlen(why);
    (void)snprintf(why + n, cap_why - n, "%s%s: %s", n > 0 ? "; " : "", library, what);
}

static bool open_one(const char *name, struct hip_runtime *r, char *why, size_t cap_why)
{
    /* Not unmapped by dlclose: both libraries leave handlers for the end of the process behind. */
    *r = (struct hip_runtime){.library = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)};
    if (r->library == NULL) {
        /* Of a library that is not there the loader says its name itself. */
        add_reason(why, cap_why, name, strchr(name, '/') != NULL ? dlerror() : "not there");
        return false;
    }
    (void)snprintf(r->library_name, sizeof r->library_name, "%s", name);
    r->kind = dlsym(r->library, "cuInit") != NULL ? HIP_KIND_CUDA : HIP_KIND_AMD;
    const char *lacks = bind(r);
    char text[160];
    if (lacks != NULL) {
        (void)snprintf(text, sizeof text, "has no %s", lacks);
    } else {
        int e = r->init(0);
        if (e == 0 && r->get_version(&r->version) == 0 && hip_runtime_n_devices(r) > 0)
            return true;
        (void)snprintf(text, sizeof text, "no device (%s)",
                       e != 0 ? hip_runtime_error_name(r, e) : "it counts none");
    }
    add_reason(why, cap_why, name, text);
    hip_runtime_close(r);
    return false;
}

enum err hip_runtime_open(const char *library, struct hip_runtime *r, char *why, size_t cap_why)
{
    static const char *const NAMES[] = {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5",
                                        "libamdhip64.so", "libcuda.so.1"};
    why[0] = '\0';
    if (library != NULL)
        return open_one(library, r, why, cap_why) ? ERR_OK : ERR_NOT_FOUND;
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        if (open_one(NAMES[i], r, why, cap_why))
            return ERR_OK;
    }
    return ERR_NOT_FOUND;
}

void hip_runtime_close(struct hip_runtime *r)
{
    if (r->library == NULL)
        return;
    if (r->ctx != NULL)
        (void)r->cuda_ctx_release(r->device);
    (void)dlclose(r->library);
    *r = (struct hip_runtime){0};
}

/* ---- devices ---- */

int hip_runtime_n_devices(const struct hip_runtime *r)
{
    int n = 0;
    return r->get_device_count(&n) == 0 ? n : 0;
}

int hip_runtime_use(struct hip_runtime *r, int device)
{
    r->device = device;
    if (r->kind == HIP_KIND_AMD)
        return r->amd_set_device(device);
    int e = r->cuda_ctx_retain(&r->ctx, device);
    return e != 0 ? e : r->cuda_ctx_set(r->ctx);
}

int hip_runtime_use_here(const struct hip_runtime *r)
{
    return r->kind == HIP_KIND_AMD ? r->amd_set_device(r->device) : r->cuda_ctx_set(r->ctx);
}

/* In ROCm 6 and later the old name still fills the old struct. */
static bool amd_arch(const struct hip_runtime *r, int device, char arch[static HIP_ARCH_MAX])
{
    _Alignas(16) char properties[PROPERTIES_MAX] = {0};
    bool is_new = r->amd_properties_r0600 != NULL;
    int (*get)(void *, int) = is_new ? r->amd_properties_r0600 : r->amd_properties_old;
    if (get == NULL || get(properties, device) != 0)
        return false;
    const char *name = properties + (is_new ? PROPERTIES_R0600_ARCH : PROPERTIES_OLD_ARCH);
    size_t n = strnlen(name, ARCH_NAME_MAX);
    const char *colon = memchr(name, ':', n); /* "gfx90a:sramecc+:xnack-" */
    n = colon != NULL ? (size_t)(colon - name) : n;
    if (n == 0 || n >= HIP_ARCH_MAX)
        return false;
    memcpy(arch, name, n);
    arch[n] = '\0';
    return true;
}

bool hip_runtime_arch(const struct hip_runtime *r, int device, char arch[static HIP_ARCH_MAX])
{
    if (r->kind == HIP_KIND_AMD)
        return amd_arch(r, device, arch);
    int major = 0;
    int minor = 0;
    if (r->device_get_attribute(&major, CUDA_ATTRIBUTE_MAJOR, device) != 0 ||
        r->device_get_attribute(&minor, CUDA_ATTRIBUTE_MINOR, device) != 0)
        return false;
    (void)snprintf(arch, HIP_ARCH_MAX, "sm_%d", major * 10 + minor);
    return true;
}

uint32_t hip_runtime_n_processors(const struct hip_runtime *r, int device)
{
    int n = 0;
    int which = r->kind == HIP_KIND_AMD ? AMD_ATTRIBUTE_PROCESSORS : CUDA_ATTRIBUTE_PROCESSORS;
    return r->device_get_attribute(&n, which, device) == 0 && n > 0 ? (uint32_t)n : 0;
}

uint32_t hip_runtime_shared_bytes(const struct hip_runtime *r, int device)
{
    int n = 0;
    if (r->kind == HIP_KIND_AMD)
        return AMD_SHARED;
    bool is_known = r->device_get_attribute(&n, CUDA_ATTRIBUTE_SHARED, device) == 0 && n > 0;
    return is_known ? (uint32_t)n : SHARED_DEFAULT;
}

int hip_runtime_allow_shared(const struct hip_runtime *r, void *function, uint32_t bytes)
{
    if (r->kind == HIP_KIND_AMD)
        return 0;
    int e =
        bytes <= SHARED_DEFAULT ? 0 : r->cuda_func_set(function, CUDA_FUNCTION_SHARED, (int)bytes);
    return e != 0 ? e : r->cuda_func_set(function, CUDA_FUNCTION_CARVEOUT, CARVEOUT_ALL);
}

/* ---- errors ---- */

const char *hip_runtime_error_name(const struct hip_runtime *r, int error)
{
    const char *name = NULL;
    if (r->kind == HIP_KIND_AMD)
        name = r->amd_error_name(error);
    else if (r->cuda_error_name(error, &name) != 0)
        name = NULL;
    return name != NULL ? name : "unknown error";
}

enum err hip_runtime_err(int error)
{
    if (error == 0)
        return ERR_OK;
    return error == HIP_ERROR_NOMEM ? ERR_NOMEM : ERR_IO;
}

/* ---- calls that differ ---- */

int hip_runtime_copy_in(const struct hip_runtime *r, uint64_t to, const void *from, size_t bytes,
                        void *stream)
{
    return r->kind == HIP_KIND_AMD
               ? r->amd_memcpy(to, (uint64_t)(uintptr_t)from, bytes, AMD_COPY_IN, stream)
               : r->cuda_copy_in(to, from, bytes, stream);
}

int hip_runtime_copy_out(const struct hip_runtime *r, void *to, uint64_t from, size_t bytes,
                         void *stream)
{
    return r->kind == HIP_KIND_AMD
               ? r->amd_memcpy((uint64_t)(uintptr_t)to, from, bytes, AMD_COPY_OUT, stream)
               : r->cuda_copy_out(to, from, bytes, stream);
}

int hip_runtime_fill(const struct hip_runtime *r, uint64_t to, uint8_t value, size_t bytes,
                     void *stream)
{
    return r->kind == HIP_KIND_AMD ? r->amd_memset(to, value, bytes, stream)
                                   : r->cuda_memset(to, value, bytes, stream);
}

int hip_runtime_launch_early(const struct hip_runtime *r, void *function,
                             const uint32_t grid[static 3], uint32_t n_threads,
                             uint32_t shared_bytes, void *stream, void **args)
{
    struct hip_cuda_attribute attribute = {.id = CUDA_ATTRIBUTE_EARLY, .value = {1}};
    const struct hip_cuda_config config = {
        .grid = {grid[0], grid[1], grid[2]},
        .block = {n_threads, 1, 1},
        .shared_bytes = shared_bytes,
        .stream = stream,
        .attributes = &attribute,
        .n_attributes = 1,
    };
    return r->cuda_launch_ex(&config, function, args, NULL);
}

int hip_runtime_graph_instantiate(const struct hip_runtime *r, void *graph, void **ret_exec)
{
    return r->kind == HIP_KIND_AMD ? r->amd_graph_instantiate(ret_exec, graph, NULL, NULL, 0)
                                   : r->cuda_graph_instantiate(ret_exec, graph, 0);
}
