/* SPDX-License-Identifier: MIT */
#include "services/model/gguf_types.h"

#include <string.h>

#include "services/model/load.h"

enum {
    TYPE_I2_S = 36,
    TYPE_TL1 = 38,
    TYPE_TL2 = 39,
    TYPE_Q1_0_EARLY = 40,
    TYPE_Q2_0 = 42,
    I2S_TAIL = 32,
};

static void floats_f32(const uint8_t *p, float *y)
{
    *y = load_f32(p);
}

static void floats_f16(const uint8_t *p, float *y)
{
    *y = load_f16(p);
}

static void floats_bf16(const uint8_t *p, float *y)
{
    *y = half_from_bf16(load_u16(p));
}

static void floats_q4_0(const uint8_t *p, float *y)
{
    float d = load_f16(p);
    for (int j = 0; j < 16; j++) {
        y[j] = d * (float)((p[2 + j] & 15) - 8);
        y[16 + j] = d * (float)((p[2 + j] >> 4) - 8);
    }
}

static void floats_q8_0(const uint8_t *p, float *y)
{
    float d = load_f16(p);
    for (int j = 0; j < 32; j++)
        y[j] = d * (float)(int8_t)p[2 + j];
}

/* Six-bit scale and minimum of 32 weights: the first four pairs lie whole in bytes 0..7, the others have
 * their low four bits in bytes 8..11 and their high two on top of bytes 0..7. */
static void floats_q4_k(const uint8_t *p, float *y)
{
    float d = load_f16(p);
    float dmin = load_f16(p + 2);
    const uint8_t *s = p + 4;
    const uint8_t *qs = p + 16;
    for (int g = 0; g < 8; g++) {
        int scale = s[g & 3] & 63;
        int min = s[4 + (g & 3)] & 63;
        if (g >= 4) {
            scale = (s[4 + g] & 15) | s[g - 4] >> 6 << 4;
            min = s[4 + g] >> 4 | s[g] >> 6 << 4;
        }
        for (int j = 0; j < 32; j++) {
            int q = qs[32 * (g / 2) + j] >> 4 * (g & 1) & 15;
            y[32 * g + j] = d * (float)scale * (float)q - dmin * (float)min;
        }
    }
}

static void floats_q6_k(const uint8_t *p, float *y)
{
    float d = load_f16(p + 208);
    for (int half = 0; half < 2; half++) {
        const uint8_t *low = p + 64 * half;
        const uint8_t *high = p + 128 + 32 * half;
        const uint8_t *scales = p + 192 + 8 * half;
        for (int e = 0; e < 128; e++) {
            int k = e / 32;
            int j = e % 32;
            int q = (low[j + 32 * (k & 1)] >> 4 * (k >> 1) & 15) | (high[j] >> 2 * k & 3) << 4;
            y[128 * half + e] = d * (float)(int8_t)scales[e / 16] * (float)(q - 32);
        }
    }
}

static int8_t code_of(unsigned two_bits)
{
    return (int8_t)((int)(two_bits & 3) - 1);
}

/* Digit of a byte that holds five trits as a base 3 fraction; power is 3^n of digit n. */
static int8_t trit_of(uint8_t byte, unsigned power)
{
    unsigned fraction = (byte * power) & 0xff;
    return (int8_t)((int)(fraction * 3 >> 8) - 1);
}

/* n_digits digits of n bytes: digit k of byte m is element n*k + m. */
static int8_t *run_of_trits(const uint8_t *p, int n, int n_digits, int8_t *y)
{
    unsigned power = 1;
    for (int k = 0; k < n_digits; k++) {
        for (int m = 0; m < n; m++)
            *y++ = trit_of(p[m], power);
        power *= 3;
    }
    return y;
}

static void codes_tq1_0(const uint8_t *p, int8_t *y)
{
    y = run_of_trits(p, 32, 5, y);
    y = run_of_trits(p + 32, 16, 5, y);
    (void)run_of_trits(p + 48, 4, 4, y);
}

static void codes_ptq1_0(const uint8_t *p, int8_t *y)
{
    y = run_of_trits(p, 16, 5, y);
    y = run_of_trits(p + 16, 8, 5, y);
    (void)run_of_trits(p + 24, 2, 4, y);
}

static void codes_tq2_0(const uint8_t *p, int8_t *y)
{
    for (int half = 0; half < 2; half++) {
        for (int e = 0; e < 128; e++)
            y[128 * half + e] = code_of((unsigned)p[32 * half + e % 32] >> 2 * (e / 32));
    }
}

static void codes_q1_0(const uint8_t *p, int8_t *y, int n)
{
    for (int j = 0; j < n; j++)
        y[j] = (p[2 + j / 8] >> j % 8 & 1) != 0 ? 1 : -1;
}

static void codes_q1_0_32(const uint8_t *p, int8_t *y)
{
    codes_q1_0(p, y, 32);
}

static void codes_q1_0_128(const uint8_t *p, int8_t *y)
{
    codes_q1_0(p, y, 128);
}

static void codes_q2_0(const uint8_t *p, int8_t *y, int n)
{
    for (int j = 0; j < n; j++)
        y[j] = code_of((unsigned)p[2 + j / 4] >> 2 * (j % 4));
}

static void codes_q2_0_64(const uint8_t *p, int8_t *y)
{
    codes_q2_0(p, y, 64);
}

static void codes_q2_0_128(const uint8_t *p, int8_t *y)
{
    codes_q2_0(p, y, 128);
}

static void codes_iq2_bn(const uint8_t *p, int8_t *y)
{
    for (int j = 0; j < 64; j++)
        y[j] = code_of((unsigned)p[j % 16] >> 2 * (j / 16));
}

/* Four runs of 16: three bytes of five trits, then one trit of the byte that the four runs share. */
static void codes_iq1_bn(const uint8_t *p, int8_t *y)
{
    static const uint8_t POWERS[] = {81, 27, 9, 3, 1};
    for (int run = 0; run < 4; run++) {
        for (int j = 0; j < 15; j++)
            *y++ = trit_of(p[3 * run + j / 5], POWERS[j % 5]);
        *y++ = trit_of(p[12], POWERS[run]);
    }
}

static const struct gguf_type TYPES[] = {
    {.id = 0, .name = "F32", .n_block = 1, .block_bytes = 4, .floats = floats_f32},
    {.id = 1, .name = "F16", .n_block = 1, .block_bytes = 2, .floats = floats_f16},
    {.id = 30, .name = "BF16", .n_block = 1, .block_bytes = 2, .floats = floats_bf16},
    {.id = 2, .name = "Q4_0", .n_block = 32, .block_bytes = 18, .floats = floats_q4_0},
    {.id = 8, .name = "Q8_0", .n_block = 32, .block_bytes = 34, .floats = floats_q8_0},
    {.id = 12, .name = "Q4_K", .n_block = 256, .block_bytes = 144, .floats = floats_q4_k},
    {.id = 14, .name = "Q6_K", .n_block = 256, .block_bytes = 210, .floats = floats_q6_k},
    {34, "TQ1_0", 256, 54, .codes = codes_tq1_0, .scale_at = 52},
    {35, "TQ2_0", 256, 66, .codes = codes_tq2_0, .scale_at = 64},
    {TYPE_I2_S, "I2_S", 4, 1, .tail_bytes = I2S_TAIL},
    {TYPE_Q1_0_EARLY, "Q1_0 (groups of 32)", 32, 6, .is_binary = true, .codes = codes_q1_0_32},
    {41, "Q1_0", 128, 18, .is_binary = true, .codes = codes_q1_0_128},
    {TYPE_Q2_0, "Q2_0", 64, 18, .codes = codes_q2_0_64},
    {TYPE_Q2_0, "Q2_0 (groups of 128)", 128, 34, .codes = codes_q2_0_128},
    {134, "IQ1_BN", 64, 13, .row_bytes = 2, .codes = codes_iq1_bn},
    {135, "IQ2_BN", 64, 16, .row_bytes = 4, .codes = codes_iq2_bn},
    {142, "PQ2_0", 128, 34, .codes = codes_q2_0_128},
    {143, "PTQ1_0", 128, 28, .codes = codes_ptq1_0, .scale_at = 26},
};

enum {
    N_TYPES = sizeof TYPES / sizeof TYPES[0],
};

/* The bytes of rows * cols weights; false when cols is not whole blocks or on overflow. */
static bool size_of(const struct gguf_type *type, uint64_t rows, uint64_t cols, uint64_t *ret_row,
                    uint64_t *ret_size)
{
    uint64_t row = 0;
    uint64_t size = 0;
    if (cols % type->n_block != 0 ||
        __builtin_mul_overflow(cols / type->n_block, type->block_bytes, &row) ||
        __builtin_add_overflow(row, type->row_bytes, &row) ||
        __builtin_mul_overflow(row, rows, &size) ||
        __builtin_add_overflow(size, type->tail_bytes, &size))
        return false;
    *ret_row = row;
    *ret_size = size;
    return true;
}

/* Whether a tensor of this type and size fills the room between it and the next one. */
static bool does_fit(const struct gguf_type *type, const struct gguf *g,
                     const struct gguf_tensor *t, struct gguf_matrix *m)
{
    uint64_t alignment = gguf_alignment(g);
    m->type = type;
    return size_of(type, m->rows, m->cols, &m->row_bytes, &m->size) && m->size <= t->room &&
           t->room - m->size < alignment;
}

/* Both groups of Q2_0 fill the room of a small tensor, because of padding; then what the others of
 * the file are decides. */
static bool is_q2_0_of_file(const struct gguf *g, uint16_t n_block)
{
    size_t n = 0;
    const struct gguf_tensor *all = gguf_tensors(g, &n);
    bool has_fitted = false;
    for (size_t i = 0; i < n; i++) {
        if (all[i].type != TYPE_Q2_0)
            continue;
        struct gguf_matrix m = {.rows = all[i].n_weights / all[i].dims[0], .cols = all[i].dims[0]};
        bool fits[2] = {false, false};
        for (size_t k = 0; k < N_TYPES; k++) {
            if (TYPES[k].id == TYPE_Q2_0)
                fits[TYPES[k].n_block == n_block] |= does_fit(&TYPES[k], g, &all[i], &m);
        }
        if (!fits[1])
            return false;
        has_fitted |= !fits[0];
    }
    return has_fitted;
}

static enum err refuse_type(const struct gguf *g, const struct gguf_tensor *t, struct why *why)
{
    const char *advice = "this type is not known: get the model as I2_S, TQ1_0, TQ2_0, Q1_0, Q2_0, "
                         "IQ1_BN, IQ2_BN, F16 or as Hugging Face files";
    if (t->type == TYPE_TL1)
        advice = "TL1's order depends on the machine that it was made for: get the I2_S file";
    else if (t->type == TYPE_TL2)
        advice = "TL2's order depends on the machine that it was made for, and in llama.cpp 39 is "
                 "MXFP4, which is not ternary: get the I2_S file";
    return why_set(why, ERR_UNSUPPORTED, "%s: %.*s: type %u: %s", gguf_path(g), (int)t->name.len,
                   t->name.ptr, t->type, advice);
}

static enum err refuse_size(const struct gguf *g, const struct gguf_tensor *t,
                            const struct gguf_matrix *m, struct why *why)
{
    const char *name = m->type->name;
    if (m->cols % m->type->n_block != 0)
        return why_set(why, ERR_MODEL_FORMAT,
                       "%s: %.*s: at offset %llu: expected rows of %s in blocks of %u weights, "
                       "found rows of %llu",
                       gguf_path(g), (int)t->name.len, t->name.ptr, (unsigned long long)t->offset,
                       name, m->type->n_block, (unsigned long long)m->cols);
    return why_set(why, ERR_MODEL_FORMAT,
                   "%s: %.*s: at offset %llu: expected %llu bytes of %s, found room for %llu: the "
                   "file is cut or another type shares this number",
                   gguf_path(g), (int)t->name.len, t->name.ptr, (unsigned long long)t->offset,
                   (unsigned long long)m->size, name, (unsigned long long)t->room);
}

/* The form of its type that a tensor's size speaks for. */
static enum err find_type(struct gguf_matrix *m, const struct gguf *g, const struct gguf_tensor *t,
                          struct why *why)
{
    struct gguf_matrix first = {0};
    struct gguf_matrix found = {0};
    bool is_sure = true;
    for (size_t i = 0; i < N_TYPES; i++) {
        if (TYPES[i].id != t->type)
            continue;
        struct gguf_matrix form = *m;
        bool fits = does_fit(&TYPES[i], g, t, &form);
        if (!first.type)
            first = form;
        if (!fits)
            continue;
        /* Of two forms that fit, the one that the file's other tensors speak for. */
        is_sure = !found.type;
        if (found.type && is_q2_0_of_file(g, found.type->n_block)) {
            is_sure = true;
            continue;
        }
        is_sure |= is_q2_0_of_file(g, TYPES[i].n_block);
        found = form;
    }
    if (!first.type)
        return refuse_type(g, t, why);
    if (!found.type)
        return refuse_size(g, t, &first, why);
    if (!is_sure)
        return why_set(why, ERR_UNSUPPORTED,
                       "%s: %.*s: Q2_0 has groups of 64 or, in older files, 128, and this file is "
                       "too small to tell: get the *_g64.gguf or *-PQ2_0.gguf file",
                       gguf_path(g), (int)t->name.len, t->name.ptr);
    *m = found;
    return ERR_OK;
}

enum err gguf_matrix_init(struct gguf_matrix *m, const struct gguf *g, const struct gguf_tensor *t,
                          enum gguf_i2s i2s, struct why *why)
{
    struct gguf_matrix form = {
        .data = t->data,
        .rows = t->n_weights / t->dims[0],
        .cols = t->dims[0],
        .i2s = i2s,
    };
    enum err e = find_type(&form, g, t, why);
    if (e)
        return e;
    uint64_t n_run = i2s == GGUF_I2S_64 ? 64 : 128;
    if (t->type == TYPE_I2_S && i2s == GGUF_I2S_ROWS && form.rows % 4 != 0)
        return why_set(why, ERR_MODEL_FORMAT, "%s: %.*s: expected a multiple of 4 rows for I2_S",
                       gguf_path(g), (int)t->name.len, t->name.ptr);
    if (t->type == TYPE_I2_S && i2s != GGUF_I2S_ROWS && t->n_weights % n_run != 0)
        return why_set(why, ERR_MODEL_FORMAT,
                       "%s: %.*s: expected a multiple of %llu weights for I2_S", gguf_path(g),
                       (int)t->name.len, t->name.ptr, (unsigned long long)n_run);
    *m = form;
    return ERR_OK;
}

bool gguf_matrix_has_codes(const struct gguf_matrix *m)
{
    return !m->type->floats;
}

uint64_t gguf_matrix_group(const struct gguf_matrix *m)
{
    bool is_whole_row = m->type->row_bytes > 0 || m->type->id == TYPE_I2_S;
    return is_whole_row ? m->cols : m->type->n_block;
}

static void codes_i2_s(const struct gguf_matrix *m, uint64_t row, int8_t *y)
{
    if (m->i2s == GGUF_I2S_ROWS) {
        const uint8_t *p = m->data + row / 4 * m->cols;
        for (uint64_t c = 0; c < m->cols; c++)
            y[c] = code_of((unsigned)p[c] >> (6 - 2 * (row % 4)));
        return;
    }
    uint64_t n_bytes = m->i2s == GGUF_I2S_64 ? 16 : 32;
    /* Runs go through the flattened matrix: one may begin in a row and end in the next. */
    uint64_t e = row * m->cols;
    for (uint64_t c = 0; c < m->cols; c++, e++) {
        uint64_t j = e % (4 * n_bytes);
        const uint8_t *run = m->data + e / (4 * n_bytes) * n_bytes;
        y[c] = code_of((unsigned)run[j % n_bytes] >> (6 - 2 * (j / n_bytes)));
    }
}

void gguf_matrix_codes(const struct gguf_matrix *m, uint64_t row, int8_t *ret_codes)
{
    if (m->type->id == TYPE_I2_S) {
        codes_i2_s(m, row, ret_codes);
        return;
    }
    const uint8_t *block = m->data + row * m->row_bytes + m->type->row_bytes;
    for (uint64_t c = 0; c < m->cols; c += m->type->n_block, block += m->type->block_bytes)
        m->type->codes(block, ret_codes + c);
}

float gguf_matrix_scale(const struct gguf_matrix *m, uint64_t row, uint64_t group)
{
    const struct gguf_type *type = m->type;
    if (type->id == TYPE_I2_S)
        return load_f32(m->data + m->size - I2S_TAIL);
    const uint8_t *p = m->data + row * m->row_bytes;
    if (type->row_bytes > 0)
        return type->row_bytes == 4 ? load_f32(p) : load_f16(p);
    return load_f16(p + group * type->block_bytes + type->scale_at);
}

bool gguf_matrix_is_zero(const struct gguf_matrix *m, uint64_t row, uint64_t group, int8_t *codes)
{
    uint64_t n = gguf_matrix_group(m);
    if (n == m->cols)
        gguf_matrix_codes(m, row, codes);
    else
        m->type->codes(m->data + row * m->row_bytes + group * m->type->block_bytes, codes);
    for (uint64_t i = 0; i < n; i++) {
        if (codes[i] != 0)
            return false;
    }
    return true;
}

static void floats_of_codes(const struct gguf_matrix *m, uint64_t row, float *y)
{
    uint64_t n_group = gguf_matrix_group(m);
    int8_t codes[GGUF_BLOCK_MAX];
    const struct gguf_type *type = m->type;
    const uint8_t *block = m->data + row * m->row_bytes + type->row_bytes;
    for (uint64_t c = 0; c < m->cols; c += type->n_block, block += type->block_bytes) {
        float scale = gguf_matrix_scale(m, row, c / n_group);
        type->codes(block, codes);
        for (uint64_t j = 0; j < type->n_block; j++)
            y[c + j] = (float)codes[j] * scale;
    }
}

void gguf_matrix_floats(const struct gguf_matrix *m, uint64_t row, float *ret_floats)
{
    if (m->type->id == TYPE_I2_S) {
        /* The codes are made in the upper end of the floats' own memory. */
        int8_t *codes = (int8_t *)ret_floats + 3 * m->cols;
        float scale = gguf_matrix_scale(m, row, 0);
        codes_i2_s(m, row, codes);
        for (uint64_t c = 0; c < m->cols; c++)
            ret_floats[c] = (float)codes[c] * scale;
        return;
    }
    if (m->type->codes) {
        floats_of_codes(m, row, ret_floats);
        return;
    }
    const uint8_t *block = m->data + row * m->row_bytes;
    for (uint64_t c = 0; c < m->cols; c += m->type->n_block, block += m->type->block_bytes)
        m->type->floats(block, ret_floats + c);
}
