/* SPDX-License-Identifier: MIT */
/* halo-router: places requests on engines and brings them through the loss of any of them. */
#include "common/check.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/opt.h"
#include "proto/link.h"
#include "services/router/router.h"

enum {
    DRAIN_MS = 200, /* for sockets that are still being closed at the end */
    WHY_CAP = 512,
};

static const uint64_t BYTES_PER_MB = 1000000;

struct options {
    const char *run;
    const char *log_level;
    uint32_t queue_limit;
    uint32_t queue_wait_ms;
    uint32_t engine_wait_ms;
    uint32_t dead_ms;
    uint32_t stall_ms;
    const char *state;
    uint32_t shadow_share;
    uint32_t burnin_log_mb;
};

static const struct opt OPTS[] = {
    OPT_COMMON_ROWS(struct options),
    OPT_U32_ROW(struct options, queue_limit, "queue-limit", "256", 1, 65536, "N",
                "most new requests that wait for an engine; one more is refused (HTTP 429)"),
    OPT_U32_ROW(
        struct options, queue_wait_ms, "queue-wait-ms", "600000", 1000, 604800000, "MS",
        "a request that would wait longer, at the rate at which the queue was seen to drain, "
        "is refused (HTTP 429) and told when to come again; SDKs give up after ten minutes"),
    OPT_U32_ROW(struct options, engine_wait_ms, "engine-wait-ms", "60000", 0, 3600000, "MS",
                "how long a request waits while no engine serves its model; long enough for an "
                "engine to be restarted and load its model"),
    OPT_U32_ROW(
        struct options, dead_ms, "dead-ms", "3000", 500, 600000, "MS",
        "a peer that is silent this long is taken for dead; only a hang needs this, a death "
        "is seen at once"),
    OPT_U32_ROW(struct options, stall_ms, "stall-ms", "20000", 1000, 3600000, "MS",
                "an engine that is busy without progress this long is dropped, and its replies "
                "go on elsewhere; longer than the slowest step"),
    OPT_STR_ROW(struct options, state, "state", NULL, "DIR",
                "directory of what outlives the router: which engines answer /v1, and the burn-in "
                "log; default: the run directory"),
    OPT_U32_ROW(struct options, shadow_share, "shadow-share", "0", 0, 100, "PERCENT",
                "share of the requests to /v1 that the engines of /v2 compute, too, to be compared "
                "token by token (halo burnin); costs their time once more"),
    OPT_U32_ROW(struct options, burnin_log_mb, "burnin-log-mb", "64", 1, 65536, "MB",
                "size at which the burn-in log is moved to burnin.jsonl.1; a row has about 800 "
                "bytes"),
};

static const char EXAMPLE[] = "halo-router --queue-limit 64";

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
        .state = o->state != NULL ? o->state : o->run,
        .shadow_share = o->shadow_share,
        .burnin_log_bytes = o->burnin_log_mb * BYTES_PER_MB,
    };
    enum err e = router_new(&config, why, sizeof why, ret_router);
    if (e != ERR_OK)
        log_error("start-failed", S("why", why), S("run", o->run));
    return e == ERR_OK;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo-router",
        .summary = "Places requests on engines and brings them through the loss of any of them.",
        .example = EXAMPLE,
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = &o,
    };
    int operands;
    int status;
    if (!opt_parse(&program, argc, argv, &operands, &status))
        return status;
    if (!opt_common_setup("router", &o.run, o.log_level))
        return 2;

    struct loop *loop;
    struct router *router = NULL;
    if (loop_new(&loop) != ERR_OK || loop_on_terminate(loop, leave, &router) != ERR_OK) {
        log_error("start-failed", S("why", "no event loop"));
        return 1;
    }
    if (!start(loop, &o, &router)) {
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
