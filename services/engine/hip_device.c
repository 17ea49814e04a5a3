/* SPDX-License-Identifier: MIT */
#include "services/engine/hip_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/log.h"
#include "common/mem.h"
#include "kernels/hip/objects.h"

enum {
    STAGING_BYTES = 16 << 20,
    EARLY_CAPABILITY = 90, /* the code of earlier targets does not wait: shim.h */
};

/* ---- which code object ---- */

/* The number behind "sm_"; 0 if it is another name. */
static uint32_t capability(const char *arch)
{
    return strncmp(arch, "sm_", 3) == 0 ? (uint32_t)strtoul(arch + 3, NULL, 10) : 0;
}

/* "sm_90a": PTX with instructions of this one target. */
static bool is_special(const char *arch)
{
    return capability(arch) > 0 && arch[strlen(arch) - 1] == 'a';
}

/* AMD's code runs on its own target alone; PTX on later ones, too, and the latest is best, but what is special
 * to the target. */
static const struct hip_object *find_object(const char *arch)
{
    const struct hip_object *best = NULL;
    for (size_t i = 0; i < HIP_N_OBJECTS; i++) {
        const struct hip_object *o = &HIP_OBJECTS[i];
        if (is_special(o->arch) && capability(o->arch) == capability(arch))
            return o;
        if (is_special(o->arch))
            continue;
        if (strcmp(o->arch, arch) == 0)
            best = o;
        uint32_t have = capability(o->arch);
        if (have > 0 && have <= capability(arch) && (best == NULL || have > capability(best->arch)))
            best = o;
    }
    return best;
}

static void list_objects(char *text, size_t cap)
{
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < HIP_N_OBJECTS && n < cap; i++)
        n += (size_t)snprintf(text + n, cap - n, "%s%s", i > 0 ? " " : "", HIP_OBJECTS[i].arch);
}

/* ---- opening ---- */

/* Writes the reason and returns e. */
static enum err refuse(enum err e, const struct hip_device *d, const char *what, int error,
                       char *why, size_t cap_why)
{
    (void)snprintf(why, cap_why, "%s on %s (%s) failed with %s (%d); check the GPU's driver", what,
                   d->name, d->runtime.library_name, hip_runtime_error_name(&d->runtime, error),
                   error);
    return e;
}

/* The device asked for, or the first with a code object. */
static enum err choose(struct hip_device *d, int32_t index, int *ret_index,
                       const struct hip_object **ret_object, char *why, size_t cap_why)
{
    char have[256];
    int n = hip_runtime_n_devices(&d->runtime);
    if (index >= n) {
        (void)snprintf(why, cap_why, "there is no GPU %d, %s finds %d; use --gpu 0", index,
                       d->runtime.library_name, n);
        return ERR_NOT_FOUND;
    }
    for (int i = index >= 0 ? index : 0; i < (index >= 0 ? index + 1 : n); i++) {
        if (!hip_runtime_arch(&d->runtime, i, d->arch))
            (void)snprintf(d->arch, sizeof d->arch, "unknown");
        *ret_object = find_object(d->arch);
        *ret_index = i;
        if (*ret_object != NULL)
            return ERR_OK;
    }
    list_objects(have, sizeof have);
    (void)snprintf(why, cap_why, "no kernels for a GPU of type %s; this build has them for: %s",
                   d->arch, have[0] != '\0' ? have : "none, it was built without clang-19");
    return ERR_UNSUPPORTED;
}

static enum err load_kernels(struct hip_device *d, const struct hip_object *object, char *why,
                             size_t cap_why)
{
    int e = d->runtime.module_load(&d->module, object->data);
    if (e != 0) {
        d->module = NULL;
        return refuse(ERR_IO, d, "loading the kernels", e, why, cap_why);
    }
    for (size_t i = 0; i < HIP_N_KERNELS; i++) {
        const char *symbol = HIP_KERNELS[i].symbol;
        e = d->runtime.module_get_function(&d->functions[i], d->module, symbol);
        if (e == 0)
            e = hip_runtime_allow_shared(&d->runtime, d->functions[i], d->shared_bytes);
        if (e != 0)
            return refuse(ERR_IO, d, symbol, e, why, cap_why);
    }
    return ERR_OK;
}

static enum err set_up(struct hip_device *d, const struct hip_device_config *config, char *why,
                       size_t cap_why)
{
    const struct hip_object *object = NULL;
    int index = 0;
    enum err e = choose(d, config->index, &index, &object, why, cap_why);
    if (e)
        return e;
    struct hip_runtime *r = &d->runtime;
    (void)snprintf(d->name, sizeof d->name, "GPU %d", index);
    (void)r->device_get_name(d->name, sizeof d->name, index);
    d->object_arch = object->arch;
    d->has_warpgroups = strcmp(object->arch, "sm_90a") == 0;
    d->has_early = r->cuda_launch_ex != NULL && capability(object->arch) >= EARLY_CAPABILITY;
    d->n_processors = hip_runtime_n_processors(r, index);
    d->shared_bytes = hip_runtime_shared_bytes(r, index);
    size_t free_bytes = 0;
    size_t all_bytes = 0;
    int error = hip_runtime_use(r, index);
    error = error != 0 ? error : r->mem_get_info(&free_bytes, &all_bytes);
    if (error != 0)
        return refuse(ERR_IO, d, "opening", error, why, cap_why);
    d->memory_bytes = all_bytes;
    error = r->stream_create(&d->stream, HIP_STREAM_NON_BLOCKING);
    if (error != 0) {
        d->stream = NULL;
        return refuse(ERR_IO, d, "a stream", error, why, cap_why);
    }
    d->staging_bytes = STAGING_BYTES;
    error = r->host_alloc(&d->staging, d->staging_bytes, 0);
    if (error != 0) {
        d->staging = NULL;
        return refuse(ERR_NOMEM, d, "pinned memory", error, why, cap_why);
    }
    return load_kernels(d, object, why, cap_why);
}

enum err hip_device_open(const struct hip_device_config *config, char *why, size_t cap_why,
                         struct hip_device **ret_device)
{
    struct hip_device *d = mem_zalloc(1, sizeof *d);
    enum err e = hip_runtime_open(config->library, &d->runtime, why, cap_why);
    if (!e)
        e = set_up(d, config, why, cap_why);
    if (e) {
        hip_device_free(d);
        return e;
    }
    *ret_device = d;
    return ERR_OK;
}

void hip_device_free(struct hip_device *d)
{
    if (d == NULL)
        return;
    struct hip_runtime *r = &d->runtime;
    if (d->stream != NULL || d->module != NULL || d->staging != NULL)
        (void)hip_runtime_use_here(r);
    if (d->stream != NULL)
        (void)r->stream_destroy(d->stream);
    if (d->module != NULL)
        (void)r->module_unload(d->module);
    if (d->staging != NULL)
        (void)r->host_free(d->staging);
    hip_runtime_close(r);
    free(d);
}

/* ---- errors ---- */

enum err hip_device_check(struct hip_device *d, int error, const char *call)
{
    if (error != 0 && !d->has_failed)
        log_error("gpu-failed", S("call", call),
                  S("error", hip_runtime_error_name(&d->runtime, error)), I("number", error),
                  S("gpu", d->name), S("expected", "success"),
                  S("do", error == HIP_ERROR_NOMEM
                              ? "give it less: fewer --kv-tokens, --max-seqs or --step-tokens"
                              : "restart the engine; if it comes back look at the kernel's log "
                                "(dmesg), or use --backend cpu"));
    d->has_failed = d->has_failed || error != 0;
    return hip_runtime_err(error);
}

/* ---- memory ---- */

uint64_t hip_device_free_bytes(struct hip_device *d)
{
    size_t free_bytes = 0;
    size_t all_bytes = 0;
    (void)hip_runtime_use_here(&d->runtime);
    return d->runtime.mem_get_info(&free_bytes, &all_bytes) == 0 ? free_bytes : 0;
}

enum err hip_device_alloc(struct hip_device *d, uint64_t bytes, uint64_t *ret_address)
{
    uint64_t address = 0;
    (void)hip_runtime_use_here(&d->runtime);
    enum err e = hip_device_check(d, d->runtime.mem_alloc(&address, bytes), "device memory");
    if (!e)
        *ret_address = address;
    return e;
}

void hip_device_release(struct hip_device *d, uint64_t address)
{
    if (address == 0)
        return;
    (void)hip_runtime_use_here(&d->runtime);
    (void)d->runtime.mem_free(address);
}

enum err hip_device_host_alloc(struct hip_device *d, size_t bytes, void **ret_p)
{
    void *p = NULL;
    (void)hip_runtime_use_here(&d->runtime);
    enum err e = hip_device_check(d, d->runtime.host_alloc(&p, bytes, 0), "pinned memory");
    if (!e)
        *ret_p = p;
    return e;
}

void hip_device_host_release(struct hip_device *d, void *p)
{
    if (p == NULL)
        return;
    (void)hip_runtime_use_here(&d->runtime);
    (void)d->runtime.host_free(p);
}

/* ---- copies ---- */

enum err hip_device_write_staged(struct hip_device *d, uint64_t to, size_t bytes)
{
    ASSERT(bytes <= d->staging_bytes);
    struct hip_runtime *r = &d->runtime;
    (void)hip_runtime_use_here(r);
    enum err e = hip_device_check(d, hip_runtime_copy_in(r, to, d->staging, bytes, d->stream),
                                  "a copy to the GPU");
    return e ? e : hip_device_check(d, r->stream_synchronize(d->stream), "a copy to the GPU");
}

enum err hip_device_write(struct hip_device *d, uint64_t to, const void *from, uint64_t bytes)
{
    enum err e = ERR_OK;
    for (uint64_t at = 0; at < bytes && !e; at += d->staging_bytes) {
        uint64_t left = bytes - at;
        size_t n = left < d->staging_bytes ? (size_t)left : d->staging_bytes;
        memcpy(d->staging, (const char *)from + at, n);
        e = hip_device_write_staged(d, to + at, n);
    }
    return e;
}

enum err hip_device_read(struct hip_device *d, void *to, uint64_t from, uint64_t bytes)
{
    struct hip_runtime *r = &d->runtime;
    enum err e = ERR_OK;
    (void)hip_runtime_use_here(r);
    for (uint64_t at = 0; at < bytes && !e; at += d->staging_bytes) {
        uint64_t left = bytes - at;
        size_t n = left < d->staging_bytes ? (size_t)left : d->staging_bytes;
        e = hip_device_check(d, hip_runtime_copy_out(r, d->staging, from + at, n, d->stream),
                             "a copy from the GPU");
        if (!e)
            e = hip_device_check(d, r->stream_synchronize(d->stream), "a copy from the GPU");
        if (!e)
            memcpy((char *)to + at, d->staging, n);
    }
    return e;
}

/* ---- launches ---- */

enum err hip_device_launch(struct hip_device *d, const struct hip_launch *launch)
{
    const struct hip_kernel_info *k = &HIP_KERNELS[launch->kernel];
    union hip_args args = launch->args;
    void *params[] = {&args};
    void *function = d->functions[launch->kernel];
    int error =
        d->has_early && hip_kernel_is_early(launch->kernel)
            ? hip_runtime_launch_early(&d->runtime, function, launch->grid, k->n_threads,
                                       launch->shared_bytes, d->stream, params)
            : d->runtime.launch(function, launch->grid[0], launch->grid[1], launch->grid[2],
                                k->n_threads, 1, 1, launch->shared_bytes, d->stream, params, NULL);
    return hip_device_check(d, error, k->symbol);
}
