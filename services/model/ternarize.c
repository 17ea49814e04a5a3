/* SPDX-License-Identifier: MIT */
#include "services/model/ternarize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"
#include "services/model/scale_plan.h"

enum {
    CHUNK_FLOATS = 1 << 20,
    UNIT = 64, /* the smallest group of columns with a scale of its own */
};

uint64_t ternarize_chunk_rows(const struct source_tensor *t)
{
    uint64_t n = CHUNK_FLOATS / t->cols;
    n = n > 0 ? n : 1;
    return n < t->rows ? n : t->rows;
}

void ternary_form_fini(struct ternary_form *f)
{
    free(f->scales);
    *f = (struct ternary_form){0};
}

bool ternary_form_regroup(struct ternary_form *f, const struct source_tensor *t, uint32_t group)
{
    if (t->cols % group != 0)
        return false;
    uint64_t per_row = t->cols / group;
    float *scales = mem_resize(NULL, (size_t)(t->rows * per_row), sizeof *scales);
    for (uint64_t i = 0; i < t->rows * per_row; i++) {
        uint64_t row = i / per_row;
        uint64_t old = f->group > 0 ? i * group / f->group : row / (t->rows / f->n_scales);
        scales[i] = f->scales[old];
    }
    free(f->scales);
    f->scales = scales;
    f->group = group;
    f->n_scales = t->rows * per_row;
    return true;
}

/* ---- floats ---- */

/* The magnitude shared by all that is not zero: 0 while all are zero, NAN once two differ. */
static float join(float a, float b)
{
    if (a == 0.0F || a == b)
        return b;
    return b == 0.0F ? a : NAN;
}

static float magnitude_of(const float *w, uint64_t n)
{
    float m = 0.0F;
    for (uint64_t i = 0; i < n; i++) {
        float x = fabsf(w[i]);
        if (x != 0.0F && x != m) {
            if (m != 0.0F)
                return NAN;
            m = x;
        }
    }
    return m;
}

struct study {
    float *units; /* [rows][per_row] magnitudes of 64 columns; NULL once no group fits */
    float *rows; /* [rows] magnitudes */
    double *sums; /* [rows] sums of |w| */
    uint64_t per_row; /* units in a row, the last may be short */
    bool has_zero;
    bool is_3_of_4;
};

static enum err study_row(struct source *s, const struct source_tensor *t, struct study *y,
                          uint64_t row, const float *w, struct why *why)
{
    double sum = 0.0;
    float all = 0.0F;
    for (uint64_t c = 0; c < t->cols; c++)
        sum += (double)fabsf(w[c]);
    if (!isfinite(sum))
        return why_set(why, ERR_MODEL_FORMAT,
                       "%s: %s: row %llu holds a value that is not finite; the file is damaged or "
                       "was read as another type",
                       s->path, t->name, (unsigned long long)row);
    for (uint64_t u = 0; u < y->per_row; u++) {
        uint64_t from = u * UNIT;
        uint64_t n = t->cols - from < UNIT ? t->cols - from : UNIT;
        float m = magnitude_of(w + from, n);
        y->units[row * y->per_row + u] = m;
        all = join(all, m);
    }
    y->rows[row] = all;
    y->sums[row] = sum;
    for (uint64_t c = 0; c < t->cols; c += 4) {
        uint64_t n = t->cols - c < 4 ? t->cols - c : 4;
        unsigned zeros = 0;
        for (uint64_t i = 0; i < n; i++)
            zeros += w[c + i] == 0.0F;
        y->has_zero |= zeros > 0;
        y->is_3_of_4 &= zeros == 1 && n == 4;
    }
    return ERR_OK;
}

static enum err study_floats(struct source *s, const struct source_tensor *t, struct study *y,
                             struct why *why)
{
    uint64_t step = ternarize_chunk_rows(t);
    float *chunk = malloc((size_t)(step * t->cols) * sizeof *chunk);
    if (chunk == NULL)
        return why_nomem(why, t->name);
    enum err e = ERR_OK;
    for (uint64_t r = 0; r < t->rows && !e; r += step) {
        uint64_t n = t->rows - r < step ? t->rows - r : step;
        e = s->ops->read_floats(s, t, r, n, chunk, why);
        for (uint64_t i = 0; i < n && !e; i++)
            e = study_row(s, t, y, r + i, chunk + i * t->cols, why);
    }
    free(chunk);
    return e;
}

/* The coarsest rows form that is exact: 1 scale, then each divisor of the rows. */
static bool find_slices(const struct source_tensor *t, const struct study *y,
                        struct ternary_form *f)
{
    float *rows = mem_resize(NULL, (size_t)t->rows, sizeof *rows);
    bool is_exact = true;
    for (uint64_t r = 0; r < t->rows; r++) {
        is_exact = is_exact && !isnan(y->rows[r]);
        rows[r] = y->rows[r] > 0.0F ? y->rows[r] : NAN; /* zeros fit any scale */
    }
    if (is_exact) {
        f->n_scales = scale_plan_n_slices(rows, t->rows);
        f->scales = mem_resize(NULL, (size_t)f->n_scales, sizeof *f->scales);
        scale_plan_slices(rows, t->rows, f->n_scales, f->scales);
    }
    free(rows);
    return is_exact;
}

static bool find_groups(const struct source_tensor *t, const struct study *y, uint32_t group,
                        struct ternary_form *f)
{
    if (t->cols % group != 0)
        return false;
    uint64_t n = t->rows * (t->cols / group);
    uint64_t each = group / UNIT;
    free(f->scales);
    f->scales = mem_resize(NULL, (size_t)n, sizeof *f->scales);
    for (uint64_t i = 0; i < n; i++) {
        float m = 0.0F;
        for (uint64_t u = 0; u < each; u++)
            m = join(m, y->units[i * each + u]);
        if (isnan(m))
            return false;
        f->scales[i] = m;
    }
    f->group = group;
    f->n_scales = n;
    return true;
}

static enum err set_absmean(struct source *s, const struct source_tensor *t, const struct study *y,
                            uint32_t n_slices, struct why *why, struct ternary_form *f)
{
    uint64_t n = n_slices > 0 ? n_slices : 1;
    if (t->rows % n != 0)
        return why_set(why, ERR_INVALID, "%s: %s: --scales %llu does not divide its %llu rows",
                       s->path, t->name, (unsigned long long)n, (unsigned long long)t->rows);
    uint64_t each = t->rows / n;
    free(f->scales);
    f->scales = mem_resize(NULL, (size_t)n, sizeof *f->scales);
    for (uint64_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (uint64_t r = i * each; r < (i + 1) * each; r++)
            sum += y->sums[r];
        float mean = (float)(sum / ((double)each * (double)t->cols));
        f->scales[i] = mean > 1e-5F ? mean : 1e-5F;
    }
    *f = (struct ternary_form){
        .n_scales = n, .scales = f->scales, .has_zero = true, .is_absmean = true};
    return ERR_OK;
}

static enum err form_of_floats(struct source *s, const struct source_tensor *t, bool may_quantize,
                               uint32_t n_slices, struct why *why, struct study *y,
                               struct ternary_form *f)
{
    enum err e = study_floats(s, t, y, why);
    if (e)
        return e;
    f->is_exact = true;
    f->has_zero = y->has_zero;
    f->is_3_of_4 = y->is_3_of_4;
    if (find_slices(t, y, f) || find_groups(t, y, 128, f) || find_groups(t, y, 64, f))
        return ERR_OK;
    if (may_quantize)
        return set_absmean(s, t, y, n_slices, why, f);
    return why_set(why, ERR_UNSUPPORTED,
                   "%s: %s holds floats that are not ternary, and nothing in the model says that "
                   "it was trained for ternary weights; --quantize absmean rounds them all the "
                   "same, which ruins a model that was not",
                   s->path, t->name);
}

static enum err study_float_tensor(struct source *s, const struct source_tensor *t,
                                   bool may_quantize, uint32_t n_slices, struct why *why,
                                   struct ternary_form *f)
{
    struct study y = {.per_row = (t->cols + UNIT - 1) / UNIT, .is_3_of_4 = true};
    y.units = calloc((size_t)(t->rows * y.per_row), sizeof *y.units);
    y.rows = calloc((size_t)t->rows, sizeof *y.rows);
    y.sums = calloc((size_t)t->rows, sizeof *y.sums);
    enum err e = y.units == NULL || y.rows == NULL || y.sums == NULL
                     ? why_nomem(why, t->name)
                     : form_of_floats(s, t, may_quantize, n_slices, why, &y, f);
    free(y.units);
    free(y.rows);
    free(y.sums);
    return e;
}

/* ---- codes ---- */

static enum err study_code_tensor(struct source *s, const struct source_tensor *t, struct why *why,
                                  struct ternary_form *f)
{
    *f = (struct ternary_form){
        .group = t->group,
        .n_scales = source_n_scales(t),
        .is_exact = true,
        .has_zero = t->native != H1B_B1,
        .is_3_of_4 = t->native == H1B_S3,
    };
    f->scales = malloc((size_t)f->n_scales * sizeof *f->scales);
    if (f->scales == NULL)
        return why_nomem(why, t->name);
    enum err e = s->ops->read_scales(s, t, f->scales, why);
    for (uint64_t i = 0; i < f->n_scales && !e; i++) {
        if (!isfinite(f->scales[i]))
            e = why_set(why, ERR_MODEL_FORMAT,
                        "%s: %s: scale %llu is not finite; the file is damaged or of a form that "
                        "was taken for another",
                        s->path, t->name, (unsigned long long)i);
    }
    return e;
}

enum err ternarize_study(struct source *s, const struct source_tensor *t, bool may_quantize,
                         uint32_t n_slices, struct why *why, struct ternary_form *ret_form)
{
    struct ternary_form f = {0};
    enum err e = t->kind == SOURCE_CODES
                     ? study_code_tensor(s, t, why, &f)
                     : study_float_tensor(s, t, may_quantize, n_slices, why, &f);
    if (e) {
        ternary_form_fini(&f);
        return e;
    }
    *ret_form = f;
    return ERR_OK;
}

enum err ternarize_rows(struct source *s, const struct source_tensor *t,
                        const struct ternary_form *f, uint64_t first, uint64_t n, float *floats,
                        int8_t *codes, struct why *why)
{
    if (t->kind == SOURCE_CODES)
        return s->ops->read_codes(s, t, first, n, codes, why);
    enum err e = s->ops->read_floats(s, t, first, n, floats, why);
    if (e)
        return e;
    uint64_t count = n * t->cols;
    if (!f->is_absmean) {
        for (uint64_t i = 0; i < count; i++)
            codes[i] = (int8_t)((floats[i] > 0.0F) - (floats[i] < 0.0F));
        return ERR_OK;
    }
    for (uint64_t r = 0; r < n; r++) {
        uint64_t at = f->group > 0 ? (first + r) * (t->cols / f->group)
                                   : (first + r) / (t->rows / f->n_scales);
        float inverse = 1.0F / f->scales[at]; /* one for the whole row, also when it is regrouped */
        for (uint64_t c = r * t->cols; c < (r + 1) * t->cols; c++) {
            float q = rintf(floats[c] * inverse);
            codes[c] = (int8_t)(q > 1.0F ? 1 : q < -1.0F ? -1 : (int)q);
        }
    }
    return ERR_OK;
}
