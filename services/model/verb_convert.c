/* SPDX-License-Identifier: MIT */
/* halo convert IN OUT.h1b */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/opt.h"
#include "services/model/convert.h"
#include "services/model/verbs.h"

struct asked {
    const char *packing;
    const char *quantize;
    const char *name;
    const char *source;
    const char *license;
    const char *tokenizer;
    const char *pre_tokenizer;
    const char *layout;
    uint32_t n_slices;
    bool is_quiet;
};

static const struct opt TABLE[] = {
    OPT_CHOICE_ROW(struct asked, packing, "packing", "auto", "auto|t2|t5|s3|b1",
                   "how weights are stored; auto: what holds the source exactly"),
    OPT_CHOICE_ROW(struct asked, quantize, "quantize", "auto", "auto|absmean",
                   "auto: round float weights only if the model was trained for it"),
    OPT_U32_ROW(struct asked, n_slices, "scales", "0", 0, 65536, "N",
                "scales per matrix of rounded weights; 0: one"),
    OPT_STR_ROW(struct asked, name, "name", NULL, "NAME",
                "the model's public name; default: from the source"),
    OPT_STR_ROW(struct asked, tokenizer, "tokenizer", NULL, "PATH",
                "a file or folder to take the tokenizer from instead"),
    OPT_STR_ROW(
        struct asked, pre_tokenizer, "pre-tokenizer", NULL, "NAME",
        "rule for cutting text, e.g. llama-3 or gpt-2, if the model's own is not recognised"),
    OPT_STR_ROW(
        struct asked, layout, "layout", NULL, "128|64|rows",
        "order of I2_S codes in a GGUF file, which does not say it: 128, 64 or rows; try them "
        "if a model talks noise"),
    OPT_STR_ROW(struct asked, source, "source", NULL, "TEXT",
                "where the model is from, e.g. a URL"),
    OPT_STR_ROW(struct asked, license, "license", NULL, "TEXT", "its licence"),
    OPT_BOOL_ROW(struct asked, is_quiet, "quiet", "false", "no progress, no summary"),
};

static volatile sig_atomic_t is_cancelled;

static void cancel(int number)
{
    (void)number;
    is_cancelled = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = cancel};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
}

/* Puts what the user said in place of what the source says. */
static enum err override(struct source *s, const struct asked *a, struct why *why)
{
    struct source_config *c = &s->config;
    if (a->name != NULL) {
        if (strlen(a->name) >= sizeof c->name)
            return why_set(why, ERR_INVALID, "--name: expected at most %zu bytes",
                           sizeof c->name - 1);
        (void)snprintf(c->name, sizeof c->name, "%s", a->name);
    }
    if (c->extra == NULL)
        c->extra = json_object();
    if (a->source != NULL && json_object_set_new(c->extra, "source", json_string(a->source)) != 0)
        return why_set(why, ERR_UTF8, "--source: expected UTF-8");
    if (a->license != NULL &&
        json_object_set_new(c->extra, "license", json_string(a->license)) != 0)
        return why_set(why, ERR_UTF8, "--license: expected UTF-8");
    return ERR_OK;
}

static void print_summary(const struct source *s, const char *path,
                          const struct convert_summary *sum)
{
    (void)printf("%-16s%s\n", "wrote", path);
    (void)printf("%-16s%s from %s\n", "model", s->config.name, s->kind);
    (void)printf("%-16s%s\n", "architecture", s->config.architecture);
    (void)printf("%-16s%.1f M\n", "parameters", (double)sum->n_params / 1e6);
    (void)printf("%-16s%s; %zu matrices exact, %zu rounded\n", "packing", sum->packings.ptr,
                 sum->n_exact, sum->n_rounded);
    (void)printf("%-16s%llu\n", "bytes", (unsigned long long)sum->n_bytes);
    (void)printf("%-16s%llu\n", "bytes per token", (unsigned long long)sum->bytes_per_token);
    (void)printf("%-16s%s\n", "hash", sum->hash);
}

static enum err convert(const char *in, const char *out, const struct asked *a, struct why *why)
{
    const struct source_options source_options = {
        .tokenizer = a->tokenizer, .pre_tokenizer = a->pre_tokenizer, .layout = a->layout};
    const struct convert_options options = {
        .packing = a->packing,
        .n_slices = a->n_slices,
        .may_quantize = strcmp(a->quantize, "absmean") == 0,
        .is_silent = a->is_quiet,
        .is_cancelled = &is_cancelled,
    };
    struct source s;
    enum err e = source_open(&s, in, &source_options, why);
    if (e)
        return e;
    struct convert_summary sum = {0};
    e = override(&s, a, why);
    if (!e)
        e = convert_run(&s, out, &options, why, &sum);
    if (!e && s.notes.len > 0)
        (void)fprintf(stderr, "%s", s.notes.ptr);
    if (!e && !a->is_quiet)
        print_summary(&s, out, &sum);
    buf_fini(&sum.packings);
    source_close(&s);
    return e;
}

int verb_convert(int argc, char **argv)
{
    struct asked a = {0};
    const struct opt_program program = {
        .name = "halo convert",
        .summary =
            "Writes a model as an .h1b file. IN is a Hugging Face directory or a model file; what "
            "it is, is seen from its content.",
        .operands = "IN OUT.h1b",
        .example = "halo convert ~/models/bitnet-b1.58-2B-4T bitnet-2b.h1b",
        .opts = TABLE,
        .n_opts = ARRAY_LEN(TABLE),
        .values = &a,
    };
    int operands = 0;
    int status = 0;
    if (!opt_parse(&program, argc, argv, &operands, &status))
        return status;
    if (argc - operands != 2) {
        (void)fprintf(stderr, "halo convert: expected IN and OUT.h1b; see halo convert --help\n");
        return 2;
    }
    catch_signals();
    struct why why = {""};
    enum err e = convert(argv[operands], argv[operands + 1], &a, &why);
    if (e)
        (void)fprintf(stderr, "halo convert: %s\n", why.text[0] != '\0' ? why.text : err_text(e));
    return e ? EXIT_FAILURE : EXIT_SUCCESS;
}
