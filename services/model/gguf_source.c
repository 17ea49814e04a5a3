/* SPDX-License-Identifier: MIT */
#include "services/model/gguf_source.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arena.h"
#include "common/check.h"
#include "common/mem.h"
#include "services/model/gguf.h"
#include "services/model/gguf_config.h"
#include "services/model/gguf_tokenizer.h"
#include "services/model/gguf_types.h"
#include "services/model/mapping.h"
#include "services/model/scale_plan.h"
#include "services/model/tokenizer_file.h"

enum {
    ROWS_MAX = 1 << 20, /* of a projection */
    COLS_MAX = 1 << 20,
};

struct name {
    const char *gguf;
    const char *hf;
    bool is_projection;
    bool is_rotated; /* by RoPE: rows of `llama` are permuted */
};

static const struct name MODEL_NAMES[] = {
    {"token_embd.weight", "model.embed_tokens.weight", false, false},
    {"output_norm.weight", "model.norm.weight", false, false},
    {"output.weight", "lm_head.weight", false, false},
};

/* After "blk.N." and "model.layers.N.". */
static const struct name LAYER_NAMES[] = {
    {"attn_norm.weight", "input_layernorm.weight", false, false},
    {"attn_q.weight", "self_attn.q_proj.weight", true, true},
    {"attn_k.weight", "self_attn.k_proj.weight", true, true},
    {"attn_v.weight", "self_attn.v_proj.weight", true, false},
    {"attn_q_norm.weight", "self_attn.q_norm.weight", false, false},
    {"attn_k_norm.weight", "self_attn.k_norm.weight", false, false},
    {"attn_sub_norm.weight", "self_attn.attn_sub_norm.weight", false, false},
    {"attn_output.weight", "self_attn.o_proj.weight", true, false},
    {"ffn_norm.weight", "post_attention_layernorm.weight", false, false},
    {"ffn_gate.weight", "mlp.gate_proj.weight", true, false},
    {"ffn_up.weight", "mlp.up_proj.weight", true, false},
    {"ffn_sub_norm.weight", "mlp.ffn_sub_norm.weight", false, false},
    {"ffn_down.weight", "mlp.down_proj.weight", true, false},
};

struct entry {
    struct gguf_matrix matrix;
    uint32_t head_dim; /* 0: rows are in the source's order already */
    float factor; /* of the tensor X.scale, or 1 */
};

struct impl {
    struct gguf *g;
    struct arena names;
    struct entry *entries; /* by handle */
    bool is_permuted;
    enum gguf_i2s i2s;
};

static uint64_t row_of(const struct entry *x, uint64_t row)
{
    if (x->head_dim == 0)
        return row;
    uint64_t half = x->head_dim / 2;
    uint64_t in_head = row % x->head_dim;
    return row - in_head + 2 * (in_head % half) + in_head / half;
}

/* ---- reading ---- */

static void release_rows(const struct entry *x, uint64_t first, uint64_t n)
{
    const struct gguf_matrix *m = &x->matrix;
    mapping_release(m->data + m->row_bytes * first, (size_t)(m->row_bytes * n));
}

static enum err read_floats(struct source *s, const struct source_tensor *t, uint64_t first,
                            uint64_t n, float *dst, struct why *why)
{
    (void)why;
    const struct impl *impl = s->impl;
    const struct entry *x = &impl->entries[t->handle];
    for (uint64_t i = 0; i < n; i++) {
        float *row = dst + i * t->cols;
        gguf_matrix_floats(&x->matrix, row_of(x, first + i), row);
        for (uint64_t c = 0; c < t->cols && x->factor != 1.0F; c++)
            row[c] *= x->factor;
    }
    release_rows(x, first, n);
    return ERR_OK;
}

static enum err read_codes(struct source *s, const struct source_tensor *t, uint64_t first,
                           uint64_t n, int8_t *dst, struct why *why)
{
    const struct impl *impl = s->impl;
    const struct entry *x = &impl->entries[t->handle];
    for (uint64_t i = 0; i < n; i++) {
        int8_t *row = dst + i * t->cols;
        gguf_matrix_codes(&x->matrix, row_of(x, first + i), row);
        const int8_t *odd = memchr(row, 2, (size_t)t->cols);
        if (odd)
            return why_set(why, ERR_MODEL_FORMAT,
                           "%s: %s at offset %llu: row %llu, column %llu: expected a code 0..2, "
                           "found 3, which is not ternary",
                           s->path, t->name, (unsigned long long)t->offset,
                           (unsigned long long)first + i, (unsigned long long)(odd - row));
    }
    release_rows(x, first, n);
    return ERR_OK;
}

/* The scale that all groups of a row share, beside groups of zeros; NaN when there are only those.
 * False: several. `guess` is the row's likely scale, codes are scratch. */
static bool scale_of_row(const struct gguf_matrix *m, uint64_t row, float guess, int8_t *codes,
                         float *ret_scale)
{
    uint64_t n_groups = m->cols / gguf_matrix_group(m);
    float found = NAN;
    for (uint64_t i = 0; i < n_groups; i++) {
        float scale = gguf_matrix_scale(m, row, i);
        if (scale == found || (isnan(found) && scale == guess)) {
            found = scale;
            continue;
        }
        if (gguf_matrix_is_zero(m, row, i, codes))
            continue;
        if (!isnan(found) || isnan(scale))
            return false;
        found = scale;
    }
    *ret_scale = found;
    return true;
}

/* One scale per row into rows[], or false. */
static bool scales_of_rows(const struct entry *x, const struct source_tensor *t, int8_t *codes,
                           float *rows)
{
    float guess = NAN;
    bool is_one = true;
    for (uint64_t r = 0; r < t->rows && is_one; r++) {
        is_one = scale_of_row(&x->matrix, row_of(x, r), guess, codes, &rows[r]);
        if (!isnan(rows[r]))
            guess = rows[r];
    }
    release_rows(x, 0, t->rows);
    return is_one;
}

/* The factor between the file's groups and the tensor's: groups of 256 become two of 128. */
static uint64_t file_group_of(const struct entry *x, const struct source_tensor *t, uint64_t group)
{
    return group * t->group / gguf_matrix_group(&x->matrix);
}

static void read_group_scales(const struct entry *x, const struct source_tensor *t, float *dst)
{
    for (uint64_t r = 0; r < t->rows; r++) {
        for (uint64_t i = 0; i < t->cols / t->group; i++)
            *dst++ = gguf_matrix_scale(&x->matrix, row_of(x, r), file_group_of(x, t, i));
    }
    release_rows(x, 0, t->rows);
}

static enum err read_scales(struct source *s, const struct source_tensor *t, float *dst,
                            struct why *why)
{
    const struct impl *impl = s->impl;
    const struct entry *x = &impl->entries[t->handle];
    uint64_t n = source_n_scales(t);
    if (t->group > 0) {
        read_group_scales(x, t, dst);
    } else {
        int8_t *codes = mem_zalloc((size_t)t->cols, 1);
        float *rows = mem_zalloc((size_t)t->rows, sizeof *rows);
        bool is_one = scales_of_rows(x, t, codes, rows);
        scale_plan_slices(rows, t->rows, is_one ? t->n_scales : 1, dst);
        free(codes);
        free(rows);
    }
    for (uint64_t i = 0; i < n; i++) {
        dst[i] *= x->factor;
        if (!isfinite(dst[i]))
            return why_set(why, ERR_MODEL_FORMAT,
                           "%s: %s at offset %llu: expected finite scales, scale %llu is not",
                           s->path, t->name, (unsigned long long)t->offset, (unsigned long long)i);
    }
    return ERR_OK;
}

static void close_impl(struct source *s)
{
    struct impl *impl = s->impl;
    gguf_close(impl->g);
    arena_fini(&impl->names);
    free(impl->entries);
    free(impl);
    s->impl = NULL;
}

static const struct source_ops OPS = {
    .read_floats = read_floats,
    .read_codes = read_codes,
    .read_scales = read_scales,
    .close = close_impl,
};

/* ---- opening ---- */

static enum h1b_dtype native_of(const struct gguf_type *type)
{
    if (type->is_binary)
        return H1B_B1;
    bool is_five_in_a_byte = strstr(type->name, "Q1_") != NULL;
    return is_five_in_a_byte ? H1B_T5 : H1B_T2;
}

/* Groups of 32 can only be told in pairs. */
static bool are_pairs_equal(const struct gguf_matrix *m)
{
    uint64_t n = m->cols / gguf_matrix_group(m);
    bool are_equal = n % 2 == 0;
    for (uint64_t r = 0; r < m->rows && are_equal; r++) {
        for (uint64_t i = 0; i < n && are_equal; i += 2)
            are_equal = gguf_matrix_scale(m, r, i) == gguf_matrix_scale(m, r, i + 1);
    }
    return are_equal;
}

static enum err plan_scales(const struct source *s, struct source_tensor *t, const struct entry *x,
                            struct why *why)
{
    if (t->rows > ROWS_MAX || t->cols > COLS_MAX)
        return why_set(why, ERR_MODEL_FORMAT, "%s: %s: expected at most %d rows and columns",
                       s->path, t->name, ROWS_MAX);
    int8_t *codes = mem_zalloc((size_t)t->cols, 1);
    float *rows = mem_zalloc((size_t)t->rows, sizeof *rows);
    t->n_scales = 1;
    if (scales_of_rows(x, t, codes, rows))
        t->n_scales = (uint32_t)scale_plan_n_slices(rows, t->rows);
    else
        t->group = gguf_matrix_group(&x->matrix) >= 128 ? 128 : 64;
    free(codes);
    free(rows);
    if (t->group > 0 && gguf_matrix_group(&x->matrix) == 32 && !are_pairs_equal(&x->matrix))
        return why_set(why, ERR_UNSUPPORTED,
                       "%s: %s at offset %llu: groups of 32 weights are not computed: get the file "
                       "with groups of 128",
                       s->path, t->name, (unsigned long long)t->offset);
    return ERR_OK;
}

/* Multiplied to what a projection gives, in files of old converters. */
static enum err read_factor(struct source *s, const struct gguf_tensor *t, float *ret_factor,
                            struct why *why)
{
    const struct impl *impl = s->impl;
    char name[GGUF_NAME_MAX + 1];
    size_t n = t->name.len - strlen("weight");
    (void)snprintf(name, sizeof name, "%.*sscale", (int)n, t->name.ptr);
    const struct gguf_tensor *scale = gguf_find_tensor(impl->g, name);
    *ret_factor = 1.0F;
    if (!scale)
        return ERR_OK;
    struct gguf_matrix m;
    enum err e = gguf_matrix_init(&m, impl->g, scale, impl->i2s, why);
    if (e)
        return e;
    if (scale->n_weights != 1 || gguf_matrix_has_codes(&m))
        return why_set(why, ERR_UNSUPPORTED, "%s: %s: expected one number", s->path, name);
    gguf_matrix_floats(&m, 0, ret_factor);
    return ERR_OK;
}

/* The row of LAYER_NAMES for "blk.N.rest"; *ret_layer is N. */
static const struct name *layer_name_of(struct str name, uint32_t *ret_layer)
{
    if (name.len < 6 || memcmp(name.ptr, "blk.", 4) != 0)
        return NULL;
    uint32_t layer = 0;
    size_t at = 4;
    for (; at < name.len && at < 8 && name.ptr[at] >= '0' && name.ptr[at] <= '9'; at++)
        layer = 10 * layer + (uint32_t)(name.ptr[at] - '0');
    bool is_plain = at == 5 || name.ptr[4] != '0';
    if (at == 4 || at >= name.len || name.ptr[at] != '.' || !is_plain)
        return NULL;
    struct str rest = {name.ptr + at + 1, name.len - at - 1};
    *ret_layer = layer;
    for (size_t i = 0; i < ARRAY_LEN(LAYER_NAMES); i++) {
        if (str_is(rest, LAYER_NAMES[i].gguf))
            return &LAYER_NAMES[i];
    }
    return NULL;
}

/* The name that the tensor gets; its own when it is not known, which will be refused. */
static const char *name_of(struct impl *impl, struct str name, const struct name **ret_known)
{
    char text[96];
    uint32_t layer = 0;
    *ret_known = layer_name_of(name, &layer);
    if (*ret_known) {
        (void)snprintf(text, sizeof text, "model.layers.%u.%s", layer, (*ret_known)->hf);
        return arena_strdup(&impl->names, str_from(text));
    }
    for (size_t i = 0; i < ARRAY_LEN(MODEL_NAMES); i++) {
        if (str_is(name, MODEL_NAMES[i].gguf))
            *ret_known = &MODEL_NAMES[i];
    }
    return *ret_known ? (*ret_known)->hf : arena_strdup(&impl->names, name);
}

static enum err add_tensor(struct source *s, const struct gguf_tensor *from, struct why *why)
{
    struct impl *impl = s->impl;
    struct source_tensor *t = &s->tensors[s->n_tensors];
    struct entry *x = &impl->entries[s->n_tensors];
    const struct name *known = NULL;
    *t = (struct source_tensor){.offset = from->offset, .handle = s->n_tensors};
    t->name = name_of(impl, from->name, &known);
    if (!t->name)
        return why_nomem(why, s->path);
    enum err e = gguf_matrix_init(&x->matrix, impl->g, from, impl->i2s, why);
    if (e)
        return e;
    t->rows = x->matrix.rows;
    t->cols = x->matrix.cols;
    t->type = x->matrix.type->name;
    t->n_bytes = x->matrix.size;
    t->native = native_of(x->matrix.type);
    x->factor = 1.0F;
    s->n_tensors++;
    if (!known || !known->is_projection)
        return ERR_OK;
    e = read_factor(s, from, &x->factor, why);
    if (e)
        return e;
    if (impl->is_permuted && known->is_rotated) {
        x->head_dim = s->config.head_dim;
        if (x->head_dim % 2 != 0 || t->rows % x->head_dim != 0)
            return why_set(why, ERR_MODEL_FORMAT,
                           "%s: %s at offset %llu: expected rows in heads of %u, found %llu rows",
                           s->path, t->name, (unsigned long long)t->offset, x->head_dim,
                           (unsigned long long)t->rows);
    }
    if (!gguf_matrix_has_codes(&x->matrix))
        return ERR_OK;
    t->kind = SOURCE_CODES;
    return plan_scales(s, t, x, why);
}

/* What is no tensor of the graph but was read already: X.scale beside X.weight, RoPE's factors. */
static bool is_aside(const struct impl *impl, struct str name)
{
    static const char SCALE[] = ".scale";
    size_t n = sizeof SCALE - 1;
    if (str_is(name, "rope_freqs.weight"))
        return true;
    if (name.len <= n || memcmp(name.ptr + name.len - n, SCALE, n) != 0)
        return false;
    char weight[GGUF_NAME_MAX + 8];
    (void)snprintf(weight, sizeof weight, "%.*s.weight", (int)(name.len - n), name.ptr);
    uint32_t layer = 0;
    const struct name *known = layer_name_of(str_from(weight), &layer);
    return known && known->is_projection && gguf_find_tensor(impl->g, weight);
}

/* Some files repeat the embedding as the head. */
static bool is_copy(const struct gguf_tensor *a, const struct gguf_tensor *b)
{
    uint64_t n = a->room < b->room ? a->room : b->room;
    return a->type == b->type && a->dims[0] == b->dims[0] && a->n_weights == b->n_weights &&
           memcmp(a->data, b->data, (size_t)n) == 0;
}

static enum err add_tensors(struct source *s, struct why *why)
{
    struct impl *impl = s->impl;
    size_t n = 0;
    const struct gguf_tensor *all = gguf_tensors(impl->g, &n);
    const struct gguf_tensor *embedding = gguf_find_tensor(impl->g, "token_embd.weight");
    const struct gguf_tensor *head = gguf_find_tensor(impl->g, "output.weight");
    s->tensors = mem_zalloc(n, sizeof *s->tensors);
    impl->entries = mem_zalloc(n, sizeof *impl->entries);
    s->config.is_tied = !head;
    if (head && embedding && is_copy(embedding, head)) {
        s->config.is_tied = true;
        source_note(s, "output.weight is a copy of the embedding and is left out");
    }
    enum err e = ERR_OK;
    for (size_t i = 0; i < n && !e; i++) {
        bool is_left_out = is_aside(impl, all[i].name) || (&all[i] == head && s->config.is_tied);
        if (!is_left_out)
            e = add_tensor(s, &all[i], why);
    }
    return e;
}

static enum err read_layout(const struct source *s, const char *layout, enum gguf_i2s *ret_i2s,
                            struct why *why)
{
    static const char *const NAMES[] = {
        [GGUF_I2S_128] = "128", [GGUF_I2S_64] = "64", [GGUF_I2S_ROWS] = "rows"};
    for (size_t i = 0; i < ARRAY_LEN(NAMES); i++) {
        if (!layout || strcmp(layout, NAMES[i]) == 0) {
            *ret_i2s = (enum gguf_i2s)i;
            return ERR_OK;
        }
    }
    return why_set(why, ERR_INVALID, "%s: layout of I2_S: expected 128, 64 or rows, found \"%s\"",
                   s->path, layout);
}

bool gguf_source_is_it(const struct source_head *head)
{
    return gguf_is_magic(head->bytes, head->n_bytes);
}

enum err gguf_source_open(struct source *s, const struct source_options *options, struct why *why)
{
    struct impl *impl = mem_zalloc(1, sizeof *impl);
    s->impl = impl;
    s->ops = &OPS;
    enum err e = read_layout(s, options->layout, &impl->i2s, why);
    if (!e)
        e = gguf_open(s->path, why, &impl->g);
    if (!e)
        e = gguf_config_read(impl->g, s, why, &impl->is_permuted);
    if (!e && options->tokenizer)
        e = tokenizer_file_read(options->tokenizer, options->pre_tokenizer, s, why);
    else if (!e)
        e = gguf_tokenizer_read(impl->g, options->pre_tokenizer, s, why);
    return e ? e : add_tensors(s, why);
}
