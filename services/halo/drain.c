/* SPDX-License-Identifier: MIT */
/* halo drain and halo undrain: an engine out of service, and back. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/opt.h"
#include "services/halo/control.h"
#include "services/halo/print.h"
#include "services/halo/stack_info.h"
#include "services/halo/verbs.h"

enum {
    ANSWER_MS = 10000, /* beyond the limit that the router keeps */
    SECOND_MS = 1000,
};

struct options {
    const char *run;
    uint32_t pid;
    uint32_t limit_s;
    bool does_migrate;
    bool is_forced;
};

static const struct opt DRAIN_OPTS[] = {
    PRINT_RUN_ROW(struct options),
    OPT_BOOL_ROW(struct options, does_migrate, "migrate", "false",
                 "its replies go on at other engines at once, with the tokens they have"),
    OPT_U32_ROW(struct options, limit_s, "limit-s", "60", 1, 86400, "S",
                "time for its replies to end; then they go on at other engines"),
    OPT_BOOL_ROW(struct options, is_forced, "force", "false",
                 "although no other engine serves its lane and model: new requests wait"),
    OPT_U32_ROW(struct options, pid, "pid", "0", 0, 1U << 30, "PID",
                "which of two engines of that name"),
};

static const struct opt UNDRAIN_OPTS[] = {
    PRINT_RUN_ROW(struct options),
    OPT_U32_ROW(struct options, pid, "pid", "0", 0, 1U << 30, "PID",
                "which of two engines of that name"),
};

/* The engine's name, or NULL and *ret_exit. */
static const char *parse(struct opt_program *program, int argc, char **argv, int *ret_exit)
{
    int operands;
    if (!opt_parse(program, argc, argv, &operands, ret_exit))
        return NULL;
    if (argc - operands != 1) {
        (void)fprintf(stderr,
                      "%s: name one engine, for example engine@1; `halo status` lists them\n",
                      program->name);
        *ret_exit = EXIT_BAD_USAGE;
        return NULL;
    }
    return argv[operands];
}

static enum err ask(const struct options *o, const char *verb, const char *target,
                    json_t *take_args, struct control_reply *ret_reply)
{
    const char *run = o->run != NULL ? o->run : stack_info_default_run();
    char *args = json_dumps(take_args, JSON_COMPACT);
    enum err e = control_ask_router(run, verb, target, args != NULL ? args : "",
                                    o->limit_s * SECOND_MS + ANSWER_MS, ret_reply);
    free(args);
    json_decref(take_args);
    if (e != ERR_OK)
        (void)fprintf(stderr, "halo %s: %s\n", verb, ret_reply->detail);
    return e;
}

int verb_drain(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo drain",
        .summary =
            "Takes an engine out of service: it gets no new requests, and those that it has end "
            "there or go on at other engines, byte for byte. Returns when it has none any more. "
            "It stays out, also over restarts, until `halo undrain`.",
        .operands = "ENGINE",
        .example = "halo drain engine@1 --limit-s 30",
        .opts = DRAIN_OPTS,
        .n_opts = ARRAY_LEN(DRAIN_OPTS),
        .values = &o};
    int rc;
    struct control_reply reply;
    const char *name = parse(&program, argc, argv, &rc);
    if (name == NULL)
        return rc;
    enum err e =
        ask(&o, "drain", name,
            json_pack("{s:I, s:b, s:b, s:I}", "pid", (json_int_t)o.pid, "force", o.is_forced,
                      "migrate", o.does_migrate, "limit_ms", (json_int_t)o.limit_s * SECOND_MS),
            &reply);
    json_t *data = json_loads(reply.data, 0, NULL);
    if (e == ERR_OK)
        (void)printf("%s is drained after %.1f s; %lld of its replies went on elsewhere\n", name,
                     (double)json_integer_value(json_object_get(data, "ms")) / 1000.0,
                     (long long)json_integer_value(json_object_get(data, "migrated")));
    json_decref(data);
    control_reply_fini(&reply);
    return e == ERR_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int verb_undrain(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {.name = "halo undrain",
                                  .summary = "Puts an engine back into service.",
                                  .operands = "ENGINE",
                                  .example = "halo undrain engine@1",
                                  .opts = UNDRAIN_OPTS,
                                  .n_opts = ARRAY_LEN(UNDRAIN_OPTS),
                                  .values = &o};
    int rc;
    struct control_reply reply;
    const char *name = parse(&program, argc, argv, &rc);
    if (name == NULL)
        return rc;
    enum err e = ask(&o, "undrain", name, json_pack("{s:I}", "pid", (json_int_t)o.pid), &reply);
    if (e == ERR_OK)
        (void)printf("%s is in service\n", name);
    control_reply_fini(&reply);
    return e == ERR_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
