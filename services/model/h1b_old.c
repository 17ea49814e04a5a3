/* SPDX-License-Identifier: MIT */
#include "services/model/h1b_old.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "services/model/h1b_old_layout.h"
#include "services/model/load.h"
#include "services/model/mapping.h"
#include "services/model/scale_plan.h"
#include "services/model/tokenizer_facts.h"
#include "services/model/tokenizer_file.h"

enum {
    GROUP = 128,
    HADAMARD_BLOCK = 128,
};

struct impl {
    struct mapping map;
    struct h1b_old_layout layout;
    struct source beside; /* Bonsai's GGUF file; ops NULL: none */
    char *beside_path;
    /* Of a handle: the tensor in this file, or in the other one. */
    const struct h1b_old_tensor **own;
    const struct source_tensor **other;
};

/* ---- reading ---- */

static enum err read_floats(struct source *s, const struct source_tensor *t, uint64_t first,
                            uint64_t n, float *dst, struct why *why)
{
    struct impl *impl = s->impl;
    if (impl->other[t->handle])
        return impl->beside.ops->read_floats(&impl->beside, impl->other[t->handle], first, n, dst,
                                             why);
    const uint8_t *p = impl->map.bytes + impl->own[t->handle]->offset + 4 * first * t->cols;
    for (uint64_t i = 0; i < n * t->cols; i++)
        dst[i] = load_f32(p + 4 * i);
    mapping_release(p, (size_t)(4 * n * t->cols));
    return ERR_OK;
}

static enum err read_codes(struct source *s, const struct source_tensor *t, uint64_t first,
                           uint64_t n, int8_t *dst, struct why *why)
{
    struct impl *impl = s->impl;
    if (impl->other[t->handle])
        return impl->beside.ops->read_codes(&impl->beside, impl->other[t->handle], first, n, dst,
                                            why);
    const struct h1b_old_tensor *own = impl->own[t->handle];
    const uint8_t *rows = impl->map.bytes + own->offset + first * own->row_bytes;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = own->offset + (first + i) * own->row_bytes;
        if (!h1b_old_layout_codes(impl->layout.packing, rows + i * own->row_bytes, t->cols,
                                  dst + i * t->cols))
            return why_set(why, ERR_MODEL_FORMAT,
                           "%s: %s at offset %llu: row %llu: expected codes 0..2, found 3", s->path,
                           t->name, (unsigned long long)at, (unsigned long long)first + i);
    }
    mapping_release(rows, (size_t)(n * own->row_bytes));
    return ERR_OK;
}

static void read_group_scales(const struct impl *impl, const struct h1b_old_tensor *own, float *dst)
{
    const uint8_t *p = impl->map.bytes + own->offset;
    uint64_t n = own->rows * (own->cols / GROUP);
    for (uint64_t i = 0; i < n; i++, p += impl->layout.packing->unit_bytes)
        dst[i] = load_f16(p);
    mapping_release(impl->map.bytes + own->offset, (size_t)(own->rows * own->row_bytes));
}

static void read_row_scales(const struct impl *impl, const struct h1b_old_tensor *own, float *dst)
{
    for (uint64_t r = 0; r < own->rows; r++)
        dst[r] = load_f32(impl->map.bytes + own->scales_at + 4 * r);
}

static enum err read_scales(struct source *s, const struct source_tensor *t, float *dst,
                            struct why *why)
{
    struct impl *impl = s->impl;
    if (impl->other[t->handle])
        return impl->beside.ops->read_scales(&impl->beside, impl->other[t->handle], dst, why);
    const struct h1b_old_tensor *own = impl->own[t->handle];
    if (t->group > 0) {
        read_group_scales(impl, own, dst);
    } else {
        float *rows = mem_zalloc((size_t)own->rows, sizeof *rows);
        read_row_scales(impl, own, rows);
        scale_plan_slices(rows, own->rows, t->n_scales, dst);
        free(rows);
    }
    for (uint64_t i = 0; i < source_n_scales(t); i++) {
        if (!isfinite(dst[i]))
            return why_set(why, ERR_MODEL_FORMAT,
                           "%s: %s at offset %llu: expected finite scales, scale %llu is not",
                           s->path, t->name, (unsigned long long)own->offset,
                           (unsigned long long)i);
    }
    return ERR_OK;
}

static void close_impl(struct source *s)
{
    struct impl *impl = s->impl;
    if (impl->beside.ops)
        source_close(&impl->beside);
    free(impl->beside_path);
    h1b_old_layout_fini(&impl->layout);
    mapping_fini(&impl->map);
    free(impl->own);
    free(impl->other);
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

/* The path with another ending; the caller frees it. */
static char *path_beside(const char *path, const char *ending)
{
    struct str stem = str_from(path);
    if (stem.len > 4 && memcmp(stem.ptr + stem.len - 4, ".h1b", 4) == 0)
        stem.len -= 4;
    struct buf b = {0};
    buf_add_str(&b, stem);
    buf_add_cstr(&b, ending);
    return buf_detach(&b);
}

static void fill_name(struct source_config *c, const char *path)
{
    char *stem = path_beside(path, "");
    const char *slash = strrchr(stem, '/');
    const char *name = slash ? slash + 1 : stem;
    bool is_plain = *name && utf8_is_valid(name, strlen(name));
    for (const char *p = name; *p; p++)
        is_plain = is_plain && (unsigned char)*p >= 0x20 && *p != 0x7f;
    is_plain = is_plain && strlen(name) < sizeof c->name;
    (void)snprintf(c->name, sizeof c->name, "%s", is_plain ? name : "model");
    free(stem);
}

static void fill_config(struct source *s, const struct h1b_old_layout *l)
{
    struct source_config *c = &s->config;
    (void)snprintf(c->architecture, sizeof c->architecture, "bitnet");
    (void)snprintf(c->hidden_act, sizeof c->hidden_act, "relu2");
    fill_name(c, s->path);
    c->n_vocab = l->n_vocab;
    c->n_hidden = l->n_hidden;
    c->n_ffn = l->n_ffn;
    c->n_layers = l->n_layers;
    c->n_heads = l->n_heads;
    c->n_kv_heads = l->n_kv_heads;
    c->head_dim = l->n_hidden / l->n_heads;
    c->n_ctx = l->n_ctx;
    c->rope_theta = l->rope_theta;
    c->rms_eps = l->rms_eps;
    c->is_tied = true;
    c->extra = json_object();
    if ((l->flags & H1B_OLD_HADAMARD) == 0)
        return;
    json_t *inputs = json_pack("[s, s, s, s, s, s, s]", "q_proj", "k_proj", "v_proj", "o_proj",
                               "gate_proj", "up_proj", "down_proj");
    (void)json_object_set_new(c->extra, "hadamard_inputs", inputs);
    (void)json_object_set_new(c->extra, "hadamard_block", json_integer(HADAMARD_BLOCK));
}

static bool is_bitnet_2b(const struct source_config *c)
{
    return c->n_hidden == 2560 && c->n_layers == 30 && c->n_ffn == 6912 && c->n_vocab == 128256;
}

static enum err read_tokenizer(struct source *s, const struct source_options *options,
                               struct why *why)
{
    char *path = options->tokenizer ? mem_strndup(options->tokenizer, strlen(options->tokenizer))
                                    : path_beside(s->path, ".htok");
    enum err e = tokenizer_file_read(path, options->pre_tokenizer, s, why);
    if (e == ERR_NOT_FOUND)
        e = why_set(why, ERR_NOT_FOUND,
                    "%s: this version holds no tokenizer; expected it in %s, or name an .htok or "
                    "GGUF file or a Hugging Face directory with --tokenizer",
                    s->path, path);
    free(path);
    if (!e && !s->chat_template && is_bitnet_2b(&s->config)) {
        s->chat_template =
            mem_strndup(TOKENIZER_FACTS_BITNET_TEMPLATE, strlen(TOKENIZER_FACTS_BITNET_TEMPLATE));
        source_note(s, "this version holds no chat template; BitNet b1.58 2B-4T's own is added, "
                       "because the shape is that model's");
    }
    return e;
}

static enum err plan_scales(const struct impl *impl, const struct h1b_old_tensor *own,
                            struct source_tensor *t)
{
    if (impl->layout.packing->has_group_scales) {
        t->group = GROUP;
        return ERR_OK;
    }
    float *rows = mem_zalloc((size_t)own->rows, sizeof *rows);
    read_row_scales(impl, own, rows);
    t->n_scales = (uint32_t)scale_plan_n_slices(rows, own->rows);
    free(rows);
    return ERR_OK;
}

static enum err add_own(struct source *s, const struct h1b_old_tensor *own)
{
    struct impl *impl = s->impl;
    struct source_tensor *t = &s->tensors[s->n_tensors];
    *t = (struct source_tensor){
        .name = own->name,
        .kind = own->is_packed ? SOURCE_CODES : SOURCE_FLOATS,
        .rows = own->rows,
        .cols = own->cols,
        .native = impl->layout.packing->native,
        .type = own->is_packed ? impl->layout.packing->name : "F32",
        .offset = own->offset,
        .n_bytes = own->rows * own->row_bytes,
        .handle = s->n_tensors,
    };
    impl->own[s->n_tensors++] = own;
    return own->is_packed ? plan_scales(impl, own, t) : ERR_OK;
}

static void reserve(struct source *s, size_t n)
{
    struct impl *impl = s->impl;
    s->tensors = mem_zalloc(n, sizeof *s->tensors);
    impl->own = mem_zalloc(n, sizeof(const struct h1b_old_tensor *));
    impl->other = mem_zalloc(n, sizeof(const struct source_tensor *));
}

static enum err add_all(struct source *s)
{
    const struct h1b_old_layout *l = &((struct impl *)s->impl)->layout;
    reserve(s, l->n_tensors);
    enum err e = ERR_OK;
    for (size_t i = 0; i < l->n_tensors && !e; i++)
        e = add_own(s, &l->tensors[i]);
    return e;
}

/* ---- Bonsai ---- */

static bool is_same_shape(const struct source_config *c, const struct h1b_old_layout *l)
{
    return c->n_hidden == l->n_hidden && c->n_ffn == l->n_ffn && c->n_layers == l->n_layers &&
           c->n_heads == l->n_heads && c->n_kv_heads == l->n_kv_heads && c->n_vocab == l->n_vocab &&
           c->head_dim == l->n_hidden / l->n_heads;
}

/* Packed weights from this file, the rest from the GGUF file, whose configuration it is, too. */
static enum err add_mixed(struct source *s)
{
    struct impl *impl = s->impl;
    struct source *beside = &impl->beside;
    reserve(s, beside->n_tensors);
    enum err e = ERR_OK;
    for (size_t i = 0; i < beside->n_tensors && !e; i++) {
        const struct h1b_old_tensor *own = NULL;
        for (size_t k = 0; k < impl->layout.n_tensors && !own; k++) {
            const struct h1b_old_tensor *t = &impl->layout.tensors[k];
            if (t->is_packed && strcmp(t->name, beside->tensors[i].name) == 0)
                own = t;
        }
        if (own) {
            e = add_own(s, own);
        } else {
            s->tensors[s->n_tensors] = beside->tensors[i];
            s->tensors[s->n_tensors].handle = s->n_tensors;
            impl->other[s->n_tensors++] = &beside->tensors[i];
        }
    }
    return e;
}

static void take_config(struct source *s, struct source *from)
{
    s->config = from->config;
    from->config = (struct source_config){0};
    s->tokenizer = from->tokenizer;
    from->tokenizer = (struct source_tokenizer){0};
    s->chat_template = from->chat_template;
    from->chat_template = NULL;
    buf_add_str(&s->notes, buf_str(&from->notes));
}

static enum err open_bonsai(struct source *s, const struct source_options *options, struct why *why)
{
    struct impl *impl = s->impl;
    impl->beside_path = path_beside(s->path, ".gguf");
    if (access(impl->beside_path, F_OK) != 0)
        return why_set(why, ERR_UNSUPPORTED,
                       "%s: at offset 40: a file of Bonsai's weights without norms of heads and "
                       "tokenizer: expected %s beside it, or convert that file itself",
                       s->path, impl->beside_path);
    enum err e = source_open(&impl->beside, impl->beside_path, options, why);
    if (e) {
        impl->beside = (struct source){0};
        return e;
    }
    if (strcmp(impl->beside.config.architecture, "qwen3") != 0 ||
        !is_same_shape(&impl->beside.config, &impl->layout))
        return why_set(why, ERR_UNSUPPORTED,
                       "%s: expected a qwen3 model of the same shape in %s, which this file of "
                       "Bonsai's weights belongs to",
                       s->path, impl->beside_path);
    source_note(s, "norms, embedding, configuration and tokenizer are from %s", impl->beside_path);
    take_config(s, &impl->beside);
    return add_mixed(s);
}

bool h1b_old_is_it(const struct source_head *head)
{
    return head->n_bytes >= 8 && memcmp(head->bytes, "H1B\0", 4) == 0 && head->bytes[4] >= 1 &&
           head->bytes[4] <= 4 && memcmp(head->bytes + 5, "\0\0", 3) == 0;
}

enum err h1b_old_open(struct source *s, const struct source_options *options, struct why *why)
{
    struct impl *impl = mem_zalloc(1, sizeof *impl);
    s->impl = impl;
    s->ops = &OPS;
    enum err e = mapping_init(&impl->map, s->path, why);
    if (!e)
        e = h1b_old_layout_init(&impl->layout, impl->map.bytes, impl->map.size, s->path, why);
    if (e)
        return e;
    if (impl->layout.packing->has_group_scales)
        return open_bonsai(s, options, why);
    fill_config(s, &impl->layout);
    e = read_tokenizer(s, options, why);
    return e ? e : add_all(s);
}
