/* SPDX-License-Identifier: MIT */
#include "services/supervisor/supervisor.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/notify.h"
#include "services/supervisor/address.h"
#include "services/supervisor/report.h"

enum { DRAIN_MS = 1000 };

static void on_changed(void *ctx, struct child *c)
{
    struct supervisor *s = ctx;
    report_child(c);
    if (s->control != NULL)
        control_on_change(s->control, c);
}

static void on_gone(void *ctx, const struct child *c)
{
    struct supervisor *s = ctx;
    log_info("child-gone", S("name", child_name(c)));
    if (s->control != NULL)
        control_on_gone(s->control, c);
}

static void on_ready(void *ctx)
{
    struct supervisor *s = ctx;
    struct run_dir_facts facts = {
        .http = s->options.http,
        .url = s->url,
        .model = s->options.model,
        .engine_args = s->options.engine_args,
        .gateway_args = s->options.gateway_args,
        .router_args = s->options.router_args,
        .candidate_args = s->options.candidate_args,
        .n_candidates = s->options.n_candidates,
        .n_engines = s->options.n_engines,
    };
    if (run_dir_publish(&s->dir, &facts) != ERR_OK)
        log_error("publish-failed", S("file", s->dir.stack_path));
    log_info("ready", S("url", s->url));
    notify_ready(s->url);
}

static void on_stopped(void *ctx, const char *why)
{
    struct supervisor *s = ctx;
    if (why[0] != '\0') {
        report_error(why);
        s->has_failed = true;
    }
    loop_stop(s->loop);
}

static void on_terminate(void *ctx)
{
    struct supervisor *s = ctx;
    notify_stopping();
    stack_stop(s->stack);
}

/* ---- life -------------------------------------------------------------------------------------- */

static enum err check_and_listen(struct supervisor *s, char *why, int *ret_http_fd)
{
    const struct options *o = &s->options;
    struct plan_values values = {.bin = o->bin,
                                 .run = o->run,
                                 .log_level = o->log_level,
                                 .sandbox = o->sandbox,
                                 .model = o->model,
                                 .http = o->http,
                                 .engine_args = o->engine_args,
                                 .gateway_args = o->gateway_args,
                                 .router_args = o->router_args,
                                 .candidate_args = o->candidate_args,
                                 .candidate_bin = o->candidate_bin,
                                 .n_candidates = o->n_candidates,
                                 .n_engines = o->n_engines};
    enum err e = run_dir_open(o->run, why, SUPERVISOR_WHY_CAP, &s->dir);
    if (e == ERR_OK)
        e = plan_init(&values, why, SUPERVISOR_WHY_CAP, &s->plan);
    if (e == ERR_OK)
        e = address_listen(o->http, why, SUPERVISOR_WHY_CAP, ret_http_fd);
    return e;
}

static enum err open_stack(struct supervisor *s, int take_http_fd)
{
    const struct options *o = &s->options;
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1); /* what a child leaves behind becomes ours */
    s->stack_config = (struct stack_config){.loop = s->loop,
                                            .run = o->run,
                                            .log_directory = s->dir.log_path,
                                            .plan = &s->plan,
                                            .take_http_fd = take_http_fd,
                                            .watchdog_ms = o->watchdog_ms,
                                            .start_timeout_ms = o->start_timeout_ms,
                                            .stop_timeout_ms = o->stop_timeout_ms,
                                            .changed = on_changed,
                                            .ready = on_ready,
                                            .gone = on_gone,
                                            .stopped = on_stopped,
                                            .ctx = s};
    return stack_new(&s->stack_config, &s->stack);
}

enum err supervisor_init(struct supervisor *s, char *why)
{
    int http_fd = -1;
    s->dir.lock_fd = -1;
    enum err e = check_and_listen(s, why, &http_fd);
    if (e != ERR_OK)
        return e;
    s->url = address_url(http_fd);
    e = loop_new(&s->loop);
    if (e == ERR_OK)
        e = loop_on_terminate(s->loop, on_terminate, s);
    if (e == ERR_OK)
        e = open_stack(s, http_fd);
    else
        (void)close(http_fd);
    struct link_config link = {.loop = s->loop,
                               .run = s->options.run,
                               .service = "supervisor",
                               .instance = "",
                               .epoch = clock_random_u64()};
    if (e == ERR_OK)
        e = control_open(&link, s->stack, &s->control);
    if (e != ERR_OK)
        (void)snprintf(why, SUPERVISOR_WHY_CAP, "cannot use the run directory %s: %s",
                       s->options.run, err_text(e));
    return e;
}

void supervisor_run(struct supervisor *s)
{
    notify_watchdog_start(s->loop);
    stack_start(s->stack);
    loop_run(s->loop);
}

void supervisor_fini(struct supervisor *s)
{
    control_close(s->control);
    stack_free(s->stack);
    (void)link_drain(DRAIN_MS);
    loop_free(s->loop);
    plan_fini(&s->plan);
    run_dir_close(&s->dir);
    free(s->url);
}
