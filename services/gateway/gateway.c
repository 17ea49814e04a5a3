/* SPDX-License-Identifier: MIT */
#include "services/gateway/gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/notify.h"
#include "services/gateway/relay.h"
#include "services/gateway/reply.h"
#include "services/gateway/reply_log.h"
#include "services/gateway/routes.h"
#include "services/gateway/stages.h"
#include "services/gateway/stream.h"

enum {
    FLUSH_MS = 2000, /* after the last reply, for its last bytes to be taken */
    LINGER_MS = 200, /* for the request of a connection that was accepted at the last moment */
    HOLD_MS = 1000, /* for a tokenizer that lives to be heard of */
};

static void dispatch(void *ctx, struct exchange *take_x)
{
    routes_dispatch(ctx, take_x);
}

static void on_answered(void *ctx, const char *route, int status)
{
    struct gateway *g = ctx;
    metrics_count_http(g->metrics, route, status);
}

static void on_written(void *ctx, uint64_t serial, const struct rec_span *s)
{
    struct gateway *g = ctx;
    struct trace *trace = traces_get(g->traces, serial);
    if (trace == NULL)
        return;
    trace_add(trace, s, 0);
    stages_observe(trace->metrics, s, 1);
    if (trace->end_ns > 0)
        trace->end_ns = s->start_ns + s->ns;
}

/* ---- the start ----------------------------------------------------------------------------------- */

/* In sockets that a manager holds clients wait already, perhaps since our predecessor's end: they shall
 * not be told that we have only just started. */
static void hold(struct gateway *g)
{
    if (!g->listeners.are_given)
        return;
    g->is_holding = true;
    server_hold(g->server);
    loop_timer_set(g->loop, &g->hold, HOLD_MS);
}

static void accept_all(struct gateway *g)
{
    if (!g->is_holding)
        return;
    g->is_holding = false;
    loop_timer_cancel(g->loop, &g->hold);
    server_accept(g->server);
}

static void on_hold_over(struct loop_timer *t)
{
    struct gateway *g = (struct gateway *)(void *)((char *)t - offsetof(struct gateway, hold));
    accept_all(g);
}

/* ---- readiness ----------------------------------------------------------------------------------- */

static void on_upstream_changed(void *ctx)
{
    struct gateway *g = ctx;
    const char *why_not = upstream_why_not(g->upstream, false);
    bool is_serving = why_not == NULL;
    if (is_serving)
        accept_all(g);
    if (!g->was_ready && upstream_is_up(g->upstream)) {
        g->was_ready = true;
        handover_tell(&g->handover);
        notify_ready(is_serving ? "serving" : why_not);
    }
    if (is_serving != g->was_serving) {
        g->was_serving = is_serving;
        notify_status(is_serving ? "serving" : why_not);
        if (is_serving)
            log_info("serving", U("models", catalog_n_served(upstream_catalog(g->upstream))));
        else
            log_warn("not-serving", S("why", why_not));
    }
}

/* ---- the end ------------------------------------------------------------------------------------- */

/* Replies end first, then h2o writes out what it holds. A successor may be asked for streams of ours. */
static bool is_drained(const struct gateway *g)
{
    return g->n_replies == 0 && streams_n(g->streams) == 0 && server_n_live(g->server) == 0;
}

/* An idle connection may bring a request that its client has sent already: for that we stay a moment. */
static void on_live_changed(void *ctx)
{
    struct gateway *g = ctx;
    if (!g->is_draining || !is_drained(g))
        return;
    if (server_n_connections(g->server) == 0)
        server_stop(g->server);
    else
        loop_timer_set(g->loop, &g->linger, LINGER_MS);
}

static void on_stream_gone(void *ctx)
{
    on_live_changed(ctx);
}

static void on_linger_over(struct loop_timer *t)
{
    struct gateway *g = (struct gateway *)(void *)((char *)t - offsetof(struct gateway, linger));
    if (is_drained(g))
        server_stop(g->server);
}

static void on_drain_over(struct loop_timer *t)
{
    struct gateway *g = (struct gateway *)(void *)((char *)t - offsetof(struct gateway, drain));
    if (g->n_replies == 0) {
        server_stop(g->server);
        return;
    }
    log_warn("drain-over", U("cut", g->n_replies));
    reply_fail_all(g, ERR_CLOSED, "the gateway is shutting down");
    loop_timer_set(g->loop, t, FLUSH_MS);
}

static void drain(struct gateway *g)
{
    g->is_draining = true;
    g->is_holding = false;
    loop_timer_cancel(g->loop, &g->hold);
    listen_fini(&g->listeners);
    server_drain(g->server);
    log_info("draining", U("replies", g->n_replies));
    on_live_changed(g);
}

static void on_terminate(void *ctx)
{
    struct gateway *g = ctx;
    if (g->is_ending)
        return;
    g->is_ending = true;
    notify_stopping();
    handover_cancel(&g->handover);
    loop_timer_set(g->loop, &g->drain, g->options->drain_ms);
    streams_close(g->streams);
    if (!g->is_draining)
        drain(g);
}

/* The successor serves. Each reply has its own limit, request-timeout-ms; they need no other. */
static void on_handed_over(void *ctx)
{
    drain(ctx);
}

/* Where a successor asks for the streams that we hold. Without it they cannot be continued then. */
static void listen_for_relays(struct gateway *g)
{
    struct buf path = {0};
    if (g->relay_path != NULL)
        return;
    relay_path(g->options->run, str_from(streams_tag(g->streams)), &path);
    int fd = listen_unix(path.ptr, S_IRUSR | S_IWUSR);
    if (fd < 0) {
        log_warn("no-relay", S("path", path.ptr),
                 S("hint", "clients that left streams of this process cannot come back"));
        buf_fini(&path);
        return;
    }
    server_listen_privately(g->server, fd);
    g->relay_path = buf_detach(&path);
}

static void on_hangup(void *ctx)
{
    struct gateway *g = ctx;
    if (!g->is_draining)
        listen_for_relays(g);
    enum err e = g->is_draining ? ERR_CLOSED : handover_start(&g->handover, &g->listeners);
    if (e == ERR_OK)
        log_info("hand-over", U("pid", (uint64_t)g->handover.pid));
    else
        log_warn("hand-over-refused", S("err", err_name(e)),
                 S("hint", "only a serving gateway whose sockets systemd holds has a successor"));
}

void gateway_reply_ended(struct gateway *g)
{
    on_live_changed(g);
}

/* ---- life ---------------------------------------------------------------------------------------- */

static void on_hold(void *ctx, bool holds)
{
    struct gateway *g = ctx;
    if (g->server != NULL)
        server_hold_writes(g->server, holds);
}

bool gateway_init(struct gateway *g, const struct options *o, struct loop *loop, char *const *argv)
{
    struct upstream_handler handler = {.changed = on_upstream_changed, .hold = on_hold, .ctx = g};
    struct server_events events = {.dispatch = dispatch,
                                   .answered = on_answered,
                                   .ended = on_live_changed,
                                   .written = on_written,
                                   .ctx = g};
    *g = (struct gateway){.options = o,
                          .loop = loop,
                          .drain.fire = on_drain_over,
                          .hold.fire = on_hold_over,
                          .linger.fire = on_linger_over};
    handover_init(&g->handover, loop, argv, on_handed_over, g);
    g->started_s = clock_unix_ms() / 1000;
    if (o->keys != NULL && !keys_open(loop, o->keys, &g->keys))
        return false;
    if (o->reply_log != NULL &&
        !reply_log_open(o->reply_log, o->reply_log_bytes, o->reply_log_files, &g->reply_log))
        return false;
    if (!listen_open(o, &g->listeners))
        return false;
    enum err e = loop_on_terminate(loop, on_terminate, g);
    if (e == ERR_OK && g->listeners.are_given)
        e = loop_on_hangup(loop, on_hangup, g);
    if (e == ERR_OK)
        e = upstream_new(loop, o->run, o->resume_ms, &handler, &g->upstream);
    if (e != ERR_OK) {
        fprintf(stderr, "halo-gateway: cannot start: %s\n", err_text(e));
        return false;
    }
    g->metrics = metrics_new();
    g->streams = streams_new(&(struct streams_config){.loop = loop,
                                                      .stream_bytes = o->keep_stream_bytes,
                                                      .all_bytes = o->keep_bytes,
                                                      .gone = on_stream_gone,
                                                      .ctx = g});
    g->traces = traces_new(o->n_traces);
    g->server = server_new(loop, o, &g->listeners, &events);
    hold(g);
    return true;
}

void gateway_run(struct gateway *g)
{
    notify_watchdog_start(g->loop);
    server_run(g->server);
    log_info("stopped", U("cut", g->n_replies));
}

void gateway_fini(struct gateway *g)
{
    loop_timer_cancel(g->loop, &g->drain);
    loop_timer_cancel(g->loop, &g->hold);
    loop_timer_cancel(g->loop, &g->linger);
    handover_fini(&g->handover);
    listen_fini(&g->listeners);
    server_close(g->server);
    relay_free_all(g);
    if (g->relay_path != NULL)
        (void)unlink(g->relay_path);
    free(g->relay_path);
    streams_free(g->streams);
    upstream_free(g->upstream);
    metrics_free(g->metrics);
    traces_free(g->traces);
    reply_log_close(g->reply_log);
    keys_close(g->keys);
}
