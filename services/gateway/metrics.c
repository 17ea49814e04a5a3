/* SPDX-License-Identifier: MIT */
#include "services/gateway/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"

enum { MODELS_MAX = 64, BUCKETS_MAX = 32, HTTP_MAX = 128 };

/* vLLM's bounds, so that quantiles of both can be compared. */
static const double TTFT_S[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
static const double ITL_S[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                               0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
static const double E2E_S[] = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                               30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
/* Stages range from a microsecond (a token's text) to minutes (a queue). */
static const double STAGE_S[] = {1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3,
                                 2e-3, 5e-3,   0.01, 0.02, 0.05,   0.1,  0.2,  0.3,    0.5,  1,
                                 2.5,  5,      10,   20,   40,     80,   160,  640,    2560};
static const double TOKENS[] = {1,   2,    5,    10,   20,    50,    100,   200,
                                500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};
static const double CHOICES[] = {1, 2, 5, 10, 20};

struct counter_row {
    const char *name;
    const char *label;
    const char *doc;
};

struct histogram_row {
    const char *name;
    const double *bounds;
    size_t n;
    const char *doc;
};

static const struct counter_row COUNTERS[] = {
#define COUNTER(id, name, label, doc) {name, label, doc},
#include "services/gateway/metrics.def"
};

static const struct counter_row MODEL_COUNTERS[] = {
#define MODEL_COUNTER(id, name, label, doc) {name, label, doc},
#include "services/gateway/metrics.def"
};

static const struct histogram_row HISTOGRAMS[] = {
#define MODEL_HISTOGRAM(id, name, buckets, doc) {name, buckets, ARRAY_LEN(buckets), doc},
#include "services/gateway/metrics.def"
};

struct histogram {
    uint64_t counts[BUCKETS_MAX + 1]; /* not cumulative; the last is +Inf */
    double sum;
};

struct metrics_model {
    char *name;
    uint64_t counts[MODEL_COUNT_END];
    struct histogram histograms[HISTOGRAM_END];
};

struct http_count {
    const char *route;
    int status;
    uint64_t n;
};

struct metrics {
    uint64_t counts[COUNT_END];
    struct http_count http[HTTP_MAX];
    size_t n_http;
    struct metrics_model *models[MODELS_MAX];
    size_t n_models;
};

struct metrics *metrics_new(void)
{
    return mem_zalloc(1, sizeof(struct metrics));
}

void metrics_free(struct metrics *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->n_models; i++) {
        free(m->models[i]->name);
        free(m->models[i]);
    }
    free(m);
}

void metrics_count(struct metrics *m, enum metric_count which)
{
    m->counts[which]++;
}

void metrics_count_http(struct metrics *m, const char *route, int status)
{
    for (size_t i = 0; i < m->n_http; i++) {
        if (m->http[i].status == status && strcmp(m->http[i].route, route) == 0) {
            m->http[i].n++;
            return;
        }
    }
    if (m->n_http < HTTP_MAX)
        m->http[m->n_http++] = (struct http_count){route, status, 1};
}

struct metrics_model *metrics_of_model(struct metrics *m, const char *name)
{
    for (size_t i = 0; i < m->n_models; i++) {
        if (strcmp(m->models[i]->name, name) == 0)
            return m->models[i];
    }
    if (m->n_models == MODELS_MAX)
        return m->models[MODELS_MAX - 1];
    bool is_last = m->n_models == MODELS_MAX - 1;
    struct metrics_model *mm = mem_zalloc(1, sizeof *mm);
    const char *shown = is_last ? "other" : name;
    mm->name = mem_strndup(shown, strlen(shown));
    m->models[m->n_models++] = mm;
    return mm;
}

void metrics_add(struct metrics_model *mm, enum metric_model_count which, uint64_t n)
{
    mm->counts[which] += n;
}

void metrics_observe(struct metrics_model *mm, enum metric_histogram which, double value)
{
    const struct histogram_row *row = &HISTOGRAMS[which];
    struct histogram *h = &mm->histograms[which];
    size_t i = 0;
    while (i < row->n && value > row->bounds[i])
        i++;
    h->counts[i]++;
    h->sum += value;
}

/* ---- text ---------------------------------------------------------------------------------------- */

void metrics_quote(struct buf *out, const char *value)
{
    buf_add_char(out, '"');
    for (; *value != '\0'; value++) {
        if (*value == '\n') {
            buf_add_cstr(out, "\\n");
            continue;
        }
        if (*value == '"' || *value == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, *value);
    }
    buf_add_char(out, '"');
}

static void add_head(struct buf *out, const char *type, const char *name, const char *doc)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, doc, name, type);
}

void metrics_write_one(struct buf *out, const char *type, const char *name, const char *labels,
                       double value, const char *doc)
{
    if (doc != NULL)
        add_head(out, type, name, doc);
    buf_printf(out, "%s%s%s%s %.17g\n", name, labels[0] != '\0' ? "{" : "", labels,
               labels[0] != '\0' ? "}" : "", value);
}

/* The row's HELP and TYPE stand before the first row of its name. */
static void add_counter_head(struct buf *out, const struct counter_row *rows, size_t i)
{
    if (i == 0 || strcmp(rows[i].name, rows[i - 1].name) != 0)
        add_head(out, "counter", rows[i].name, rows[i].doc);
}

static void add_model_labels(struct buf *out, const struct metrics_model *mm)
{
    buf_add_cstr(out, "engine=\"0\",model_name=");
    metrics_quote(out, mm->name);
}

static void write_model_counters(const struct metrics *m, struct buf *out)
{
    for (size_t i = 0; i < MODEL_COUNT_END; i++) {
        const struct counter_row *row = &MODEL_COUNTERS[i];
        add_counter_head(out, MODEL_COUNTERS, i);
        for (size_t k = 0; k < m->n_models; k++) {
            buf_printf(out, "%s{", row->name);
            add_model_labels(out, m->models[k]);
            buf_printf(out, "%s%s} %llu\n", row->label[0] != '\0' ? "," : "", row->label,
                       (unsigned long long)m->models[k]->counts[i]);
        }
    }
}

static void write_histogram(const struct histogram_row *row, const struct metrics_model *mm,
                            const struct histogram *h, struct buf *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i <= row->n; i++) {
        n += h->counts[i];
        buf_printf(out, "%s_bucket{", row->name);
        add_model_labels(out, mm);
        if (i < row->n)
            buf_printf(out, ",le=\"%g\"} %llu\n", row->bounds[i], (unsigned long long)n);
        else
            buf_printf(out, ",le=\"+Inf\"} %llu\n", (unsigned long long)n);
    }
    buf_printf(out, "%s_sum{", row->name);
    add_model_labels(out, mm);
    buf_printf(out, "} %.17g\n%s_count{", h->sum, row->name);
    add_model_labels(out, mm);
    buf_printf(out, "} %llu\n", (unsigned long long)n);
}

void metrics_write(const struct metrics *m, struct buf *out)
{
    for (size_t i = 0; i < COUNT_END; i++) {
        add_counter_head(out, COUNTERS, i);
        buf_printf(out, "%s{%s} %llu\n", COUNTERS[i].name, COUNTERS[i].label,
                   (unsigned long long)m->counts[i]);
    }
    add_head(out, "counter", "halo_http_requests_total", "answered HTTP requests");
    for (size_t i = 0; i < m->n_http; i++) {
        buf_add_cstr(out, "halo_http_requests_total{route=");
        metrics_quote(out, m->http[i].route);
        buf_printf(out, ",code=\"%d\"} %llu\n", m->http[i].status,
                   (unsigned long long)m->http[i].n);
    }
    write_model_counters(m, out);
    for (size_t i = 0; i < HISTOGRAM_END; i++) {
        add_head(out, "histogram", HISTOGRAMS[i].name, HISTOGRAMS[i].doc);
        for (size_t k = 0; k < m->n_models; k++)
            write_histogram(&HISTOGRAMS[i], m->models[k], &m->models[k]->histograms[i], out);
    }
}
