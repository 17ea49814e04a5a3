/* SPDX-License-Identifier: MIT */
/* Metrics: counters and histograms of the process and of each model, in Prometheus' text format. */
#ifndef HALO_GATEWAY_METRICS_H
#define HALO_GATEWAY_METRICS_H

#include <stdint.h>

#include "common/buf.h"

enum metric_count {
#define COUNTER(id, name, label, doc) COUNT_##id,
#include "services/gateway/metrics.def"
    COUNT_END
};

enum metric_model_count {
#define MODEL_COUNTER(id, name, label, doc) MODEL_COUNT_##id,
#include "services/gateway/metrics.def"
    MODEL_COUNT_END
};

enum metric_histogram {
#define MODEL_HISTOGRAM(id, name, buckets, doc) HISTOGRAM_##id,
#include "services/gateway/metrics.def"
    HISTOGRAM_END
};

struct metrics;
struct metrics_model;

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);

void metrics_count(struct metrics *m, enum metric_count which);

/* An answered HTTP request; route is a string that lives as long as the process. */
void metrics_count_http(struct metrics *m, const char *route, int status);

/* The numbers of a model; they live as long as the metrics. Beyond 64 names all share one. */
struct metrics_model *metrics_of_model(struct metrics *m, const char *name);
void metrics_add(struct metrics_model *mm, enum metric_model_count which, uint64_t n);
void metrics_observe(struct metrics_model *mm, enum metric_histogram which, double value);

/* Appends everything. */
void metrics_write(const struct metrics *m, struct buf *out);

/* Appends one metric of another owner, with its HELP and TYPE unless doc is NULL: further rows of one name. `labels` is "" or 'a="b",c="d"'. */
void metrics_write_one(struct buf *out, const char *type, const char *name, const char *labels,
                       double value, const char *doc);

/* Appends a label's value, escaped and quoted. */
void metrics_quote(struct buf *out, const char *value);

#endif
