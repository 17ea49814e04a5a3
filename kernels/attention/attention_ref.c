/* SPDX-License-Identifier: MIT */
#include "kernels/attention/attention.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/attention/attention8_part.h"
#include "kernels/f16/f16.h"
#include "kernels/math/math.h"
#include "kernels/reduce.h"

struct partial {
    float m, l;
    float acc[ATTENTION_MAX_HEAD_DIM];
};

/* What a tile's tasks share: one query and the slots that it sees of one block's part. */
struct tile {
    const uint8_t *part;
    size_t head_dim, n_present;
    const float *q;
    float p[ATTENTION_BLOCK]; /* scores, then weights */
};

struct cache {
    void (*score)(struct tile *t);
    void (*weigh)(const struct tile *t, float *acc);
};

/* ---- f16 ---- */

void attention_store_ref(const float *k, const float *v, size_t head_dim, size_t slot,
                         uint8_t *part)
{
    uint16_t *k_block = (void *)part;
    uint16_t *v_block = k_block + ATTENTION_BLOCK * head_dim;
    for (size_t d = 0; d < head_dim; d++) {
        k_block[d * ATTENTION_BLOCK + slot] = f16_from_f32(k[d]);
        v_block[slot * head_dim + d] = f16_from_f32(v[d]);
    }
}

static void score_f16(struct tile *t)
{
    const uint16_t *k = (const void *)t->part;
    float scale = 1.0f / sqrtf((float)t->head_dim);
    for (size_t i = 0; i < t->n_present; i++) {
        float a = 0.0f;
        for (size_t d = 0; d < t->head_dim; d++) {
            a = fmaf(t->q[d], f16_to_f32(k[d * ATTENTION_BLOCK + i]), a);
        }
        t->p[i] = scale * a;
    }
}

static void weigh_f16(const struct tile *t, float *acc)
{
    const uint16_t *v = (const uint16_t *)(const void *)t->part + ATTENTION_BLOCK * t->head_dim;
    for (size_t d = 0; d < t->head_dim; d++) {
        float a = 0.0f;
        for (size_t i = 0; i < t->n_present; i++) {
            a = fmaf(t->p[i], f16_to_f32(v[i * t->head_dim + d]), a);
        }
        acc[d] = a;
    }
}

/* ---- int8 ---- */

void attention8_store_ref(const float *k, const float *v, size_t head_dim, size_t slot,
                          uint8_t *part)
{
    attention8_store_with(quantize_row_ref, k, v, head_dim, slot, part);
}

static float largest(const float *x, size_t n)
{
    float a = ATTENTION8_TINY;
    for (size_t i = 0; i < n; i++) {
        a = fabsf(x[i]) > a ? fabsf(x[i]) : a;
    }
    return a;
}

/* A NaN becomes `low`. */
static int32_t x15(float x, float inv, float low)
{
    float v = x * inv;
    v = v > low ? v : low;
    v = v < ATTENTION8_TOP ? v : ATTENTION8_TOP;
    return (int32_t)rintf(v);
}

static void score_int8(struct tile *t)
{
    const int8_t *k = (const void *)t->part;
    const struct attention8_scales *scales = attention8_scales(t->part, t->head_dim);
    float scale = 1.0f / sqrtf((float)t->head_dim);
    float a = largest(t->q, t->head_dim);
    float inv = ATTENTION8_TOP / a;
    for (size_t i = 0; i < t->n_present; i++) {
        int32_t sum = 0;
        for (size_t d = 0; d < t->head_dim; d++) {
            sum +=
                x15(t->q[d], inv, -ATTENTION8_TOP) * k[(d / 4 * ATTENTION_BLOCK + i) * 4 + d % 4];
        }
        t->p[i] = ((float)sum * scales->k[i]) * (a / ATTENTION8_TOP * scale);
    }
}

static void weigh_int8(const struct tile *t, float *acc)
{
    const int8_t *v = (const int8_t *)t->part + ATTENTION_BLOCK * t->head_dim;
    const struct attention8_scales *scales = attention8_scales(t->part, t->head_dim);
    float w[ATTENTION_BLOCK];
    for (size_t i = 0; i < t->n_present; i++) {
        w[i] = t->p[i] * scales->v[i];
    }
    float a = largest(w, t->n_present);
    float inv = ATTENTION8_TOP / a;
    for (size_t d = 0; d < t->head_dim; d++) {
        int32_t sum = 0;
        for (size_t i = 0; i < t->n_present; i++) {
            sum += x15(w[i], inv, 0.0f) * v[(i / 4 * t->head_dim + d) * 4 + i % 4];
        }
        acc[d] = (float)sum * (a / ATTENTION8_TOP);
    }
}

/* ---- both ---- */

static const struct cache F16 = {score_f16, weigh_f16};
static const struct cache INT8 = {score_int8, weigh_int8};

static void compute_tile(const struct cache *c, struct tile *t, struct partial *ret)
{
    float m = -INFINITY;
    memset(t->p, 0, sizeof t->p);
    c->score(t);
    for (size_t i = 0; i < t->n_present; i++) {
        m = t->p[i] > m ? t->p[i] : m;
    }
    for (size_t i = 0; i < t->n_present; i++) {
        t->p[i] = math_exp(t->p[i] - m);
    }
    c->weigh(t, ret->acc);
    ret->m = m;
    ret->l = reduce_add32(t->p);
}

static void merge(struct partial *into, const struct partial *next, bool is_first, size_t head_dim)
{
    if (is_first) {
        memcpy(into, next, sizeof *into);
        return;
    }
    float m = next->m > into->m ? next->m : into->m;
    float e = math_exp(into->m - m);
    float e2 = math_exp(next->m - m);
    for (size_t d = 0; d < head_dim; d++) {
        into->acc[d] = fmaf(into->acc[d], e, next->acc[d] * e2);
    }
    into->l = fmaf(into->l, e, next->l * e2);
    into->m = m;
}

/* One segment of a query that sees n_pos positions, more than those before the segment. */
static void compute_segment(const struct attention *a, const struct cache *c, const float *q,
                            size_t n_pos, size_t segment, struct partial *ret)
{
    struct partial next = {0};
    size_t n_tiles = (n_pos + ATTENTION_BLOCK - 1) / ATTENTION_BLOCK;
    for (size_t i = 0; i < ATTENTION_SEGMENT && segment * ATTENTION_SEGMENT + i < n_tiles; i++) {
        size_t b = segment * ATTENTION_SEGMENT + i;
        size_t n_left = n_pos - b * ATTENTION_BLOCK;
        struct tile t = {a->blocks[b] + a->offset,
                         a->head_dim,
                         n_left < ATTENTION_BLOCK ? n_left : ATTENTION_BLOCK,
                         q,
                         {0}};
        compute_tile(c, &t, &next);
        merge(ret, &next, i == 0, a->head_dim);
    }
}

static void divide(const struct partial *total, float *out, size_t head_dim)
{
    for (size_t d = 0; d < head_dim; d++) {
        out[d] = total->acc[d] / total->l;
    }
}

static void run(const struct attention *a, const struct cache *c)
{
    struct partial total = {0};
    struct partial segment = {0};
    for (size_t i = 0; i < a->n_tokens * a->n_heads; i++) {
        size_t t = i / a->n_heads;
        size_t at = i % a->n_heads * a->head_dim;
        size_t n_pos = a->pos0 + t + 1;
        for (size_t s = 0; s < attention_n_segments(n_pos); s++) {
            compute_segment(a, c, a->q + t * a->q_stride + at, n_pos, s, &segment);
            merge(&total, &segment, s == 0, a->head_dim);
        }
        divide(&total, a->out + t * a->out_stride + at, a->head_dim);
    }
}

void attention_run_ref(const struct attention *a)
{
    run(a, &F16);
}

void attention8_run_ref(const struct attention *a)
{
    run(a, &INT8);
}

static void split(const struct attention *a, const struct cache *c, size_t first, size_t n,
                  float *sums)
{
    struct partial segment = {0};
    size_t n_queries = a->n_tokens * a->n_heads;
    for (size_t i = 0; i < n_queries; i++) {
        size_t n_pos = a->pos0 + i / a->n_heads + 1;
        const float *q = a->q + i / a->n_heads * a->q_stride + i % a->n_heads * a->head_dim;
        for (size_t s = first; s < first + n && s < attention_n_segments(n_pos); s++) {
            float *to = sums + (s * n_queries + i) * attention_sums_stride(a->head_dim);
            compute_segment(a, c, q, n_pos, s, &segment);
            to[0] = segment.m;
            to[1] = segment.l;
            memcpy(to + ATTENTION_SUMS_ACC, segment.acc, a->head_dim * sizeof(float));
        }
    }
}

void attention_split_ref(const struct attention *a, size_t first, size_t n, float *sums)
{
    split(a, &F16, first, n, sums);
}

void attention8_split_ref(const struct attention *a, size_t first, size_t n, float *sums)
{
    split(a, &INT8, first, n, sums);
}

void attention_join_ref(const struct attention *a, const float *sums)
{
    struct partial total = {0};
    struct partial segment = {0};
    size_t n_queries = a->n_tokens * a->n_heads;
    for (size_t i = 0; i < n_queries; i++) {
        size_t n_segments = attention_n_segments(a->pos0 + i / a->n_heads + 1);
        for (size_t s = 0; s < n_segments; s++) {
            const float *from = sums + (s * n_queries + i) * attention_sums_stride(a->head_dim);
            segment.m = from[0];
            segment.l = from[1];
            memcpy(segment.acc, from + ATTENTION_SUMS_ACC, a->head_dim * sizeof(float));
            merge(&total, &segment, s == 0, a->head_dim);
        }
        divide(&total, a->out + i / a->n_heads * a->out_stride + i % a->n_heads * a->head_dim,
               a->head_dim);
    }
}
