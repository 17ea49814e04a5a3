/* SPDX-License-Identifier: MIT */
#include "services/model/h1b_old_layout.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"
#include "services/model/decimal.h"
#include "services/model/load.h"

enum {
    HEADER_V1_BYTES = 44,
    HEADER_BYTES = 52,
    UNIT_MAX = 128,
    NOT_A_CODE = 3,
    TENSORS_PER_LAYER = 11,
    COPIES = 5, /* of norms, one hidden long each */
    HADAMARD_BLOCK = 128,
};

static void unpack_2bit(const uint8_t *p, int8_t *y)
{
    for (int j = 0; j < 4; j++) {
        int code = p[0] >> 2 * j & 3;
        y[j] = code == 3 ? NOT_A_CODE : (int8_t)(code - 1);
    }
}

/* Eight groups of four weights in five bytes. */
static void unpack_sherry(const uint8_t *p, int8_t *y)
{
    uint64_t bits = 0;
    for (int i = 0; i < 5; i++)
        bits |= (uint64_t)p[i] << 8 * i;
    for (int g = 0; g < 8; g++, bits >>= 5) {
        int zero = bits >> 3 & 3;
        int sign = 0;
        for (int j = 0; j < 4; j++)
            y[4 * g + j] = j == zero ? 0 : (int8_t)((bits >> sign++ & 1) != 0 ? 1 : -1);
    }
}

/* Four bytes of five trits; bytes above 242 stand for zeros. */
static void unpack_base3(const uint8_t *p, int8_t *y)
{
    for (int i = 0; i < 4; i++) {
        int v = p[i] > 242 ? 121 : p[i];
        for (int j = 0; j < 5; j++, v /= 3)
            y[5 * i + j] = (int8_t)(v % 3 - 1);
    }
}

static void unpack_q1(const uint8_t *p, int8_t *y)
{
    for (int j = 0; j < 128; j++)
        y[j] = (p[2 + j / 8] >> j % 8 & 1) != 0 ? 1 : -1;
}

static void unpack_tq2(const uint8_t *p, int8_t *y)
{
    for (int j = 0; j < 128; j++) {
        int code = p[2 + j / 4] >> 2 * (j % 4) & 3;
        y[j] = code == 3 ? 0 : (int8_t)(code - 1);
    }
}

static const struct h1b_old_packing HALO = {"Halo 2 bit", H1B_T2, 4, 1, 4, false, unpack_2bit};
static const struct h1b_old_packing SHERRY = {"Sherry", H1B_S3, 32, 5, 32, false, unpack_sherry};
static const struct h1b_old_packing TQ1 = {"TQ1", H1B_T5, 20, 4, 1, false, unpack_base3};
static const struct h1b_old_packing Q1 = {"Q1_0_g128", H1B_B1, 128, 18, 128, true, unpack_q1};
static const struct h1b_old_packing TQ2 = {"TQ2_0_g128", H1B_T2, 128, 34, 128, true, unpack_tq2};

struct reader {
    struct h1b_old_layout *l;
    const uint8_t *bytes;
    uint64_t size;
    const char *path;
    struct why *why;
    uint64_t at;
};

static enum err refuse(const struct reader *r, uint64_t offset, const char *expected)
{
    return why_set(r->why, ERR_MODEL_FORMAT, "%s: at offset %llu: expected %s", r->path,
                   (unsigned long long)offset, expected);
}

static enum err choose_packing(struct reader *r)
{
    struct h1b_old_layout *l = r->l;
    uint32_t bonsai = l->flags & (H1B_OLD_Q1 | H1B_OLD_TQ2);
    if (l->flags > 15)
        return refuse(r, 40, "flags of 0x1, 0x2, 0x4 and 0x8 only");
    if (bonsai == (H1B_OLD_Q1 | H1B_OLD_TQ2))
        return refuse(r, 40, "one of the flags 0x4 and 0x8: they name two packings");
    if (bonsai != 0 && bonsai != l->flags)
        return refuse(r, 40, "the flags 0x4 and 0x8 without others");
    if ((l->flags & H1B_OLD_SHERRY16) != 0 && l->version != 3)
        return refuse(r, 40, "flag 0x2 in version 3 only");
    l->packing = l->version == 3 ? &SHERRY : l->version == 4 ? &TQ1 : &HALO;
    if (bonsai != 0)
        l->packing = bonsai == H1B_OLD_Q1 ? &Q1 : &TQ2;
    return ERR_OK;
}

static enum err read_shape(struct reader *r)
{
    struct h1b_old_layout *l = r->l;
    const struct {
        uint32_t *to;
        uint32_t max;
        const char *expected;
    } fields[] = {
        {&l->n_hidden, 1 << 16, "a hidden size of 1..65536"},
        {&l->n_ffn, 1 << 18, "an intermediate size of 1..262144"},
        {&l->n_layers, 512, "1..512 layers"},
        {&l->n_heads, 512, "1..512 heads"},
        {&l->n_kv_heads, 512, "1..512 kv heads"},
        {&l->n_vocab, 1 << 20, "a vocabulary of 1..1048576"},
        {&l->n_ctx, 1 << 20, "a context of 1..1048576"},
    };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        *fields[i].to = load_u32(r->bytes + 8 + 4 * i);
        if (*fields[i].to < 1 || *fields[i].to > fields[i].max)
            return refuse(r, 8 + 4 * i, fields[i].expected);
    }
    if (l->n_hidden % l->n_heads != 0 || l->n_hidden / l->n_heads % 2 != 0)
        return refuse(r, 8, "a hidden size of whole, even heads");
    if (l->n_heads % l->n_kv_heads != 0)
        return refuse(r, 24, "a divisor of the number of heads");
    if (load_u32(r->bytes + 36) != 1)
        return refuse(r, 36, "tied embeddings (1): this format cannot hold a head of its own");
    return ERR_OK;
}

static enum err read_header(struct reader *r)
{
    struct h1b_old_layout *l = r->l;
    if (r->size < HEADER_V1_BYTES || memcmp(r->bytes, "H1B\0", 4) != 0)
        return refuse(r, 0, "\"H1B\" and a header of at least 44 bytes");
    l->version = load_u32(r->bytes + 4);
    l->flags = load_u32(r->bytes + 40);
    if (l->version < 1 || l->version > 4)
        return refuse(r, 4, "version 1..4");
    if (l->version > 1 && r->size < HEADER_BYTES)
        return refuse(r, 0, "a header of 52 bytes");
    enum err e = read_shape(r);
    if (!e)
        e = choose_packing(r);
    if (e)
        return e;
    float theta = l->version > 1 ? load_f32(r->bytes + 44) : 0;
    float eps = l->version > 1 ? load_f32(r->bytes + 48) : 0;
    l->rope_theta = theta <= 0 ? 500000 : decimal_of_f32(theta);
    l->rms_eps = eps <= 0 ? 1e-5 : decimal_of_f32(eps);
    if (!(l->rope_theta < 1e12) || !(l->rms_eps < 1))
        return refuse(r, 44, "a RoPE base and an epsilon that are numbers");
    r->at = l->version > 1 ? HEADER_BYTES : HEADER_V1_BYTES;
    return ERR_OK;
}

__attribute__((format(printf, 4, 5))) static struct h1b_old_tensor *
add(struct reader *r, uint64_t rows, uint64_t cols, const char *fmt, ...)
{
    struct h1b_old_tensor *t = &r->l->tensors[r->l->n_tensors++];
    *t =
        (struct h1b_old_tensor){.rows = rows, .cols = cols, .offset = r->at, .row_bytes = 4 * cols};
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(t->name, sizeof t->name, fmt, ap);
    va_end(ap);
    r->at += rows * t->row_bytes;
    return t;
}

static void add_packed(struct reader *r, uint32_t layer, const char *name, uint64_t rows,
                       uint64_t cols)
{
    const struct h1b_old_packing *p = r->l->packing;
    uint64_t start = r->at;
    struct h1b_old_tensor *t = add(r, rows, cols, "model.layers.%u.%s.weight", layer, name);
    t->is_packed = true;
    t->row_bytes = (cols + p->n_unit - 1) / p->n_unit * p->unit_bytes;
    r->at = start + rows * t->row_bytes;
    if (!p->has_group_scales) {
        t->scales_at = r->at;
        r->at += 4 * rows;
    }
}

static void add_layer(struct reader *r, uint32_t i)
{
    const struct h1b_old_layout *l = r->l;
    uint64_t hidden = l->n_hidden;
    uint64_t kv = hidden / l->n_heads * l->n_kv_heads;
    add(r, 1, hidden, "model.layers.%u.input_layernorm.weight", i);
    add(r, 1, hidden, "model.layers.%u.post_attention_layernorm.weight", i);
    add(r, 1, hidden, "model.layers.%u.self_attn.attn_sub_norm.weight", i);
    r->at += COPIES * 4 * hidden;
    add(r, 1, l->n_ffn, "model.layers.%u.mlp.ffn_sub_norm.weight", i);
    add_packed(r, i, "self_attn.q_proj", hidden, hidden);
    add_packed(r, i, "self_attn.k_proj", kv, hidden);
    add_packed(r, i, "self_attn.v_proj", kv, hidden);
    add_packed(r, i, "self_attn.o_proj", hidden, hidden);
    add_packed(r, i, "mlp.gate_proj", l->n_ffn, hidden);
    add_packed(r, i, "mlp.up_proj", l->n_ffn, hidden);
    add_packed(r, i, "mlp.down_proj", hidden, l->n_ffn);
}

enum err h1b_old_layout_init(struct h1b_old_layout *l, const uint8_t *bytes, uint64_t size,
                             const char *path, struct why *why)
{
    *l = (struct h1b_old_layout){0};
    struct reader r = {.l = l, .bytes = bytes, .size = size, .path = path, .why = why};
    enum err e = read_header(&r);
    if (e)
        return e;
    uint32_t multiple = l->packing->n_multiple;
    if (l->n_hidden % multiple != 0 || l->n_ffn % multiple != 0)
        return why_set(why, ERR_MODEL_FORMAT,
                       "%s: at offset 8: expected sizes in multiples of %u for "
                       "%s, found %u and %u",
                       path, multiple, l->packing->name, l->n_hidden, l->n_ffn);
    if ((l->flags & H1B_OLD_HADAMARD) != 0 &&
        (l->n_hidden % HADAMARD_BLOCK != 0 || l->n_ffn % HADAMARD_BLOCK != 0))
        return refuse(&r, 8, "sizes in multiples of 128, which flag 0x1 rotates");
    /* The fields' limits keep every sum below 2^60. */
    l->tensors = mem_zalloc(2 + (size_t)l->n_layers * TENSORS_PER_LAYER, sizeof *l->tensors);
    add(&r, l->n_vocab, l->n_hidden, "model.embed_tokens.weight");
    add(&r, 1, l->n_hidden, "model.norm.weight");
    for (uint32_t i = 0; i < l->n_layers; i++)
        add_layer(&r, i);
    if (r.at != size) {
        h1b_old_layout_fini(l);
        return why_set(
            why, ERR_MODEL_FORMAT,
            "%s: at offset 0: expected %llu bytes from version, flags and shape, the file "
            "has %llu",
            path, (unsigned long long)r.at, (unsigned long long)size);
    }
    return ERR_OK;
}

void h1b_old_layout_fini(struct h1b_old_layout *l)
{
    free(l->tensors);
    *l = (struct h1b_old_layout){0};
}

bool h1b_old_layout_codes(const struct h1b_old_packing *p, const uint8_t *row, uint64_t cols,
                          int8_t *ret_codes)
{
    int8_t unit[UNIT_MAX];
    for (uint64_t c = 0; c < cols; c += p->n_unit, row += p->unit_bytes) {
        uint64_t n = cols - c < p->n_unit ? cols - c : p->n_unit;
        p->unpack(row, unit);
        memcpy(ret_codes + c, unit, (size_t)n);
    }
    return !memchr(ret_codes, NOT_A_CODE, (size_t)cols);
}
