/* SPDX-License-Identifier: MIT */
/* halo cutover and halo rollback: which engines answer /v1. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/opt.h"
#include "services/halo/gates.h"
#include "services/halo/lanes.h"
#include "services/halo/print.h"
#include "services/halo/stack_info.h"
#include "services/halo/verbs.h"

enum { EXIT_CLOSED = 1 };

struct options {
    const char *run;
    bool is_dry;
    bool is_forced;
    bool is_json;
};

static const struct opt CUTOVER_OPTS[] = {
    PRINT_RUN_ROW(struct options),
    OPT_BOOL_ROW(struct options, is_dry, "dry-run", "false", "judge the gates and change nothing"),
    OPT_BOOL_ROW(struct options, is_forced, "force", "false",
                 "although a gate is closed; what the router itself refuses stays refused"),
    OPT_BOOL_ROW(struct options, is_json, "json", "false", "print the gates as JSON"),
};

static const struct opt ROLLBACK_OPTS[] = {
    PRINT_RUN_ROW(struct options),
};

static void print_gates(const struct gates *g)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct gate *gate = &g->list[i];
        (void)printf("%s%-6s%s %-11s %s\n", print_color(gate->is_open ? COLOR_GOOD : COLOR_BAD),
                     gate->is_open ? "open" : "closed", print_color(COLOR_OFF), gate->name,
                     gate->found);
        if (!gate->is_open)
            (void)printf("%18s  %s\n", "", gate->remedy);
    }
}

static void print_gates_json(const struct gates *g)
{
    json_t *all = json_array();
    for (size_t i = 0; i < g->n; i++) {
        const struct gate *gate = &g->list[i];
        json_t *one = json_pack("{s:s, s:b, s:s, s:s}", "gate", gate->name, "open", gate->is_open,
                                "found", gate->found, "remedy", gate->is_open ? "" : gate->remedy);
        ASSERT(json_array_append_new(all, one) == 0);
    }
    (void)json_dumpf(all, stdout, JSON_INDENT(1));
    (void)printf("\n");
    json_decref(all);
}

/* Has the lanes exchanged, and says so. */
static int exchange(const char *run, const char *verb)
{
    json_t *o = lanes_ask(verb, run, verb, NULL);
    if (o == NULL)
        return EXIT_FAILURE;
    json_decref(o);
    (void)printf("/v1 is answered by the engines that answered /v2, and /v2 by those of /v1; "
                 "replies in flight end where they began\n");
    return EXIT_SUCCESS;
}

static int cutover(const struct options *o, const char *run)
{
    json_t *lanes = lanes_ask("cutover", run, "lanes", NULL);
    struct gates gates;
    if (lanes == NULL)
        return EXIT_FAILURE;
    gates_judge(run, lanes, &gates);
    json_decref(lanes);
    bool is_open = gates_are_open(&gates);
    if (o->is_json)
        print_gates_json(&gates);
    else
        print_gates(&gates);
    if (!is_open && !o->is_forced) {
        if (!o->is_json)
            (void)printf("nothing was changed\n");
        return EXIT_CLOSED;
    }
    return o->is_dry ? EXIT_SUCCESS : exchange(run, "cutover");
}

int verb_cutover(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo cutover",
        .summary = "Lets the engines of /v2 answer /v1, and those of /v1 /v2, if the gates in the "
                   "router's configuration (--gate-...) hold. Exit status: 0 done, 1 a gate is "
                   "closed or the router refuses.",
        .example = "halo cutover --dry-run",
        .opts = CUTOVER_OPTS,
        .n_opts = ARRAY_LEN(CUTOVER_OPTS),
        .values = &o};
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    return cutover(&o, o.run != NULL ? o.run : stack_info_default_run());
}

int verb_rollback(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo rollback",
        .summary = "Undoes the last cutover: the engines that answered /v1 before it do so again. "
                   "No gate is asked.",
        .example = "halo rollback",
        .opts = ROLLBACK_OPTS,
        .n_opts = ARRAY_LEN(ROLLBACK_OPTS),
        .values = &o};
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    return exchange(o.run != NULL ? o.run : stack_info_default_run(), "rollback");
}
