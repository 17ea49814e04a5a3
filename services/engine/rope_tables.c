/* SPDX-License-Identifier: MIT */
#include "services/engine/rope_tables.h"

#include <math.h>

#include "kernels/math/math.h"
#include "kernels/rope/rope.h"

enum { MAX_HALF = 256 }; /* model_config: head_dim is at most 512 */

static const double TWO_PI = 6.283185307179586;
static const double MAX_ANGLE = 0x1p20; /* of kernels/math */

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static void scale_llama3(const struct model_rope_scaling *s, size_t h, double *inv_freq)
{
    double n = s->n_ctx_original;
    for (size_t i = 0; i < h; i++) {
        double turns = n * inv_freq[i] / TWO_PI;
        double t =
            clamp((turns - s->low_freq_factor) / (s->high_freq_factor - s->low_freq_factor), 0, 1);
        inv_freq[i] = (1 - t) * inv_freq[i] / s->factor + t * inv_freq[i];
    }
}

static double yarn_place(const struct model_config *c, double n_turns)
{
    double n = c->rope_scaling.n_ctx_original;
    return c->head_dim * math_log_f64(n / (n_turns * TWO_PI)) / (2 * math_log_f64(c->rope_theta));
}

static void scale_yarn(const struct model_config *c, double *inv_freq)
{
    const struct model_rope_scaling *s = &c->rope_scaling;
    double a = yarn_place(c, s->beta_fast);
    double b = yarn_place(c, s->beta_slow);
    a = s->is_truncated ? floor(a) : a;
    b = s->is_truncated ? ceil(b) : b;
    a = a < 0 ? 0 : a;
    b = b > c->head_dim - 1.0 ? c->head_dim - 1.0 : b;
    b = a == b ? b + 0.001 : b; /* as there */
    for (size_t i = 0; i < c->head_dim / 2; i++) {
        double g = clamp(((double)i - a) / (b - a), 0, 1);
        inv_freq[i] = inv_freq[i] / s->factor * g + inv_freq[i] * (1 - g);
    }
}

static double yarn_m(double factor, double k)
{
    return factor <= 1 ? 1 : 0.1 * k * math_log_f64(factor) + 1;
}

static double yarn_attention_factor(const struct model_rope_scaling *s)
{
    if (s->attention_factor > 0)
        return s->attention_factor;
    if (s->mscale > 0 && s->mscale_all_dim > 0)
        return yarn_m(s->factor, s->mscale) / yarn_m(s->factor, s->mscale_all_dim);
    return yarn_m(s->factor, 1);
}

static bool is_usable(const double *inv_freq, size_t h, uint32_t n_ctx, double factor)
{
    bool is_good = isfinite(factor);
    for (size_t i = 0; i < h; i++)
        is_good = is_good && inv_freq[i] * n_ctx <= MAX_ANGLE; /* not so for NaN either */
    return is_good;
}

bool rope_tables_fill(const struct model_config *c, float *cos, float *sin)
{
    double inv_freq[MAX_HALF];
    size_t h = c->head_dim / 2;
    double factor = 1;
    rope_inv_freq(c->head_dim, c->rope_theta, inv_freq);
    switch (c->rope_scaling.type) {
    case MODEL_ROPE_DEFAULT:
        break;
    case MODEL_ROPE_LINEAR:
        for (size_t i = 0; i < h; i++)
            inv_freq[i] /= c->rope_scaling.factor;
        break;
    case MODEL_ROPE_LLAMA3:
        scale_llama3(&c->rope_scaling, h, inv_freq);
        break;
    case MODEL_ROPE_YARN:
        scale_yarn(c, inv_freq);
        factor = yarn_attention_factor(&c->rope_scaling);
        break;
    }
    if (!is_usable(inv_freq, h, c->n_ctx, factor))
        return false;
    rope_table_fill(inv_freq, h, factor, 0, c->n_ctx, cos, sin);
    return true;
}
