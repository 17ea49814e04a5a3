/* SPDX-License-Identifier: MIT */
#include "common/pack.h"

#include <string.h>

#include "common/check.h"

/* A row is a sequence of units: `cols` columns in `bytes` bytes. */
struct packing {
    uint32_t cols, bytes;
    bool (*pack)(const int8_t *trits, uint8_t *unit);
    bool (*unpack)(const uint8_t *unit, int8_t *trits);
};

enum {
    UNIT_MAX_COLS = 320,
    ABSENT = 2, /* in place of a trit: a column past the end of the row */
};

/* ---- units; trits past the row's end are ABSENT ---- */

/* -1, 0, +1 as 0, 1, 2; ABSENT counts as 0. */
static uint32_t code_of(int8_t trit)
{
    return trit == ABSENT ? 1 : (uint32_t)(trit + 1);
}

static bool pack_t2(const int8_t *trits, uint8_t *unit)
{
    for (uint32_t m = 0; m < 32; m++) {
        uint32_t byte = 0;
        for (uint32_t k = 0; k < 4; k++)
            byte |= code_of(trits[32 * k + m]) << 2 * k;
        unit[m] = (uint8_t)byte;
    }
    return true;
}

static bool unpack_t2(const uint8_t *unit, int8_t *trits)
{
    bool is_good = true;
    for (uint32_t c = 0; c < 128; c++) {
        uint32_t code = (uint32_t)unit[c % 32] >> c / 32 * 2 & 3;
        is_good = is_good && code < 3;
        trits[c] = (int8_t)((int)code - 1);
    }
    return is_good;
}

static bool pack_t5(const int8_t *trits, uint8_t *unit)
{
    for (uint32_t m = 0; m < 64; m++) {
        uint32_t v = 0;
        for (uint32_t k = 0; k < 5; k++)
            v = 3 * v + code_of(trits[64 * k + m]);
        unit[m] = (uint8_t)((256 * v + 242) / 243);
    }
    return true;
}

static bool unpack_t5(const uint8_t *unit, int8_t *trits)
{
    bool is_good = true;
    for (uint32_t m = 0; m < 64; m++) {
        uint32_t f = unit[m];
        uint32_t v = 0;
        for (uint32_t k = 0; k < 5; k++) {
            trits[64 * k + m] = (int8_t)((int)(3 * f >> 8) - 1);
            v = 3 * v + (3 * f >> 8);
            f = 3 * f & 255;
        }
        is_good = is_good && unit[m] == (256 * v + 242) / 243;
    }
    return is_good;
}

static bool pack_s3(const int8_t *trits, uint8_t *unit)
{
    memset(unit, 0, 20);
    for (uint32_t g = 0; g < 32; g++) {
        const int8_t *t = trits + (size_t)4 * g;
        uint32_t n_zeros = 0;
        uint32_t zero = 4; /* the place of the zero, else of the first absent column */
        for (uint32_t j = 4; j-- > 0;) {
            n_zeros += t[j] == 0;
            if (t[j] == 0 || (t[j] == ABSENT && n_zeros == 0))
                zero = j;
        }
        if (n_zeros > 1 || zero == 4)
            return false;
        uint32_t signs = 0; /* bit i: the i-th of the three others is negative */
        for (uint32_t j = 0, i = 0; j < 4; j++) {
            if (j != zero)
                signs |= (uint32_t)(t[j] < 0) << i++;
        }
        if (signs & 1)
            signs ^= 6;
        unit[g % 16] |= (uint8_t)((zero | (signs & 6) << 1) << g / 16 * 4);
        unit[16 + g / 8] |= (uint8_t)((signs & 1) << g % 8);
    }
    return true;
}

static bool unpack_s3(const uint8_t *unit, int8_t *trits)
{
    for (uint32_t g = 0; g < 32; g++) {
        uint32_t nibble = (uint32_t)unit[g % 16] >> g / 16 * 4 & 15;
        uint32_t first = (uint32_t)unit[16 + g / 8] >> g % 8 & 1;
        uint32_t signs = first | ((nibble >> 2 ^ (first ? 3U : 0)) & 3) << 1;
        for (uint32_t j = 0, i = 0; j < 4; j++)
            trits[4 * g + j] = j == (nibble & 3) ? 0 : (signs >> i++ & 1 ? -1 : 1);
    }
    return true;
}

static bool pack_b1(const int8_t *trits, uint8_t *unit)
{
    memset(unit, 0, 16);
    for (uint32_t c = 0; c < 128; c++) {
        if (trits[c] == 0)
            return false;
        unit[c % 16] |= (uint8_t)((uint32_t)(trits[c] == 1) << c / 16);
    }
    return true;
}

static bool unpack_b1(const uint8_t *unit, int8_t *trits)
{
    for (uint32_t c = 0; c < 128; c++)
        trits[c] = unit[c % 16] >> c / 16 & 1 ? 1 : -1;
    return true;
}

/* ---- rows ---- */

static const struct packing PACKINGS[] = {
    [H1B_T2] = {128, 32, pack_t2, unpack_t2},
    [H1B_T5] = {320, 64, pack_t5, unpack_t5},
    [H1B_S3] = {128, 20, pack_s3, unpack_s3},
    [H1B_B1] = {128, 16, pack_b1, unpack_b1},
};

const char *pack_dtype_name(enum h1b_dtype dtype)
{
    static const char *const NAMES[] = {
        [H1B_U8] = "U8", [H1B_U32] = "U32", [H1B_F32] = "F32", [H1B_F16] = "F16",
        [H1B_T2] = "T2", [H1B_T5] = "T5",   [H1B_S3] = "S3",   [H1B_B1] = "B1"};
    return dtype < ARRAY_LEN(NAMES) ? NAMES[dtype] : NULL;
}

bool pack_is_packed(enum h1b_dtype dtype)
{
    return dtype < ARRAY_LEN(PACKINGS) && PACKINGS[dtype].cols > 0;
}

uint64_t pack_row_bytes(enum h1b_dtype dtype, uint64_t n_cols)
{
    if (!pack_is_packed(dtype))
        return 0;
    const struct packing *p = &PACKINGS[dtype];
    return (n_cols / p->cols + (n_cols % p->cols != 0)) * p->bytes;
}

bool pack_row(enum h1b_dtype dtype, const int8_t *trits, size_t n_cols, uint8_t *row)
{
    ASSERT(pack_is_packed(dtype));
    const struct packing *p = &PACKINGS[dtype];
    for (size_t c = 0; c < n_cols; c += p->cols, row += p->bytes) {
        const int8_t *from = trits + c;
        int8_t last[UNIT_MAX_COLS];
        if (n_cols - c < p->cols) {
            memset(last, ABSENT, sizeof last);
            memcpy(last, from, n_cols - c);
            from = last;
        }
        if (!p->pack(from, row))
            return false;
    }
    return true;
}

bool pack_unpack_row(enum h1b_dtype dtype, const uint8_t *row, size_t n_cols, int8_t *trits)
{
    ASSERT(pack_is_packed(dtype));
    const struct packing *p = &PACKINGS[dtype];
    for (size_t c = 0; c < n_cols; c += p->cols, row += p->bytes) {
        int8_t unit[UNIT_MAX_COLS];
        if (!p->unpack(row, unit))
            return false;
        memcpy(trits + c, unit, n_cols - c < p->cols ? n_cols - c : p->cols);
    }
    return true;
}
