/* SPDX-License-Identifier: MIT */
/* halo-supervisor: starts the processes of a stack in order, keeps them running, stops them. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/opt.h"
#include "services/supervisor/address.h"
#include "services/supervisor/control.h"
#include "services/supervisor/exec_child.h"
#include "services/supervisor/options.h"
#include "services/supervisor/report.h"
#include "services/supervisor/run_dir.h"
#include "services/supervisor/stack.h"

enum {
    EXIT_USAGE = 2,
    WHY_CAP = 1024,
};

struct supervisor {
    struct options options;
    struct plan plan;
    struct run_dir dir;
    struct loop *loop;
    struct stack_config stack_config;
    struct stack *stack;
    struct control *control;
    char *url;
    int http_fd; /* listens at --http; the stack's once there is one */
    int exit_status;
};

static void on_changed(void *ctx, struct child *c)
{
    struct supervisor *s = ctx;
    report_child(c);
    if (s->control != NULL)
        control_on_change(s->control, c);
}

static void on_ready(void *ctx)
{
    struct supervisor *s = ctx;
    struct run_dir_facts facts = {
        .http = s->options.http,
        .url = s->url,
        .model = s->options.model,
        .engine_args = s->options.engine_args,
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
        s->exit_status = EXIT_FAILURE;
    }
    loop_stop(s->loop);
}

static void on_terminate(void *ctx)
{
    struct supervisor *s = ctx;
    notify_stopping();
    stack_stop(s->stack);
}

/* All that can fail for the operator before anything runs. */
static enum err prepare(struct supervisor *s, char *why)
{
    const struct options *o = &s->options;
    struct plan_values values = {o->bin,  o->run,         o->log_level, o->model,
                                 o->http, o->engine_args, o->n_engines};
    enum err e = run_dir_open(o->run, why, WHY_CAP, &s->dir);
    if (e == ERR_OK)
        e = plan_init(&values, why, WHY_CAP, &s->plan);
    if (e == ERR_OK)
        e = address_listen(o->http, why, WHY_CAP, &s->http_fd);
    return e;
}

static enum err open_all(struct supervisor *s, char *why)
{
    const struct options *o = &s->options;
    (void)snprintf(why, WHY_CAP, "cannot use the run directory %s", o->run);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1); /* what a child leaves behind becomes ours */
    s->stack_config = (struct stack_config){.loop = s->loop,
                                            .run = o->run,
                                            .log_directory = s->dir.log_path,
                                            .plan = &s->plan,
                                            .take_http_fd = s->http_fd,
                                            .watchdog_ms = o->watchdog_ms,
                                            .start_timeout_ms = o->start_timeout_ms,
                                            .stop_timeout_ms = o->stop_timeout_ms,
                                            .changed = on_changed,
                                            .ready = on_ready,
                                            .stopped = on_stopped,
                                            .ctx = s};
    struct link_config link = {.loop = s->loop,
                               .run = o->run,
                               .service = "supervisor",
                               .instance = "",
                               .epoch = clock_random_u64()};
    enum err e = loop_on_terminate(s->loop, on_terminate, s);
    if (e == ERR_OK)
        e = stack_new(&s->stack_config, &s->stack);
    if (e == ERR_OK)
        e = control_open(&link, s->stack, &s->control);
    return e;
}

static void close_all(struct supervisor *s)
{
    control_close(s->control);
    stack_free(s->stack);
    (void)link_drain(1000);
    loop_free(s->loop);
    plan_fini(&s->plan);
    run_dir_close(&s->dir);
    free(s->url);
}

int main(int argc, char **argv)
{
    struct supervisor s = {.dir = {.lock_fd = -1}, .http_fd = -1};
    char why[WHY_CAP];
    int rc;
    if (exec_child_is_asked(argc, argv))
        return exec_child_main(argc, argv);
    if (!options_parse(argc, argv, &s.options, &rc))
        return rc;
    if (!opt_common_setup("supervisor", &s.options.run, s.options.log_level))
        return EXIT_USAGE;
    (void)umask(077);
    enum err e = prepare(&s, why);
    if (e == ERR_OK)
        e = loop_new(&s.loop);
    if (e == ERR_OK)
        e = open_all(&s, why);
    if (e == ERR_OK) {
        s.url = address_url(s.options.http);
        notify_watchdog_start(s.loop);
        stack_start(s.stack);
        loop_run(s.loop);
    } else {
        report_error(why);
        s.exit_status = EXIT_FAILURE;
    }
    close_all(&s);
    return s.exit_status;
}
