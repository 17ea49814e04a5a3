/* SPDX-License-Identifier: MIT */
#include "services/engine/bench_report.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "common/opt.h"
#include "services/engine/backend_cpu.h"
#include "services/engine/kv.h"

/* ---- the machine ---- */

/* The processor's name from /proc/cpuinfo. */
static void cpu_name(char *name, size_t cap)
{
    (void)snprintf(name, cap, "unknown processor");
    FILE *f = fopen("/proc/cpuinfo", "re");
    if (f == NULL)
        return;
    char line[256];
    while (fgets(line, sizeof line, f) != NULL) {
        const char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || value == NULL)
            continue;
        value += 1 + strspn(value + 1, " \t");
        (void)snprintf(name, cap, "%.*s", (int)strcspn(value, "\n"), value);
        break;
    }
    (void)fclose(f);
}

static double kv_bytes_per_position(const struct bench_config *c)
{
    return (double)backend_cpu_block_bytes(c->model, c->kv_type) / KV_BLOCK;
}

/* Peak of resident memory over weights and KV cache: 1 would be nothing besides. */
static double memory_ratio(const struct bench_config *c, const struct bench_results *r)
{
    return (double)r->peak_bytes / (double)(c->weight_bytes + r->kv_bytes);
}

/* ---- text ---- */

static void print_machine(FILE *to, const struct bench_config *c, const struct bench_results *r)
{
    const struct model *m = c->model;
    char cpu[128];
    cpu_name(cpu, sizeof cpu);
    (void)fprintf(to, "machine   %s, %u threads, %s\n", cpu, c->n_threads, c->kernels->isa_name);
    (void)fprintf(to, "limits    read %.1f ± %.1f GB/s", r->read_limit.mean * 1e-9,
                  r->read_limit.sd * 1e-9);
    if (r->int8_limit.mean > 0.0)
        (void)fprintf(to, ", int8 %.0f ± %.0f G multiply-adds/s", r->int8_limit.mean * 1e-9,
                      r->int8_limit.sd * 1e-9);
    (void)fprintf(to, "\nmodel     %s: %.1f M ternary weights, %s\n", m->config.name,
                  (double)bench_model_n_weights(m) * 1e-6, model_packing_name(m));
    (void)fprintf(to, "per token %.1f MB codes, %.1f MB head, %.1f kB KV (%s) per position\n\n",
                  (double)bench_model_code_bytes(m) * 1e-6, (double)r->head_bytes * 1e-6,
                  kv_bytes_per_position(c) * 1e-3, kv_type_name(c->kv_type));
}

static void print_result(FILE *to, const struct bench_result *r)
{
    (void)fprintf(to, "%-14s %9.2f ± %6.2f %9.2f", r->name, r->speed.mean, r->speed.sd,
                  r->speed.median);
    if (r->is_decode)
        (void)fprintf(to, " %9.1f %8.1f %8.1f   %5.1f %% of read", r->bytes_per_token * 1e-6,
                      r->kv_bytes_per_token * 1e-6, r->speed.median * r->bytes_per_token * 1e-9,
                      r->share.median * 100.0);
    else if (r->share.median > 0.0)
        (void)fprintf(to, " %9s %8s %8s   %5.1f %% of int8", "", "", "", r->share.median * 100.0);
    if (r->depth > 0 && r->loss_explained > 0.0)
        (void)fprintf(to, "; loses %.1f %%, KV bytes explain %.1f %%", r->loss * 100.0,
                      r->loss_explained * 100.0);
    (void)fputc('\n', to);
}

static void print_batches(FILE *to, const struct bench_results *r)
{
    if (r->n_batches == 0)
        return;
    (void)fprintf(to, "\n|%6s |%6s |%4s |%7s |%9s |%9s |%9s |%9s |%9s |%9s |\n", "PP", "TG", "B",
                  "N_KV", "T_PP s", "S_PP t/s", "T_TG s", "S_TG t/s", "T s", "S t/s");
    for (uint32_t i = 0; i < r->n_batches; i++) {
        const struct bench_batch *b = &r->batches[i];
        double n_pp = (double)b->pp * b->n_seqs;
        double n_tg = (double)b->tg * b->n_seqs;
        double t = b->pp_s + b->tg_s;
        (void)fprintf(to, "|%6u |%6u |%4u |%7.0f |%9.3f |%9.2f |%9.3f |%9.2f |%9.3f |%9.2f |\n",
                      b->pp, b->tg, b->n_seqs, n_pp + n_tg, b->pp_s, n_pp / b->pp_s, b->tg_s,
                      n_tg / b->tg_s, t, (n_pp + n_tg) / t);
    }
}

void bench_report_text(FILE *to, const struct bench_config *c, const struct bench_results *r)
{
    print_machine(to, c, r);
    (void)fprintf(to, "%-14s %9s   %6s %9s %9s %8s %8s   %s\n", "test", "tokens/s", "sd", "median",
                  "MB/token", "of KV", "GB/s", "share of limit");
    for (uint32_t i = 0; i < r->n_results; i++)
        print_result(to, &r->results[i]);
    print_batches(to, r);
    (void)fprintf(
        to, "\nmemory    peak %.0f MB resident, %.2f times weights (%.0f MB) and KV (%.0f MB)\n",
        (double)r->peak_bytes * 1e-6, memory_ratio(c, r), (double)c->weight_bytes * 1e-6,
        (double)r->kv_bytes * 1e-6);
    if (c->model->file == NULL && c->has_fast_head)
        (void)fprintf(to, "          (with --model the f16 head would stay in the file)\n");
}

/* ---- JSON ---- */

static json_t *json_stat(const struct bench_stat *s)
{
    return json_pack("{s:f, s:f, s:f}", "mean", s->mean, "sd", s->sd, "median", s->median);
}

static json_t *json_result(const struct bench_result *r)
{
    return json_pack("{s:s, s:s, s:o, s:o, s:f, s:f, s:i, s:f, s:f}", "test", r->name, "limit",
                     r->is_decode ? "read" : "int8", "tokens_per_s", json_stat(&r->speed),
                     "share_of_limit", json_stat(&r->share), "bytes_per_token", r->bytes_per_token,
                     "kv_bytes_per_token", r->kv_bytes_per_token, "depth", (int)r->depth, "loss",
                     r->loss, "loss_explained", r->loss_explained);
}

static json_t *json_batch(const struct bench_batch *b)
{
    double n_pp = (double)b->pp * b->n_seqs;
    double n_tg = (double)b->tg * b->n_seqs;
    return json_pack("{s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f}", "pp", (int)b->pp, "tg", (int)b->tg,
                     "batch", (int)b->n_seqs, "t_pp", b->pp_s, "s_pp", n_pp / b->pp_s, "t_tg",
                     b->tg_s, "s_tg", n_tg / b->tg_s, "s", (n_pp + n_tg) / (b->pp_s + b->tg_s));
}

static json_t *json_machine(const struct bench_config *c, const struct bench_results *r)
{
    char cpu[128];
    cpu_name(cpu, sizeof cpu);
    return json_pack("{s:s, s:i, s:s, s:o, s:o}", "cpu", cpu, "threads", (int)c->n_threads, "isa",
                     c->kernels->isa_name, "read_bytes_per_s", json_stat(&r->read_limit),
                     "int8_macs_per_s", json_stat(&r->int8_limit));
}

static json_t *json_model(const struct bench_config *c, const struct bench_results *r)
{
    const struct model *m = c->model;
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:f, s:s}", "name", m->config.name, "packing",
                     model_packing_name(m), "weights", (json_int_t)bench_model_n_weights(m),
                     "code_bytes", (json_int_t)bench_model_code_bytes(m), "head_bytes",
                     (json_int_t)r->head_bytes, "kv_bytes_per_position", kv_bytes_per_position(c),
                     "kv_type", kv_type_name(c->kv_type));
}

bool bench_report_json(FILE *to, const struct bench_config *c, const struct bench_results *r)
{
    json_t *results = json_array();
    json_t *batches = json_array();
    for (uint32_t i = 0; i < r->n_results; i++)
        (void)json_array_append_new(results, json_result(&r->results[i]));
    for (uint32_t i = 0; i < r->n_batches; i++)
        (void)json_array_append_new(batches, json_batch(&r->batches[i]));
    json_t *memory = json_pack("{s:I, s:I, s:I, s:f}", "peak_bytes", (json_int_t)r->peak_bytes,
                               "weight_bytes", (json_int_t)c->weight_bytes, "kv_bytes",
                               (json_int_t)r->kv_bytes, "ratio", memory_ratio(c, r));
    json_t *all = json_pack("{s:i, s:s, s:o, s:o, s:o, s:o, s:o}", "halo_bench", 1, "version",
                            opt_version(), "machine", json_machine(c, r), "model", json_model(c, r),
                            "results", results, "batched", batches, "memory", memory);
    bool is_done = all != NULL && json_dumpf(all, to, JSON_INDENT(2) | JSON_REAL_PRECISION(8)) == 0;
    json_decref(all);
    return is_done && fputc('\n', to) != EOF;
}

/* ---- comparison ---- */

/* False if the object has no such measurement. */
static bool read_stat(const json_t *from, const char *key, struct bench_stat *ret)
{
    const json_t *s = json_object_get(from, key);
    const json_t *sd = json_object_get(s, "sd");
    const json_t *median = json_object_get(s, "median");
    if (!json_is_number(sd) || !json_is_number(median) || json_number_value(median) <= 0.0)
        return false;
    ret->sd = json_number_value(sd);
    ret->median = json_number_value(median);
    return true;
}

/* By how much of itself a figure may fall. */
static double noise(const struct bench_stat *a, const struct bench_stat *b)
{
    double n = 3.0 * hypot(a->sd / a->median, b->sd / b->median);
    return n > 0.03 ? n : 0.03;
}

static bool is_lower(const struct bench_stat *now, const struct bench_stat *before)
{
    return now->median < before->median * (1.0 - noise(now, before));
}

static const json_t *find_test(const json_t *results, const char *name)
{
    for (size_t i = 0; i < json_array_size(results); i++) {
        const json_t *r = json_array_get(results, i);
        const char *test = json_string_value(json_object_get(r, "test"));
        if (test != NULL && strcmp(test, name) == 0)
            return r;
    }
    return NULL;
}

/* Whether the measurement is slower than in `results`; unknown ones are not. */
static bool compare_one(FILE *to, const json_t *results, const struct bench_result *now)
{
    const json_t *old = find_test(results, now->name);
    struct bench_stat speed = {0};
    struct bench_stat share = {0};
    if (old == NULL || !read_stat(old, "tokens_per_s", &speed))
        return false;
    bool is_slower = is_lower(&now->speed, &speed);
    if (read_stat(old, "share_of_limit", &share) && now->share.median > 0.0)
        is_slower = is_slower && is_lower(&now->share, &share);
    (void)fprintf(to, "%-12s %9.2f tokens/s, before %9.2f: %+.1f %% (noise %.1f %%)%s\n", now->name,
                  now->speed.median, speed.median, (now->speed.median / speed.median - 1.0) * 100.0,
                  noise(&now->speed, &speed) * 100.0, is_slower ? "  SLOWER" : "");
    return is_slower;
}

enum err bench_report_compare(FILE *to, const char *path, const struct bench_results *r, char *why,
                              size_t cap_why, uint32_t *ret_n_slower)
{
    json_error_t error;
    json_t *old = json_load_file(path, 0, &error);
    const json_t *results = json_object_get(old, "results");
    if (!json_is_array(results)) {
        (void)snprintf(why, cap_why, "%s: %s", path,
                       old == NULL ? error.text : "not a file that halo-bench --json wrote");
        json_decref(old);
        return ERR_IO;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n_results; i++)
        n += compare_one(to, results, &r->results[i]);
    json_decref(old);
    *ret_n_slower = n;
    return ERR_OK;
}
