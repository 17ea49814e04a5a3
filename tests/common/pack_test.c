/* SPDX-License-Identifier: MIT */
#include "common/pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const enum h1b_dtype PACKED[] = {H1B_T2, H1B_T5, H1B_S3, H1B_B1};
enum { N_PACKED = sizeof PACKED / sizeof PACKED[0], MAX_COLS = 1500 };

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

/* Trits that the dtype can hold. */
static void fill(enum h1b_dtype dtype, uint32_t *state, int8_t *trits, size_t n)
{
    uint32_t zero = 0;
    for (size_t c = 0; c < n; c++) {
        uint32_t r = next_random(state);
        if (c % 4 == 0)
            zero = n - c < 4 ? 0 : r / 16 % 4;
        int sign = r & 8 ? 1 : -1;
        trits[c] = (int8_t)(dtype == H1B_B1   ? sign
                            : dtype == H1B_S3 ? (c % 4 == zero ? 0 : sign)
                                              : (int)(r % 3) - 1);
    }
}

static void a_row_comes_back_as_it_was(void **state)
{
    (void)state;
    uint32_t random = 1;
    for (size_t i = 0; i < (size_t)N_PACKED * 200; i++) {
        enum h1b_dtype dtype = PACKED[i % N_PACKED];
        size_t n = i < 40 ? 1 + i / N_PACKED : 1 + next_random(&random) % MAX_COLS;
        int8_t trits[MAX_COLS];
        int8_t back[MAX_COLS];
        fill(dtype, &random, trits, n);
        uint8_t *row = malloc((size_t)pack_row_bytes(dtype, n)); /* a sanitizer sees the end */
        assert_non_null(row);
        assert_true(pack_row(dtype, trits, n, row));
        assert_true(pack_unpack_row(dtype, row, n, back));
        assert_memory_equal(trits, back, n);
        free(row);
    }
}

static void a_row_takes_whole_units(void **state)
{
    (void)state;
    assert_int_equal(pack_row_bytes(H1B_T2, 129), 64);
    assert_int_equal(pack_row_bytes(H1B_T5, 2560), 512);
    assert_int_equal(pack_row_bytes(H1B_T5, 2561), 576);
    assert_int_equal(pack_row_bytes(H1B_S3, 2560), 400);
    assert_int_equal(pack_row_bytes(H1B_B1, 2560), 320);
    assert_int_equal(pack_row_bytes(H1B_B1, UINT64_MAX), (UINT64_C(1) << 57) * 16);
    assert_int_equal(pack_row_bytes(H1B_F16, 128), 0);
}

/* Columns 0, 33, 66, 127 and 129 of 130, written by hand from the text of common/h1b.h. */
static void bytes_are_those_of_the_format(void **state)
{
    (void)state;
    int8_t trits[320] = {0};
    uint8_t row[64];
    trits[0] = 1;
    trits[33] = -1;
    trits[66] = 1;
    trits[127] = -1;
    trits[129] = 1;
    assert_true(pack_row(H1B_T2, trits, 130, row));
    uint8_t want[64];
    memset(want, 0x55, sizeof want);
    want[0] = 0x56;
    want[1] = 0x51;
    want[2] = 0x65;
    want[31] = 0x15;
    want[33] = 0x56;
    assert_memory_equal(row, want, 64);

    /* Digits of byte 0: columns 0, 64, 128, 192, 256; 11111 in base 3 is 121, 21111 is 202. */
    assert_true(pack_row(H1B_T5, trits, 130, row));
    memset(want, (256 * 121 + 242) / 243, sizeof want);
    want[0] = (256 * 202 + 242) / 243;
    want[33] = (256 * 40 + 242) / 243; /* 01111 */
    want[2] = (256 * 148 + 242) / 243; /* 12111 */
    want[63] = (256 * 94 + 242) / 243; /* 10111 */
    want[1] = (256 * 130 + 242) / 243; /* 11211 */
    assert_memory_equal(row, want, 64);

    for (int c = 0; c < 128; c++)
        trits[c] = (int8_t)(c % 4 == 0 ? 0 : 1);
    trits[4 * 17 + 0] = -1; /* group 17: -1 +1 0 -1: zero at 2; second differs, third does not */
    trits[4 * 17 + 2] = 0;
    trits[4 * 17 + 3] = -1;
    assert_true(pack_row(H1B_S3, trits, 128, row));
    memset(want, 0, sizeof want);
    want[1] = 6 << 4;
    want[18] = 2;
    assert_memory_equal(row, want, 20);

    memset(trits, -1, sizeof trits);
    trits[0] = 1;
    trits[35] = 1;
    trits[127] = 1;
    assert_true(pack_row(H1B_B1, trits, 128, row));
    memset(want, 0, sizeof want);
    want[0] = 1;
    want[3] = 4;
    want[15] = 128;
    assert_memory_equal(row, want, 16);
}

static void what_a_dtype_cannot_hold_is_refused(void **state)
{
    (void)state;
    static const int8_t ROWS[][8] = {
        {1, 1, 1, 1, 0, 1, 1, 1}, {1, 0, 0, 1, 0, 1, 1, 1}, {0, 1, 1, 1, 0, 0, 1, 1}};
    uint8_t row[64];
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        assert_true(pack_row(H1B_T2, ROWS[i], 8, row));
        assert_true(pack_row(H1B_T5, ROWS[i], 8, row));
        assert_false(pack_row(H1B_S3, ROWS[i], 8, row));
        assert_false(pack_row(H1B_B1, ROWS[i], 8, row));
    }
    assert_true(pack_row(H1B_S3, ROWS[0] + 4, 3, row));
    assert_false(pack_row(H1B_S3, ROWS[2] + 4, 3, row));
}

static void bytes_that_are_no_trits_are_found(void **state)
{
    (void)state;
    int8_t trits[320];
    uint8_t row[64];
    memset(row, 0x55, 32);
    row[9] = 0xd5;
    assert_false(pack_unpack_row(H1B_T2, row, 128, trits));
    int n_bad = 0;
    for (int b = 0; b < 256; b++) {
        memset(row, 128, sizeof row);
        row[63] = (uint8_t)b;
        n_bad += !pack_unpack_row(H1B_T5, row, 320, trits);
    }
    assert_int_equal(n_bad, 256 - 243);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_comes_back_as_it_was),
        cmocka_unit_test(a_row_takes_whole_units),
        cmocka_unit_test(bytes_are_those_of_the_format),
        cmocka_unit_test(what_a_dtype_cannot_hold_is_refused),
        cmocka_unit_test(bytes_that_are_no_trits_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
