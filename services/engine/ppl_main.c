/* SPDX-License-Identifier: MIT */
/* halo-ppl: the perplexity of token ids that halo-tokenizer --encode made. `halo ppl` runs both. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/ppl_options.h"
#include "services/engine/options.h"
#include "services/engine/ppl_report.h"

enum { PROGRESS_MS = 200 };

static const struct opt TABLE[] = {PPL_OPTION_ROWS};

static bool refuse(const char *what)
{
    (void)fprintf(stderr, "halo-ppl: %s\n", what);
    return false;
}

/* ---- the ids ---- */

static bool read_all(FILE *from, struct buf *bytes)
{
    enum { CHUNK = 1 << 16 };
    size_t n = 1;
    while (n > 0) {
        n = fread(buf_reserve(bytes, CHUNK), 1, CHUNK, from);
        bytes->len += n;
    }
    return ferror(from) == 0;
}

/* *ret_ids is freed by the caller in any case. */
static bool read_ids(const char *path, uint32_t n_vocab, uint32_t **ret_ids, size_t *ret_n)
{
    FILE *from = path != NULL ? fopen(path, "re") : stdin;
    if (from == NULL) {
        (void)fprintf(stderr, "halo-ppl: %s: %s\n", path, strerrordesc_np(errno));
        return false;
    }
    struct buf bytes = {0};
    bool ok = read_all(from, &bytes) && bytes.len % 4 == 0;
    size_t n = bytes.len / 4;
    uint32_t *ids = calloc(n > 0 ? n : 1, sizeof *ids);
    ASSERT(ids != NULL);
    *ret_ids = ids;
    *ret_n = n;
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned char *b = (const unsigned char *)bytes.ptr + 4 * i;
        ids[i] = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        most = ids[i] > most ? ids[i] : most;
    }
    buf_fini(&bytes);
    if (from != stdin)
        (void)fclose(from);
    if (!ok)
        return refuse("the input is no list of 32-bit ids; make one with halo-tokenizer --encode");
    return most < n_vocab || refuse("the ids are of another vocabulary than the model's");
}

/* ---- progress ---- */

struct progress {
    uint64_t t0_ms, last_ms;
};

static void show_progress(void *ctx, uint64_t n_done, uint64_t n_all, double nll)
{
    struct progress *p = ctx;
    uint64_t now = clock_now_ms();
    if (n_done < n_all && now - p->last_ms < PROGRESS_MS)
        return;
    p->last_ms = now;
    if (n_done == n_all)
        (void)fputs("\r\033[K", stderr);
    else
        (void)fprintf(stderr,
                      "\r\033[K%.1f %% of %llu tokens, %.0f tokens/s, mean so far %.4f nats",
                      100.0 * (double)n_done / (double)n_all, (unsigned long long)n_all,
                      (double)n_done * 1e3 / (double)(now - p->t0_ms + 1), nll);
    (void)fflush(stderr);
}

/* ---- what was asked for ---- */

static bool settle(const struct ppl_options *o, struct ppl_config *c)
{
    const struct model_config *m = &c->model->config;
    char why[160];
    enum isa isa = kernels_best();
    (void)kernels_isa_parse(o->isa, &isa); /* "auto" is no name and keeps the best */
    c->kernels = kernels_get(isa);
    if (c->kernels == NULL)
        return refuse("this machine lacks that instruction set; leave --isa out");
    c->n_threads = o->threads > 0 ? o->threads : options_default_threads();
    c->kv_type = kv_type_of(o->kv_type);
    c->check_top = o->check_head;
    c->has_bos = strcmp(o->bos, "yes") == 0 || (strcmp(o->bos, "auto") == 0 && m->does_add_bos);
    if (c->has_bos && !m->has_bos)
        return refuse("this model has no begin token; leave --bos out");
    c->window = o->window;
    if (c->window == 0)
        c->window = m->n_ctx < PPL_DEFAULT_WINDOW ? m->n_ctx : PPL_DEFAULT_WINDOW;
    if (c->window < 2 || c->window > m->n_ctx) {
        (void)snprintf(why, sizeof why, "--window %u: the model allows 2 to %u", c->window,
                       m->n_ctx);
        return refuse(why);
    }
    uint32_t most = c->window - (c->has_bos ? 1 : 0);
    c->stride = o->stride > 0 && o->stride < most ? o->stride : most;
    return true;
}

/* The exit status. */
static int measure(const struct ppl_options *o, const struct ppl_config *c, const uint32_t *ids,
                   size_t n_ids)
{
    struct ppl_results r;
    size_t n = o->limit > 0 && o->limit < n_ids ? o->limit : n_ids;
    enum err e = ppl_run(c, ids, n, &r);
    if (e) {
        (void)fprintf(stderr, "halo-ppl: %s\n",
                      e == ERR_RANGE ? "the text is too short; it takes two tokens" : err_text(e));
        return EXIT_FAILURE;
    }
    if (!o->does_json)
        ppl_report_text(stdout, c, &r, o->has_positions);
    else if (!ppl_report_json(stdout, c, &r))
        return EXIT_FAILURE;
    return r.n_differing > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(const struct ppl_options *o, const char *path)
{
    struct progress p = {.t0_ms = clock_now_ms()};
    struct ppl_config c = {.ctx = &p};
    struct model *m = NULL;
    uint32_t *ids = NULL;
    size_t n_ids = 0;
    char why[400];
    int status = 2;
    if (isatty(STDERR_FILENO))
        c.progress = show_progress;
    if (model_open(o->model, H1B_VERIFY_TABLE, why, sizeof why, &m)) {
        (void)refuse(why);
        return status;
    }
    c.model = m;
    if (o->does_copy_weights && model_copy_weights(m, true))
        (void)refuse("too little memory to copy the weights; going on without");
    if (settle(o, &c) && read_ids(path, m->config.n_vocab, &ids, &n_ids))
        status = measure(o, &c, ids, n_ids);
    free(ids);
    model_close(m);
    return status;
}

int main(int argc, char **argv)
{
    struct ppl_options o = {0};
    const struct opt_program program = {
        .name = "halo-ppl",
        .summary = "measures the perplexity of a model on token ids from a file or stdin",
        .operands = "[IDS]",
        .example = "halo-tokenizer --model m.h1b --encode <text | halo-ppl --model m.h1b",
        .opts = TABLE,
        .n_opts = ARRAY_LEN(TABLE),
        .values = &o,
    };
    int operands = 0;
    int status = 0;
    if (!opt_parse(&program, argc, argv, &operands, &status))
        return status;
    if (o.model == NULL || argc - operands > 1) {
        (void)refuse(o.model == NULL ? "no model; name a file with --model FILE"
                                     : "one file of ids at most");
        return 2;
    }
    return run(&o, operands < argc ? argv[operands] : NULL);
}
