/* SPDX-License-Identifier: MIT */
#include "services/engine/linear.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/pack.h"

/* Whether no two-bit code is 3. */
static bool is_t2(const uint8_t *codes, uint64_t n)
{
    uint8_t bad = 0;
    for (uint64_t i = 0; i < n; i++)
        bad |= (uint8_t)(codes[i] & codes[i] >> 1);
    return (bad & 0x55) == 0;
}

/* Whether every byte is ceil(256 v / 243) of some v, that is, 243 times it leaves up to 242 mod 256. */
static bool is_t5(const uint8_t *codes, uint64_t n)
{
    uint8_t most = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint8_t rest = (uint8_t)(codes[i] * 243U);
        most = rest > most ? rest : most;
    }
    return most <= 242;
}

static bool is_finite(const float *scales, uint64_t n)
{
    bool is = true;
    for (uint64_t i = 0; i < n; i++)
        is = is && isfinite(scales[i]);
    return is;
}

/* Whether the section holds scales for w; sets their kind. */
static bool bind_scales(const struct h1b_section *s, struct ternary_weights *w)
{
    if (s == NULL || s->dtype != H1B_F32)
        return false;
    w->scales = s->data;
    if (s->n_dims == 1) {
        w->rows_per_scale = s->dims[0] < 1 ? 0 : (uint32_t)(w->n_rows / s->dims[0]);
        return w->rows_per_scale > 0 && w->rows_per_scale * s->dims[0] == w->n_rows;
    }
    w->group = s->dims[1] < 1 ? 0 : (uint32_t)(w->n_cols / s->dims[1]);
    return s->n_dims == 2 && s->dims[0] == w->n_rows && (w->group == 64 || w->group == 128) &&
           w->group * s->dims[1] == w->n_cols;
}

/* `expected` of the section NAME.weight or, with is_scale, NAME.weight_scale. */
static bool refuse(char *why, size_t cap_why, const char *name, bool is_scale, const char *expected)
{
    (void)snprintf(why, cap_why, "%s.weight%s: expected %s", name, is_scale ? "_scale" : "",
                   expected);
    return false;
}

bool linear_bind(const struct h1b *file, const char *name, uint32_t n_rows, uint32_t n_cols,
                 char *why, size_t cap_why, struct ternary_weights *ret_linear)
{
    static const enum ternary_packing PACKINGS[] = {
        [H1B_T2] = TERNARY_T2, [H1B_T5] = TERNARY_T5, [H1B_S3] = TERNARY_S3, [H1B_B1] = TERNARY_B1};
    char full[128];
    char expected[80];
    (void)snprintf(full, sizeof full, "%s.weight", name);
    const struct h1b_section *s = h1b_find(file, full);
    (void)snprintf(expected, sizeof expected, "a section T2, T5, S3 or B1 [%u, %u]", n_rows,
                   n_cols);
    if (s == NULL || !pack_is_packed(s->dtype) || s->n_dims != 2 || s->dims[0] != n_rows ||
        s->dims[1] != n_cols)
        return refuse(why, cap_why, name, false, expected);
    if (n_cols > TERNARY_MAX_COLS)
        return refuse(why, cap_why, name, false, "at most 262016 columns");
    if (s->dtype == H1B_T2 && !is_t2(s->data, s->size))
        return refuse(why, cap_why, name, false, "codes 0, 1 and 2 only");
    if (s->dtype == H1B_T5 && !is_t5(s->data, s->size))
        return refuse(why, cap_why, name, false, "bytes that stand for five trits only");

    *ret_linear = (struct ternary_weights){
        .codes = s->data, .n_rows = n_rows, .n_cols = n_cols, .packing = PACKINGS[s->dtype]};
    (void)snprintf(full, sizeof full, "%s.weight_scale", name);
    s = h1b_find(file, full);
    if (!bind_scales(s, ret_linear))
        return refuse(why, cap_why, name, true,
                      "a section F32 [s] where s divides the rows, or [rows, columns / 64 or 128]");
    if (!is_finite(s->data, s->size / sizeof(float)))
        return refuse(why, cap_why, name, true, "finite values");
    return true;
}

uint64_t linear_code_bytes(const struct ternary_weights *w)
{
    return (uint64_t)w->n_rows * ternary_row_bytes(w->packing, w->n_cols);
}

uint64_t linear_scale_bytes(const struct ternary_weights *w)
{
    uint64_t n =
        w->group > 0 ? (uint64_t)w->n_rows * (w->n_cols / w->group) : w->n_rows / w->rows_per_scale;
    return n * sizeof *w->scales;
}

const char *linear_packing_name(const struct ternary_weights *w)
{
    static const char *const NAMES[TERNARY_PACKINGS][3] = {
        [TERNARY_T2] = {"T2", "T2/64", "T2/128"},
        [TERNARY_T5] = {"T5", "T5/64", "T5/128"},
        [TERNARY_S3] = {"S3", "S3/64", "S3/128"},
        [TERNARY_B1] = {"B1", "B1/64", "B1/128"},
    };
    return NAMES[w->packing][w->group / 64];
}
