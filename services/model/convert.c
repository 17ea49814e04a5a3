/* SPDX-License-Identifier: MIT */
#include "services/model/convert.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/check.h"
#include "common/mem.h"
#include "common/pack.h"
#include "services/model/config_json.h"
#include "services/model/expect.h"
#include "services/model/h1b_write.h"
#include "services/model/half.h"
#include "services/model/progress.h"
#include "services/model/ternarize.h"
#include "services/model/tokens_check.h"

struct job {
    struct source *source;
    const struct convert_options *options;
    struct why *why;
    struct convert_summary *sum;
    struct h1b_write *out;
    struct expect *list;
    size_t n_list;
    struct progress progress;
    bool is_packing_set;
    enum h1b_dtype packing;
    /* Scratch for a chunk of rows of the tensor in work. */
    float *floats;
    int8_t *codes;
    uint8_t *packed;
};

static enum err reserve(struct job *j, const struct source_tensor *t, size_t row_bytes)
{
    size_t rows = (size_t)ternarize_chunk_rows(t);
    free(j->floats);
    free(j->codes);
    free(j->packed);
    j->floats = malloc(rows * (size_t)t->cols * sizeof *j->floats);
    j->codes = malloc(rows * (size_t)t->cols);
    j->packed = malloc(rows * row_bytes);
    if (j->floats == NULL || j->codes == NULL || j->packed == NULL)
        return why_nomem(j->why, t->name);
    return ERR_OK;
}

static enum err stop_if_cancelled(const struct job *j)
{
    if (j->options->is_cancelled != NULL && *j->options->is_cancelled)
        return why_set(j->why, ERR_CANCELLED, "cancelled; nothing was written");
    return ERR_OK;
}

/* ---- floats ---- */

/* Rows of a float tensor, or of codes times their scales. */
static enum err read_values(struct job *j, const struct source_tensor *t, const float *scales,
                            uint64_t first, uint64_t n)
{
    struct source *s = j->source;
    if (t->kind == SOURCE_FLOATS)
        return s->ops->read_floats(s, t, first, n, j->floats, j->why);
    enum err e = s->ops->read_codes(s, t, first, n, j->codes, j->why);
    for (uint64_t r = 0; r < n && !e; r++) {
        for (uint64_t c = 0; c < t->cols; c++) {
            uint64_t at = t->group > 0 ? (first + r) * (t->cols / t->group) + c / t->group
                                       : (first + r) / (t->rows / t->n_scales);
            j->floats[r * t->cols + c] = (float)j->codes[r * t->cols + c] * scales[at];
        }
    }
    return e;
}

static enum err refuse_value(struct job *j, const struct source_tensor *t, uint64_t i, float value,
                             const char *expected)
{
    return why_set(j->why, ERR_MODEL_FORMAT,
                   "%s: %s: row %llu, column %llu is %g; expected %s. The file is damaged or was "
                   "read as another type",
                   j->source->path, t->name, (unsigned long long)(i / t->cols),
                   (unsigned long long)(i % t->cols), (double)value, expected);
}

static enum err write_floats(struct job *j, const struct source_tensor *t, bool is_half,
                             const float *scales)
{
    size_t width = is_half ? sizeof(uint16_t) : sizeof(float);
    enum err e = reserve(j, t, (size_t)t->cols * width);
    uint64_t step = ternarize_chunk_rows(t);
    for (uint64_t r = 0; r < t->rows && !e; r += step) {
        uint64_t n = t->rows - r < step ? t->rows - r : step;
        e = read_values(j, t, scales, r, n);
        for (uint64_t i = 0; i < n * t->cols && !e; i++) {
            float x = j->floats[i];
            uint16_t half = half_to_f16(x);
            if (!isfinite(x))
                e = refuse_value(j, t, r * t->cols + i, x, "a finite value");
            else if (is_half && (half & 0x7c00) == 0x7c00)
                e = refuse_value(j, t, r * t->cols + i, x, "a value within binary16's range");
            if (is_half)
                memcpy(j->packed + i * width, &half, width);
            else
                memcpy(j->packed + i * width, &x, width);
        }
        if (!e)
            e = h1b_write_bytes(j->out, j->packed, (size_t)(n * t->cols) * width, j->why);
        if (!e)
            e = stop_if_cancelled(j);
        progress_add(&j->progress, t->name, n * t->cols * width);
    }
    return e;
}

static enum err write_embedding(struct job *j, const struct expect *x)
{
    const struct source_tensor *t = x->tensor;
    struct ternary_form form = {0};
    enum err e = ERR_OK;
    if (t->kind == SOURCE_CODES)
        e = ternarize_study(j->source, t, false, 0, j->why, &form);
    uint64_t dims[2] = {t->rows, t->cols};
    if (!e)
        e = h1b_write_begin(j->out, x->name, H1B_F16, 2, dims, j->why);
    if (!e)
        e = write_floats(j, t, true, form.scales);
    ternary_form_fini(&form);
    bool is_head = j->source->config.is_tied || strcmp(x->name, "lm_head.weight") == 0;
    j->sum->bytes_per_token += is_head ? t->rows * t->cols * sizeof(uint16_t) : 0;
    return e;
}

static enum err write_norm(struct job *j, const struct expect *x)
{
    enum err e = h1b_write_begin(j->out, x->name, H1B_F32, 1, &x->tensor->cols, j->why);
    j->sum->bytes_per_token += x->tensor->cols * sizeof(float);
    return e ? e : write_floats(j, x->tensor, false, NULL);
}

/* ---- linear weights ---- */

static const enum h1b_dtype PACKINGS[] = {H1B_T2, H1B_T5, H1B_S3, H1B_B1};

/* False for "auto". */
static bool find_packing(const char *name, enum h1b_dtype *ret_dtype)
{
    for (size_t i = 0; i < ARRAY_LEN(PACKINGS); i++) {
        if (strcasecmp(pack_dtype_name(PACKINGS[i]), name) == 0) {
            *ret_dtype = PACKINGS[i];
            return true;
        }
    }
    return false;
}

/* The one asked for; else the one that the source uses; else the smallest that loses nothing and that
 * the weights were evidently trained for. */
static enum h1b_dtype best_packing(const struct job *j, const struct source_tensor *t,
                                   const struct ternary_form *form)
{
    if (j->is_packing_set)
        return j->packing;
    if (t->kind == SOURCE_CODES)
        return pack_is_packed(t->native) ? t->native : H1B_T2;
    if (!form->has_zero)
        return H1B_B1;
    return form->is_3_of_4 ? H1B_S3 : H1B_T2;
}

static void count_packing(struct job *j, enum h1b_dtype dtype)
{
    struct buf *b = &j->sum->packings;
    const char *name = pack_dtype_name(dtype);
    if (b->len > 0 && strstr(b->ptr, name) != NULL)
        return;
    buf_printf(b, "%s%s", b->len > 0 ? " " : "", name);
}

static enum err write_packed(struct job *j, const struct source_tensor *t,
                             const struct ternary_form *form, enum h1b_dtype dtype)
{
    size_t row_bytes = pack_row_bytes(dtype, t->cols);
    enum err e = reserve(j, t, row_bytes);
    uint64_t step = ternarize_chunk_rows(t);
    for (uint64_t r = 0; r < t->rows && !e; r += step) {
        uint64_t n = t->rows - r < step ? t->rows - r : step;
        e = ternarize_rows(j->source, t, form, r, n, j->floats, j->codes, j->why);
        for (uint64_t i = 0; i < n && !e; i++) {
            unsigned long long row = r + i;
            if (!pack_row(dtype, j->codes + i * t->cols, t->cols, j->packed + i * row_bytes))
                e = why_set(j->why, ERR_UNSUPPORTED,
                            "%s: %s: row %llu does not fit packing %s exactly; use --packing t2",
                            j->source->path, t->name, row, pack_dtype_name(dtype));
        }
        if (!e)
            e = h1b_write_bytes(j->out, j->packed, (size_t)n * row_bytes, j->why);
        if (!e)
            e = stop_if_cancelled(j);
        progress_add(&j->progress, t->name, n * t->cols / 4);
    }
    return e;
}

static enum err write_scales(struct job *j, const struct expect *x, const struct ternary_form *form)
{
    char name[112];
    (void)snprintf(name, sizeof name, "%s_scale", x->name);
    const struct source_tensor *t = x->tensor;
    uint64_t dims[2] = {form->n_scales, 1};
    uint32_t n_dims = 1;
    if (form->group > 0) {
        dims[0] = t->rows;
        dims[1] = t->cols / form->group;
        n_dims = 2;
    }
    return h1b_write_whole(j->out, name, H1B_F32, n_dims, dims, form->scales,
                           (size_t)form->n_scales * sizeof *form->scales, j->why);
}

static enum err write_linear(struct job *j, const struct expect *x, const struct ternary_form *form)
{
    const struct source_tensor *t = x->tensor;
    enum h1b_dtype dtype = best_packing(j, t, form);
    uint64_t dims[2] = {t->rows, t->cols};
    enum err e = h1b_write_begin(j->out, x->name, dtype, 2, dims, j->why);
    if (!e)
        e = write_packed(j, t, form, dtype);
    if (!e)
        e = write_scales(j, x, form);
    count_packing(j, dtype);
    j->sum->n_exact += form->is_exact;
    j->sum->n_rounded += form->is_absmean;
    j->sum->bytes_per_token += t->rows * pack_row_bytes(dtype, t->cols);
    return e;
}

/* An engine quantises a vector once for all matrices that multiply it, by groups or as a whole, so
 * their scales have to be of one kind: the finest that one of them needs. */
static enum err join_forms(struct job *j, const struct expect *x, struct ternary_form *forms,
                           size_t n)
{
    uint32_t group = 0;
    for (size_t i = 0; i < n; i++) {
        if (forms[i].group > 0 && (group == 0 || forms[i].group < group))
            group = forms[i].group;
    }
    for (size_t i = 0; i < n; i++) {
        if (forms[i].group != group && !ternary_form_regroup(&forms[i], x[i].tensor, group))
            return why_set(j->why, ERR_UNSUPPORTED,
                           "%s: %s: expected columns in multiples of %u, which a matrix beside it "
                           "has a scale for",
                           j->source->path, x[i].name, group);
    }
    return ERR_OK;
}

enum { SET_MAX = 3 };

/* The matrices from `first` on that multiply one vector; *ret_n receives how many they are. */
static enum err write_set(struct job *j, size_t first, size_t *ret_n)
{
    const struct expect *x = &j->list[first];
    struct ternary_form forms[SET_MAX] = {{0}};
    bool may_quantize = j->options->may_quantize || j->source->config.is_trained_ternary;
    size_t n = 0;
    enum err e = ERR_OK;
    while (!e && n < SET_MAX && first + n < j->n_list && x[n].role == EXPECT_LINEAR &&
           x[n].input == x->input) {
        e = ternarize_study(j->source, x[n].tensor, may_quantize, j->options->n_slices, j->why,
                            &forms[n]);
        n++;
    }
    if (!e)
        e = join_forms(j, x, forms, n);
    for (size_t i = 0; i < n && !e; i++)
        e = write_linear(j, &x[i], &forms[i]);
    for (size_t i = 0; i < n; i++)
        ternary_form_fini(&forms[i]);
    *ret_n = n;
    return e;
}

static enum err write_tensors(struct job *j)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < j->n_list && !e;) {
        const struct expect *x = &j->list[i];
        size_t n = 1;
        switch (x->role) {
        case EXPECT_EMBEDDING:
            e = write_embedding(j, x);
            break;
        case EXPECT_NORM:
            e = write_norm(j, x);
            break;
        case EXPECT_LINEAR:
            e = write_set(j, i, &n);
            break;
        }
        for (size_t k = 0; k < n; k++, i++) {
            j->sum->n_params += x[k].tensor->rows * x[k].tensor->cols;
            progress_item(&j->progress, x[k].name);
        }
    }
    return e;
}

/* ---- the rest ---- */

static enum err write_text(struct job *j, const char *name, const char *text)
{
    uint64_t n = strlen(text);
    return h1b_write_whole(j->out, name, H1B_U8, 1, &n, text, (size_t)n, j->why);
}

static enum err write_tokenizer(struct job *j)
{
    const struct source_tokenizer *t = &j->source->tokenizer;
    uint64_t n_offsets = (uint64_t)t->n_tokens + 1;
    uint64_t n_tokens = t->n_tokens;
    uint64_t n_bytes = t->bytes.len;
    uint64_t merges[2] = {t->n_merges, 2};
    enum err e = h1b_write_whole(j->out, "tokenizer.offsets", H1B_U32, 1, &n_offsets, t->offsets,
                                 (size_t)n_offsets * sizeof *t->offsets, j->why);
    if (!e)
        e = h1b_write_whole(j->out, "tokenizer.bytes", H1B_U8, 1, &n_bytes, t->bytes.ptr,
                            t->bytes.len, j->why);
    if (!e)
        e = h1b_write_whole(j->out, "tokenizer.types", H1B_U8, 1, &n_tokens, t->types, t->n_tokens,
                            j->why);
    if (!e && t->scores != NULL)
        e = h1b_write_whole(j->out, "tokenizer.scores", H1B_F32, 1, &n_tokens, t->scores,
                            t->n_tokens * sizeof *t->scores, j->why);
    if (!e && t->scores == NULL)
        e = h1b_write_whole(j->out, "tokenizer.merges", H1B_U32, 2, merges, t->merges,
                            t->n_merges * 2 * sizeof *t->merges, j->why);
    return e;
}

static uint32_t count_sections(const struct job *j)
{
    uint32_t n = 1 + 4; /* config, tokenizer */
    n += j->source->chat_template != NULL;
    for (size_t i = 0; i < j->n_list; i++)
        n += j->list[i].role == EXPECT_LINEAR ? 2 : 1;
    return n;
}

static enum err write_all(struct job *j, const char *path, const char *config)
{
    enum err e = h1b_write_new(path, count_sections(j), j->why, &j->out);
    if (!e)
        e = write_text(j, "config", config);
    if (!e && j->source->chat_template != NULL)
        e = write_text(j, "chat_template", j->source->chat_template);
    if (!e)
        e = write_tokenizer(j);
    if (!e)
        e = write_tensors(j);
    if (!e)
        e = h1b_write_finish(j->out, j->sum->hash, &j->sum->n_bytes, j->why);
    return e;
}

static enum err check_tokenizer(const struct job *j)
{
    const struct source *s = j->source;
    if (s->tokenizer.n_tokens == 0)
        return why_set(j->why, ERR_MODEL_FORMAT,
                       "%s: no tokenizer in it; name one with --tokenizer", s->path);
    if (s->tokenizer.n_tokens > s->config.n_vocab)
        return why_set(j->why, ERR_MODEL_FORMAT,
                       "%s: the tokenizer has %u tokens; expected at most the vocab_size %u of the "
                       "configuration",
                       s->path, s->tokenizer.n_tokens, s->config.n_vocab);
    return tokens_check(s, j->why);
}

enum err convert_run(struct source *s, const char *path, const struct convert_options *o,
                     struct why *why, struct convert_summary *ret_summary)
{
    struct convert_summary sum = {0};
    struct job j = {.source = s, .options = o, .why = why, .sum = &sum};
    j.is_packing_set = find_packing(o->packing, &j.packing);
    char *config = NULL;
    struct why line;
    enum err e = config_json_write(&s->config, &line, &config);
    if (e)
        return why_set(why, e, "%s: %s", s->path, line.text);
    e = check_tokenizer(&j);
    if (!e)
        e = expect_all(s, why, &j.list, &j.n_list);
    if (!e) {
        progress_start(&j.progress, j.n_list, o->is_silent);
        e = write_all(&j, path, config);
        progress_end(&j.progress);
    }
    h1b_write_free(j.out);
    free(config);
    free(j.list);
    free(j.floats);
    free(j.codes);
    free(j.packed);
    if (e) {
        buf_fini(&sum.packings);
        return e;
    }
    *ret_summary = sum;
    return ERR_OK;
}
