/* SPDX-License-Identifier: MIT */
/* halo swap: a newcomer beside an engine, then in its place. The supervisor starts and stops processes,
 * the router moves the replies; whatever fails before the end, the old engine goes on. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/opt.h"
#include "services/halo/control.h"
#include "services/halo/print.h"
#include "services/halo/stack_info.h"
#include "services/halo/unit_swap.h"
#include "services/halo/verbs.h"

enum {
    START_MS = 600000, /* a large model is read and checked */
    STOP_MS = 120000,
    HANDOVER_MS = 120000, /* beyond the limit that the router keeps */
    REPLIES_MS = 86400000, /* for the old model's replies, which have their own limits */
    KEEP_MS = 10000,
    ROUTER_TRIES = 5, /* a router that dies meanwhile is asked again */
};

struct options {
    const char *run;
    const char *model;
    const char *backend;
    const char *build;
    const char *args;
    const char *to;
    uint32_t limit_s;
    bool does_keep;
    bool has_no_copy;
    bool does_finish;
};

static const struct opt OPTS[] = {
    PRINT_RUN_ROW(struct options),
    OPT_STR_ROW(
        struct options, model, "model", NULL, "FILE",
        "file of the newcomer's model, the same or another one; default: the same file. Of another "
        "one: replies that run end at the old engine, with the old model, and new requests get the "
        "new model as soon as it has passed its checks"),
    OPT_STR_ROW(struct options, backend, "backend", NULL, "NAME", "its --backend"),
    OPT_STR_ROW(struct options, build, "build", NULL, "PATH",
                "halo-engine of another build, or the directory that holds it"),
    OPT_STR_ROW(struct options, args, "args", NULL, "WORDS",
                "further arguments for it, separated by blanks"),
    OPT_STR_ROW(struct options, to, "to", NULL, "ENGINE",
                "no newcomer: hand over to this engine, which runs already (with --standby, if it "
                "is to get nothing before), and leave the old one out of service"),
    OPT_BOOL_ROW(struct options, does_keep, "keep", "false",
                 "replies that run end at the old engine; default: they go on at the newcomer"),
    OPT_BOOL_ROW(struct options, does_finish, "finish", "false",
                 "go on with a swap to another model whose `halo swap` was cut off"),
    OPT_U32_ROW(struct options, limit_s, "limit-s", "60", 1, 86400, "S",
                "time for replies that stay at the old engine of the same model"),
    OPT_BOOL_ROW(struct options, has_no_copy, "no-copy", "false",
                 "do not hand over the KV cache; the newcomer computes it again"),
};

struct swap {
    const struct options *options;
    struct control_session *session;
    char name[CONTROL_NAME_CAP]; /* "engine.1" */
    uint32_t old_pid;
    uint32_t new_pid;
    bool is_systemd;
    bool is_switched; /* to another model */
    double start_s, handover_s, stop_s;
};

static double seconds_since(uint64_t began_ms)
{
    return (double)(clock_now_ms() - began_ms) / 1000.0;
}

static uint32_t pid_of(const struct control_reply *r, const char *name)
{
    for (size_t i = 0; i < r->n_children; i++) {
        if (str_is(r->children[i].name, name))
            return r->children[i].pid;
    }
    return 0;
}

static enum err say(struct swap *s, enum control_service service, const char *verb,
                    json_t *take_args, uint32_t timeout_ms, struct control_reply *ret_reply)
{
    char *args = take_args != NULL ? json_dumps(take_args, JSON_COMPACT) : NULL;
    struct frame_command c = {.verb = str_from(verb),
                              .target = str_from(s->name),
                              .args = str_from(args != NULL ? args : "")};
    enum err e = control_say(s->session, service, &c, timeout_ms, ret_reply);
    free(args);
    json_decref(take_args);
    return e;
}

static void set(json_t *o, const char *key, const char *value)
{
    if (value != NULL)
        (void)json_object_set_new(o, key, json_string(value));
}

/* What cannot be resolved, whoever opens it refuses. */
static const char *absolute(const char *path, char resolved[PATH_MAX])
{
    return path != NULL && realpath(path, resolved) != NULL ? resolved : path;
}

/* ---- the three steps --------------------------------------------------------------------------- */

static bool start_newcomer(struct swap *s)
{
    char model[PATH_MAX];
    char build[PATH_MAX];
    char new_name[CONTROL_NAME_CAP + 8];
    const struct options *o = s->options;
    uint64_t began_ms = clock_now_ms();
    json_t *args = json_object();
    struct control_reply r;
    /* The supervisor may have another working directory. */
    set(args, "model", absolute(o->model, model));
    set(args, "build", absolute(o->build, build));
    set(args, "backend", o->backend);
    set(args, "args", o->args);
    enum err e = say(s, CONTROL_SUPERVISOR, "newcomer", args, START_MS, &r);
    (void)snprintf(new_name, sizeof new_name, "%s.new", s->name);
    s->old_pid = pid_of(&r, s->name);
    s->new_pid = pid_of(&r, new_name);
    s->start_s = seconds_since(began_ms);
    if (e == ERR_OK && s->new_pid != 0)
        (void)printf("newcomer ready after %.1f s (pid %u)\n", s->start_s, s->new_pid);
    else
        (void)fprintf(stderr, "halo swap: %s; nothing has changed\n", r.detail);
    control_reply_fini(&r);
    return e == ERR_OK;
}

static void print_handover(const struct swap *s, const json_t *o)
{
    double bytes = (double)json_integer_value(json_object_get(o, "bytes"));
    long long blocks = json_integer_value(json_object_get(o, "blocks"));
    if (blocks > 0)
        (void)printf("KV cache handed over: %lld blocks, %.1f MB, written in %.1f ms, read in %.1f "
                     "ms\n",
                     blocks, bytes / 1e6,
                     (double)json_integer_value(json_object_get(o, "export_us")) / 1000.0,
                     (double)json_integer_value(json_object_get(o, "import_us")) / 1000.0);
    else
        (void)printf("no KV cache handed over: what replies need is computed again\n");
    (void)printf("%lld replies went on at the newcomer, held up for %.1f ms; handover %.1f s\n",
                 (long long)json_integer_value(json_object_get(o, "migrated")),
                 (double)json_integer_value(json_object_get(o, "pause_us")) / 1000.0,
                 s->handover_s);
}

/* The router's part; what it reports goes to *ret_report if it went well. */
static bool ask_router(struct swap *s, uint32_t timeout_ms, json_t **ret_report)
{
    const struct options *o = s->options;
    struct control_reply r = {0};
    enum err e = ERR_TIMEOUT;
    for (int i = 0; i < ROUTER_TRIES && e == ERR_TIMEOUT; i++) {
        control_reply_fini(&r);
        json_t *args =
            json_pack("{s:I, s:I, s:s, s:b, s:b, s:b, s:b, s:I}", "pid", (json_int_t)s->old_pid,
                      "to_pid", (json_int_t)s->new_pid, "to", o->to != NULL ? o->to : "", "keep",
                      o->does_keep, "no_copy", o->has_no_copy, "other_model",
                      o->model != NULL || o->to != NULL || o->does_finish, "early", !s->is_switched,
                      "limit_ms", (json_int_t)o->limit_s * 1000);
        e = say(s, CONTROL_ROUTER, "handover", args, timeout_ms, &r);
    }
    if (e == ERR_OK)
        *ret_report = json_loads(r.data, 0, NULL);
    else
        (void)fprintf(stderr, "halo swap: %s%s%s\n", r.detail,
                      *control_news(s->session) != '\0' ? ": " : "", control_news(s->session));
    control_reply_fini(&r);
    return e == ERR_OK;
}

/* The newcomer has another model, whose replies nobody else can have: it must not go when we do. */
static bool keep_newcomer(struct swap *s)
{
    struct control_reply r = {0};
    if (s->options->to != NULL || s->is_systemd)
        return true; /* it stays in any case */
    enum err e = say(s, CONTROL_SUPERVISOR, "keep", NULL, KEEP_MS, &r);
    if (e != ERR_OK)
        (void)fprintf(stderr, "halo swap: %s\n", r.detail);
    control_reply_fini(&r);
    return e == ERR_OK;
}

static bool hand_over(struct swap *s)
{
    uint64_t began_ms = clock_now_ms();
    json_t *report = NULL;
    if (!ask_router(s, s->options->limit_s * 1000 + HANDOVER_MS, &report))
        return false;
    s->handover_s = seconds_since(began_ms);
    if (!json_is_true(json_object_get(report, "is_unfinished"))) {
        print_handover(s, report);
        json_decref(report);
        return true;
    }
    json_decref(report);
    (void)printf("new requests get the new model after %.1f s; replies of the old one go on\n",
                 s->handover_s);
    (void)fflush(stdout);
    s->is_switched = true;
    if (!keep_newcomer(s) || !ask_router(s, REPLIES_MS, &report))
        return false;
    json_decref(report);
    (void)printf("the last reply of the old model was done after %.1f s\n",
                 seconds_since(began_ms));
    return true;
}

/* The two processes of a swap that was cut off. */
static bool find_both(struct swap *s)
{
    char new_name[CONTROL_NAME_CAP + 8];
    struct control_reply r = {0};
    (void)snprintf(new_name, sizeof new_name, "%s.new", s->name);
    enum err e = say(s, CONTROL_SUPERVISOR, "status", NULL, KEEP_MS, &r);
    s->old_pid = pid_of(&r, s->name);
    s->new_pid = pid_of(&r, new_name);
    if (e != ERR_OK)
        (void)fprintf(stderr, "halo swap: %s\n", r.detail);
    else if (s->new_pid == 0)
        (void)fprintf(stderr, "halo swap: there is no %s, so nothing to finish\n", new_name);
    control_reply_fini(&r);
    return e == ERR_OK && s->new_pid != 0;
}

static bool adopt(struct swap *s)
{
    struct control_reply r;
    uint64_t began_ms = clock_now_ms();
    enum err e = say(s, CONTROL_SUPERVISOR, "adopt", NULL, STOP_MS, &r);
    s->stop_s = seconds_since(began_ms);
    if (e == ERR_OK)
        (void)printf("the old process (pid %u) stopped after %.1f s; %s is pid %u\n", s->old_pid,
                     s->stop_s, s->name, s->new_pid);
    else
        (void)fprintf(stderr, "halo swap: %s\n", r.detail);
    control_reply_fini(&r);
    return e == ERR_OK;
}

/* ---- the same where systemd runs the stack ----------------------------------------------------- */

/* Hands over from one process to another. */
static bool move(struct swap *s, const char *from, uint32_t from_pid, uint32_t to_pid)
{
    (void)snprintf(s->name, sizeof s->name, "%s", from);
    s->old_pid = from_pid;
    s->new_pid = to_pid;
    s->is_switched = false;
    return hand_over(s);
}

/* The stand-in has the replies: the engine's own unit gets the change, and then the replies. */
static bool change_unit(struct swap *s, struct unit_swap *u, const char *engine)
{
    char why[UNIT_SWAP_WHY_CAP];
    uint64_t began_ms = clock_now_ms();
    bool is_changed = unit_swap_restart(u, why);
    uint32_t pid = unit_swap_engine_pid(u);
    if (is_changed)
        (void)printf("%s started again after %.1f s (pid %u)\n", engine, seconds_since(began_ms),
                     pid);
    else
        (void)fprintf(stderr, "halo swap: %s; %s\n", why,
                      pid != 0 ? "it is started as it was before" : "it does not run");
    bool is_back = pid != 0 && move(s, unit_swap_stand_in(u), unit_swap_stand_in_pid(u), pid);
    return is_changed && is_back;
}

static bool swap_units(struct swap *s)
{
    char why[UNIT_SWAP_WHY_CAP];
    char model[PATH_MAX];
    char build[PATH_MAX];
    char engine[CONTROL_NAME_CAP];
    const struct options *o = s->options;
    struct unit_change change = {.model = absolute(o->model, model),
                                 .backend = o->backend,
                                 .build = absolute(o->build, build),
                                 .args = o->args};
    struct unit_swap *u;
    uint64_t began_ms = clock_now_ms();
    (void)snprintf(engine, sizeof engine, "%s", s->name);
    if (!unit_swap_start(engine, &change, why, &u)) {
        (void)fprintf(stderr, "halo swap: %s; nothing has changed\n", why);
        return false;
    }
    (void)printf("stand-in %s ready after %.1f s (pid %u)\n", unit_swap_stand_in(u),
                 seconds_since(began_ms), unit_swap_stand_in_pid(u));
    (void)fflush(stdout);
    if (!move(s, engine, unit_swap_engine_pid(u), unit_swap_stand_in_pid(u))) {
        unit_swap_end(u);
        return false;
    }
    bool is_done = change_unit(s, u, engine);
    if (unit_swap_engine_pid(u) != 0) {
        unit_swap_end(u); /* if it still has replies, the router sends them on */
        return is_done;
    }
    (void)fprintf(stderr, "halo swap: %s goes on serving in its place\n", unit_swap_stand_in(u));
    unit_swap_leave(u);
    return false;
}

/* ---- the verb ---------------------------------------------------------------------------------- */

static int run_swap(const char *run, bool is_systemd, struct swap *s)
{
    bool is_done;
    if (control_open(run, &s->session) != ERR_OK) {
        (void)fprintf(stderr, "halo swap: no event loop; too many open files?\n");
        return EXIT_FAILURE;
    }
    s->is_systemd = is_systemd;
    if (s->options->to != NULL)
        is_done = hand_over(s);
    else if (is_systemd)
        is_done = swap_units(s);
    else if (s->options->does_finish)
        is_done = find_both(s) && hand_over(s) && adopt(s);
    else /* when we go before `adopt`, the supervisor stops the newcomer */
        is_done = start_newcomer(s) && hand_over(s) && adopt(s);
    control_close(s->session);
    return is_done ? EXIT_SUCCESS : EXIT_FAILURE;
}

int verb_swap(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo swap",
        .summary =
            "Starts another process beside an engine, hands over its KV cache and its replies, and "
            "stops the old one. Clients see a short pause and the same bytes. If anything fails "
            "before the end, the old engine goes on. With another model (--model) replies end "
            "where they began, and new requests get the new one.",
        .operands = "ENGINE",
        .example = "halo swap engine@1 --build /opt/halo-next/halo-engine",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = &o};
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    if (argc - operands != 1) {
        (void)fprintf(stderr, "halo swap: name one engine, for example engine@1\n");
        return EXIT_BAD_USAGE;
    }
    const char *run = o.run != NULL ? o.run : stack_info_default_run();
    struct swap s = {.options = &o};
    struct stack_info info;
    control_settle_name(argv[operands], s.name);
    stack_info_read(run, &info);
    bool is_running = info.pid > 0;
    bool is_systemd = info.is_systemd;
    stack_info_fini(&info);
    if (!is_running) {
        stack_info_say_none(run);
        return EXIT_FAILURE;
    }
    return run_swap(run, is_systemd, &s);
}
