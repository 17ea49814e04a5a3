/* SPDX-License-Identifier: MIT */
/* Encodes and decodes any frame by its field table. The bytes are msgpack's, in the shortest form of each
 * value, as msgpack-c packs them (a test compares). They are read and written here and not by msgpack-c,
 * because that builds a tree of objects for each frame. Without it the tokens of a step take half the
 * time to encode and two thirds to decode (50 and 69 ns a token instead of 103 and 95), and each is
 * decoded three times on its way to a client.
 * walk() first proves that every count fits into the bytes that are there and that nothing nests too
 * deeply; only then is anything allocated. */
#include <string.h>

#include "common/check.h"
#include "proto/schema.h"

enum { MAX_DEPTH = 8, MAX_FIELDS = 32, HEAD_BYTES = 9 };

/* ---- encoding ---------------------------------------------------------------------------------- */

static const void *at(const void *body, size_t offset)
{
    return (const char *)body + offset;
}

static size_t count_at(const void *body, const struct field *f)
{
    size_t n;
    memcpy(&n, at(body, f->offset_n), sizeof n);
    return n;
}

static const void *pointer_at(const void *body, const struct field *f)
{
    const void *p;
    memcpy(&p, at(body, f->offset), sizeof p);
    return p;
}

static size_t n_present(const struct schema *s, const void *body);

static bool is_present(const struct field *f, const void *body)
{
    const void *p = at(body, f->offset);
    uint64_t u64 = 0;
    uint32_t u32 = 0;
    struct str str;
    if (f->is_required)
        return true;
    switch (f->type) {
    case FIELD_U32:
    case FIELD_F32: /* -0.0 is sent: its bits are not zero */
        memcpy(&u32, p, sizeof u32);
        return u32 != 0;
    case FIELD_U64:
        memcpy(&u64, p, sizeof u64);
        return u64 != 0;
    case FIELD_BOOL:
        return *(const bool *)p;
    case FIELD_STR:
    case FIELD_TEXT:
        memcpy(&str, p, sizeof str);
        return str.len != 0;
    case FIELD_IDS:
    case FIELD_STRS:
    case FIELD_LIST:
        return count_at(body, f) != 0;
    case FIELD_REC:
        return n_present(f->record(), p) != 0;
    }
    return false;
}

static size_t n_present(const struct schema *s, const void *body)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_fields; i++)
        n += is_present(&s->fields[i], body);
    return n;
}

/* The n lowest bytes of v, the highest of them first. */
static char *put_be(char *p, int n, uint64_t v)
{
    for (int i = n - 1; i >= 0; i--)
        *p++ = (char)(v >> 8 * i & 0xff);
    return p;
}

/* Codes: of one byte, two and so on, up to eight. */
static void put_sized(struct buf *out, const uint8_t codes[4], uint64_t n)
{
    int log = n < 0x100 && codes[0] != 0 ? 0 : n < 0x10000 ? 1 : n <= UINT32_MAX ? 2 : 3;
    char *p = buf_reserve(out, HEAD_BYTES);
    *p++ = (char)codes[log];
    out->len += 1 + (size_t)(put_be(p, 1 << log, n) - p);
}

static void put_byte(struct buf *out, uint64_t byte)
{
    *buf_reserve(out, 1) = (char)byte;
    out->len++;
}

static void put_uint(struct buf *out, uint64_t v)
{
    static const uint8_t CODES[] = {0xcc, 0xcd, 0xce, 0xcf};
    if (v < 0x80)
        put_byte(out, v);
    else
        put_sized(out, CODES, v);
}

static void put_array(struct buf *out, size_t n)
{
    static const uint8_t CODES[] = {0, 0xdc, 0xdd, 0};
    if (n < 0x10)
        put_byte(out, 0x90 | n);
    else
        put_sized(out, CODES, n);
}

static void put_map(struct buf *out, size_t n)
{
    static const uint8_t CODES[] = {0, 0xde, 0xdf, 0};
    if (n < 0x10)
        put_byte(out, 0x80 | n);
    else
        put_sized(out, CODES, n);
}

static void put_str(struct buf *out, struct str s)
{
    static const uint8_t CODES[] = {0xd9, 0xda, 0xdb, 0};
    if (s.len < 0x20)
        put_byte(out, 0xa0 | s.len);
    else
        put_sized(out, CODES, s.len);
    buf_add_str(out, s);
}

static void put_float(struct buf *out, uint32_t bits)
{
    char *p = buf_reserve(out, HEAD_BYTES);
    *p++ = (char)0xca;
    out->len += 1 + (size_t)(put_be(p, 4, bits) - p);
}

static enum err pack_struct(struct buf *out, const struct schema *s, const void *body);

static enum err pack_many(struct buf *out, const struct field *f, const void *body)
{
    size_t n = count_at(body, f);
    if (n > f->cap)
        return ERR_TOO_LARGE;
    const char *items = pointer_at(body, f);
    put_array(out, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t id;
        struct str str;
        enum err e;
        if (f->type == FIELD_IDS) {
            memcpy(&id, items + i * sizeof id, sizeof id);
            put_uint(out, id);
        } else if (f->type == FIELD_STRS) {
            memcpy(&str, items + i * sizeof str, sizeof str);
            put_str(out, str);
        } else {
            const struct schema *record = f->record();
            e = pack_struct(out, record, items + i * record->size);
            if (e != ERR_OK)
                return e;
        }
    }
    return ERR_OK;
}

static enum err pack_field(struct buf *out, const struct field *f, const void *body)
{
    const void *p = at(body, f->offset);
    uint64_t u64;
    uint32_t u32;
    struct str str;
    switch (f->type) {
    case FIELD_U32:
        memcpy(&u32, p, sizeof u32);
        put_uint(out, u32);
        return ERR_OK;
    case FIELD_U64:
        memcpy(&u64, p, sizeof u64);
        put_uint(out, u64);
        return ERR_OK;
    case FIELD_F32:
        memcpy(&u32, p, sizeof u32);
        put_float(out, u32);
        return ERR_OK;
    case FIELD_BOOL:
        put_byte(out, *(const bool *)p ? 0xc3 : 0xc2);
        return ERR_OK;
    case FIELD_STR:
    case FIELD_TEXT:
        memcpy(&str, p, sizeof str);
        put_str(out, str);
        return ERR_OK;
    case FIELD_IDS:
    case FIELD_STRS:
    case FIELD_LIST:
        return pack_many(out, f, body);
    case FIELD_REC:
        return pack_struct(out, f->record(), p);
    }
    return ERR_INTERNAL;
}

static enum err pack_struct(struct buf *out, const struct schema *s, const void *body)
{
    uint32_t present = 0;
    ASSERT(s->n_fields <= MAX_FIELDS);
    for (size_t i = 0; i < s->n_fields; i++)
        present |= (uint32_t)is_present(&s->fields[i], body) << i;
    put_map(out, (size_t)__builtin_popcount(present));
    for (; present != 0; present &= present - 1) {
        const struct field *f = &s->fields[__builtin_ctz(present)];
        put_uint(out, f->key);
        enum err e = pack_field(out, f, body);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

enum err frame_encode(struct buf *out, enum frame_type type, uint64_t epoch, const void *body)
{
    const struct schema *s = schema_of_frame((uint32_t)type);
    ASSERT(s != NULL);
    size_t start = out->len;
    put_array(out, 3);
    put_uint(out, s->number);
    put_uint(out, epoch);
    enum err e = pack_struct(out, s, body);
    if (e == ERR_OK && out->len - start > FRAME_MAX_BYTES)
        e = ERR_TOO_LARGE;
    if (e != ERR_OK)
        out->len = start;
    *buf_reserve(out, 0) = '\0';
    return e;
}

/* ---- values ------------------------------------------------------------------------------------ */

struct cursor {
    const unsigned char *p;
    size_t left;
};

enum kind {
    KIND_UINT,
    KIND_F32,
    KIND_BOOL,
    KIND_STR,
    KIND_ARRAY,
    KIND_MAP,
    KIND_OTHER, /* no field has it, but what is not known to us may */
};

struct value {
    enum kind kind;
    uint64_t n; /* the number, a float's bits, or how many bytes, elements or pairs follow */
};

static bool skip(struct cursor *c, uint64_t n)
{
    if (n > c->left)
        return false;
    c->p += n;
    c->left -= (size_t)n;
    return true;
}

static enum err take_be(struct cursor *c, int n_bytes, uint64_t *ret)
{
    const unsigned char *p = c->p;
    if (!skip(c, (uint64_t)n_bytes))
        return ERR_PROTOCOL;
    uint64_t v = 0;
    for (int i = 0; i < n_bytes; i++)
        v = v << 8 | p[i];
    *ret = v;
    return ERR_OK;
}

/* Those with a number behind their head. A signed one that is not negative counts as unsigned. */
static enum err take_sized(struct cursor *c, unsigned b, struct value *v)
{
    if (b >= 0xdc) {
        v->kind = b < 0xde ? KIND_ARRAY : KIND_MAP;
        return take_be(c, (b & 1) == 0 ? 2 : 4, &v->n);
    }
    if (b >= 0xd9 && b <= 0xdb) {
        v->kind = KIND_STR;
        return take_be(c, 1 << (b - 0xd9), &v->n);
    }
    if (b < 0xca || b > 0xd3) /* bin, ext and the unused 0xc1: no frame has them */
        return ERR_TYPE;
    if (b <= 0xcb) {
        v->kind = b == 0xca ? KIND_F32 : KIND_OTHER;
        return take_be(c, b == 0xca ? 4 : 8, &v->n);
    }
    int n_bytes = 1 << (b & 3);
    enum err e = take_be(c, n_bytes, &v->n);
    if (e != ERR_OK)
        return e;
    bool is_negative = b >= 0xd0 && (v->n >> (8 * n_bytes - 1) & 1) != 0;
    v->kind = is_negative ? KIND_OTHER : KIND_UINT;
    return ERR_OK;
}

/* What a value is; the bytes, elements or pairs that it consists of are left to the caller. */
static enum err take_value(struct cursor *c, struct value *v)
{
    if (c->left == 0)
        return ERR_PROTOCOL;
    unsigned b = *c->p++;
    c->left--;
    if (b <= 0x7f)
        *v = (struct value){KIND_UINT, b};
    else if (b <= 0x8f)
        *v = (struct value){KIND_MAP, b & 0x0f};
    else if (b <= 0x9f)
        *v = (struct value){KIND_ARRAY, b & 0x0f};
    else if (b <= 0xbf)
        *v = (struct value){KIND_STR, b & 0x1f};
    else if (b == 0xc2 || b == 0xc3)
        *v = (struct value){KIND_BOOL, b & 1};
    else if (b == 0xc0 || b >= 0xe0)
        *v = (struct value){KIND_OTHER, 0};
    else
        return take_sized(c, b, v);
    return ERR_OK;
}

static enum err walk(struct cursor *c, int depth)
{
    struct value v;
    enum err e = take_value(c, &v);
    if (e != ERR_OK)
        return e;
    if (v.kind == KIND_STR)
        return skip(c, v.n) ? ERR_OK : ERR_PROTOCOL;
    uint64_t children = v.kind == KIND_ARRAY ? v.n : v.kind == KIND_MAP ? 2 * v.n : 0;
    if (children > c->left)
        return ERR_PROTOCOL;
    if (children > 0 && depth == 0)
        return ERR_DEPTH;
    for (uint64_t i = 0; i < children && e == ERR_OK; i++)
        e = walk(c, depth - 1);
    return e;
}

/* ---- decoding, of what was walked over ----------------------------------------------------------- */

static enum err unpack_struct(struct cursor *c, const struct schema *s, struct arena *a,
                              void *body);

static enum err unpack_str(struct cursor *c, struct str *ret)
{
    struct value v;
    enum err e = take_value(c, &v);
    if (e == ERR_OK && v.kind != KIND_STR)
        e = ERR_TYPE;
    if (e != ERR_OK)
        return e;
    *ret = (struct str){(const char *)c->p, (size_t)v.n};
    return skip(c, v.n) ? ERR_OK : ERR_PROTOCOL;
}

static enum err unpack_u64(struct cursor *c, uint64_t *ret)
{
    struct value v;
    enum err e = take_value(c, &v);
    if (e == ERR_OK && v.kind != KIND_UINT)
        e = ERR_TYPE;
    if (e == ERR_OK)
        *ret = v.n;
    return e;
}

static enum err unpack_u32(struct cursor *c, uint32_t *ret)
{
    uint64_t n = 0;
    enum err e = unpack_u64(c, &n);
    if (e == ERR_OK && n > UINT32_MAX)
        e = ERR_RANGE;
    if (e == ERR_OK)
        *ret = (uint32_t)n;
    return e;
}

static enum err unpack_element(struct cursor *c, const struct field *f, struct arena *a, void *slot)
{
    switch (f->type) {
    case FIELD_IDS:
        return unpack_u32(c, slot);
    case FIELD_STRS:
        return unpack_str(c, slot);
    case FIELD_U32:
    case FIELD_U64:
    case FIELD_F32:
    case FIELD_BOOL:
    case FIELD_STR:
    case FIELD_TEXT:
    case FIELD_REC:
    case FIELD_LIST:
        break;
    }
    return unpack_struct(c, f->record(), a, slot);
}

static size_t element_size(const struct field *f)
{
    if (f->type == FIELD_IDS)
        return sizeof(uint32_t);
    if (f->type == FIELD_STRS)
        return sizeof(struct str);
    return f->record()->size;
}

static enum err unpack_many(struct cursor *c, const struct field *f, struct arena *a, void *body)
{
    struct value v;
    enum err e = take_value(c, &v);
    if (e != ERR_OK || v.kind != KIND_ARRAY)
        return e != ERR_OK ? e : ERR_TYPE;
    size_t n = (size_t)v.n;
    if (n > f->cap)
        return ERR_TOO_LARGE;
    size_t size = element_size(f);
    char *items = arena_zalloc(a, n, size);
    if (items == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        e = unpack_element(c, f, a, items + i * size);
    memcpy((char *)body + f->offset, &items, sizeof items);
    memcpy((char *)body + f->offset_n, &n, sizeof n);
    return e;
}

static enum err unpack_f32(struct cursor *c, void *slot)
{
    struct value v;
    enum err e = take_value(c, &v);
    if (e != ERR_OK || v.kind != KIND_F32)
        return e != ERR_OK ? e : ERR_TYPE;
    const uint32_t bits = (uint32_t)v.n;
    memcpy(slot, &bits, sizeof bits);
    return ERR_OK;
}

static enum err unpack_bool(struct cursor *c, bool *ret)
{
    struct value v;
    enum err e = take_value(c, &v);
    if (e != ERR_OK || v.kind != KIND_BOOL)
        return e != ERR_OK ? e : ERR_TYPE;
    *ret = v.n != 0;
    return ERR_OK;
}

static enum err unpack_field(struct cursor *c, const struct field *f, struct arena *a, void *body)
{
    void *slot = (char *)body + f->offset;
    switch (f->type) {
    case FIELD_U32:
        return unpack_u32(c, slot);
    case FIELD_U64:
        return unpack_u64(c, slot);
    case FIELD_F32:
        return unpack_f32(c, slot);
    case FIELD_BOOL:
        return unpack_bool(c, slot);
    case FIELD_STR:
    case FIELD_TEXT:
        return unpack_str(c, slot);
    case FIELD_IDS:
    case FIELD_STRS:
    case FIELD_LIST:
        return unpack_many(c, f, a, body);
    case FIELD_REC:
        return unpack_struct(c, f->record(), a, slot);
    }
    return ERR_INTERNAL;
}

/* Index of the field with that key; n_fields if it is not known. Most come in the order of the table, so
 * the search begins at `from`. */
static size_t find_key(const struct schema *s, uint64_t key, size_t from)
{
    for (size_t i = from; i < s->n_fields; i++) {
        if (s->fields[i].key == key)
            return i;
    }
    for (size_t i = 0; i < from; i++) {
        if (s->fields[i].key == key)
            return i;
    }
    return s->n_fields;
}

static bool has_required(const struct schema *s, uint32_t seen)
{
    for (size_t i = 0; i < s->n_fields; i++) {
        if (s->fields[i].is_required && (seen >> i & 1) == 0)
            return false;
    }
    return true;
}

static enum err unpack_struct(struct cursor *c, const struct schema *s, struct arena *a, void *body)
{
    struct value map;
    enum err e = take_value(c, &map);
    ASSERT(s->n_fields <= MAX_FIELDS);
    if (e != ERR_OK || map.kind != KIND_MAP)
        return e != ERR_OK ? e : ERR_TYPE;
    uint32_t seen = 0;
    size_t from = 0;
    for (uint64_t k = 0; k < map.n; k++) {
        uint64_t key = 0;
        e = unpack_u64(c, &key);
        if (e != ERR_OK)
            return e;
        size_t i = find_key(s, key, from);
        if (i == s->n_fields) {
            e = walk(c, MAX_DEPTH);
        } else if ((seen >> i & 1) != 0) {
            e = ERR_PROTOCOL;
        } else {
            seen |= UINT32_C(1) << i;
            e = unpack_field(c, &s->fields[i], a, body);
            from = i + 1;
        }
        if (e != ERR_OK)
            return e;
    }
    return has_required(s, seen) ? ERR_OK : ERR_MISSING;
}

static enum err unpack_frame(struct cursor *c, struct arena *a, struct frame *ret_frame)
{
    struct value parts;
    uint32_t number = 0;
    uint64_t epoch = 0;
    enum err e = take_value(c, &parts);
    if (e != ERR_OK || parts.kind != KIND_ARRAY || parts.n != 3)
        return ERR_PROTOCOL;
    e = unpack_u32(c, &number);
    if (e == ERR_OK)
        e = unpack_u64(c, &epoch);
    if (e != ERR_OK)
        return e;
    const struct schema *s = schema_of_frame(number);
    if (s == NULL)
        return ERR_UNKNOWN;
    void *body = arena_zalloc(a, 1, s->size);
    if (body == NULL)
        return ERR_NOMEM;
    e = unpack_struct(c, s, a, body);
    if (e == ERR_OK)
        *ret_frame = (struct frame){(enum frame_type)number, epoch, body};
    return e;
}

enum err frame_decode(const void *data, size_t len, struct arena *arena, struct frame *ret_frame)
{
    if (len > FRAME_MAX_BYTES)
        return ERR_TOO_LARGE;
    struct cursor c = {data, len};
    enum err e = walk(&c, MAX_DEPTH);
    if (e != ERR_OK)
        return e;
    if (c.left != 0)
        return ERR_PROTOCOL;
    c = (struct cursor){data, len};
    return unpack_frame(&c, arena, ret_frame);
}
