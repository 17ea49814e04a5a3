/* SPDX-License-Identifier: MIT */
/* halo status and halo restart: what the supervisor says about its children. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/opt.h"
#include "services/halo/control.h"
#include "services/halo/engine_list.h"
#include "services/halo/print.h"
#include "services/halo/stack_info.h"
#include "services/halo/verbs.h"

enum {
    STATUS_TIMEOUT_MS = 5000,
    RESTART_TIMEOUT_MS = 600000,
    DRAIN_TIMEOUT_MS = 75000,
};

struct options {
    const char *run;
    bool is_json;
};

static const struct opt STATUS_OPTS[] = {
    PRINT_RUN_ROW(struct options),
    OPT_BOOL_ROW(struct options, is_json, "json", "false", "print one JSON object"),
};

static const struct opt RESTART_OPTS[] = {
    PRINT_RUN_ROW(struct options),
};

static bool all_ready(const struct control_reply *r)
{
    for (size_t i = 0; i < r->n_children; i++) {
        if (!str_is(r->children[i].state, "ready"))
            return false;
    }
    return r->n_children > 0;
}

/* ---- as a table -------------------------------------------------------------------------------- */

static void print_row(const struct rec_child *c, uint64_t now_ms)
{
    char since[32];
    char pid[12] = "-";
    print_duration((now_ms > c->since_ms ? now_ms - c->since_ms : 0) / 1000, since, sizeof since);
    if (c->pid > 0)
        (void)snprintf(pid, sizeof pid, "%u", c->pid);
    (void)printf("%-12s %s%-9s%s %8s %9u  %-11s %s", c->name.ptr,
                 print_color(str_is(c->state, "ready") ? COLOR_GOOD : COLOR_BAD), c->state.ptr,
                 print_color(COLOR_OFF), pid, c->restarts, since, c->status.ptr);
    if (c->last_exit.len > 0)
        (void)printf("%s(last end: %s)", c->status.len > 0 ? " " : "", c->last_exit.ptr);
    (void)printf("\n");
}

static void print_table(const struct stack_info *info, const struct control_reply *r,
                        const json_t *engines)
{
    char up[32] = "";
    uint64_t now_ms = clock_unix_ms();
    if (info->is_systemd) {
        (void)printf("%s   run by systemd: systemctl start|stop halo.target\n\n", info->url);
    } else if (info->has_facts) {
        print_duration(now_ms / 1000 - info->started, up, sizeof up);
        (void)printf("%s   model %s   up %s   supervisor pid %d\n\n", info->url, info->model, up,
                     (int)info->pid);
    } else {
        (void)printf("starting or stopping   supervisor pid %d\n\n", (int)info->pid);
    }
    (void)printf("%-12s %-9s %8s %9s  %-11s %s\n", "PROCESS", "STATE", "PID", "RESTARTS", "SINCE",
                 "STATUS");
    for (size_t i = 0; i < r->n_children; i++)
        print_row(&r->children[i], now_ms);
    engine_list_print(engines);
}

/* ---- as JSON ----------------------------------------------------------------------------------- */

static json_t *child_json(const struct rec_child *c)
{
    return json_pack("{s:s, s:I, s:s, s:I, s:I, s:s, s:s}", "name", c->name.ptr, "pid",
                     (json_int_t)c->pid, "state", c->state.ptr, "restarts", (json_int_t)c->restarts,
                     "since_ms", (json_int_t)c->since_ms, "status", c->status.ptr, "last_exit",
                     c->last_exit.ptr);
}

static void print_json(const char *run, const struct stack_info *info,
                       const struct control_reply *r, json_t *engines)
{
    json_t *children = json_array();
    for (size_t i = 0; i < r->n_children; i++)
        (void)json_array_append_new(children, child_json(&r->children[i]));
    json_t *o =
        json_pack("{s:b, s:b, s:s, s:I, s:s, s:s, s:s, s:I, s:o, s:O}", "running", info->pid > 0,
                  "ready", all_ready(r), "run", run, "pid", (json_int_t)info->pid, "url", info->url,
                  "model", info->model, "build", info->build, "started", (json_int_t)info->started,
                  "children", children, "engines", engines);
    (void)json_dumpf(o, stdout, JSON_INDENT(2));
    (void)printf("\n");
    json_decref(o);
}

int verb_status(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {.name = "halo status",
                                  .summary = "Shows the processes of a stack. Exit status: 0 all "
                                             "are ready, 1 not all, 3 no stack runs.",
                                  .example = "halo status --json",
                                  .opts = STATUS_OPTS,
                                  .n_opts = ARRAY_LEN(STATUS_OPTS),
                                  .values = &o};
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    const char *run = o.run != NULL ? o.run : stack_info_default_run();
    struct stack_info info;
    struct control_reply reply = {0};
    stack_info_read(run, &info);
    if (info.pid > 0)
        (void)control_ask(run, "status", "", STATUS_TIMEOUT_MS, &reply);
    rc = info.pid == 0 ? 3 : all_ready(&reply) ? 0 : 1;
    json_t *engines = info.pid > 0 ? engine_list_ask(run) : json_array();
    if (o.is_json)
        print_json(run, &info, &reply, engines);
    else if (info.pid == 0)
        stack_info_say_none(run);
    else if (reply.code != ERR_OK)
        (void)fprintf(stderr,
                      info.is_systemd
                          ? "halo: %s\n"
                          : "halo: %s (pid %d); see `halo logs`, or stop it with `halo down`\n",
                      reply.detail, (int)info.pid);
    else
        print_table(&info, &reply, engines);
    json_decref(engines);
    control_reply_fini(&reply);
    stack_info_fini(&info);
    return rc;
}

/* Takes an engine out of service, if another one can have its replies meanwhile. Without, they wait for
 * it to be back. */
static bool drain_first(const char *run, const char *name)
{
    struct control_reply reply;
    bool is_drained =
        control_ask_router(run, "drain", name, "{\"migrate\":true,\"limit_ms\":60000}",
                           DRAIN_TIMEOUT_MS, &reply) == ERR_OK;
    json_t *data = json_loads(reply.data, 0, NULL);
    bool was_out = json_is_true(json_object_get(data, "was_out")); /* and so it stays */
    json_decref(data);
    control_reply_fini(&reply);
    return is_drained && !was_out;
}

static bool undrain(const char *run, const char *name)
{
    struct control_reply reply;
    bool is_done = control_ask_router(run, "undrain", name, "", DRAIN_TIMEOUT_MS, &reply) == ERR_OK;
    if (!is_done)
        (void)fprintf(stderr, "halo restart: %s; `halo undrain %s` puts it back into service\n",
                      reply.detail, name);
    control_reply_fini(&reply);
    return is_done;
}

int verb_restart(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo restart",
        .summary = "Stops a process and starts it again, without PROCESS all one after the other, "
                   "and waits until it is ready. Replies in flight go on: those of an engine "
                   "at another one, if there is one, and there with the KV cache that it keeps.",
        .operands = "[PROCESS]",
        .example = "halo restart engine.1",
        .opts = RESTART_OPTS,
        .n_opts = ARRAY_LEN(RESTART_OPTS),
        .values = &o};
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    if (argc - operands > 1) {
        (void)fprintf(stderr, "halo restart: one process at a time; see halo restart --help\n");
        return EXIT_BAD_USAGE;
    }
    const char *run = o.run != NULL ? o.run : stack_info_default_run();
    char target[CONTROL_NAME_CAP];
    control_settle_name(operands < argc ? argv[operands] : "", target);
    struct stack_info info;
    struct control_reply reply = {0};
    stack_info_read(run, &info);
    bool is_running = info.pid > 0;
    stack_info_fini(&info);
    if (!is_running) {
        stack_info_say_none(run);
        return EXIT_FAILURE;
    }
    uint64_t began = clock_now_ms();
    rc = EXIT_SUCCESS;
    bool is_drained = strncmp(target, "engine.", 7) == 0 && drain_first(run, target);
    if (control_ask(run, "restart", target, RESTART_TIMEOUT_MS, &reply) != ERR_OK) {
        (void)fprintf(stderr, "halo restart: %s\n", reply.detail);
        rc = EXIT_FAILURE;
    } else {
        (void)printf("%s ready again after %.1f s\n",
                     *target != '\0' ? target : "all processes are",
                     (double)(clock_now_ms() - began) / 1000.0);
    }
    control_reply_fini(&reply);
    if (is_drained && !undrain(run, target))
        rc = EXIT_FAILURE;
    return rc;
}
