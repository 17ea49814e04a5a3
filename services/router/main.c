/* SPDX-License-Identifier: MIT */
/* halo-router: places requests on engines and brings them through the loss of any of them. */
#include "common/log.h"
#include "common/notify.h"
#include "common/opt.h"
#include "common/sandbox.h"
#include "proto/link.h"
#include "services/router/options.h"
#include "services/router/router.h"

enum {
    DRAIN_MS = 200, /* for sockets that are still being closed at the end */
    WHY_CAP = 512,
};

static const uint64_t BYTES_PER_MB = 1000000;

/* Runs on the loop, so the router is there by then. */
static void leave(void *ctx)
{
    struct router **router = ctx;
    log_info("stopping");
    notify_stopping();
    router_leave(*router);
}

static bool start(struct loop *loop, const struct options *o, struct router **ret_router)
{
    char why[WHY_CAP] = "";
    struct router_config config = {
        .loop = loop,
        .run = o->run,
        .queue_limit = o->queue_limit,
        .queue_wait_ms = o->queue_wait_ms,
        .engine_wait_ms = o->engine_wait_ms,
        .dead_ms = o->dead_ms,
        .stall_ms = o->stall_ms,
        .prefill = o->prefill,
        .state = o->state != NULL ? o->state : o->run,
        .shadow_share = o->shadow_share,
        .burnin_log_bytes = o->burnin_log_mb * BYTES_PER_MB,
        .gate_rounds = o->gate_rounds,
        .gate_exact = o->gate_exact,
        .gate_latency = o->gate_latency,
        .gate_uptime_s = o->gate_uptime_s,
        .gate_ppl = o->gate_ppl,
        .gate_ppl_text = o->gate_ppl_text,
        .remote = {o->listen_tls, o->tls, o->tls_workers},
    };
    enum err e = router_new(&config, why, sizeof why, ret_router);
    if (e != ERR_OK)
        log_error("start-failed", S("why", why), S("run", o->run));
    return e == ERR_OK;
}

static unsigned rights_of(const struct options *o)
{
    return SANDBOX_ROUTER | (o->listen_tls != NULL ? SANDBOX_REMOTE : 0U);
}

int main(int argc, char **argv)
{
    struct options o;
    int status;
    if (!options_parse(&o, argc, argv, &status))
        return status;
    if (!opt_common_setup("router", &o.run, o.log_level))
        return 2;
    if (!sandbox_begin(o.sandbox))
        return 1;

    struct loop *loop;
    struct router *router = NULL;
    if (loop_new(&loop) != ERR_OK || loop_on_terminate(loop, leave, &router) != ERR_OK) {
        log_error("start-failed", S("why", "no event loop"));
        return 1;
    }
    if (!start(loop, &o, &router) || !sandbox_enter(o.sandbox, rights_of(&o))) {
        router_free(router);
        loop_free(loop);
        return 1;
    }
    notify_watchdog_start(loop);
    notify_ready("no engine yet");
    log_info("ready", S("run", o.run), S("version", opt_version()));
    loop_run(loop);

    router_free(router);
    loop_free(loop);
    (void)link_drain(DRAIN_MS);
    log_info("stopped");
    return 0;
}
