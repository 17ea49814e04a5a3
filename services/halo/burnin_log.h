/* SPDX-License-Identifier: MIT */
/* burnin_log: reads the rows that the router writes about compared replies (services/router/burnin.h),
 * and sums them up. */
#ifndef HALO_HALO_BURNIN_LOG_H
#define HALO_HALO_BURNIN_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum burnin_verdict {
    BURNIN_EXACT,
    BURNIN_DIFFERENT,
    BURNIN_EMPTY,
    BURNIN_TRUNCATED,
    BURNIN_VERDICTS
};

extern const char *const BURNIN_VERDICT_NAMES[BURNIN_VERDICTS];

enum { BURNIN_STABLE, BURNIN_CANDIDATE, BURNIN_SIDES };

/* What one lane made of a request. Of figures that a row lacks, NAN. */
struct burnin_side {
    char *identity; /* "model build backend": what must be equal for rows to be counted together */
    char *engine;
    char *finish;
    uint32_t n_tokens;
    double first_ms; /* to the first token */
    double total_ms;
    bool has_token; /* at the first difference */
    uint32_t token;
    double margin; /* of the best logit there over the second */
};

struct burnin_row {
    char *time; /* RFC 3339, UTC */
    char *prompt; /* SHA-256 of its token ids, hexadecimal */
    enum burnin_verdict verdict;
    uint32_t difference; /* position of the first one, when the verdict is BURNIN_DIFFERENT */
    struct burnin_side sides[BURNIN_SIDES];
};

struct burnin_log {
    struct burnin_row *rows; /* oldest first */
    size_t n_rows;
    size_t n_broken; /* lines that are no row: one may be left by a full disk */
};

/* Reads <path>.1, if it is there, and <path>. ERR_NOT_FOUND: there is no log; ERR_IO; `why` gets one
 * line. */
MUST_CHECK enum err burnin_log_read(const char *path, char *why, size_t cap_why,
                                    struct burnin_log *ret_log);
void burnin_log_fini(struct burnin_log *log);

/* Sums of rows. */
struct burnin_sums {
    size_t n_rows;
    size_t verdicts[BURNIN_VERDICTS];
    double exact; /* share, 0..1; 0 without rows */
    double
        token_ms[BURNIN_SIDES]; /* medians over the rows: total_ms / n_tokens; NAN without rows */
    double first_ms[BURNIN_SIDES];
    const char *from; /* times of the first and the last row; NULL without rows */
    const char *to;
};

/* Of the rows that `takes`, asked in their order; NULL: of all. */
struct burnin_sums burnin_sum(const struct burnin_log *log,
                              bool (*takes)(void *ctx, const struct burnin_row *row), void *ctx);

#endif
