/* SPDX-License-Identifier: MIT */
#include "services/load/report.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "common/check.h"
#include "common/opt.h"

static const double OWN_SHARE_MAX = 0.8;
static const double WAITED_MAX = 0.05; /* cores */
static const double OWN_SHARE_MIN_S = 0.2; /* a shorter run says nothing about it */

/* The four latencies, in the order of the report. */
struct latency {
    const char *key;
    const char *title;
    const struct hist *hist;
};

enum {
    LATENCIES = 4,
    GOAL_STREAMS = 1000,
    GOAL_EVENTS = 20000, /* a second of one core of a gateway that carries so many streams */
};

static void list_latencies(const struct stats *s, struct latency ret[LATENCIES])
{
    ret[0] = (struct latency){"ttft", "Time to First Token", &s->ttft};
    ret[1] = (struct latency){"tpot", "Time per Output Token (excl. 1st token)", &s->tpot};
    ret[2] = (struct latency){"itl", "Inter-token Latency", &s->itl};
    ret[3] = (struct latency){"e2el", "End-to-end Latency", &s->e2el};
}

static double seconds(const struct stats *s)
{
    return s->duration_ns > 0 ? (double)s->duration_ns / 1e9 : 1e-9;
}

double report_own_share(const struct stats *s)
{
    return (double)s->own_cpu_ns / 1e9 / seconds(s);
}

static bool has_goodput(const struct options *o)
{
    return o->goodput.ttft_ms > 0 || o->goodput.tpot_ms > 0 || o->goodput.e2el_ms > 0;
}

/* ---- text -------------------------------------------------------------------------------------- */

static void row_n(FILE *to, const char *name, uint64_t v)
{
    (void)fprintf(to, "%-40s %10" PRIu64 "\n", name, v);
}

static void row(FILE *to, const char *name, double v)
{
    (void)fprintf(to, "%-40s %10.2f\n", name, v);
}

static void heading(FILE *to, const char *text, char line)
{
    int width = 51;
    int n = (int)strlen(text) + (line == '=' ? 2 : 0);
    int left = (width - n) / 2;
    for (int i = 0; i < left; i++)
        (void)fputc(line, to);
    (void)fprintf(to, line == '=' ? " %s " : "%s", text);
    for (int i = left + n; i < width; i++)
        (void)fputc(line, to);
    (void)fputc('\n', to);
}

static void print_latency(FILE *to, const struct latency *l)
{
    static const struct {
        const char *name;
        double q;
    } rows[] = {{"Median", 0.5}, {"P90", 0.9}, {"P99", 0.99}};
    char upper[8] = "";
    char name[32];
    for (size_t i = 0; l->key[i] != '\0'; i++)
        upper[i] = (char)(l->key[i] >= 'a' ? l->key[i] - 'a' + 'A' : l->key[i]);
    heading(to, l->title, '-');
    (void)snprintf(name, sizeof name, "Mean %s (ms):", upper);
    row(to, name, hist_mean(l->hist) / 1e6);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        (void)snprintf(name, sizeof name, "%s %s (ms):", rows[i].name, upper);
        row(to, name, hist_quantile(l->hist, rows[i].q) / 1e6);
    }
}

static void print_processes(FILE *to, const struct report *r)
{
    const struct stats *s = r->stats;
    heading(to, "Processor time", '-');
    for (size_t i = 0; i < r->processes->n; i++) {
        const struct process *p = &r->processes->list[i];
        char name[64];
        if (p->is_lost) {
            (void)fprintf(to, "%s (pid %d) ended meanwhile\n", p->name, (int)p->pid);
            continue;
        }
        (void)snprintf(name, sizeof name, "%s (cores):", p->name);
        row(to, name, (double)p->used_ns / 1e9 / seconds(s));
        (void)snprintf(name, sizeof name, "%s (cores it waited for):", p->name);
        row(to, name, (double)p->waited_ns / 1e9 / seconds(s));
        (void)snprintf(name, sizeof name, "%s (events per core second):", p->name);
        uint64_t per_core_s =
            p->used_ns > 0 ? (uint64_t)((double)s->n_chunks / ((double)p->used_ns / 1e9)) : 0;
        if (per_core_s > 0)
            row_n(to, name, per_core_s);
        if (per_core_s > 0 && r->options->stage == STAGE_GATEWAY &&
            r->options->concurrency >= GOAL_STREAMS)
            (void)fprintf(to, "  goal with %d streams: at least %d: %s\n", GOAL_STREAMS,
                          GOAL_EVENTS, per_core_s >= GOAL_EVENTS ? "kept" : "missed");
        (void)snprintf(name, sizeof name, "%s (MB resident):", p->name);
        row(to, name, (double)p->memory_bytes / 1e6);
    }
    row(to, "halo-load itself (cores):", report_own_share(s));
}

static void print_failures(FILE *to, const struct stats *s)
{
    if (s->n_details > 0)
        heading(to, "Failures", '-');
    for (size_t i = 0; i < s->n_details; i++) {
        const struct stats_detail *d = &s->details[i];
        const char *text = failure_text(d->failure);
        (void)fprintf(to, "%10" PRIu64 "  %s%s%s\n", d->n, text,
                      d->text[0] != '\0' && strcmp(d->text, text) != 0 ? ": " : "",
                      strcmp(d->text, text) != 0 ? d->text : "");
    }
}

static void print_warnings(FILE *to, const struct report *r)
{
    const struct stats *s = r->stats;
    if (report_own_share(s) > OWN_SHARE_MAX && seconds(s) > OWN_SHARE_MIN_S)
        (void)fprintf(
            to,
            "WARNING: halo-load used %.0f %% of a core: these figures may be its own limit, "
            "not that of what it measures\n",
            report_own_share(s) * 100);
    for (size_t i = 0; i < r->processes->n; i++) {
        const struct process *p = &r->processes->list[i];
        if (p->waited_ns > p->used_ns / 2 && (double)p->waited_ns > seconds(s) * WAITED_MAX * 1e9)
            (void)fprintf(
                to,
                "WARNING: %s ran for %.2f s and waited %.2f s for a processor: this machine "
                "is busy, and latencies tell more of it than of %s\n",
                p->name, (double)p->used_ns / 1e9, (double)p->waited_ns / 1e9, p->name);
    }
    double lag = hist_quantile(&s->lag, 0.99) / 1e6;
    if (r->options->rate > 0 && r->options->concurrency == 0 && lag > 5)
        (void)fprintf(to, "WARNING: 1 %% of the requests were sent %.1f ms late or more\n", lag);
    if (s->n_records > 0 && s->n_failed[FAILURE_none] == 0)
        (void)fprintf(to, "WARNING: no request succeeded\n");
}

void report_text(FILE *to, const struct report *r)
{
    const struct stats *s = r->stats;
    const struct options *o = r->options;
    double t = seconds(s);
    struct latency all[LATENCIES];
    list_latencies(s, all);
    heading(to, "Halo Load Result", '=');
    (void)fprintf(to, "%-33s %17s\n", "Stage, model:", "");
    (void)fprintf(to, "  %s, %s, seed %" PRIu64 "\n", o->stage_name, r->model, o->seed);
    row_n(to, "Successful requests:", s->n_failed[FAILURE_none]);
    row_n(to, "Failed requests:", stats_n_failed(s));
    if (o->concurrency > 0)
        row_n(to, "Maximum request concurrency:", o->concurrency);
    if (o->rate > 0)
        row(to, "Request rate configured (req/s):", o->rate);
    row(to, "Benchmark duration (s):", t);
    row_n(to, "Total input tokens:", s->n_in);
    row_n(to, "  of them cached:", s->n_cached);
    row_n(to, "Total generated tokens:", s->n_out);
    row(to, "Request throughput (req/s):", (double)s->n_failed[FAILURE_none] / t);
    if (has_goodput(o))
        row(to, "Request goodput (req/s):", (double)s->n_good / t);
    row(to, "Output token throughput (tok/s):", (double)s->n_out / t);
    row_n(to, "Peak output token throughput (tok/s):", stats_peak_per_s(s));
    row_n(to, "Peak concurrent requests:", s->peak);
    row(to, "Mean concurrent requests:", s->concurrency_s / t);
    row(to, "Total token throughput (tok/s):", (double)(s->n_in + s->n_out) / t);
    row(to, "Events (tokens as they came) per s:", (double)s->n_chunks / t);
    for (size_t i = 0; i < LATENCIES; i++)
        print_latency(to, &all[i]);
    print_processes(to, r);
    print_failures(to, s);
    (void)fprintf(to, "===================================================\n");
    print_warnings(to, r);
}

/* ---- JSON -------------------------------------------------------------------------------------- */

static void set(json_t *to, const char *key, json_t *value)
{
    (void)json_object_set_new(to, key, value);
}

static void set_n(json_t *to, const char *key, uint64_t v)
{
    set(to, key, json_integer((json_int_t)v));
}

static void set_latency(json_t *to, const struct latency *l)
{
    static const struct {
        const char *name;
        double q;
    } keys[] = {{"median", 0.5}, {"p50", 0.5},     {"p90", 0.9}, {"p95", 0.95},
                {"p99", 0.99},   {"p99.9", 0.999}, {"min", 0},   {"max", 1}};
    char key[32];
    (void)snprintf(key, sizeof key, "mean_%s_ms", l->key);
    set(to, key, json_real(hist_mean(l->hist) / 1e6));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        (void)snprintf(key, sizeof key, "%s_%s_ms", keys[i].name, l->key);
        set(to, key, json_real(hist_quantile(l->hist, keys[i].q) / 1e6));
    }
}

static json_t *failures_as_json(const struct stats *s)
{
    json_t *kinds = json_object();
    for (size_t i = FAILURE_none + 1; i < FAILURES; i++) {
        if (s->n_failed[i] > 0)
            set_n(kinds, failure_name((enum failure)i), s->n_failed[i]);
    }
    return kinds;
}

static json_t *details_as_json(const struct stats *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_details; i++) {
        const struct stats_detail *d = &s->details[i];
        json_t *text = json_string(d->text); /* NULL if it is not UTF-8 */
        (void)json_array_append_new(
            list, json_pack("{s:s,s:o,s:I}", "kind", failure_name(d->failure), "detail",
                            text != NULL ? text : json_string(""), "n", (json_int_t)d->n));
    }
    return list;
}

static json_t *processes_as_json(const struct report *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->processes->n; i++) {
        const struct process *p = &r->processes->list[i];
        (void)json_array_append_new(
            list,
            json_pack("{s:s,s:i,s:f,s:f,s:I,s:b}", "name", p->name, "pid", (int)p->pid, "cpu_s",
                      (double)p->used_ns / 1e9, "waited_s", (double)p->waited_ns / 1e9,
                      "resident_bytes", (json_int_t)p->memory_bytes, "ended", p->is_lost));
    }
    return list;
}

static json_t *per_second_as_json(const struct stats *s)
{
    json_t *list = json_array();
    size_t n = (size_t)(s->duration_ns / 1000000000U) + 1;
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(list, json_integer(stats_in_second(s, i * 10)));
    return list;
}

static void set_results(json_t *root, const struct report *r)
{
    const struct stats *s = r->stats;
    double t = seconds(s);
    set(root, "duration", json_real(t));
    set_n(root, "completed", s->n_failed[FAILURE_none]);
    set_n(root, "failed", stats_n_failed(s));
    set_n(root, "total_input_tokens", s->n_in);
    set_n(root, "total_cached_tokens", s->n_cached);
    set_n(root, "total_output_tokens", s->n_out);
    set_n(root, "total_events", s->n_chunks);
    set(root, "request_throughput", json_real((double)s->n_failed[FAILURE_none] / t));
    if (has_goodput(r->options))
        set(root, "request_goodput", json_real((double)s->n_good / t));
    set(root, "output_throughput", json_real((double)s->n_out / t));
    set(root, "total_token_throughput", json_real((double)(s->n_in + s->n_out) / t));
    set(root, "event_throughput", json_real((double)s->n_chunks / t));
    set_n(root, "max_output_tokens_per_s", stats_peak_per_s(s));
    set_n(root, "max_concurrent_requests", s->peak);
    set(root, "mean_concurrent_requests", json_real(s->concurrency_s / t));
    set(root, "p99_send_lag_ms", json_real(hist_quantile(&s->lag, 0.99) / 1e6));
    set(root, "load_cpu_s", json_real((double)s->own_cpu_ns / 1e9));
    set_n(root, "connections", r->n_connections);
    set_n(root, "stale_connections", r->n_stale);
}

static void set_settings(json_t *root, const struct options *o, const char *model)
{
    set(root, "version", json_string(opt_version()));
    set(root, "stage", json_string(o->stage_name));
    set(root, "model_id", json_string(model));
    set_n(root, "seed", o->seed);
    set(root, "request_rate", o->rate > 0 ? json_real(o->rate) : json_string("inf"));
    set(root, "burstiness", json_real(o->burstiness));
    set_n(root, "max_concurrency", o->concurrency);
    set_n(root, "num_prompts", o->n_requests);
    set_n(root, "input_len", o->input_len);
    set_n(root, "prefix_len", o->prefix_len);
    set_n(root, "turns", o->n_turns);
    set_n(root, "max_tokens", o->max_tokens);
}

bool report_json(const char *path, const struct report *r)
{
    struct latency all[LATENCIES];
    json_t *root = json_object();
    list_latencies(r->stats, all);
    set_settings(root, r->options, r->model);
    set_results(root, r);
    for (size_t i = 0; i < LATENCIES; i++)
        set_latency(root, &all[i]);
    set(root, "failures", failures_as_json(r->stats));
    set(root, "failure_details", details_as_json(r->stats));
    set(root, "processes", processes_as_json(r));
    set(root, "events_per_second", per_second_as_json(r->stats));
    bool ok = json_dump_file(root, path, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0;
    if (!ok)
        (void)fprintf(stderr, "halo-load: cannot write %s: %s\n", path, strerrordesc_np(errno));
    json_decref(root);
    return ok;
}

/* ---- the distributions ------------------------------------------------------------------------- */

bool report_histogram(const char *path, const struct report *r)
{
    struct latency all[LATENCIES];
    list_latencies(r->stats, all);
    FILE *f = fopen(path, "we");
    bool ok = f != NULL;
    if (ok)
        (void)fprintf(f, "# what\tfrom_ms\tto_ms\tcount\tshare_up_to_here\n");
    for (size_t l = 0; ok && l < LATENCIES; l++) {
        const struct hist *h = all[l].hist;
        uint64_t seen = 0;
        for (size_t i = 0; i < HIST_BUCKETS; i++) {
            if (h->counts[i] == 0)
                continue;
            seen += h->counts[i];
            (void)fprintf(f, "%s\t%.6f\t%.6f\t%" PRIu64 "\t%.6f\n", all[l].key,
                          (double)hist_floor(i) / 1e6, (double)hist_floor(i + 1) / 1e6,
                          h->counts[i], (double)seen / (double)h->n);
        }
    }
    if (f != NULL)
        ok = fclose(f) == 0;
    if (!ok)
        (void)fprintf(stderr, "halo-load: cannot write %s: %s\n", path, strerrordesc_np(errno));
    return ok;
}
