/* SPDX-License-Identifier: MIT */
/* halo-engine: serves one model on one device. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/notify.h"
#include "common/sandbox.h"
#include "proto/link.h"
#include "services/engine/core.h"
#include "services/engine/options.h"
#include "services/engine/service.h"

struct engine {
    struct options options;
    struct loop *loop;
    struct core core;
    struct carry carry;
    char numerics[16];
    struct service *service;
};

static void on_terminate(void *ctx)
{
    struct engine *e = ctx;
    notify_stopping();
    service_leave(e->service);
}

/* The thread that waits for the GPU never comes back, so nothing can be ended in order. The router
 * sends what was in progress to another engine. */
static void on_gpu_hang(void *ctx, uint32_t limit_ms)
{
    (void)ctx;
    log_error(
        "gpu-hangs", U("after_ms", limit_ms), S("expected", "the end of a step"),
        S("do", "look at the kernel's log (dmesg); if the GPU is only slow raise --gpu-timeout"));
    _exit(EXIT_FAILURE);
}

static bool start(struct engine *e)
{
    /* Signals are handled when the loop runs; until then they wait. */
    if (loop_new(&e->loop) || loop_on_terminate(e->loop, on_terminate, e)) {
        log_error("no-loop");
        return false;
    }
    e->core.on_gpu_hang = on_gpu_hang;
    if (!core_open(&e->core, &e->options))
        return false;
    e->carry = (struct carry){.run = e->options.run,
                              .name = e->options.name,
                              .cache = core_kv_cache(&e->core, &e->options),
                              .cap_bytes = (uint64_t)e->options.keep_kv_mb << 20};
    carry_in(&e->carry);
    const struct model *m = e->core.model;
    (void)snprintf(e->numerics, sizeof e->numerics, "kv-%s", e->options.kv_type);
    const struct service_config config = {
        .loop = e->loop,
        .scheduler = e->core.scheduler,
        .carry = &e->carry,
        .run = e->options.run,
        .name = e->options.name,
        .limits = {&m->config, h1b_hash(m->file), e->core.sizes.n_ctx, core_numbers(&e->core)},
        .max_seqs = e->options.max_seqs,
        .frame_ms = e->options.frame_ms,
        .n_blocks = e->core.sizes.n_blocks,
        .backend = e->core.backend->name,
        .numerics = e->numerics,
        .lane = e->options.lane,
        .model_file = e->options.model,
        .served_name = e->options.served_name != NULL ? e->options.served_name : m->config.name,
        .file = m->file,
        .is_standby = e->options.is_standby,
        .router = {.url = e->options.router, .files = e->options.tls},
    };
    enum err err = service_start(&config, &e->service);
    if (err)
        log_error("service-refused", S("err", err_name(err)));
    return err == ERR_OK;
}

static void say_ready(const struct engine *e)
{
    const struct core *c = &e->core;
    char status[160];
    (void)snprintf(status, sizeof status, "serving %s on %s", c->model->config.name,
                   c->backend->name);
    log_info("ready", S("backend", c->backend->name), U("threads", c->sizes.n_threads),
             U("kv_blocks", c->sizes.n_blocks), U("context", c->sizes.n_ctx),
             U("max_seqs", e->options.max_seqs));
    notify_watchdog_start(e->loop);
    notify_ready(status);
}

int main(int argc, char **argv)
{
    struct engine e = {0};
    int status = 0;
    if (!options_parse(&e.options, argc, argv, &status))
        return status;
    status = EXIT_FAILURE;
    if (sandbox_begin(e.options.sandbox) && start(&e) &&
        sandbox_enter(e.options.sandbox, options_rights(&e.options, e.core.gpu.device))) {
        say_ready(&e);
        loop_run(e.loop);
        status = service_has_failed(e.service) ? EXIT_FAILURE : EXIT_SUCCESS;
        log_info("stopped");
    }
    bool is_replaced = service_is_replaced(e.service);
    service_stop(e.service);
    if (status == EXIT_SUCCESS && !is_replaced)
        carry_out(&e.carry);
    core_close(&e.core);
    loop_free(e.loop);
    (void)link_drain(1000);
    return status;
}
