/* SPDX-License-Identifier: MIT */
#include "services/load/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"

enum { TENTHS_MAX = 7 * 24 * 3600 * 10 };

static const struct {
    const char *name;
    const char *text;
} WORDS[] = {
#define FAILURE(name, text) {#name, text},
#include "services/load/failure.def"
#undef FAILURE
};

const char *failure_text(enum failure f)
{
    return WORDS[f].text;
}

const char *failure_name(enum failure f)
{
    return WORDS[f].name;
}

struct stats *stats_new(void)
{
    return mem_zalloc(1, sizeof(struct stats));
}

void stats_free(struct stats *s)
{
    if (s == NULL)
        return;
    free(s->records);
    free(s->per_tenth);
    free(s);
}

void stats_add_chunk(struct stats *s, uint64_t at_ns, uint64_t gap_ns)
{
    size_t tenth = (size_t)(at_ns / 100000000U);
    tenth = tenth < TENTHS_MAX ? tenth : TENTHS_MAX;
    if (tenth >= s->n_tenths) {
        size_t n = tenth + 600;
        s->per_tenth = mem_resize(s->per_tenth, n, sizeof *s->per_tenth);
        memset(s->per_tenth + s->n_tenths, 0, (n - s->n_tenths) * sizeof *s->per_tenth);
        s->n_tenths = n;
    }
    s->per_tenth[tenth]++;
    s->n_chunks++;
    if (gap_ns > 0)
        hist_add(&s->itl, gap_ns);
}

double record_tpot(const struct record *r)
{
    if (r->n_out < 2 || r->first_ns == 0)
        return 0;
    return (double)(r->end_ns - r->first_ns) / (r->n_out - 1);
}

static bool is_good(const struct record *r, const struct goodput *limits)
{
    double ttft = (double)(r->first_ns - r->intended_ns) / 1e6;
    double e2el = (double)(r->end_ns - r->intended_ns) / 1e6;
    return (limits->ttft_ms <= 0 || ttft <= limits->ttft_ms) &&
           (limits->tpot_ms <= 0 || record_tpot(r) / 1e6 <= limits->tpot_ms) &&
           (limits->e2el_ms <= 0 || e2el <= limits->e2el_ms);
}

void stats_add_record(struct stats *s, const struct record *r, const struct goodput *limits)
{
    if (s->n_records == s->cap_records) {
        s->cap_records = s->cap_records > 0 ? s->cap_records * 2 : 1024;
        s->records = mem_resize(s->records, s->cap_records, sizeof *s->records);
    }
    s->records[s->n_records++] = *r;
    s->n_failed[r->failure]++;
    if (r->sent_ns >= r->intended_ns && r->sent_ns > 0)
        hist_add(&s->lag, r->sent_ns - r->intended_ns);
    s->concurrency_s += (double)(r->end_ns - r->intended_ns) / 1e9;
    if (r->end_ns > s->duration_ns)
        s->duration_ns = r->end_ns;
    if (r->failure != FAILURE_none)
        return;
    s->n_in += r->n_in;
    s->n_out += r->n_out;
    s->n_cached += r->n_cached;
    hist_add(&s->e2el, r->end_ns - r->intended_ns);
    if (r->first_ns > 0)
        hist_add(&s->ttft, r->first_ns - r->intended_ns);
    if (r->n_out >= 2 && r->first_ns > 0)
        hist_add(&s->tpot, (uint64_t)record_tpot(r));
    if (r->first_ns > 0 && is_good(r, limits))
        s->n_good++;
}

void stats_add_detail(struct stats *s, enum failure f, const char *text)
{
    size_t i = 0;
    while (i < s->n_details &&
           (s->details[i].failure != f ||
            strncmp(s->details[i].text, text, sizeof s->details[i].text - 1) != 0))
        i++;
    if (i == STATS_DETAILS) {
        i--;
        (void)snprintf(s->details[i].text, sizeof s->details[i].text, "others");
    } else if (i == s->n_details) {
        s->n_details++;
        s->details[i].failure = f;
        (void)snprintf(s->details[i].text, sizeof s->details[i].text, "%s", text);
    }
    s->details[i].n++;
}

uint64_t stats_n_failed(const struct stats *s)
{
    uint64_t n = 0;
    for (size_t i = FAILURE_none + 1; i < FAILURES; i++)
        n += s->n_failed[i];
    return n;
}

uint32_t stats_in_second(const struct stats *s, size_t first_tenth)
{
    uint32_t n = 0;
    for (size_t i = first_tenth; i < first_tenth + 10 && i < s->n_tenths; i++)
        n += s->per_tenth[i];
    return n;
}

uint32_t stats_peak_per_s(const struct stats *s)
{
    uint32_t most = 0;
    for (size_t i = 0; i < s->n_tenths; i++) {
        uint32_t n = stats_in_second(s, i);
        most = n > most ? n : most;
    }
    return most;
}
