/* SPDX-License-Identifier: MIT */
/* halo-bench: how fast the engine computes on this machine, without HTTP and without a download. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/opt.h"
#include "services/engine/bench_model.h"
#include "services/engine/bench_report.h"
#include "services/engine/bench_run.h"
#include "services/engine/options.h"
#include "services/engine/pool.h"

struct asked {
    const char *model;
    const char *shape;
    const char *packing;
    const char *isa;
    uint32_t threads;
    uint32_t step_tokens;
    const char *pp;
    uint32_t tg;
    const char *batch;
    const char *depth;
    const char *kv_type;
    uint32_t runs;
    const char *head;
    bool does_copy_weights;
    bool does_sample;
    bool does_json;
    const char *baseline;
};

static const struct opt TABLE[] = {
    OPT_STR_ROW(struct asked, model, "model", NULL, "FILE", "model to measure, an .h1b file"),
    OPT_CHOICE_ROW(struct asked, shape, "shape", "2b4t", BENCH_SHAPES,
                   "without --model: random weights of this shape"),
    OPT_CHOICE_ROW(struct asked, packing, "packing", "t2", BENCH_PACKINGS,
                   "of these weights; /64, /128: with scales of groups"),
    OPT_CHOICE_ROW(struct asked, isa, "isa", "auto", "auto|ref|avx2|avxvnni|avx512|neon",
                   "instruction set of the kernels"),
    OPT_U32_ROW(struct asked, threads, "threads", "0", 0, POOL_MAX_THREADS, "N",
                "threads that compute; 0: one per processor, at most 4, as halo-engine does"),
    OPT_U32_ROW(struct asked, step_tokens, "step-tokens", "256", 1, 16384, "N",
                "tokens in one step of a prefill"),
    OPT_STR_ROW(struct asked, pp, "pp", "512", "N,N...", "lengths of prompts to prefill; 0: none"),
    OPT_U32_ROW(struct asked, tg, "tg", "128", 0, 1U << 20, "N", "tokens to decode; 0: none"),
    OPT_STR_ROW(struct asked, batch, "batch", "0", "N,N...",
                "numbers of sequences at once, each with a prompt of the first --pp and a reply of "
                "--tg tokens; 0: none"),
    OPT_STR_ROW(
        struct asked, depth, "depth", "0", "N,N...",
        "contexts before the first decoded token, random ones; the first is what others are "
        "compared with"),
    OPT_CHOICE_ROW(struct asked, kv_type, "kv-type", "f16", KV_TYPES, "numbers in the KV cache"),
    OPT_CHOICE_ROW(
        struct asked, head, "head", "fast", "fast|full",
        "LM head: fast reads bit planes of a copy and gives a greedy choice the bits of full"),
    OPT_BOOL_ROW(struct asked, does_copy_weights, "copy-weights", "true",
                 "with --model: copy the weights into huge pages, as halo-engine does"),
    OPT_BOOL_ROW(
        struct asked, does_sample, "sampled", "false",
        "decode at temperature 1, too: drawn from all tokens, with a penalty, with min_p, with "
        "top_k, with top_p, and with log probabilities"),
    OPT_U32_ROW(struct asked, runs, "runs", "3", 1, BENCH_MAX_RUNS, "N", "repetitions"),
    OPT_BOOL_ROW(struct asked, does_json, "json", "false", "print JSON, for --baseline and tools"),
    OPT_STR_ROW(struct asked, baseline, "baseline", NULL, "FILE",
                "compare with the JSON of an earlier run; exit 1 if something is slower beyond the "
                "noise"),
};

static void note(const char *what)
{
    (void)fprintf(stderr, "halo-bench: %s\n", what);
}

/* "512,1024"; a 0 is a value for depths only. False, and a line printed, if it is no such list. */
static bool parse_list(const char *name, const char *text, bool has_zero, struct bench_list *ret)
{
    const char *at = text;
    for (;;) {
        char *end = NULL;
        unsigned long v = *at >= '0' && *at <= '9' ? strtoul(at, &end, 10) : ULONG_MAX;
        if (v > 1U << 20 || (*end != ',' && *end != '\0') || ret->n == BENCH_MAX_LIST) {
            (void)fprintf(stderr,
                          "halo-bench: --%s %s: expected up to %d numbers, e.g. --%s 1,2,4\n", name,
                          text, BENCH_MAX_LIST, name);
            return false;
        }
        if (v > 0 || has_zero)
            ret->values[ret->n++] = (uint32_t)v;
        if (*end == '\0')
            return true;
        at = end + 1;
    }
}

static bool open_model(const struct asked *a, const struct bench_config *c, struct bench_model *b)
{
    char why[400] = "out of memory";
    enum err e = a->model != NULL ? bench_model_open(b, a->model, a->does_copy_weights,
                                                     !c->has_fast_head, why, sizeof why)
                                  : bench_model_make(b, a->shape, a->packing, bench_positions(c),
                                                     why, sizeof why);
    if (e)
        (void)fprintf(stderr, "halo-bench: %s\n", why);
    return e == ERR_OK;
}

static bool configure(const struct asked *a, struct bench_config *c)
{
    c->isa = kernels_best();
    (void)kernels_isa_parse(a->isa, &c->isa); /* "auto" is no name and keeps the best */
    c->kernels = kernels_get(c->isa);
    if (c->kernels == NULL) {
        (void)fprintf(stderr, "halo-bench: this machine lacks %s; use --isa %s\n", a->isa,
                      kernels_isa_name(kernels_best()));
        return false;
    }
    if (!parse_list("pp", a->pp, false, &c->pp) ||
        !parse_list("batch", a->batch, false, &c->batch) ||
        !parse_list("depth", a->depth, true, &c->depth))
        return false;
    if (c->batch.n > 0 && (c->pp.n == 0 || a->tg == 0)) {
        (void)fprintf(stderr, "halo-bench: --batch needs --pp and --tg, e.g. --pp 64 --tg 32\n");
        return false;
    }
    c->n_threads = a->threads > 0 ? a->threads : options_default_threads();
    c->step_tokens = a->step_tokens;
    c->runs = a->runs;
    c->tg = a->tg;
    c->kv_type = kv_type_of(a->kv_type);
    c->does_copy_weights = a->does_copy_weights;
    c->does_sample = a->does_sample;
    c->has_fast_head = strcmp(a->head, "fast") == 0;
    return true;
}

static bool fits(const struct bench_config *c)
{
    uint32_t most = bench_positions(c);
    if (most <= c->model->config.n_ctx)
        return true;
    (void)fprintf(stderr, "halo-bench: %u positions asked for, the model has %u; use less\n", most,
                  c->model->config.n_ctx);
    return false;
}

/* The exit status. */
static int report(const struct asked *a, const struct bench_config *c,
                  const struct bench_results *r)
{
    if (!a->does_json)
        bench_report_text(stdout, c, r);
    else if (!bench_report_json(stdout, c, r))
        return EXIT_FAILURE;
    if (a->baseline == NULL)
        return EXIT_SUCCESS;
    char why[400];
    uint32_t n_slower = 0;
    if (bench_report_compare(stderr, a->baseline, r, why, sizeof why, &n_slower)) {
        (void)fprintf(stderr, "halo-bench: %s\n", why);
        return EXIT_FAILURE;
    }
    return n_slower > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct asked a = {0};
    const struct opt_program program = {
        .name = "halo-bench",
        .summary = "measures prefill and decode on this machine",
        .example = "halo-bench --shape 2b4t --pp 128,512 --tg 64 --batch 1,2,4,8",
        .opts = TABLE,
        .n_opts = ARRAY_LEN(TABLE),
        .values = &a,
    };
    int operands = 0;
    int status = 0;
    if (!opt_parse(&program, argc, argv, &operands, &status))
        return status;
    struct bench_config c = {0};
    struct bench_model m = {0};
    struct bench_results r = {0};
    status = 2;
    if (configure(&a, &c) && open_model(&a, &c, &m)) {
        c.model = m.model;
        c.weight_bytes = m.weights_bytes;
        enum err e = ERR_OK;
        if (fits(&c)) {
            e = bench_run(&c, note, &r);
            status = e ? EXIT_FAILURE : report(&a, &c, &r);
        }
        if (e)
            (void)fprintf(stderr, "halo-bench: %s\n", err_text(e));
    }
    bench_model_fini(&m);
    return status;
}
