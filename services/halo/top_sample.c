/* SPDX-License-Identifier: MIT */
#include "services/halo/top_sample.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"

/* Sums of all rows of one name. */
static const struct {
    const char *name;
    size_t offset;
} SUMS[] = {
#define SUM(name, field)                                                                           \
    {                                                                                              \
        name, offsetof(struct top_reading, field)                                                  \
    }
    SUM("vllm:generation_tokens_total", generated),
    SUM("vllm:prompt_tokens_total", prompts),
    SUM("vllm:request_success_total", finished),
    SUM("halo_refused_total", refused),
    SUM("halo_replies_ended_early_total", cut),
    SUM("halo_replies_in_flight", in_flight),
    SUM("vllm:num_requests_running", running),
    SUM("vllm:num_requests_waiting", waiting),
    SUM("vllm:kv_cache_usage_perc", kv_share),
    SUM("vllm:prefix_cache_queries_total", prefix_queries),
    SUM("vllm:prefix_cache_hits_total", prefix_hits),
    SUM("vllm:spec_decode_num_draft_tokens_total", drafted),
    SUM("vllm:spec_decode_num_accepted_tokens_total", accepted),
    SUM("halo_engines", engines),
#undef SUM
};

static const struct {
    const char *name;
    size_t offset;
} HISTOGRAMS[] = {
    {"vllm:time_to_first_token_seconds_bucket", offsetof(struct top_reading, ttft)},
    {"vllm:inter_token_latency_seconds_bucket", offsetof(struct top_reading, itl)},
#define STAGE(name, stage)                                                                         \
    {                                                                                              \
        name "_bucket", offsetof(struct top_reading, stages[stage])                                \
    }
    STAGE("vllm:request_queue_time_seconds", TOP_QUEUE),
    STAGE("halo_tokenize_seconds", TOP_TOKENIZE),
    STAGE("vllm:request_prefill_time_seconds", TOP_PREFILL),
    STAGE("vllm:request_time_per_output_token_seconds", TOP_DECODE),
    STAGE("halo_detokenize_seconds", TOP_DETOKENIZE),
    STAGE("halo_write_seconds", TOP_WRITE),
#undef STAGE
};

/* ---- reading ----------------------------------------------------------------------------------- */

static bool is_name(struct str line, const char *name)
{
    size_t n = strlen(name);
    return line.len > n && memcmp(line.ptr, name, n) == 0 &&
           (line.ptr[n] == ' ' || line.ptr[n] == '{');
}

static void add_to_histogram(struct top_histogram *h, double bound, double count)
{
    size_t i = 0;
    while (i < h->n && h->bound[i] < bound)
        i++;
    if (i == h->n || h->bound[i] > bound) {
        if (h->n == TOP_BUCKETS)
            return;
        memmove(&h->bound[i + 1], &h->bound[i], (h->n - i) * sizeof h->bound[0]);
        memmove(&h->count[i + 1], &h->count[i], (h->n - i) * sizeof h->count[0]);
        h->bound[i] = bound;
        h->count[i] = 0;
        h->n++;
    }
    h->count[i] += count;
}

/* `line` ends with NUL or newline, at which strtod stops. */
static void take_line(struct str line, struct top_reading *r)
{
    const char *value = memrchr(line.ptr, ' ', line.len);
    if (value == NULL)
        return;
    double v = strtod(value, NULL);
    for (size_t i = 0; i < ARRAY_LEN(SUMS); i++) {
        if (is_name(line, SUMS[i].name))
            *(double *)(void *)((char *)r + SUMS[i].offset) += v;
    }
    for (size_t i = 0; i < ARRAY_LEN(HISTOGRAMS); i++) {
        const char *le =
            is_name(line, HISTOGRAMS[i].name) ? memmem(line.ptr, line.len, "le=\"", 4) : NULL;
        if (le != NULL) /* "+Inf" is read as infinity */
            add_to_histogram((void *)((char *)r + HISTOGRAMS[i].offset), strtod(le + 4, NULL), v);
    }
}

void top_read(struct str metrics, uint64_t at_ns, struct top_reading *ret_reading)
{
    *ret_reading = (struct top_reading){.at_ns = at_ns};
    const char *p = metrics.ptr;
    const char *end = metrics.ptr + metrics.len;
    while (p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        if (newline == NULL)
            return; /* cut off */
        if (*p != '#')
            take_line((struct str){p, (size_t)(newline - p)}, ret_reading);
        p = newline + 1;
    }
}

/* ---- comparing --------------------------------------------------------------------------------- */

static double grown(double from, double to)
{
    return to >= from ? to - from : to;
}

static double share(double part_from, double part_to, double all_from, double all_to)
{
    double all = grown(all_from, all_to);
    return all > 0 ? grown(part_from, part_to) / all : -1;
}

/* Interpolates within the bucket, as Prometheus' histogram_quantile does. */
static double quantile(const struct top_histogram *from, const struct top_histogram *to, double q)
{
    double count[TOP_BUCKETS];
    bool is_same = from->n == to->n;
    for (size_t i = 0; i < to->n; i++)
        count[i] = is_same ? grown(from->count[i], to->count[i]) : to->count[i];
    if (to->n == 0 || count[to->n - 1] <= 0)
        return -1;
    double wanted = q * count[to->n - 1];
    size_t i = 0;
    while (i + 1 < to->n && count[i] < wanted)
        i++;
    double low = i > 0 ? to->bound[i - 1] : 0;
    double below = i > 0 ? count[i - 1] : 0;
    if (isinf(to->bound[i]))
        return low;
    double inside = count[i] - below;
    return inside > 0 ? low + (to->bound[i] - low) * (wanted - below) / inside : to->bound[i];
}

void top_compare(const struct top_reading *from, const struct top_reading *to,
                 struct top_rates *ret_rates)
{
    double s = (double)(to->at_ns - from->at_ns) * 1e-9;
    s = s > 0 ? s : 1;
    *ret_rates = (struct top_rates){
        .generated = grown(from->generated, to->generated) / s,
        .prompts = grown(from->prompts, to->prompts) / s,
        .finished = grown(from->finished, to->finished) / s,
        .refused = grown(from->refused, to->refused) / s,
        .cut = grown(from->cut, to->cut) / s,
        .prefix_share =
            share(from->prefix_hits, to->prefix_hits, from->prefix_queries, to->prefix_queries),
        .draft_share = share(from->accepted, to->accepted, from->drafted, to->drafted),
        .ttft_p50 = quantile(&from->ttft, &to->ttft, 0.5),
        .ttft_p99 = quantile(&from->ttft, &to->ttft, 0.99),
        .itl_p50 = quantile(&from->itl, &to->itl, 0.5),
        .itl_p99 = quantile(&from->itl, &to->itl, 0.99),
    };
    for (size_t i = 0; i < TOP_STAGES; i++) {
        ret_rates->stage_p50[i] = quantile(&from->stages[i], &to->stages[i], 0.5);
        ret_rates->stage_p95[i] = quantile(&from->stages[i], &to->stages[i], 0.95);
    }
}

const char *top_stage_name(enum top_stage stage)
{
    static const char *const NAMES[TOP_STAGES] = {
        [TOP_QUEUE] = "queue",   [TOP_TOKENIZE] = "tokenize",     [TOP_PREFILL] = "prefill",
        [TOP_DECODE] = "decode", [TOP_DETOKENIZE] = "detokenize", [TOP_WRITE] = "write"};
    return NAMES[stage];
}
