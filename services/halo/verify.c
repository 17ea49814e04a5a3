/* SPDX-License-Identifier: MIT */
/* halo verify: makes logged replies again on the running stack and compares them byte for byte. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/opt.h"
#include "services/halo/api.h"
#include "services/halo/print.h"
#include "services/halo/server.h"
#include "services/halo/stack_info.h"
#include "services/halo/verbs.h"
#include "services/halo/verify_check.h"
#include "services/halo/verify_log.h"

enum {
    MODELS_TIMEOUT_MS = 10000,
    REPLY_TIMEOUT_MS = 3600000,
    FILE_CAP = 64 * 1024 * 1024,
    HASH_SHOWN = 12,
    HTTP_OK = 200,
    EXIT_DIFFERS = 1,
    EXIT_UNCHECKED = 2,
};

struct options {
    const char *run;
    const char *url;
    const char *log;
    const char *request;
    uint32_t every;
    bool is_all;
    bool is_json;
};

static const struct opt OPTS[] = {
    PRINT_RUN_ROW(struct options),
    OPT_STR_ROW(struct options, url, "url", NULL, "URL",
                "server to ask; default: the stack in the run directory. A key comes from "
                "$HALO_API_KEY"),
    OPT_STR_ROW(struct options, log, "log", NULL, "FILE",
                "what halo-gateway writes with --reply-log, and its older FILE.1 ...; default: the "
                "one of the stack in the run directory, if `halo up --gateway-args` named it"),
    OPT_STR_ROW(struct options, request, "request", NULL, "FILE",
                "body of the request, where there is no log: RECEIPT alone does not hold it"),
    OPT_BOOL_ROW(struct options, is_all, "all", "false", "every reply in the log"),
    OPT_U32_ROW(struct options, every, "every", "1", 1, 1000000, "N",
                "with --all: only every Nth of them, from one that is drawn"),
    OPT_BOOL_ROW(struct options, is_json, "json", "false", "print a JSON object for each reply"),
};

struct verify {
    const struct options *options;
    char *base;
    char *log; /* NULL: none */
    json_t *models; /* as the server lists them */
    const char *id; /* what is looked for; NULL: all */
    const json_t *receipt; /* what the user has of it, or NULL */
    size_t n[3]; /* by enum verify_result */
    uint64_t n_seen; /* of what --all looks at; begins with a drawn number */
};

/* ---- one reply --------------------------------------------------------------------------------- */

static const char *text_of(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s != NULL ? s : "";
}

static void tell(struct verify *v, const json_t *receipt, enum verify_result result,
                 const char *why)
{
    static const char *const WORDS[] = {"the same", "differs", "not checked"};
    static const char *const NAMES[] = {"same", "differs", "unchecked"};
    v->n[result]++;
    if (v->options->is_json) {
        json_t *o = json_pack("{s:s, s:s, s:s}", "id", text_of(receipt, "id"), "result",
                              NAMES[result], "why", why);
        char *line = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
        (void)printf("%s\n", line != NULL ? line : "{}");
        free(line);
        json_decref(o);
        return;
    }
    enum color color = result == VERIFY_SAME      ? COLOR_GOOD
                       : result == VERIFY_DIFFERS ? COLOR_BAD
                                                  : COLOR_WARN;
    (void)printf("%s: %s%s%s%s%s\n", text_of(receipt, "id"), print_color(color), WORDS[result],
                 print_color(COLOR_OFF), why[0] != '\0' ? ": " : "", why);
}

/* The name under which the server has the model of a receipt; NULL: it has another one. */
static const char *find_model(const struct verify *v, const json_t *receipt, char *why)
{
    const char *wanted = text_of(receipt, "model_hash");
    const char *other = "none";
    size_t i;
    const json_t *m;
    json_array_foreach(v->models, i, m)
    {
        if (strcmp(text_of(m, "hash"), wanted) == 0)
            return text_of(m, "id");
        other = text_of(m, "hash");
    }
    (void)snprintf(why, VERIFY_WHY_CAP,
                   "it is of another model: %.100s (%.*s...), and the server has %.*s",
                   text_of(receipt, "model"), HASH_SHOWN, wanted, HASH_SHOWN, other);
    return NULL;
}

static enum verify_result ask_again(const struct verify *v, const char *request,
                                    const json_t *receipt, const json_t *replies, const char *model,
                                    char *why)
{
    bool is_chat = strcmp(text_of(receipt, "endpoint"), "chat") == 0;
    char *body = verify_check_body(request, receipt, model);
    struct api_answer a;
    enum verify_result result = VERIFY_UNCHECKED;
    if (body == NULL) {
        (void)snprintf(why, VERIFY_WHY_CAP, "its request is not JSON");
        return result;
    }
    api_post(v->base, is_chat ? "/v1/chat/completions" : "/v1/completions", body, REPLY_TIMEOUT_MS,
             &a);
    free(body);
    json_t *answer =
        a.body.len > 0 ? json_loadb(a.body.ptr, a.body.len, JSON_ALLOW_NUL, NULL) : NULL;
    if (a.status == HTTP_OK && json_is_object(answer))
        result = verify_check_answer(receipt, replies, answer, why);
    else if (a.status == 0)
        (void)snprintf(why, VERIFY_WHY_CAP, "%.100s: %.400s", v->base, a.error);
    else
        (void)snprintf(why, VERIFY_WHY_CAP, "the server answers %ld: %.400s", a.status,
                       text_of(json_object_get(answer, "error"), "message"));
    json_decref(answer);
    buf_fini(&a.body);
    return result;
}

static void check(struct verify *v, const char *request, const json_t *receipt,
                  const json_t *replies)
{
    char why[VERIFY_WHY_CAP] = "";
    enum verify_result result = VERIFY_SAME;
    if (v->receipt != NULL)
        result = verify_check_receipts(v->receipt, receipt, why);
    if (result == VERIFY_SAME) {
        const char *model = find_model(v, receipt, why);
        result =
            model != NULL ? ask_again(v, request, receipt, replies, model, why) : VERIFY_UNCHECKED;
    }
    tell(v, receipt, result, why);
}

/* ---- the log ----------------------------------------------------------------------------------- */

static bool on_entry(void *ctx, const json_t *entry)
{
    struct verify *v = ctx;
    const json_t *receipt = json_object_get(entry, "halo");
    if (entry == NULL) {
        if (v->id == NULL)
            tell(v, NULL, VERIFY_UNCHECKED, "a line of the log is damaged");
        return true;
    }
    if (v->id == NULL && verify_check_is_ours(text_of(entry, "request")))
        return true;
    if (v->id != NULL && strcmp(text_of(receipt, "id"), v->id) != 0)
        return true;
    if (v->id == NULL && v->n_seen++ % v->options->every != 0)
        return true;
    check(v, text_of(entry, "request"), receipt, json_object_get(entry, "replies"));
    return v->id == NULL;
}

static size_t n_told(const struct verify *v)
{
    return v->n[VERIFY_SAME] + v->n[VERIFY_DIFFERS] + v->n[VERIFY_UNCHECKED];
}

static bool read_log(struct verify *v)
{
    char why[VERIFY_WHY_CAP];
    if (v->log == NULL) {
        (void)fprintf(stderr,
                      "halo verify: replies are not logged here: name the log with --log, or "
                      "give halo-gateway --reply-log FILE to have one\n");
        return false;
    }
    if (!verify_log_read(v->log, on_entry, v, why, sizeof why)) {
        (void)fprintf(stderr, "halo verify: %s\n", why);
        return false;
    }
    if (n_told(v) == 0 && v->id != NULL)
        (void)fprintf(stderr,
                      "halo verify: %s is not in %s: it was not logged, or its file is gone\n",
                      v->id, v->log);
    return n_told(v) > 0 || v->id == NULL;
}

/* The FILE of "--reply-log FILE" in the arguments of the stack's gateway. */
static char *log_of_stack(const char *run)
{
    static const char NAME[] = "--reply-log";
    struct stack_info info;
    char *found = NULL;
    stack_info_read(run != NULL ? run : stack_info_default_run(), &info);
    const char *at = info.gateway_args != NULL ? strstr(info.gateway_args, NAME) : NULL;
    if (at != NULL && (at[sizeof NAME - 1] == ' ' || at[sizeof NAME - 1] == '=')) {
        at += sizeof NAME;
        found = mem_strndup(at, strcspn(at, " "));
    }
    stack_info_fini(&info);
    return found;
}

/* ---- what is asked ----------------------------------------------------------------------------- */

/* A file's text, or that of stdin for "-"; NULL: there is no such file. */
static char *read_text(const char *path)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    struct buf b = {0};
    char piece[4096];
    if (f == NULL)
        return NULL;
    for (size_t n; b.len < FILE_CAP && (n = fread(piece, 1, sizeof piece, f)) > 0;)
        buf_add(&b, piece, n);
    if (f != stdin)
        (void)fclose(f);
    return buf_detach(&b);
}

static bool load_models(struct verify *v)
{
    struct api_answer a;
    api_get(v->base, "/v1/models", MODELS_TIMEOUT_MS, &a);
    json_t *o = a.body.len > 0 ? json_loadb(a.body.ptr, a.body.len, JSON_ALLOW_NUL, NULL) : NULL;
    v->models = json_incref(json_object_get(o, "data"));
    if (a.status == 0)
        (void)fprintf(stderr, "halo verify: %s: %s\n", v->base, a.error);
    else if (!json_is_array(v->models))
        (void)fprintf(stderr, "halo verify: %s/v1/models answers %ld\n", v->base, a.status);
    json_decref(o);
    buf_fini(&a.body);
    return json_is_array(v->models);
}

static bool check_request_file(struct verify *v)
{
    char *request = read_text(v->options->request);
    if (request == NULL) {
        (void)fprintf(stderr, "halo verify: there is no file %s\n", v->options->request);
        return false;
    }
    const json_t *receipt = v->receipt;
    v->receipt = NULL; /* there is no other to compare it with */
    check(v, request, receipt, NULL);
    free(request);
    return true;
}

static bool run(struct verify *v, const char *operand)
{
    char *text = operand != NULL ? read_text(operand) : NULL;
    json_t *receipt = text != NULL ? verify_log_find_receipt(text) : NULL;
    bool ok = false;
    v->receipt = receipt;
    v->id = receipt != NULL ? text_of(receipt, "id") : operand;
    if (text != NULL && receipt == NULL)
        (void)fprintf(stderr, "halo verify: there is no receipt in %s\n", operand);
    else if (v->options->request != NULL && receipt == NULL)
        (void)fprintf(stderr, "halo verify: --request needs a file with the RECEIPT\n");
    else if (load_models(v))
        ok = v->options->request != NULL ? check_request_file(v) : read_log(v);
    free(text);
    json_decref(receipt);
    json_decref(v->models);
    return ok;
}

static int conclude(const struct verify *v, bool ok)
{
    if (ok && v->options->is_all && !v->options->is_json)
        (void)printf("%zu replies: %zu the same, %zu differ, %zu not checked\n", n_told(v),
                     v->n[VERIFY_SAME], v->n[VERIFY_DIFFERS], v->n[VERIFY_UNCHECKED]);
    if (v->n[VERIFY_DIFFERS] > 0)
        return EXIT_DIFFERS;
    return ok && v->n[VERIFY_UNCHECKED] == 0 ? EXIT_SUCCESS : EXIT_UNCHECKED;
}

int verb_verify(int argc, char **argv)
{
    struct options o = {0};
    struct opt_program program = {
        .name = "halo verify",
        .summary =
            "Makes a reply again, with its request and seed, and compares it byte for byte. "
            "RECEIPT is a file (or - for stdin) with the member \"halo\" of an answer, or a "
            "saved answer; ID is that of an answer. The request comes from the gateway's log. "
            "Exit status: 0 the same, 1 it differs, 2 it could not be checked.",
        .operands = "[RECEIPT|ID]",
        .example = "halo verify chatcmpl-52fdfc072182654f163f5f0f9a621d72 --log replies.jsonl",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = &o};
    struct verify v = {.options = &o, .n_seen = clock_random_u64() >> 1};
    int operands;
    int rc;
    if (!opt_parse(&program, argc, argv, &operands, &rc))
        return rc;
    if (argc - operands != (o.is_all ? 0 : 1)) {
        (void)fprintf(stderr, "halo verify: name one RECEIPT or ID, or give --all\n");
        return EXIT_BAD_USAGE;
    }
    v.base = server_find("verify", o.url, o.run);
    if (v.base == NULL)
        return EXIT_UNCHECKED;
    v.log = o.log != NULL ? mem_strndup(o.log, strlen(o.log)) : log_of_stack(o.run);
    api_init();
    bool ok = run(&v, o.is_all ? NULL : argv[operands]);
    api_fini();
    free(v.base);
    free(v.log);
    return conclude(&v, ok);
}
