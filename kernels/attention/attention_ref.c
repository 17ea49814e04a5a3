/* SPDX-License-Identifier: MIT */
#include "kernels/attention/attention.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/f16/f16.h"
#include "kernels/math/math.h"
#include "kernels/reduce.h"

struct partial {
    float m, l;
    float acc[ATTENTION_MAX_HEAD_DIM];
};

void attention_store_ref(const float *k, const float *v, size_t head_dim, size_t slot,
                         uint16_t *k_block, uint16_t *v_block)
{
    for (size_t d = 0; d < head_dim; d++) {
        k_block[d * ATTENTION_BLOCK + slot] = f16_from_f32(k[d]);
        v_block[slot * head_dim + d] = f16_from_f32(v[d]);
    }
}

/* One tile of which the first n_present slots count. */
static void compute_tile(const uint16_t *k, const uint16_t *v, size_t head_dim, const float *q,
                         size_t n_present, struct partial *ret)
{
    float scale = 1.0f / sqrtf((float)head_dim);
    float p[ATTENTION_BLOCK] = {0};
    float m = -INFINITY;
    for (size_t i = 0; i < n_present; i++) {
        float a = 0.0f;
        for (size_t d = 0; d < head_dim; d++) {
            a = fmaf(q[d], f16_to_f32(k[d * ATTENTION_BLOCK + i]), a);
        }
        p[i] = scale * a;
        m = p[i] > m ? p[i] : m;
    }
    for (size_t i = 0; i < n_present; i++) {
        p[i] = math_exp(p[i] - m);
    }
    for (size_t d = 0; d < head_dim; d++) {
        float a = 0.0f;
        for (size_t i = 0; i < n_present; i++) {
            a = fmaf(p[i], f16_to_f32(v[i * head_dim + d]), a);
        }
        ret->acc[d] = a;
    }
    ret->m = m;
    ret->l = reduce_add32(p);
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

static void run_head(const struct attention *a, const float *q, size_t n_pos, float *out)
{
    struct partial total = {0}, segment = {0}, tile = {0};
    size_t n_tiles = (n_pos + ATTENTION_BLOCK - 1) / ATTENTION_BLOCK;
    for (size_t b = 0; b < n_tiles; b++) {
        size_t n_left = n_pos - b * ATTENTION_BLOCK;
        compute_tile(a->blocks[b] + a->k_offset, a->blocks[b] + a->v_offset, a->head_dim, q,
                     n_left < ATTENTION_BLOCK ? n_left : ATTENTION_BLOCK, &tile);
        merge(&segment, &tile, b % ATTENTION_SEGMENT == 0, a->head_dim);
        if (b % ATTENTION_SEGMENT == ATTENTION_SEGMENT - 1 || b == n_tiles - 1) {
            merge(&total, &segment, b < ATTENTION_SEGMENT, a->head_dim);
        }
    }
    for (size_t d = 0; d < a->head_dim; d++) {
        out[d] = total.acc[d] / total.l;
    }
}

void attention_run_ref(const struct attention *a)
{
    for (size_t t = 0; t < a->n_tokens; t++) {
        for (size_t h = 0; h < a->n_heads; h++) {
            run_head(a, a->q + t * a->q_stride + h * a->head_dim, a->pos0 + t + 1,
                     a->out + t * a->out_stride + h * a->head_dim);
        }
    }
}
