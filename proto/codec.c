/* SPDX-License-Identifier: MIT */
/* Encodes and decodes any frame by its field table. Packing and unpacking of single values is
 * msgpack-c's; because msgpack-c allocates what a count claims before it looks for the elements
 * (five bytes can ask for gigabytes), walk() first proves that every count fits into the bytes that
 * are there and that nothing nests too deeply. */
#include <math.h>
#include <msgpack.h>
#include <string.h>

#include "common/check.h"
#include "proto/schema.h"

enum { MAX_DEPTH = 8, MAX_FIELDS = 32 };

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

static enum err pack_struct(msgpack_packer *pk, const struct schema *s, const void *body);

static void pack_bytes(msgpack_packer *pk, struct str s)
{
    msgpack_pack_str(pk, s.len);
    msgpack_pack_str_body(pk, s.ptr, s.len);
}

static enum err pack_many(msgpack_packer *pk, const struct field *f, const void *body)
{
    size_t n = count_at(body, f);
    if (n > f->cap)
        return ERR_TOO_LARGE;
    const char *items = pointer_at(body, f);
    msgpack_pack_array(pk, n);
    for (size_t i = 0; i < n; i++) {
        uint32_t id;
        struct str str;
        enum err e;
        if (f->type == FIELD_IDS) {
            memcpy(&id, items + i * sizeof id, sizeof id);
            msgpack_pack_uint32(pk, id);
        } else if (f->type == FIELD_STRS) {
            memcpy(&str, items + i * sizeof str, sizeof str);
            pack_bytes(pk, str);
        } else {
            const struct schema *record = f->record();
            e = pack_struct(pk, record, items + i * record->size);
            if (e != ERR_OK)
                return e;
        }
    }
    return ERR_OK;
}

static enum err pack_field(msgpack_packer *pk, const struct field *f, const void *body)
{
    const void *p = at(body, f->offset);
    uint64_t u64;
    uint32_t u32;
    float f32;
    struct str str;
    switch (f->type) {
    case FIELD_U32:
        memcpy(&u32, p, sizeof u32);
        msgpack_pack_uint32(pk, u32);
        return ERR_OK;
    case FIELD_U64:
        memcpy(&u64, p, sizeof u64);
        msgpack_pack_uint64(pk, u64);
        return ERR_OK;
    case FIELD_F32:
        memcpy(&f32, p, sizeof f32);
        msgpack_pack_float(pk, f32);
        return ERR_OK;
    case FIELD_BOOL:
        if (*(const bool *)p)
            msgpack_pack_true(pk);
        else
            msgpack_pack_false(pk);
        return ERR_OK;
    case FIELD_STR:
    case FIELD_TEXT:
        memcpy(&str, p, sizeof str);
        pack_bytes(pk, str);
        return ERR_OK;
    case FIELD_IDS:
    case FIELD_STRS:
    case FIELD_LIST:
        return pack_many(pk, f, body);
    case FIELD_REC:
        return pack_struct(pk, f->record(), p);
    }
    return ERR_INTERNAL;
}

static enum err pack_struct(msgpack_packer *pk, const struct schema *s, const void *body)
{
    msgpack_pack_map(pk, n_present(s, body));
    for (size_t i = 0; i < s->n_fields; i++) {
        const struct field *f = &s->fields[i];
        if (!is_present(f, body))
            continue;
        msgpack_pack_uint8(pk, f->key);
        enum err e = pack_field(pk, f, body);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

static int write_to_buf(void *ctx, const char *data, size_t len)
{
    buf_add(ctx, data, len);
    return 0;
}

enum err frame_encode(struct buf *out, enum frame_type type, uint64_t epoch, const void *body)
{
    const struct schema *s = schema_of_frame((uint32_t)type);
    ASSERT(s != NULL);
    size_t start = out->len;
    msgpack_packer pk;
    msgpack_packer_init(&pk, out, write_to_buf);
    msgpack_pack_array(&pk, 3);
    msgpack_pack_uint32(&pk, s->number);
    msgpack_pack_uint64(&pk, epoch);
    enum err e = pack_struct(&pk, s, body);
    if (e == ERR_OK && out->len - start > FRAME_MAX_BYTES)
        e = ERR_TOO_LARGE;
    if (e != ERR_OK)
        out->len = start;
    return e;
}

/* ---- the walk before unpacking ----------------------------------------------------------------- */

struct cursor {
    const unsigned char *p;
    size_t left;
};

static bool skip(struct cursor *c, uint64_t n)
{
    if (n > c->left)
        return false;
    c->p += n;
    c->left -= (size_t)n;
    return true;
}

static bool take_be(struct cursor *c, int n_bytes, uint64_t *ret)
{
    const unsigned char *p = c->p;
    if (!skip(c, (uint64_t)n_bytes))
        return false;
    uint64_t v = 0;
    for (int i = 0; i < n_bytes; i++)
        v = v << 8 | p[i];
    *ret = v;
    return true;
}

/* Classifies one head byte: how many payload bytes, how many child values follow. */
static enum err read_head(struct cursor *c, uint64_t *ret_payload, uint64_t *ret_children)
{
    uint64_t b = 0;
    uint64_t n = 0;
    *ret_payload = 0;
    *ret_children = 0;
    if (!take_be(c, 1, &b))
        return ERR_PROTOCOL;
    if (b <= 0x7f || b >= 0xe0 || b == 0xc0 || b == 0xc2 || b == 0xc3)
        return ERR_OK;
    if (b <= 0x8f) {
        *ret_children = 2 * (b & 0x0f);
    } else if (b <= 0x9f) {
        *ret_children = b & 0x0f;
    } else if (b <= 0xbf) {
        *ret_payload = b & 0x1f;
    } else if (b >= 0xca && b <= 0xd3) {
        static const uint8_t SIZE[] = {4, 8, 1, 2, 4, 8, 1, 2, 4, 8};
        *ret_payload = SIZE[b - 0xca];
    } else if (b >= 0xd9 && b <= 0xdb) {
        if (!take_be(c, 1 << (b - 0xd9), &n))
            return ERR_PROTOCOL;
        *ret_payload = n;
    } else if (b >= 0xdc) {
        if (!take_be(c, (b & 1) == 0 ? 2 : 4, &n))
            return ERR_PROTOCOL;
        *ret_children = b >= 0xde ? 2 * n : n;
    } else { /* bin, ext and the unused 0xc1: no frame has them */
        return ERR_TYPE;
    }
    return ERR_OK;
}

static enum err walk(struct cursor *c, int depth)
{
    uint64_t payload;
    uint64_t children;
    enum err e = read_head(c, &payload, &children);
    if (e != ERR_OK)
        return e;
    if (!skip(c, payload) || children > c->left)
        return ERR_PROTOCOL;
    if (children > 0 && depth == 0)
        return ERR_DEPTH;
    for (uint64_t i = 0; i < children && e == ERR_OK; i++)
        e = walk(c, depth - 1);
    return e;
}

/* ---- decoding ---------------------------------------------------------------------------------- */

static enum err unpack_struct(const msgpack_object *o, const struct schema *s, struct arena *a,
                              void *body);

static enum err unpack_str(const msgpack_object *o, struct str *ret)
{
    if (o->type != MSGPACK_OBJECT_STR)
        return ERR_TYPE;
    *ret = (struct str){o->via.str.ptr, o->via.str.size};
    return ERR_OK;
}

static enum err unpack_u32(const msgpack_object *o, uint32_t *ret)
{
    if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return ERR_TYPE;
    if (o->via.u64 > UINT32_MAX)
        return ERR_RANGE;
    *ret = (uint32_t)o->via.u64;
    return ERR_OK;
}

static enum err unpack_element(const msgpack_object *o, const struct field *f, struct arena *a,
                               void *slot)
{
    switch (f->type) {
    case FIELD_IDS:
        return unpack_u32(o, slot);
    case FIELD_STRS:
        return unpack_str(o, slot);
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
    return unpack_struct(o, f->record(), a, slot);
}

static size_t element_size(const struct field *f)
{
    if (f->type == FIELD_IDS)
        return sizeof(uint32_t);
    if (f->type == FIELD_STRS)
        return sizeof(struct str);
    return f->record()->size;
}

static enum err unpack_many(const msgpack_object *o, const struct field *f, struct arena *a,
                            void *body)
{
    if (o->type != MSGPACK_OBJECT_ARRAY)
        return ERR_TYPE;
    size_t n = o->via.array.size;
    if (n > f->cap)
        return ERR_TOO_LARGE;
    size_t size = element_size(f);
    char *items = arena_zalloc(a, n, size);
    if (items == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        enum err e = unpack_element(&o->via.array.ptr[i], f, a, items + i * size);
        if (e != ERR_OK)
            return e;
    }
    memcpy((char *)body + f->offset, &items, sizeof items);
    memcpy((char *)body + f->offset_n, &n, sizeof n);
    return ERR_OK;
}

static enum err unpack_f32(const msgpack_object *o, float *ret)
{
    if (o->type != MSGPACK_OBJECT_FLOAT32)
        return ERR_TYPE;
    *ret = (float)o->via.f64;
    return ERR_OK;
}

static enum err unpack_field(const msgpack_object *o, const struct field *f, struct arena *a,
                             void *body)
{
    void *slot = (char *)body + f->offset;
    switch (f->type) {
    case FIELD_U32:
        return unpack_u32(o, slot);
    case FIELD_U64:
        if (o->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return ERR_TYPE;
        memcpy(slot, &o->via.u64, sizeof o->via.u64);
        return ERR_OK;
    case FIELD_F32:
        return unpack_f32(o, slot);
    case FIELD_BOOL:
        if (o->type != MSGPACK_OBJECT_BOOLEAN)
            return ERR_TYPE;
        *(bool *)slot = o->via.boolean;
        return ERR_OK;
    case FIELD_STR:
    case FIELD_TEXT:
        return unpack_str(o, slot);
    case FIELD_IDS:
    case FIELD_STRS:
    case FIELD_LIST:
        return unpack_many(o, f, a, body);
    case FIELD_REC:
        return unpack_struct(o, f->record(), a, slot);
    }
    return ERR_INTERNAL;
}

/* Index of the field with that key; n_fields if it is not known. */
static size_t find_key(const struct schema *s, uint64_t key)
{
    size_t i = 0;
    while (i < s->n_fields && s->fields[i].key != key)
        i++;
    return i;
}

static enum err unpack_struct(const msgpack_object *o, const struct schema *s, struct arena *a,
                              void *body)
{
    ASSERT(s->n_fields <= MAX_FIELDS);
    if (o->type != MSGPACK_OBJECT_MAP)
        return ERR_TYPE;
    uint32_t seen = 0;
    for (uint32_t k = 0; k < o->via.map.size; k++) {
        const msgpack_object_kv *kv = &o->via.map.ptr[k];
        if (kv->key.type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            return ERR_TYPE;
        size_t i = find_key(s, kv->key.via.u64);
        if (i == s->n_fields)
            continue;
        if ((seen >> i & 1) != 0)
            return ERR_PROTOCOL;
        seen |= UINT32_C(1) << i;
        enum err e = unpack_field(&kv->val, &s->fields[i], a, body);
        if (e != ERR_OK)
            return e;
    }
    for (size_t i = 0; i < s->n_fields; i++) {
        if (s->fields[i].is_required && (seen >> i & 1) == 0)
            return ERR_MISSING;
    }
    return ERR_OK;
}

static enum err unpack_frame(const msgpack_object *o, struct arena *a, struct frame *ret_frame)
{
    if (o->type != MSGPACK_OBJECT_ARRAY || o->via.array.size != 3)
        return ERR_PROTOCOL;
    const msgpack_object *part = o->via.array.ptr;
    uint32_t number;
    enum err e = unpack_u32(&part[0], &number);
    if (e != ERR_OK)
        return e;
    if (part[1].type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return ERR_TYPE;
    const struct schema *s = schema_of_frame(number);
    if (s == NULL)
        return ERR_UNKNOWN;
    void *body = arena_zalloc(a, 1, s->size);
    if (body == NULL)
        return ERR_NOMEM;
    e = unpack_struct(&part[2], s, a, body);
    if (e != ERR_OK)
        return e;
    *ret_frame = (struct frame){(enum frame_type)number, part[1].via.u64, body};
    return ERR_OK;
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
    msgpack_zone zone;
    if (!msgpack_zone_init(&zone, MSGPACK_ZONE_CHUNK_SIZE))
        return ERR_NOMEM;
    msgpack_object o;
    size_t off = 0;
    msgpack_unpack_return r = msgpack_unpack(data, len, &off, &zone, &o);
    if (r == MSGPACK_UNPACK_SUCCESS)
        e = unpack_frame(&o, arena, ret_frame);
    else
        e = r == MSGPACK_UNPACK_NOMEM_ERROR ? ERR_NOMEM : ERR_PROTOCOL;
    msgpack_zone_destroy(&zone);
    return e;
}
