/* SPDX-License-Identifier: MIT */
/* The kernels read rows that common/pack.c made as the format says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/pack.h"
#include "kernels/kernels.h"

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

/* S3 has one zero in each four columns, B1 none. */
static int8_t random_trit(enum ternary_packing packing, uint32_t *rng, size_t c)
{
    int sign = next_random(rng) % 2 == 0 ? 1 : -1;
    return (int8_t)(packing == TERNARY_B1       ? sign
                    : packing == TERNARY_S3     ? (c % 4 == c / 4 % 4 ? 0 : sign)
                    : next_random(rng) % 3 == 0 ? 0
                                                : sign);
}

/* Rows that common/pack.c made: x picks out columns one by one. */
static void every_packing_means_what_the_format_says(void **state)
{
    (void)state;
    static const enum h1b_dtype dtypes[TERNARY_PACKINGS] = {H1B_T2, H1B_T5, H1B_S3, H1B_B1};
    enum { COLS = 700, TOKENS = 10 };
    uint32_t rng = 7;
    for (int p = 0; p < TERNARY_PACKINGS; p++) {
        int8_t trits[COLS];
        for (size_t c = 0; c < COLS; c++) {
            trits[c] = random_trit((enum ternary_packing)p, &rng, c);
        }
        size_t row_bytes = ternary_row_bytes((enum ternary_packing)p, COLS);
        assert_int_equal(row_bytes, pack_row_bytes(dtypes[p], COLS));
        uint8_t *row = mem_zalloc(1, row_bytes);
        assert_true(pack_row(dtypes[p], trits, COLS, row));
        size_t stride = quantize_stride(COLS);
        int8_t *q = mem_zalloc(1, TOKENS * stride);
        int32_t sum[TOKENS];
        float one[TOKENS], y[TOKENS];
        struct ternary_weights w = {row, one, 1, COLS, 1, (enum ternary_packing)p, 0};
        struct quantized x = {q, stride, one, sum, TOKENS, COLS, 0};
        for (size_t c0 = 0; c0 < COLS; c0 += TOKENS) {
            memset(q, 0, TOKENS * stride);
            for (size_t t = 0; t < TOKENS; t++) {
                q[t * stride + c0 + t] = 1;
                sum[t] = 1;
                one[t] = 1.0f;
            }
            for (int level = 0; level < ISA_COUNT; level++) {
                const struct kernels *k = kernels_get((enum isa)level);
                for (x.n_tokens = 1; k != NULL && x.n_tokens <= TOKENS; x.n_tokens += TOKENS - 1) {
                    k->ternary_matmul(&w, &x, 0, 1, y, 1);
                    for (size_t t = 0; t < x.n_tokens; t++) {
                        assert_true(y[t] == trits[c0 + t]);
                    }
                }
            }
        }
        free(row);
        free(q);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_packing_means_what_the_format_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
