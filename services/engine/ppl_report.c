/* SPDX-License-Identifier: MIT */
#include "services/engine/ppl_report.h"

#include <jansson.h>
#include <math.h>

#include "common/opt.h"

static double ppl_of(const struct ppl_mean *nll)
{
    return exp(ppl_mean_of(nll));
}

/* By the derivative of exp. */
static double ppl_error(const struct ppl_mean *nll)
{
    return ppl_of(nll) * ppl_error_of(nll);
}

static const char *verdict(const struct ppl_results *r)
{
    if (r->drift.n < 2)
        return "unknown";
    return ppl_drifts(r) ? "warn" : "ok";
}

/* ---- text ---- */

static void print_positions(FILE *to, const struct ppl_results *r)
{
    (void)fprintf(to, "\n%-13s %10s %9s %9s %12s\n", "tokens before", "scored", "nats", "error",
                  "perplexity");
    for (uint32_t i = 0; i < r->n_buckets; i++) {
        const struct ppl_bucket *b = &r->buckets[i];
        char range[32];
        (void)snprintf(range, sizeof range, "%u-%u", b->from, b->to - 1);
        (void)fprintf(to, "%-13s %10llu", range, (unsigned long long)b->nll.n);
        if (b->nll.n > 0)
            (void)fprintf(to, " %9.4f %9.4f %12.3f", ppl_mean_of(&b->nll), ppl_error_of(&b->nll),
                          ppl_of(&b->nll));
        (void)fputc('\n', to);
    }
    if (r->drift.n < 2)
        (void)fprintf(to, "drift unknown: it takes two full windows that do not overlap\n");
    else
        (void)fprintf(to,
                      "drift %s: the last half of a window minus its second quarter is %+.4f ± "
                      "%.4f nats over %llu windows\n",
                      verdict(r), ppl_mean_of(&r->drift), ppl_error_of(&r->drift),
                      (unsigned long long)r->drift.n);
}

void ppl_report_text(FILE *to, const struct ppl_config *c, const struct ppl_results *r,
                     bool has_positions)
{
    (void)fprintf(to, "perplexity %.4f ± %.4f per token, %.5f nats\n", ppl_of(&r->nll),
                  ppl_error(&r->nll), ppl_mean_of(&r->nll));
    (void)fprintf(
        to, "model %s, %llu tokens scored in %llu windows of %u (stride %u, %s begin token)\n",
        c->model->config.name, (unsigned long long)r->nll.n, (unsigned long long)r->n_windows,
        c->window, c->stride, c->has_bos ? "with" : "without");
    (void)fprintf(to, "%.1f s, %.0f tokens/s, %u threads, %s, KV %s\n", r->seconds,
                  (double)r->nll.n / r->seconds, c->n_threads, c->kernels->isa_name,
                  kv_type_name(c->kv_type));
    if (c->check_top > 0)
        (void)fprintf(to,
                      "fast head: of %llu positions %llu differ in the %u largest or in what is "
                      "drawn; of %llu "
                      "tokens with top_p or min_p %llu were picked without all logits\n",
                      (unsigned long long)r->n_checked, (unsigned long long)r->n_differing,
                      c->check_top, (unsigned long long)r->n_picks,
                      (unsigned long long)r->n_picked);
    if (has_positions)
        print_positions(to, r);
}

/* ---- JSON ---- */

static json_t *json_mean(const struct ppl_mean *m)
{
    return json_pack("{s:I, s:f, s:f}", "n", (json_int_t)m->n, "mean", ppl_mean_of(m), "error",
                     ppl_error_of(m));
}

static json_t *json_positions(const struct ppl_results *r)
{
    json_t *all = json_array();
    for (uint32_t i = 0; i < r->n_buckets; i++)
        (void)json_array_append_new(
            all, json_pack("{s:i, s:i, s:o}", "from", (int)r->buckets[i].from, "to",
                           (int)r->buckets[i].to, "nll", json_mean(&r->buckets[i].nll)));
    return all;
}

bool ppl_report_json(FILE *to, const struct ppl_config *c, const struct ppl_results *r)
{
    const char *hash = c->model->file != NULL ? h1b_hash(c->model->file) : "";
    json_t *all = json_pack(
        "{s:i, s:s, s:s, s:s, s:f, s:f, s:o, s:I, s:i, s:i, s:b, s:f, s:f, s:i, s:s, s:s, s:o, "
        "s:s, s:o}",
        "halo_ppl", 1, "version", opt_version(), "model", c->model->config.name, "model_hash", hash,
        "ppl", ppl_of(&r->nll), "ppl_error", ppl_error(&r->nll), "nll", json_mean(&r->nll),
        "windows", (json_int_t)r->n_windows, "window", (int)c->window, "stride", (int)c->stride,
        "bos", (int)c->has_bos, "seconds", r->seconds, "tokens_per_s",
        (double)r->nll.n / r->seconds, "threads", (int)c->n_threads, "isa", c->kernels->isa_name,
        "kv_type", kv_type_name(c->kv_type), "positions", json_positions(r), "drift_verdict",
        verdict(r), "drift", json_mean(&r->drift));
    if (all != NULL && c->check_top > 0)
        (void)json_object_set_new(
            all, "fast_head",
            json_pack("{s:i, s:I, s:I, s:I, s:I}", "top", (int)c->check_top, "checked",
                      (json_int_t)r->n_checked, "differing", (json_int_t)r->n_differing, "picks",
                      (json_int_t)r->n_picks, "picked", (json_int_t)r->n_picked));
    bool is_done =
        all != NULL && json_dumpf(all, to, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) == 0;
    json_decref(all);
    return is_done && fputc('\n', to) != EOF;
}
