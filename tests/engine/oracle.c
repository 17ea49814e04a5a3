/* SPDX-License-Identifier: MIT */
#include "tests/engine/oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/pack.h"

static double half_value(uint16_t bits)
{
    int exponent = bits >> 10 & 31;
    double fraction = bits & 1023;
    double x = exponent == 0 ? ldexp(fraction, -24) : ldexp(fraction + 1024, exponent - 25);
    return bits >> 15 ? -x : x;
}

/* Keys and values are kept in binary16 (normal range). */
static void round_to_half(double *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        int exponent = 0;
        (void)frexp(x[i], &exponent);
        exponent = exponent < -13 ? -13 : exponent;
        x[i] = ldexp(nearbyint(ldexp(x[i], 11 - exponent)), exponent - 11);
    }
}

static void rms_norm(const double *x, const float *w, uint32_t n, double eps, double *y)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (uint32_t i = 0; i < n; i++)
        y[i] = x[i] / sqrt(sum / n + eps) * (double)w[i];
}

/* By the definition: element (i, j) of the matrix is -1 to the number of common bits of i and j. */
static void rotate_by_hadamard(double *x, uint32_t n, uint32_t block)
{
    double *y = mem_zalloc(n, sizeof *y);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < block; j++) {
            double v = x[i / block * block + j];
            y[i] += __builtin_popcount(i % block & j) % 2 == 0 ? v : -v;
        }
    }
    for (uint32_t i = 0; i < n; i++)
        x[i] = y[i] / sqrt(block);
    free(y);
}

/* What is left of x after int8 quantisation by the largest value. */
static void quantise(double *x, uint32_t n)
{
    double most = 1e-5;
    for (uint32_t i = 0; i < n; i++)
        most = fmax(most, fabs(x[i]));
    for (uint32_t i = 0; i < n; i++)
        x[i] = nearbyint(x[i] * 127 / most) * most / 127;
}

static void linear(const struct ternary_weights *w, const double *x, double *y)
{
    static const enum h1b_dtype DTYPES[TERNARY_PACKINGS] = {H1B_T2, H1B_T5, H1B_S3, H1B_B1};
    enum h1b_dtype dtype = DTYPES[w->packing];
    int8_t *trits = mem_zalloc(w->n_cols, 1);
    for (uint32_t r = 0; r < w->n_rows; r++) {
        if (!pack_unpack_row(dtype, w->codes + r * pack_row_bytes(dtype, w->n_cols), w->n_cols,
                             trits))
            abort();
        y[r] = 0;
        for (uint32_t c = 0; c < w->n_cols; c++) {
            size_t scale = w->group > 0 ? (size_t)r * (w->n_cols / w->group) + c / w->group
                                        : r / w->rows_per_scale;
            y[r] += trits[c] * x[c] * (double)w->scales[scale];
        }
    }
    free(trits);
}

/* The angle of pair i at position 1, and the factor of cosines and sines: the scalings once more, from
 * the papers' and transformers' formulas. */
static double frequency(const struct model_config *c, uint32_t i, double *ret_factor)
{
    const struct model_rope_scaling *s = &c->rope_scaling;
    const double pi = acos(-1);
    double f = pow(c->rope_theta, -2.0 * i / c->head_dim);
    *ret_factor = 1;
    if (s->type == MODEL_ROPE_LINEAR)
        return f / s->factor;
    if (s->type == MODEL_ROPE_LLAMA3) {
        double wavelength = 2 * pi / f;
        if (wavelength < s->n_ctx_original / s->high_freq_factor)
            return f;
        if (wavelength > s->n_ctx_original / s->low_freq_factor)
            return f / s->factor;
        double smooth = (s->n_ctx_original / wavelength - s->low_freq_factor) /
                        (s->high_freq_factor - s->low_freq_factor);
        return (1 - smooth) * f / s->factor + smooth * f;
    }
    if (s->type == MODEL_ROPE_YARN) {
        double per_log = c->head_dim / (2 * log(c->rope_theta));
        double low = floor(per_log * log(s->n_ctx_original / (s->beta_fast * 2 * pi)));
        double high = ceil(per_log * log(s->n_ctx_original / (s->beta_slow * 2 * pi)));
        low = fmax(low, 0);
        high = fmin(high, c->head_dim - 1);
        double ramp = fmin(fmax((i - low) / (high - low), 0), 1);
        *ret_factor = 0.1 * log(s->factor) + 1;
        return f / s->factor * ramp + f * (1 - ramp);
    }
    return f;
}

static void rotate(const struct model_config *c, double *heads, uint32_t n_heads, uint32_t pos)
{
    uint32_t half = c->head_dim / 2;
    for (uint32_t h = 0; h < n_heads; h++) {
        double *x = heads + (size_t)h * c->head_dim;
        for (uint32_t i = 0; i < half; i++) {
            double factor = 1;
            double angle = pos * frequency(c, i, &factor);
            double a = x[i];
            double b = x[i + half];
            x[i] = factor * (a * cos(angle) - b * sin(angle));
            x[i + half] = factor * (b * cos(angle) + a * sin(angle));
        }
    }
}

/* One head of one token over the keys and values of the n tokens up to it. */
static void attend(const struct model_config *c, const double *q, const double *k, const double *v,
                   uint32_t stride, uint32_t n, double *out)
{
    double *p = mem_zalloc(n, sizeof *p);
    double max = -INFINITY;
    double sum = 0;
    for (uint32_t j = 0; j < n; j++) {
        for (uint32_t d = 0; d < c->head_dim; d++)
            p[j] += q[d] * k[(size_t)j * stride + d];
        p[j] /= sqrt(c->head_dim);
        max = fmax(max, p[j]);
    }
    for (uint32_t j = 0; j < n; j++)
        sum += p[j] = exp(p[j] - max);
    for (uint32_t d = 0; d < c->head_dim; d++) {
        out[d] = 0;
        for (uint32_t j = 0; j < n; j++)
            out[d] += p[j] / sum * v[(size_t)j * stride + d];
    }
    free(p);
}

struct buffers {
    double *x, *h, *q, *a, *gate, *up; /* one token's, but for x: [n_tokens][hidden] */
    double *k, *v; /* [n_tokens][kv heads * head_dim] of the layer */
};

/* The input of the matrix m: x normalised, rotated and quantised as the model says. */
static void prepare(const struct model_config *c, double *x, const float *w,
                    const struct ternary_weights *m, enum model_hadamard input)
{
    uint32_t n = m->n_cols;
    if (w != NULL)
        rms_norm(x, w, n, (double)c->rms_eps, x);
    if (c->hadamard & input)
        rotate_by_hadamard(x, n, c->hadamard_block);
    uint32_t group = m->group > 0 ? m->group : n;
    for (uint32_t i = 0; i < n; i += group)
        quantise(x + i, group);
}

static void norm_heads(const struct model_config *c, double *x, uint32_t n_heads, const float *w)
{
    for (uint32_t h = 0; h < n_heads && w != NULL; h++) {
        double *head = x + (size_t)h * c->head_dim;
        rms_norm(head, w, c->head_dim, (double)c->rms_eps, head);
    }
}

static double activate(const struct model_config *c, double gate)
{
    return c->act == MODEL_RELU2 ? pow(fmax(gate, 0), 2) : gate / (1 + exp(-gate));
}

static void run_token(const struct model_config *c, const struct model_layer *l, struct buffers *b,
                      uint32_t t)
{
    uint32_t n_kv = c->n_kv_heads * c->head_dim;
    double *x = b->x + (size_t)t * c->n_hidden;
    memcpy(b->h, x, c->n_hidden * sizeof *x);
    prepare(c, b->h, l->input_norm, &l->q, MODEL_HADAMARD_QKV);
    linear(&l->q, b->h, b->q);
    linear(&l->k, b->h, b->k + (size_t)t * n_kv);
    linear(&l->v, b->h, b->v + (size_t)t * n_kv);
    norm_heads(c, b->q, c->n_heads, l->q_norm);
    norm_heads(c, b->k + (size_t)t * n_kv, c->n_kv_heads, l->k_norm);
    rotate(c, b->q, c->n_heads, t);
    rotate(c, b->k + (size_t)t * n_kv, c->n_kv_heads, t);
    round_to_half(b->k + (size_t)t * n_kv, n_kv);
    round_to_half(b->v + (size_t)t * n_kv, n_kv);
    for (uint32_t h = 0; h < c->n_heads; h++) {
        size_t kv = (size_t)(h / (c->n_heads / c->n_kv_heads)) * c->head_dim;
        attend(c, b->q + (size_t)h * c->head_dim, b->k + kv, b->v + kv, n_kv, t + 1,
               b->a + (size_t)h * c->head_dim);
    }
    prepare(c, b->a, l->attn_sub_norm, &l->o, MODEL_HADAMARD_O);
    linear(&l->o, b->a, b->h);
    for (uint32_t i = 0; i < c->n_hidden; i++)
        x[i] += b->h[i];
    memcpy(b->h, x, c->n_hidden * sizeof *x);
    prepare(c, b->h, l->post_attn_norm, &l->gate, MODEL_HADAMARD_GATE_UP);
    linear(&l->gate, b->h, b->gate);
    linear(&l->up, b->h, b->up);
    for (uint32_t i = 0; i < c->n_ffn; i++)
        b->gate[i] = activate(c, b->gate[i]) * b->up[i];
    prepare(c, b->gate, l->ffn_sub_norm, &l->down, MODEL_HADAMARD_DOWN);
    linear(&l->down, b->gate, b->h);
    for (uint32_t i = 0; i < c->n_hidden; i++)
        x[i] += b->h[i];
}

double *oracle_forward(const struct model *m, const uint32_t *tokens, uint32_t n_tokens)
{
    const struct model_config *c = &m->config;
    size_t n_q = (size_t)c->n_heads * c->head_dim;
    size_t n_kv = (size_t)c->n_kv_heads * c->head_dim;
    struct buffers b = {
        .x = mem_zalloc((size_t)n_tokens * c->n_hidden, sizeof(double)),
        .h = mem_zalloc(c->n_hidden, sizeof(double)),
        .q = mem_zalloc(n_q, sizeof(double)),
        .a = mem_zalloc(n_q, sizeof(double)),
        .gate = mem_zalloc(c->n_ffn, sizeof(double)),
        .up = mem_zalloc(c->n_ffn, sizeof(double)),
        .k = mem_zalloc(n_tokens * n_kv, sizeof(double)),
        .v = mem_zalloc(n_tokens * n_kv, sizeof(double)),
    };
    for (size_t i = 0; i < (size_t)n_tokens * c->n_hidden; i++)
        b.x[i] = half_value(
            m->embedding[(size_t)tokens[i / c->n_hidden] * c->n_hidden + i % c->n_hidden]);
    for (uint32_t l = 0; l < c->n_layers; l++) {
        for (uint32_t t = 0; t < n_tokens; t++)
            run_token(c, &m->layers[l], &b, t);
    }
    double *logits = mem_zalloc((size_t)n_tokens * c->n_vocab, sizeof *logits);
    for (uint32_t t = 0; t < n_tokens; t++) {
        rms_norm(b.x + (size_t)t * c->n_hidden, m->final_norm, c->n_hidden, (double)c->rms_eps,
                 b.h);
        for (size_t i = 0; i < (size_t)c->n_vocab * c->n_hidden; i++)
            logits[(size_t)t * c->n_vocab + i / c->n_hidden] +=
                half_value(m->head[i]) * b.h[i % c->n_hidden];
    }
    double *const all[] = {b.x, b.h, b.q, b.a, b.gate, b.up, b.k, b.v};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
    return logits;
}
