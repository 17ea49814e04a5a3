/* SPDX-License-Identifier: MIT */
#include "tests/gpu/driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

struct choice {
    const char *shape, *packing;
    enum kv_type kv_type;
};

/* Every kind of kernel: packings, group scales, both caches, heads of 16 to 128. */
static const struct choice TINY[] = {
    {"tiny", "t2", KV_F16},
    {"tiny", "t5", KV_INT8},
    {0},
};
static const struct choice QUICK[] = {
    {"tiny", "t2", KV_F16},    {"tiny", "b1", KV_INT8},
    {"demo", "t2", KV_F16},    {"demo", "t2", KV_INT8},
    {"demo", "t2/64", KV_F16}, {"demo", "b1/128", KV_INT8},
    {"700m", "t2", KV_F16},    {0},
};
static const struct choice ALL[] = {
    {"tiny", "t2", KV_F16},      {"tiny", "t2", KV_INT8},
    {"tiny", "t5", KV_F16},      {"tiny", "s3", KV_F16},
    {"tiny", "b1", KV_INT8},     {"demo", "t2", KV_F16},
    {"demo", "t2", KV_INT8},     {"demo", "t2/64", KV_F16},
    {"demo", "b1/128", KV_INT8}, {"bonsai-1.7b", "t2/128", KV_F16},
    {"700m", "t2", KV_F16},      {"2b4t", "t2", KV_F16},
    {"2b4t", "t2", KV_INT8},     {0},
};

static bool check_all(struct hip_device *d, const struct choice *choices)
{
    bool is_good = true;
    for (const struct choice *c = choices; c->shape != NULL; c++)
        is_good = driver_check_bits(d, c->shape, c->packing, c->kv_type) && is_good;
    return is_good;
}

/* Takes the kernels from a file in place of those built in: to compare versions without building anew. */
static bool load_kernels(struct hip_device *d, const char *path)
{
    enum { MAX_BYTES = 16 << 20 };
    FILE *file = fopen(path, "rb");
    char *image = calloc(1, MAX_BYTES);
    bool ok = file != NULL && image != NULL && fread(image, 1, MAX_BYTES - 1, file) > 0 &&
              d->runtime.module_unload(d->module) == 0 &&
              d->runtime.module_load(&d->module, image) == 0;
    for (size_t i = 0; i < HIP_N_KERNELS && ok; i++)
        ok = d->runtime.module_get_function(&d->functions[i], d->module, HIP_KERNELS[i].symbol) ==
                 0 &&
             hip_runtime_allow_shared(&d->runtime, d->functions[i], d->shared_bytes) == 0;
    if (file != NULL)
        (void)fclose(file);
    free(image);
    (void)printf("kernels of %s: %s\n", path, ok ? "loaded" : "FAILED");
    return ok;
}

static int usage(void)
{
    (void)fputs(
        "usage: driver [--library FILE] [--gpu N] [--tiny] [--no-bits] [--bits-quick] [--late]\n"
        "              [--only decode1|decode8|decode64|prefill|attention] [--kernels FILE]\n",
        stderr);
    return 2;
}

int main(int argc, char **argv)
{
    struct hip_device_config config = {.index = -1};
    bool is_tiny = false;
    bool has_bits = true;
    bool is_quick = false;
    bool is_late = false;
    const char *only = NULL;
    const char *kernels = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--library") == 0 && i + 1 < argc)
            config.library = argv[++i];
        else if (strcmp(argv[i], "--gpu") == 0 && i + 1 < argc)
            config.index = (int32_t)strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--tiny") == 0)
            is_tiny = true;
        else if (strcmp(argv[i], "--no-bits") == 0)
            has_bits = false;
        else if (strcmp(argv[i], "--bits-quick") == 0)
            is_quick = true;
        else if (strcmp(argv[i], "--late") == 0)
            is_late = true;
        else if (strcmp(argv[i], "--kernels") == 0 && i + 1 < argc)
            kernels = argv[++i];
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
        else
            return usage();
    }
    log_init("gpu-driver", LOG_INFO);
    char why[600];
    struct hip_device *d = NULL;
    if (hip_device_open(&config, why, sizeof why, &d)) {
        (void)fprintf(stderr, "no GPU to test: %s\n", why);
        return 3;
    }
    (void)printf("GPU: %s, %s, %u processors, %llu MB; kernels for %s; %s version %d\n", d->name,
                 d->arch, d->n_processors, (unsigned long long)d->memory_bytes >> 20,
                 d->object_arch, d->runtime.library_name, d->runtime.version);
    (void)fflush(stdout);
    d->has_early = d->has_early && !is_late;
    (void)printf("launches %s\n", d->has_early ? "overlap" : "one after the other");
    if (kernels != NULL && !load_kernels(d, kernels))
        return EXIT_FAILURE;
    bool is_good = !has_bits || check_all(d, is_tiny ? TINY : is_quick ? QUICK : ALL);
    is_good = driver_measure(d, is_tiny, only) && is_good;
    hip_device_free(d);
    (void)printf("%s\n", is_good ? "all bits are those of the CPU" : "FAILED");
    return is_good ? EXIT_SUCCESS : EXIT_FAILURE;
}
