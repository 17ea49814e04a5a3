/* SPDX-License-Identifier: MIT */
/* h1b5: Halo's own files as a source, to inspect them and to pack them anew. */
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"
#include "common/pack.h"
#include "services/model/config_json.h"
#include "services/model/half.h"
#include "services/model/source.h"

static const struct h1b_section *section_of(const struct source *s, const struct source_tensor *t)
{
    size_t n;
    return h1b_sections(s->impl, &n) + t->handle;
}

static enum err read_floats(struct source *s, const struct source_tensor *t, uint64_t first,
                            uint64_t n, float *dst, struct why *why)
{
    (void)why;
    const struct h1b_section *section = section_of(s, t);
    size_t count = (size_t)(n * t->cols);
    if (section->dtype == H1B_F32) {
        memcpy(dst, (const float *)section->data + first * t->cols, count * sizeof *dst);
        return ERR_OK;
    }
    const uint16_t *src = (const uint16_t *)section->data + first * t->cols;
    for (size_t i = 0; i < count; i++)
        dst[i] = half_from_f16(src[i]);
    return ERR_OK;
}

static enum err read_codes(struct source *s, const struct source_tensor *t, uint64_t first,
                           uint64_t n, int8_t *dst, struct why *why)
{
    const struct h1b_section *section = section_of(s, t);
    size_t row_bytes = pack_row_bytes(section->dtype, t->cols);
    for (uint64_t r = 0; r < n; r++) {
        unsigned long long row = first + r;
        const uint8_t *src = (const uint8_t *)section->data + row * row_bytes;
        if (!pack_unpack_row(section->dtype, src, t->cols, dst + r * t->cols))
            return why_set(why, ERR_MODEL_FORMAT, "%s: %s: row %llu holds a code that %s lacks",
                           s->path, t->name, row, pack_dtype_name(section->dtype));
    }
    return ERR_OK;
}

static void scale_name_of(const char *weight, char *name, size_t cap)
{
    (void)snprintf(name, cap, "%s_scale", weight);
}

static const struct h1b_section *scales_of(const struct source *s, const char *weight)
{
    char name[112];
    scale_name_of(weight, name, sizeof name);
    const struct h1b_section *scales = h1b_find(s->impl, name);
    return scales != NULL && scales->dtype == H1B_F32 ? scales : NULL;
}

static enum err read_scales(struct source *s, const struct source_tensor *t, float *dst,
                            struct why *why)
{
    (void)why;
    memcpy(dst, scales_of(s, t->name)->data, (size_t)source_n_scales(t) * sizeof *dst);
    return ERR_OK;
}

static void close_file(struct source *s)
{
    h1b_close(s->impl);
}

static const struct source_ops OPS = {read_floats, read_codes, read_scales, close_file};

bool h1b5_is_it(const struct source_head *head)
{
    return head->n_bytes >= 8 && memcmp(head->bytes, "H1B\0\5\0\0\0", 8) == 0;
}

static enum err add_codes(struct source *s, const struct h1b_section *section,
                          struct source_tensor *t, struct why *why)
{
    const struct h1b_section *scales = scales_of(s, section->name);
    uint64_t n = scales != NULL ? scales->dims[0] : 0;
    if (scales != NULL && scales->n_dims == 1 && n >= 1 && n <= t->rows && t->rows % n == 0) {
        t->n_scales = (uint32_t)n;
        return ERR_OK;
    }
    uint64_t per_row = scales != NULL && scales->n_dims == 2 && n == t->rows ? scales->dims[1] : 0;
    if (per_row > 0 && (per_row * 64 == t->cols || per_row * 128 == t->cols)) {
        t->group = (uint32_t)(t->cols / per_row);
        return ERR_OK;
    }
    return why_set(why, ERR_MODEL_FORMAT,
                   "%s: %s_scale: expected F32 [s] where s divides the %llu rows, or "
                   "[rows, columns / 64 or 128]",
                   s->path, section->name, (unsigned long long)t->rows);
}

static bool is_tensor(const struct h1b_section *section)
{
    size_t n = strlen(section->name);
    static const char SCALE[] = ".weight_scale";
    bool is_scale = n >= sizeof SCALE && strcmp(section->name + n - (sizeof SCALE - 1), SCALE) == 0;
    return !is_scale && strncmp(section->name, "tokenizer.", 10) != 0 &&
           (section->dtype == H1B_F32 || section->dtype == H1B_F16 ||
            pack_is_packed(section->dtype));
}

static enum err add_tensors(struct source *s, struct why *why)
{
    size_t n;
    const struct h1b_section *sections = h1b_sections(s->impl, &n);
    s->tensors = mem_zalloc(n, sizeof *s->tensors);
    for (size_t i = 0; i < n; i++) {
        const struct h1b_section *section = &sections[i];
        if (!is_tensor(section))
            continue;
        if (section->n_dims > 2)
            return why_set(why, ERR_MODEL_FORMAT, "%s: %s: expected 1 or 2 dims, found %u", s->path,
                           section->name, section->n_dims);
        struct source_tensor *t = &s->tensors[s->n_tensors++];
        *t = (struct source_tensor){
            .name = section->name,
            .rows = section->n_dims == 2 ? section->dims[0] : 1,
            .cols = section->dims[section->n_dims - 1],
            .type = section->dtype == H1B_F32   ? "F32"
                    : section->dtype == H1B_F16 ? "F16"
                                                : pack_dtype_name(section->dtype),
            .kind = pack_is_packed(section->dtype) ? SOURCE_CODES : SOURCE_FLOATS,
            .native = section->dtype,
            .n_bytes = section->size,
            .handle = i,
        };
        enum err e = t->kind == SOURCE_CODES ? add_codes(s, section, t, why) : ERR_OK;
        if (e)
            return e;
    }
    return ERR_OK;
}

static const struct h1b_section *need(struct source *s, const char *name, enum h1b_dtype dtype,
                                      struct why *why)
{
    const struct h1b_section *section = h1b_find(s->impl, name);
    if (section != NULL && section->dtype == dtype)
        return section;
    (void)why_set(why, ERR_MODEL_FORMAT, "%s: section %s is %s", s->path, name,
                  section == NULL ? "missing" : "of another type");
    return NULL;
}

static enum err take_tokens(struct source *s, struct why *why)
{
    const struct h1b_section *offsets = need(s, "tokenizer.offsets", H1B_U32, why);
    const struct h1b_section *bytes = offsets ? need(s, "tokenizer.bytes", H1B_U8, why) : NULL;
    const struct h1b_section *types = bytes ? need(s, "tokenizer.types", H1B_U8, why) : NULL;
    if (types == NULL)
        return ERR_MODEL_FORMAT;
    const uint32_t *at = offsets->data;
    if (offsets->size != (types->size + 1) * sizeof *at || types->size > SOURCE_VOCAB_MAX)
        return why_set(why, ERR_MODEL_FORMAT, "%s: tokenizer.offsets: expected %llu + 1 entries",
                       s->path, (unsigned long long)types->size);
    for (uint64_t i = 0; i < types->size; i++) {
        if (at[i] > at[i + 1] || at[i + 1] > bytes->size)
            return why_set(why, ERR_MODEL_FORMAT,
                           "%s: tokenizer.offsets: token %llu ends outside tokenizer.bytes",
                           s->path, (unsigned long long)i);
        struct str token = {(const char *)bytes->data + at[i], at[i + 1] - at[i]};
        enum err e = source_add_token(&s->tokenizer, token, ((const uint8_t *)types->data)[i], why);
        if (e)
            return e;
    }
    return ERR_OK;
}

static enum err take_merges(struct source *s, struct why *why)
{
    const struct h1b_section *merges = h1b_find(s->impl, "tokenizer.merges");
    struct source_tokenizer *t = &s->tokenizer;
    if (merges != NULL) {
        if (merges->dtype != H1B_U32 || merges->n_dims != 2 || merges->dims[1] != 2)
            return why_set(why, ERR_MODEL_FORMAT, "%s: tokenizer.merges: expected U32 [n, 2]",
                           s->path);
        t->n_merges = (size_t)merges->dims[0];
        t->merges = mem_resize(NULL, 2 * t->n_merges, sizeof *t->merges);
        if (merges->size > 0)
            memcpy(t->merges, merges->data, (size_t)merges->size);
    }
    const struct h1b_section *scores = h1b_find(s->impl, "tokenizer.scores");
    if (scores != NULL) {
        if (scores->dtype != H1B_F32 || scores->size != (uint64_t)t->n_tokens * sizeof(float))
            return why_set(why, ERR_MODEL_FORMAT, "%s: tokenizer.scores: expected F32 [%u]",
                           s->path, t->n_tokens);
        t->scores = mem_resize(NULL, t->n_tokens, sizeof *t->scores);
        memcpy(t->scores, scores->data, (size_t)scores->size);
    }
    return ERR_OK;
}

enum err h1b5_open(struct source *s, const struct source_options *options, struct why *why)
{
    (void)options;
    s->ops = &OPS;
    struct h1b *file = NULL;
    enum err e = h1b_open(s->path, H1B_VERIFY_ALL, why->text, sizeof why->text, &file);
    if (e)
        return e;
    s->impl = file;
    memcpy(s->hash, h1b_hash(file), sizeof s->hash);
    const struct h1b_section *config = need(s, "config", H1B_U8, why);
    if (config == NULL)
        return ERR_MODEL_FORMAT;
    struct why line;
    e = config_json_read(config->data, (size_t)config->size, &s->config, &line);
    if (e)
        return why_set(why, e, "%s: %s", s->path, line.text);
    const struct h1b_section *template = h1b_find(file, "chat_template");
    if (template != NULL && template->dtype == H1B_U8 && template->size > 0)
        s->chat_template = mem_strndup(template->data, (size_t) template->size);
    e = take_tokens(s, why);
    if (!e)
        e = take_merges(s, why);
    return e ? e : add_tensors(s, why);
}
