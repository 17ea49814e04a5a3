/* SPDX-License-Identifier: MIT */
#include "services/halo/lanes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/mem.h"
#include "common/opt.h"
#include "services/halo/control.h"
#include "services/halo/engine_list.h"
#include "services/halo/print.h"
#include "services/halo/stack_info.h"
#include "services/halo/verbs.h"

enum { ASK_TIMEOUT_MS = 5000 };

static json_t *ask_quietly(const char *run, const char *command, json_t *take_args,
                           struct control_reply *ret_reply)
{
    char *args = take_args != NULL ? json_dumps(take_args, JSON_COMPACT) : NULL;
    enum err e =
        control_ask_router(run, command, "", args != NULL ? args : "", ASK_TIMEOUT_MS, ret_reply);
    free(args);
    json_decref(take_args);
    if (e != ERR_OK)
        return NULL;
    json_t *o = json_loads(ret_reply->data, 0, NULL);
    return o != NULL ? o : json_object();
}

json_t *lanes_ask(const char *verb, const char *run, const char *command, json_t *take_args)
{
    struct control_reply reply;
    json_t *o = ask_quietly(run, command, take_args, &reply);
    if (o == NULL)
        (void)fprintf(stderr, "halo %s: %s\n", verb, reply.detail);
    control_reply_fini(&reply);
    return o;
}

char *lanes_log_path(const char *run)
{
    struct control_reply reply;
    struct buf path = {0};
    json_t *o = ask_quietly(run, "lanes", NULL, &reply);
    const char *log = json_string_value(json_object_get(json_object_get(o, "burnin"), "log"));
    if (log != NULL)
        buf_add_cstr(&path, log);
    else
        buf_printf(&path, "%s/burnin.jsonl", run);
    json_decref(o);
    control_reply_fini(&reply);
    return buf_detach(&path);
}

json_t *lanes_engines(const char *run, int lane)
{
    json_t *all = engine_list_ask(run);
    json_t *found = json_array();
    size_t i;
    json_t *e;
    json_array_foreach(all, i, e)
    {
        const char *state = json_string_value(json_object_get(e, "state"));
        if (json_integer_value(json_object_get(e, "lane")) == lane && state != NULL &&
            strcmp(state, "serving") == 0)
            ASSERT(json_array_append(found, e) == 0);
    }
    json_decref(all);
    return found;
}

/* ---- halo lanes -------------------------------------------------------------------------------- */

struct options {
    const char *run;
    bool is_json;
};

static const struct opt OPTS[] = {
    PRINT_RUN_ROW(struct options),
    OPT_BOOL_ROW(struct options, is_json, "json", "false", "print one JSON object"),
};

static long long number(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

static void print_lane(const char *run, int lane, long long group)
{
    json_t *engines = lanes_engines(run, lane);
    size_t i;
    json_t *e;
    (void)printf("/v%d  %-9s engines started with --lane %lld: ", lane + 1,
                 lane == 0 ? "stable" : "candidate", group);
    if (json_array_size(engines) == 0)
        (void)printf("%snone in service%s", print_color(lane == 0 ? COLOR_BAD : COLOR_DIM),
                     print_color(COLOR_OFF));
    json_array_foreach(engines, i, e)(void)
        printf("%s%s (%s, %s)", i > 0 ? ", " : "", json_string_value(json_object_get(e, "name")),
               json_string_value(json_object_get(e, "build")),
               json_string_value(json_object_get(e, "backend")));
    (void)printf("\n");
    json_decref(engines);
}

static void print_lanes(const char *run, const json_t *o)
{
    const json_t *b = json_object_get(o, "burnin");
    if (json_is_true(json_object_get(o, "are_strangers")))
        (void)printf("/v1 and /v2 serve different models: nothing is compared\n");
    print_lane(run, 0, number(o, "stable_group"));
    print_lane(run, 1, number(o, "candidate_group"));
    (void)printf(
        "%lld %% of /v1's requests are compared; since the router's start %lld exact, %lld "
        "different, %lld empty, %lld truncated; %lld skipped for want of room, %lld "
        "cancelled, %lld not logged\n%s\n",
        number(b, "share"), number(b, "exact"), number(b, "different"), number(b, "empty"),
        number(b, "truncated"), number(b, "skipped"), number(b, "cancelled"), number(b, "unlogged"),
        json_string_value(json_object_get(b, "log")));
}

/* 0..100, or -1. */
static int parse_percent(const char *text)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && n >= 0 && n <= 100 ? (int)n : -1;
}

static int set_share(const char *run, const char *text)
{
    int percent = parse_percent(text);
    if (percent < 0) {
        (void)fprintf(stderr, "halo lanes: expected a percentage from 0 to 100, not '%s'\n", text);
        return EXIT_BAD_USAGE;
    }
    json_t *o = lanes_ask("lanes", run, "share", json_pack("{s:i}", "percent", percent));
    if (o == NULL)
        return EXIT_FAILURE;
    json_decref(o);
    (void)printf("%d %% of the requests to /v1 are compared from now on, until the router is "
                 "started again (its --shadow-share holds then)\n",
                 percent);
    return EXIT_SUCCESS;
}

static int show(const char *run, bool is_json)
{
    json_t *o = lanes_ask("lanes", run, "lanes", NULL);
    if (o == NULL)
        return EXIT_FAILURE;
    if (is_json) {
        (void)json_dumpf(o, stdout, JSON_INDENT(1));
        (void)printf("\n");
    } else {
        print_lanes(run, o);
    }
    json_decref(o);
    return EXIT_SUCCESS;
}

int verb_lanes(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo lanes",
        .summary =
            "Shows which engines answer /v1 and /v2, or sets the share of /v1's requests that "
            "the engines of /v2 compute, too, to be compared (halo burnin).",
        .operands = "[share PERCENT]",
        .example = "halo lanes share 10",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = &o};
    int at;
    int rc;
    if (!opt_parse(&program, argc, argv, &at, &rc))
        return rc;
    const char *run = o.run != NULL ? o.run : stack_info_default_run();
    if (at == argc)
        return show(run, o.is_json);
    if (argc - at == 2 && strcmp(argv[at], "share") == 0)
        return set_share(run, argv[at + 1]);
    (void)fprintf(stderr, "halo lanes: expected nothing or share PERCENT; see halo lanes --help\n");
    return EXIT_BAD_USAGE;
}
