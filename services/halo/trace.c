/* SPDX-License-Identifier: MIT */
/* halo trace: the way of one request through the processes, or the latest requests. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/opt.h"
#include "services/halo/api.h"
#include "services/halo/print.h"
#include "services/halo/stack_info.h"
#include "services/halo/verbs.h"
#include "services/halo/waterfall.h"

enum { TIMEOUT_MS = 5000, ID_MAX = 80 };

struct options {
    const char *run;
    const char *chrome;
    bool is_json;
};

static const struct opt OPTS[] = {
    PRINT_RUN_ROW(struct options),
    OPT_STR_ROW(struct options, chrome, "chrome", NULL, "FILE",
                "write the request as a Chrome trace, for chrome://tracing or ui.perfetto.dev"),
    OPT_BOOL_ROW(struct options, is_json, "json", "false", "print what the gateway says, in JSON"),
};

/* ---- printing ------------------------------------------------------------------------------------ */

static void print_json(const json_t *o)
{
    (void)json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    (void)printf("\n");
}

static void print_list(const json_t *answer)
{
    const json_t *list = json_object_get(answer, "traces");
    (void)printf("%-38s %10s %12s %8s %8s  %s\n", "REQUEST", "MS", "FIRST TOKEN", "PROMPT", "REPLY",
                 "END");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *t = json_array_get(list, i);
        const json_t *first = json_object_get(t, "ttft_s");
        const char *end = json_string_value(json_object_get(t, "end"));
        char ttft[24] = "-";
        if (json_is_number(first))
            (void)snprintf(ttft, sizeof ttft, "%.2f", json_number_value(first) * 1e3);
        (void)printf("%-38s %10.2f %12s %8lld %8lld  %s\n",
                     json_string_value(json_object_get(t, "id")),
                     json_number_value(json_object_get(t, "s")) * 1e3, ttft,
                     (long long)json_integer_value(json_object_get(t, "prompt_tokens")),
                     (long long)json_integer_value(json_object_get(t, "tokens")), end);
    }
    if (json_array_size(list) == 0)
        (void)printf("no requests yet\n");
    (void)printf("\nThe gateway keeps the last %lld; halo trace REQUEST shows one.\n",
                 (long long)json_integer_value(json_object_get(answer, "kept")));
}

static bool write_chrome(const char *path, const json_t *trace)
{
    json_t *events = waterfall_chrome(trace);
    bool is_written = json_dump_file(events, path, JSON_COMPACT | JSON_REAL_PRECISION(12)) == 0;
    json_decref(events);
    if (!is_written)
        (void)fprintf(stderr, "halo trace: %s: %s\n", path, strerror(errno));
    return is_written;
}

static bool print_one(const struct options *o, const json_t *trace)
{
    struct buf picture = {0};
    if (o->chrome != NULL && !write_chrome(o->chrome, trace))
        return false;
    if (o->is_json) {
        print_json(trace);
    } else if (o->chrome == NULL) {
        waterfall_draw(trace, &picture);
        (void)fputs(buf_str(&picture).ptr, stdout);
    }
    buf_fini(&picture);
    return true;
}

/* ---- asking -------------------------------------------------------------------------------------- */

/* What the gateway answers; NULL after a line on stderr. */
static json_t *ask(const char *base, const char *id)
{
    struct api_answer a;
    char path[ID_MAX + 16];
    (void)snprintf(path, sizeof path, "/traces%s%s", id != NULL ? "/" : "", id != NULL ? id : "");
    api_get(base, path, TIMEOUT_MS, &a);
    json_t *o = a.status != 0 ? json_loadb(a.body.ptr, a.body.len, 0, NULL) : NULL;
    const json_t *error = json_object_get(o, "error");
    buf_fini(&a.body);
    if (o != NULL && a.status == 200)
        return o;
    if (error != NULL)
        (void)fprintf(stderr, "halo trace: %s\n",
                      json_string_value(json_object_get(error, "message")));
    else
        (void)fprintf(stderr, "halo trace: %s: %s\n", base,
                      a.status == 0 ? a.error : "the gateway's answer is not understood");
    json_decref(o);
    return NULL;
}

/* What a path may hold as it is; the gateway knows no other ids. */
static bool is_id(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return n > 0 && n <= ID_MAX && s[n] == '\0';
}

static int show(const struct options *o, const char *base, const char *id)
{
    json_t *answer = ask(base, id);
    bool is_shown = answer != NULL;
    if (answer != NULL && id != NULL)
        is_shown = print_one(o, answer);
    else if (answer != NULL && o->is_json)
        print_json(answer);
    else if (answer != NULL)
        print_list(answer);
    json_decref(answer);
    return is_shown ? EXIT_SUCCESS : EXIT_FAILURE;
}

int verb_trace(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo trace",
        .summary = "Shows what each process did for a request and when: waiting, tokenizing, "
                   "prefill, decode, writing, and processes that were lost meanwhile. ID is the "
                   "answer's x-request-id, its id, or a W3C trace id; without it the latest "
                   "requests are listed.",
        .operands = "[ID]",
        .example = "halo trace chatcmpl-2f16cf201b1435510a58e2385155189d --chrome trace.json",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = &o};
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    const char *id = operands < argc ? argv[operands] : NULL;
    const char *wrong = NULL;
    if (argc - operands > 1)
        wrong = "one request at a time";
    else if (id != NULL && !is_id(id))
        wrong = "an id has letters, digits, '.', '_' and '-' only";
    else if (id == NULL && o.chrome != NULL)
        wrong = "--chrome needs the ID of a request";
    if (wrong != NULL) {
        (void)fprintf(stderr, "halo trace: %s; see halo trace --help\n", wrong);
        return EXIT_BAD_USAGE;
    }
    const char *run = o.run != NULL ? o.run : stack_info_default_run();
    struct stack_info info;
    stack_info_read(run, &info);
    rc = EXIT_FAILURE;
    if (info.pid == 0 || info.url[0] == '\0') {
        stack_info_say_none(run);
    } else {
        api_init();
        char *base = api_base(info.url);
        rc = show(&o, base, id);
        free(base);
        api_fini();
    }
    stack_info_fini(&info);
    return rc;
}
