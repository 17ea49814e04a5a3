/* SPDX-License-Identifier: MIT */
#include "services/model/expect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"

struct expect_shape {
    uint64_t one, vocab, hidden, ffn, q, kv, head;
};

struct list {
    struct source *source;
    struct expect *items;
    size_t n;
    uint8_t *is_used; /* by tensor of the source */
};

/* q, k and v multiply one vector, gate and up another. */
static uint32_t input_of(const char *name)
{
    static const char *const FIRST[] = {".o_proj.", ".gate_proj.", ".up_proj.", ".down_proj."};
    static const uint32_t KIND[] = {1, 2, 2, 3};
    const char *digits = name + strcspn(name, "0123456789");
    uint32_t layer = (uint32_t)strtoul(digits, NULL, 10);
    for (size_t i = 0; i < ARRAY_LEN(FIRST); i++) {
        if (strstr(name, FIRST[i]) != NULL)
            return layer * 4 + KIND[i];
    }
    return layer * 4;
}

static enum err add(struct list *l, const char *name, enum expect_role role, uint64_t rows,
                    uint64_t cols, struct why *why)
{
    struct source *s = l->source;
    const struct source_tensor *t = source_find(s, name);
    if (t == NULL)
        return why_set(why, ERR_MODEL_FORMAT,
                       "%s: no tensor %s; expected one of %llu x %llu. Is the download complete?",
                       s->path, name, (unsigned long long)rows, (unsigned long long)cols);
    if (t->rows != rows || t->cols != cols)
        return why_set(why, ERR_MODEL_FORMAT,
                       "%s: %s at offset %llu is %llu x %llu; expected %llu x %llu from the "
                       "configuration",
                       s->path, name, (unsigned long long)t->offset, (unsigned long long)t->rows,
                       (unsigned long long)t->cols, (unsigned long long)rows,
                       (unsigned long long)cols);
    if (t->kind == SOURCE_CODES && role == EXPECT_NORM)
        return why_set(why, ERR_MODEL_FORMAT, "%s: %s holds codes; expected floats", s->path, name);
    struct expect *e = &l->items[l->n++];
    (void)snprintf(e->name, sizeof e->name, "%s", name);
    e->role = role;
    e->tensor = t;
    e->input = input_of(name);
    l->is_used[t - s->tensors] = 1;
    return ERR_OK;
}

static enum err add_model(struct list *l, const struct expect_shape *d, struct why *why)
{
    const struct source_config *c = &l->source->config;
    enum err e = ERR_OK;
#define TENSOR(name, role, rows, cols, when)                                                       \
    if (!e && (when))                                                                              \
        e = add(l, name, EXPECT_##role, d->rows, d->cols, why);
#define LAYER(name, role, rows, cols, when)
#include "services/model/tensors.def"
#undef TENSOR
#undef LAYER
    return e;
}

static enum err add_layer(struct list *l, const struct expect_shape *d, uint32_t i, struct why *why)
{
    const struct source_config *c = &l->source->config;
    bool is_qwen3 = strcmp(c->architecture, "qwen3") == 0;
    bool is_bitnet = strcmp(c->architecture, "bitnet") == 0;
    char full[96];
    enum err e = ERR_OK;
#define TENSOR(name, role, rows, cols, when)
#define LAYER(name, role, rows, cols, when)                                                        \
    if (!e && (when)) {                                                                            \
        (void)snprintf(full, sizeof full, "model.layers.%u.%s", i, name);                          \
        e = add(l, full, EXPECT_##role, d->rows, d->cols, why);                                    \
    }
#include "services/model/tensors.def"
#undef TENSOR
#undef LAYER
    return e;
}

/* Buffers that older checkpoints store; they are made from the configuration. */
static bool may_be_left_out(const struct source *s, const char *name)
{
    size_t n = strlen(name);
    static const char INV_FREQ[] = "rotary_emb.inv_freq";
    if (n >= sizeof INV_FREQ - 1 && strcmp(name + n - (sizeof INV_FREQ - 1), INV_FREQ) == 0)
        return true;
    return s->config.is_tied && strcmp(name, "lm_head.weight") == 0;
}

static enum err check_others(struct list *l, struct why *why)
{
    struct source *s = l->source;
    for (size_t i = 0; i < s->n_tensors; i++) {
        const struct source_tensor *t = &s->tensors[i];
        if (l->is_used[i])
            continue;
        if (!may_be_left_out(s, t->name))
            return why_set(why, ERR_UNSUPPORTED,
                           "%s: tensor %s at offset %llu has no place in the %s graph; without it "
                           "the model would compute something else",
                           s->path, t->name, (unsigned long long)t->offset, s->config.architecture);
        if (strcmp(t->name, "lm_head.weight") == 0)
            source_note(s, "lm_head.weight is left out: the configuration ties it to the "
                           "embedding");
    }
    return ERR_OK;
}

enum err expect_all(struct source *s, struct why *why, struct expect **ret_list, size_t *ret_n)
{
    const struct source_config *c = &s->config;
    struct expect_shape d = {
        .one = 1,
        .vocab = c->n_vocab,
        .hidden = c->n_hidden,
        .ffn = c->n_ffn,
        .q = (uint64_t)c->n_heads * c->head_dim,
        .kv = (uint64_t)c->n_kv_heads * c->head_dim,
        .head = c->head_dim,
    };
    struct list l = {.source = s};
    l.items = mem_zalloc(3 + (size_t)c->n_layers * 16, sizeof *l.items);
    l.is_used = mem_zalloc(s->n_tensors, 1);
    enum err e = add_model(&l, &d, why);
    for (uint32_t i = 0; i < c->n_layers && !e; i++)
        e = add_layer(&l, &d, i, why);
    if (!e)
        e = check_others(&l, why);
    free(l.is_used);
    if (e) {
        free(l.items);
        return e;
    }
    *ret_list = l.items;
    *ret_n = l.n;
    return ERR_OK;
}
