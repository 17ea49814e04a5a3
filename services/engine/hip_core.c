/* SPDX-License-Identifier: MIT */
#include "services/engine/hip_core.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "services/engine/selfcheck.h"

enum { MAX_GPUS = 1024 };

bool hip_core_is_gpu(const char *text)
{
    if (strcmp(text, "auto") == 0)
        return true;
    char *end = NULL;
    unsigned long n = strtoul(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && n < MAX_GPUS;
}

static bool is_auto(const struct hip_wish *wish)
{
    return strcmp(wish->backend, "auto") == 0;
}

bool hip_core_find(struct hip_core *c, const struct hip_wish *wish)
{
    *c = (struct hip_core){0};
    if (strcmp(wish->backend, "cpu") == 0)
        return true;
    const struct hip_device_config config = {
        .library = wish->library,
        .index = strcmp(wish->gpu, "auto") == 0 ? -1 : (int32_t)strtoul(wish->gpu, NULL, 10),
    };
    char why[600];
    uint64_t t0 = clock_now_ms();
    enum err e = hip_device_open(&config, why, sizeof why, &c->device);
    if (e && is_auto(wish)) {
        if (e == ERR_NOT_FOUND)
            log_info("no-gpu", S("backend", "cpu"), S("why", why));
        else
            log_warn("gpu-not-used", S("backend", "cpu"), S("why", why));
        return true;
    }
    if (e) {
        log_error("gpu-refused", S("why", why), S("err", err_name(e)),
                  S("do", "`halo doctor` says what the machine has; --backend cpu works anywhere"));
        return false;
    }
    const struct hip_device *d = c->device;
    log_info("gpu-found", S("gpu", d->name), S("arch", d->arch), S("kernels", d->object_arch),
             S("library", d->runtime.library_name), I("version", d->runtime.version),
             S("launches", d->has_early ? "overlap" : "one after the other"),
             U("processors", d->n_processors), U("memory_mb", d->memory_bytes >> 20),
             U("ms", clock_now_ms() - t0));
    return true;
}

bool hip_core_load(struct hip_core *c, const struct hip_wish *wish, const struct model *m)
{
    if (c->device == NULL)
        return true;
    char why[400];
    uint64_t t0 = clock_now_ms();
    enum err e = hip_weights_new(c->device, m, why, sizeof why, &c->weights);
    if (!e) {
        log_info("gpu-weights", U("mb", c->weights->bytes >> 20), U("ms", clock_now_ms() - t0));
        return true;
    }
    if (!is_auto(wish)) {
        log_error("gpu-refused", S("why", why), S("err", err_name(e)));
        return false;
    }
    log_warn("gpu-not-used", S("backend", "cpu"), S("why", why));
    hip_core_close(c);
    return true;
}

uint64_t hip_core_kv_room(const struct hip_core *c, const struct backend_hip_config *config)
{
    struct backend_hip_config with_weights = *config;
    with_weights.weights = c->weights;
    uint64_t room = hip_device_free_bytes(c->device);
    uint64_t buffers = backend_hip_buffer_bytes(&with_weights);
    return room > buffers ? (room - buffers) / 10 * 9 : 0;
}

enum err hip_core_backend(const struct hip_core *c, struct backend_hip_config config,
                          struct backend **ret_backend)
{
    char why[400];
    config.weights = c->weights;
    enum err e = backend_hip_new(&config, why, sizeof why, ret_backend);
    if (e)
        log_error("gpu-refused", S("why", why), S("err", err_name(e)));
    return e;
}

enum err hip_core_open_check(void *ctx, const struct model *m, struct backend **ret_backend)
{
    const struct hip_check *check = ctx;
    const struct backend_hip_config config = {
        .model = m,
        .kv_type = check->kv_type,
        .n_blocks = 1,
        .max_items = 1,
        .max_rows = SELFCHECK_ROWS,
        .max_logits = 1,
        .limit_ms = check->limit_ms,
        .on_hang = check->on_hang,
    };
    return hip_core_backend(check->core, config, ret_backend);
}

void hip_core_close(struct hip_core *c)
{
    hip_weights_free(c->weights);
    hip_device_free(c->device);
    *c = (struct hip_core){0};
}
