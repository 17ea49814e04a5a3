/* SPDX-License-Identifier: MIT */
#include "services/halo/burnin_log.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/mem.h"

const char *const BURNIN_VERDICT_NAMES[BURNIN_VERDICTS] = {"exact", "different", "empty",
                                                           "truncated"};

/* ---- one row ----------------------------------------------------------------------------------- */

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s != NULL ? s : "";
}

static char *copy_text(const json_t *o, const char *key)
{
    const char *s = text_of(o, key);
    return mem_strndup(s, strlen(s));
}

static double number_of(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static bool read_u32(const json_t *o, const char *key, uint32_t *ret)
{
    const json_t *v = json_object_get(o, key);
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < 0 || n > UINT32_MAX)
        return false;
    *ret = (uint32_t)n;
    return true;
}

static bool read_side(const json_t *o, struct burnin_side *s)
{
    struct buf identity = {0};
    if (!json_is_object(o) || !read_u32(o, "tokens", &s->n_tokens))
        return false;
    buf_printf(&identity, "%s %s %s", text_of(o, "model"), text_of(o, "build"),
               text_of(o, "backend"));
    s->identity = buf_detach(&identity);
    s->engine = copy_text(o, "engine");
    s->finish = copy_text(o, "finish");
    s->first_ms = number_of(o, "first_ms");
    s->total_ms = number_of(o, "total_ms");
    s->margin = number_of(o, "margin");
    s->has_token = read_u32(o, "token", &s->token);
    return true;
}

static bool read_verdict(const json_t *o, struct burnin_row *row)
{
    const char *name = text_of(o, "verdict");
    for (int i = 0; i < BURNIN_VERDICTS; i++) {
        if (strcmp(name, BURNIN_VERDICT_NAMES[i]) != 0)
            continue;
        row->verdict = (enum burnin_verdict)i;
        return i != BURNIN_DIFFERENT || read_u32(o, "first_difference", &row->difference);
    }
    return false;
}

static void row_fini(struct burnin_row *row)
{
    for (int i = 0; i < BURNIN_SIDES; i++) {
        free(row->sides[i].identity);
        free(row->sides[i].engine);
        free(row->sides[i].finish);
    }
    free(row->time);
    free(row->prompt);
}

static bool read_row(const char *line, struct burnin_row *row)
{
    json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    *row = (struct burnin_row){0};
    bool ok = json_is_object(o) && read_verdict(o, row) &&
              read_side(json_object_get(o, "stable"), &row->sides[BURNIN_STABLE]) &&
              read_side(json_object_get(o, "candidate"), &row->sides[BURNIN_CANDIDATE]);
    row->time = copy_text(o, "time");
    row->prompt = copy_text(o, "prompt_sha256");
    json_decref(o);
    if (!ok)
        row_fini(row);
    return ok;
}

/* ---- the log ----------------------------------------------------------------------------------- */

static void add_lines(FILE *f, struct burnin_log *log)
{
    char *line = NULL;
    size_t cap = 0;
    size_t cap_rows = log->n_rows;
    while (getline(&line, &cap, f) > 0) {
        if (log->n_rows == cap_rows) {
            cap_rows = cap_rows > 0 ? cap_rows * 2 : 256;
            log->rows = mem_resize(log->rows, cap_rows, sizeof *log->rows);
        }
        if (read_row(line, &log->rows[log->n_rows]))
            log->n_rows++;
        else
            log->n_broken++;
    }
    free(line);
}

enum err burnin_log_read(const char *path, char *why, size_t cap_why, struct burnin_log *ret_log)
{
    struct buf old = {0};
    *ret_log = (struct burnin_log){0};
    buf_printf(&old, "%s.1", path);
    FILE *f = fopen(old.ptr, "re");
    buf_fini(&old);
    if (f != NULL) {
        add_lines(f, ret_log);
        (void)fclose(f);
    }
    f = fopen(path, "re");
    if (f == NULL && (errno != ENOENT || ret_log->n_rows == 0)) {
        int error = errno;
        (void)snprintf(why, cap_why, "%s: %s", path, strerrordesc_np(error));
        burnin_log_fini(ret_log);
        return error == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    }
    if (f == NULL)
        return ERR_OK; /* it was moved away just now */
    add_lines(f, ret_log);
    bool ok = ferror(f) == 0;
    (void)fclose(f);
    if (ok)
        return ERR_OK;
    (void)snprintf(why, cap_why, "%s: it cannot be read", path);
    burnin_log_fini(ret_log);
    return ERR_IO;
}

void burnin_log_fini(struct burnin_log *log)
{
    for (size_t i = 0; i < log->n_rows; i++)
        row_fini(&log->rows[i]);
    free(log->rows);
    *log = (struct burnin_log){0};
}

/* ---- sums -------------------------------------------------------------------------------------- */

struct numbers {
    double *v;
    size_t n;
};

static void add_number(struct numbers *s, double x)
{
    if (isfinite(x))
        s->v[s->n++] = x;
}

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts. */
static double median(struct numbers *s)
{
    if (s->n == 0)
        return NAN;
    qsort(s->v, s->n, sizeof *s->v, compare_numbers);
    return (s->v[(s->n - 1) / 2] + s->v[s->n / 2]) / 2;
}

struct burnin_sums burnin_sum(const struct burnin_log *log,
                              bool (*takes)(void *ctx, const struct burnin_row *row), void *ctx)
{
    struct burnin_sums sums = {0};
    struct numbers token[BURNIN_SIDES];
    struct numbers first[BURNIN_SIDES];
    for (int side = 0; side < BURNIN_SIDES; side++) {
        token[side] = (struct numbers){.v = mem_zalloc(log->n_rows + 1, sizeof(double))};
        first[side] = (struct numbers){.v = mem_zalloc(log->n_rows + 1, sizeof(double))};
    }
    for (size_t i = 0; i < log->n_rows; i++) {
        const struct burnin_row *row = &log->rows[i];
        if (takes != NULL && !takes(ctx, row))
            continue;
        sums.n_rows++;
        sums.verdicts[row->verdict]++;
        sums.from = sums.from != NULL ? sums.from : row->time;
        sums.to = row->time;
        if (row->verdict != BURNIN_EXACT && row->verdict != BURNIN_DIFFERENT)
            continue; /* its times are those of an end before its time */
        for (int side = 0; side < BURNIN_SIDES; side++) {
            const struct burnin_side *s = &row->sides[side];
            add_number(&token[side], s->total_ms / s->n_tokens);
            add_number(&first[side], s->first_ms);
        }
    }
    for (int side = 0; side < BURNIN_SIDES; side++) {
        sums.token_ms[side] = median(&token[side]);
        sums.first_ms[side] = median(&first[side]);
        free(token[side].v);
        free(first[side].v);
    }
    if (sums.n_rows > 0)
        sums.exact = (double)sums.verdicts[BURNIN_EXACT] / (double)sums.n_rows;
    return sums;
}
