/* SPDX-License-Identifier: MIT */
#include "services/engine/linear.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/pack.h"
#include "kernels/kernels.h"
#include "tests/common/h1b_write.h"

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

enum { ROWS = 6 };

/* A file with a matrix "m", as linear_bind sees it. */
struct matrix {
    uint32_t dtype, rows, cols;
    uint32_t scale_dtype, n_scale_dims, scale_dim0, scale_dim1;
    int bad_byte; /* the last one of the codes, or -1 */
    float last_scale;
};

static const struct matrix GOOD = {H1B_T2, ROWS, 640, H1B_F32, 1, 3, 1, -1, 1.0F};

/* Whether a matrix of ROWS rows and `cols` columns can be bound; if not, why. */
static bool bind(const struct matrix *m, uint32_t cols, char *why, size_t cap_why,
                 struct ternary_weights *w)
{
    size_t n = (size_t)pack_row_bytes((enum h1b_dtype)m->dtype, m->cols) * m->rows;
    n = n > 0 ? n : (size_t)m->rows * m->cols;
    uint8_t *codes = mem_zalloc(1, n);
    memset(codes, 0x55, n);
    if (m->dtype == H1B_T5)
        memset(codes, 128, n);
    if (m->bad_byte >= 0)
        codes[n - 1] = (uint8_t)m->bad_byte;
    size_t n_scales = (size_t)m->scale_dim0 * m->scale_dim1;
    float *scales = mem_zalloc(n_scales, sizeof *scales);
    scales[n_scales - 1] = m->last_scale;
    const struct h1b_item items[] = {
        {"m.weight", m->dtype, 2, {m->rows, m->cols, 1, 1}, codes, n},
        {"m.weight_scale",
         m->scale_dtype,
         m->n_scale_dims,
         {m->scale_dim0, m->scale_dim1, 1, 1},
         scales,
         n_scales * (m->scale_dtype == H1B_F32 ? 4U : 2U)},
    };
    uint8_t *bytes = NULL;
    size_t size = h1b_write_bytes(items, 2, &bytes);
    int fd = memfd_create("linear", 0);
    assert_true(fd >= 0);
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    h1b_write_file(path, bytes, size);
    struct h1b *h = NULL;
    assert_int_equal(h1b_open(path, H1B_VERIFY_ALL, why, cap_why, &h), ERR_OK);
    bool is = linear_bind(h, "m", ROWS, cols, why, cap_why, w);
    h1b_close(h);
    (void)close(fd);
    free(bytes);
    free(codes);
    free(scales);
    return is;
}

static void expect_refused(const struct matrix *m, const char *reason)
{
    char why[300] = "";
    struct ternary_weights w;
    if (bind(m, m->cols, why, sizeof why, &w) || strstr(why, reason) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", why, reason);
}

static void every_kind_of_matrix_is_bound(void **state)
{
    (void)state;
    char why[300];
    struct ternary_weights w;
    static const uint32_t DTYPES[] = {H1B_T2, H1B_T5, H1B_S3, H1B_B1};
    static const uint32_t BYTES[] = {160, 128, 100, 80};
    static const char *const NAMES[] = {"T2", "T5", "S3", "B1"};
    for (size_t i = 0; i < 4; i++) {
        struct matrix m = GOOD;
        m.dtype = DTYPES[i];
        assert_true(bind(&m, m.cols, why, sizeof why, &w));
        assert_int_equal(w.packing, i);
        assert_int_equal(w.group, 0);
        assert_int_equal(w.rows_per_scale, 2);
        assert_int_equal(linear_code_bytes(&w), ROWS * BYTES[i]);
        assert_int_equal(linear_scale_bytes(&w), 3 * 4);
        assert_string_equal(linear_packing_name(&w), NAMES[i]);
        m.n_scale_dims = 2;
        m.scale_dim0 = ROWS;
        m.scale_dim1 = 640 / 128;
        assert_true(bind(&m, m.cols, why, sizeof why, &w));
        assert_int_equal(w.group, 128);
        assert_int_equal(linear_scale_bytes(&w), ROWS * 5 * 4);
        assert_memory_equal(linear_packing_name(&w), NAMES[i], 2);
        assert_string_equal(linear_packing_name(&w) + 2, "/128");
        m.scale_dim1 = 640 / 64;
        assert_true(bind(&m, m.cols, why, sizeof why, &w));
        assert_int_equal(w.group, 64);
    }
}

static void bytes_that_stand_for_no_trits_are_refused(void **state)
{
    (void)state;
    char why[300];
    struct ternary_weights w;
    struct matrix m = GOOD;
    m.bad_byte = 0xd5;
    expect_refused(&m, "m.weight: expected codes 0, 1 and 2");
    int n_good = 0;
    m.dtype = H1B_T5;
    for (m.bad_byte = 0; m.bad_byte < 256; m.bad_byte++) {
        int8_t trits[320];
        uint8_t unit[64];
        memset(unit, m.bad_byte, sizeof unit);
        bool is = bind(&m, m.cols, why, sizeof why, &w);
        assert_int_equal(is, pack_unpack_row(H1B_T5, unit, 320, trits));
        n_good += is;
    }
    assert_int_equal(n_good, 243);
}

static void what_the_kernels_cannot_read_is_refused(void **state)
{
    (void)state;
    struct matrix m = GOOD;
    m.dtype = H1B_U8;
    expect_refused(&m, "expected a section T2, T5, S3 or B1 [6, 640]");
    m = GOOD;
    m.rows = 5;
    expect_refused(&m, "[6, 640]");
    m = GOOD;
    m.cols = 1 << 18;
    expect_refused(&m, "at most 262016 columns");
    m = GOOD;
    m.scale_dim0 = 4; /* does not divide 6 */
    expect_refused(&m, "m.weight_scale");
    m.scale_dim0 = 12;
    expect_refused(&m, "m.weight_scale");
    m = GOOD;
    m.scale_dtype = H1B_F16;
    expect_refused(&m, "m.weight_scale");
    m = GOOD;
    m.last_scale = NAN;
    expect_refused(&m, "m.weight_scale: expected finite");
    m = GOOD;
    m.n_scale_dims = 2;
    m.scale_dim0 = ROWS;
    m.scale_dim1 = 640 / 32;
    expect_refused(&m, "m.weight_scale");
    m.scale_dim1 = 6; /* groups of 106 and some */
    expect_refused(&m, "m.weight_scale");
    m.scale_dim0 = ROWS - 1;
    m.scale_dim1 = 640 / 64;
    expect_refused(&m, "m.weight_scale");
    m.scale_dim0 = ROWS;
    m.cols = 700; /* no whole groups */
    expect_refused(&m, "m.weight_scale");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_packing_means_what_the_format_says),
        cmocka_unit_test(every_kind_of_matrix_is_bound),
        cmocka_unit_test(bytes_that_stand_for_no_trits_are_refused),
        cmocka_unit_test(what_the_kernels_cannot_read_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
