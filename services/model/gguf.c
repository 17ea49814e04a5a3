/* SPDX-License-Identifier: MIT */
#include "services/model/gguf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "services/model/load.h"
#include "services/model/mapping.h"

enum {
    ALIGNMENT_DEFAULT = 32,
    ALIGNMENT_MAX = 1 << 20,
    NESTING_MAX = 4, /* arrays of arrays */
    VALUE_BYTES_MIN = 13, /* empty key, type, one byte */
    TENSOR_BYTES_MIN = 32, /* empty name, one dim */
};

struct gguf {
    char *path;
    const uint8_t *bytes;
    uint64_t size;
    struct mapping map; /* empty: the bytes are borrowed */
    uint32_t alignment;
    size_t n_values;
    struct gguf_value *values;
    struct gguf_value **by_key; /* sorted */
    size_t n_tensors;
    struct gguf_tensor *tensors;
    struct gguf_tensor **by_name; /* sorted */
};

/* Goes through the header. After the first failure every read gives zeros. */
struct cursor {
    const struct gguf *g;
    uint64_t at;
    enum err err;
    struct why *why;
};

__attribute__((format(printf, 4, 5))) static void fail(struct cursor *c, enum err e,
                                                       uint64_t offset, const char *fmt, ...)
{
    if (c->err)
        return;
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->err =
        why_set(c->why, e, "%s: at offset %llu: %s", c->g->path, (unsigned long long)offset, text);
}

/* The next n bytes; NULL after a failure. */
static const uint8_t *take(struct cursor *c, uint64_t n, const char *what)
{
    if (c->err)
        return NULL;
    if (n > c->g->size - c->at) {
        fail(c, ERR_MODEL_FORMAT, c->at, "expected %s of %llu bytes, the file ends after %llu",
             what, (unsigned long long)n, (unsigned long long)(c->g->size - c->at));
        return NULL;
    }
    const uint8_t *p = c->g->bytes + c->at;
    c->at += n;
    return p;
}

static uint32_t take_u32(struct cursor *c, const char *what)
{
    const uint8_t *p = take(c, 4, what);
    return p ? load_u32(p) : 0;
}

static uint64_t take_u64(struct cursor *c, const char *what)
{
    const uint8_t *p = take(c, 8, what);
    return p ? load_u64(p) : 0;
}

static struct str take_str(struct cursor *c, uint64_t max, const char *what)
{
    uint64_t at = c->at;
    uint64_t n = take_u64(c, what);
    if (n > max)
        fail(c, ERR_MODEL_FORMAT, at, "expected %s of at most %llu bytes, found %llu", what,
             (unsigned long long)max, (unsigned long long)n);
    const uint8_t *p = take(c, n, what);
    return p ? (struct str){(const char *)p, (size_t)n} : (struct str){"", 0};
}

/* Bytes of a value of fixed size; 0 for strings and arrays; UINT64_MAX for no kind at all. */
static uint64_t size_of_kind(uint32_t kind)
{
    static const uint8_t SIZES[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return kind < sizeof SIZES ? SIZES[kind] : UINT64_MAX;
}

static uint32_t take_kind(struct cursor *c)
{
    uint64_t at = c->at;
    uint32_t kind = take_u32(c, "a value type");
    if (size_of_kind(kind) == UINT64_MAX)
        fail(c, ERR_MODEL_FORMAT, at, "expected a value type 0..12, found %u", kind);
    return kind;
}

static void skip_items(struct cursor *c, uint32_t kind, uint64_t n, int depth);

static void skip_array(struct cursor *c, int depth)
{
    if (depth > NESTING_MAX)
        fail(c, ERR_MODEL_FORMAT, c->at, "expected arrays nested at most %d deep", NESTING_MAX);
    uint32_t kind = take_kind(c);
    uint64_t n = take_u64(c, "an array's count");
    skip_items(c, kind, n, depth);
}

static void skip_items(struct cursor *c, uint32_t kind, uint64_t n, int depth)
{
    uint64_t size = size_of_kind(kind);
    uint64_t n_bytes = 0;
    if (size > 0 && size != UINT64_MAX) {
        if (__builtin_mul_overflow(n, size, &n_bytes))
            n_bytes = UINT64_MAX;
        (void)take(c, n_bytes, "array items");
        return;
    }
    /* A string or an array takes eight bytes or more: a count that lies ends at the end of the file. */
    for (uint64_t i = 0; i < n && !c->err; i++) {
        if (kind == GGUF_STRING)
            (void)take_str(c, UINT64_MAX, "a string");
        else
            skip_array(c, depth + 1);
    }
}

static void read_value(struct cursor *c, struct gguf_value *v)
{
    uint64_t at = c->at;
    v->key = take_str(c, GGUF_KEY_MAX, "a key");
    if (v->key.len == 0 || memchr(v->key.ptr, 0, v->key.len))
        fail(c, ERR_MODEL_FORMAT, at, "expected a key without NUL of 1..%d bytes", GGUF_KEY_MAX);
    v->kind = (enum gguf_kind)take_kind(c);
    if (v->kind == GGUF_ARRAY) {
        v->item_kind = (enum gguf_kind)take_kind(c);
        v->n_items = take_u64(c, "an array's count");
        v->data = c->g->bytes + c->at;
        skip_items(c, v->item_kind, v->n_items, 1);
        return;
    }
    v->data = c->g->bytes + c->at;
    if (v->kind == GGUF_STRING)
        (void)take_str(c, UINT64_MAX, "a string");
    else
        (void)take(c, size_of_kind(v->kind), "a value");
    if (v->kind == GGUF_BOOL && !c->err && *v->data > 1)
        fail(c, ERR_MODEL_FORMAT, c->at - 1, "%.*s: expected 0 or 1, found %u", (int)v->key.len,
             v->key.ptr, *v->data);
}

static void read_tensor(struct cursor *c, struct gguf_tensor *t)
{
    uint64_t at = c->at;
    t->name = take_str(c, GGUF_NAME_MAX, "a tensor's name");
    if (t->name.len == 0 || memchr(t->name.ptr, 0, t->name.len))
        fail(c, ERR_MODEL_FORMAT, at, "expected a tensor's name without NUL of 1..%d bytes",
             GGUF_NAME_MAX);
    at = c->at;
    t->n_dims = take_u32(c, "a tensor's number of dims");
    if (t->n_dims < 1 || t->n_dims > GGUF_DIMS_MAX)
        fail(c, ERR_MODEL_FORMAT, at, "%.*s: expected 1..%d dims, found %u", (int)t->name.len,
             t->name.ptr, GGUF_DIMS_MAX, t->n_dims);
    t->n_weights = 1;
    for (uint32_t i = 0; i < GGUF_DIMS_MAX; i++) {
        at = c->at;
        t->dims[i] = i < t->n_dims && !c->err ? take_u64(c, "a tensor's dim") : 1;
        if (t->dims[i] == 0 || __builtin_mul_overflow(t->n_weights, t->dims[i], &t->n_weights) ||
            t->n_weights > INT64_MAX)
            fail(c, ERR_MODEL_FORMAT, at,
                 "%.*s: expected dims of at least 1 and a product that fits", (int)t->name.len,
                 t->name.ptr);
    }
    t->type = take_u32(c, "a tensor's type");
    t->offset = take_u64(c, "a tensor's offset");
}

static int compare_str(struct str a, struct str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int d = memcmp(a.ptr, b.ptr, n);
    return d != 0 ? d : (a.len > b.len) - (a.len < b.len);
}

static int compare_keys(const void *a, const void *b)
{
    const struct gguf_value *const *x = a;
    const struct gguf_value *const *y = b;
    return compare_str((*x)->key, (*y)->key);
}

static int compare_names(const void *a, const void *b)
{
    const struct gguf_tensor *const *x = a;
    const struct gguf_tensor *const *y = b;
    return compare_str((*x)->name, (*y)->name);
}

static int compare_offsets(const void *a, const void *b)
{
    const struct gguf_tensor *const *x = a;
    const struct gguf_tensor *const *y = b;
    return ((*x)->offset > (*y)->offset) - ((*x)->offset < (*y)->offset);
}

static void index_keys(struct cursor *c, struct gguf *g)
{
    for (size_t i = 0; i < g->n_values; i++)
        g->by_key[i] = &g->values[i];
    qsort(g->by_key, g->n_values, sizeof(struct gguf_value *), compare_keys);
    for (size_t i = 1; i < g->n_values; i++) {
        struct str key = g->by_key[i]->key;
        if (str_eq(g->by_key[i - 1]->key, key))
            fail(c, ERR_MODEL_FORMAT, (uint64_t)((const uint8_t *)key.ptr - g->bytes),
                 "%.*s: expected each key once", (int)key.len, key.ptr);
    }
}

static void read_alignment(struct cursor *c, struct gguf *g)
{
    uint64_t alignment = ALIGNMENT_DEFAULT;
    enum err e = gguf_get_u64(g, "general.alignment", &alignment);
    if ((e && e != ERR_MISSING) || alignment < 1 || alignment > ALIGNMENT_MAX ||
        (alignment & (alignment - 1)) != 0)
        fail(c, ERR_MODEL_FORMAT, c->at, "general.alignment: expected a power of two up to %d",
             ALIGNMENT_MAX);
    g->alignment = (uint32_t)alignment;
}

static void refuse_parts(struct cursor *c, const struct gguf *g)
{
    uint64_t n = 1;
    if (gguf_get_u64(g, "split.count", &n) == ERR_OK && n > 1)
        fail(c, ERR_UNSUPPORTED, 0,
             "expected a whole model, this is one of %llu parts: join them with llama.cpp's "
             "`llama-gguf-split --merge`",
             (unsigned long long)n);
}

/* Turns offsets in the data area into places, and sorts by name. */
static void place_tensors(struct cursor *c, struct gguf *g)
{
    uint64_t start = (c->at + g->alignment - 1) / g->alignment * g->alignment;
    for (size_t i = 0; i < g->n_tensors && !c->err; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (t->offset % g->alignment != 0 || start > g->size || t->offset > g->size - start)
            fail(c, ERR_MODEL_FORMAT, c->at,
                 "%.*s: expected an offset inside the file that is a multiple of %u, found %llu",
                 (int)t->name.len, t->name.ptr, g->alignment, (unsigned long long)t->offset);
        else
            t->offset += start;
        g->by_name[i] = t;
    }
    if (c->err || g->n_tensors == 0)
        return;
    qsort(g->by_name, g->n_tensors, sizeof(struct gguf_tensor *), compare_offsets);
    uint64_t end = g->size;
    for (size_t i = g->n_tensors; i-- > 0;) {
        struct gguf_tensor *t = g->by_name[i];
        t->data = g->bytes + t->offset;
        t->room = end - t->offset;
        end = t->offset;
    }
    qsort(g->by_name, g->n_tensors, sizeof(struct gguf_tensor *), compare_names);
    for (size_t i = 1; i < g->n_tensors; i++) {
        struct str name = g->by_name[i]->name;
        if (str_eq(g->by_name[i - 1]->name, name))
            fail(c, ERR_MODEL_FORMAT, (uint64_t)((const uint8_t *)name.ptr - g->bytes),
                 "%.*s: expected each tensor once", (int)name.len, name.ptr);
    }
}

static void read_start(struct cursor *c)
{
    const uint8_t *magic = take(c, 4, "the magic \"GGUF\"");
    if (magic && memcmp(magic, "GGUF", 4) != 0)
        fail(c, ERR_MODEL_FORMAT, 0, "expected the magic \"GGUF\"");
    uint32_t version = take_u32(c, "the version");
    if (version == 2 || version == 3)
        return;
    if (__builtin_bswap32(version) <= 3 && version != 0)
        fail(c, ERR_UNSUPPORTED, 4,
             "expected little-endian numbers, this file is big-endian: get the little-endian one");
    fail(c, version == 1 ? ERR_UNSUPPORTED : ERR_MODEL_FORMAT, 4,
         "expected version 2 or 3, found %u", version);
}

static uint64_t take_count(struct cursor *c, uint64_t max, uint64_t n_bytes_min, const char *what)
{
    uint64_t at = c->at;
    uint64_t n = take_u64(c, what);
    uint64_t n_fit = (c->g->size - c->at) / n_bytes_min;
    if (n > max || n > n_fit) {
        fail(c, ERR_MODEL_FORMAT, at, "expected %s of at most %llu, found %llu", what,
             (unsigned long long)(n_fit < max ? n_fit : max), (unsigned long long)n);
        return 0;
    }
    return n;
}

static void *alloc_array(struct cursor *c, size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (!p)
        fail(c, ERR_NOMEM, c->at, "out of memory");
    return p;
}

static void parse(struct cursor *c, struct gguf *g)
{
    read_start(c);
    g->n_tensors = take_count(c, GGUF_TENSORS_MAX, TENSOR_BYTES_MIN, "a number of tensors");
    g->n_values = take_count(c, GGUF_VALUES_MAX, VALUE_BYTES_MIN, "a number of keys");
    g->values = alloc_array(c, g->n_values, sizeof *g->values);
    g->by_key = alloc_array(c, g->n_values, sizeof(struct gguf_value *));
    g->tensors = alloc_array(c, g->n_tensors, sizeof *g->tensors);
    g->by_name = alloc_array(c, g->n_tensors, sizeof(struct gguf_tensor *));
    for (size_t i = 0; i < g->n_values && !c->err; i++)
        read_value(c, &g->values[i]);
    if (!c->err)
        index_keys(c, g);
    if (!c->err)
        read_alignment(c, g);
    if (!c->err)
        refuse_parts(c, g);
    for (size_t i = 0; i < g->n_tensors && !c->err; i++)
        read_tensor(c, &g->tensors[i]);
    if (!c->err)
        place_tensors(c, g);
}

enum err gguf_open_bytes(const void *bytes, size_t n, const char *path, struct why *why,
                         struct gguf **ret_gguf)
{
    struct gguf *g = mem_zalloc(1, sizeof *g);
    struct cursor c = {.g = g, .why = why};
    g->path = mem_strndup(path, strlen(path));
    g->bytes = bytes;
    g->size = n;
    parse(&c, g);
    if (c.err)
        goto fail;
    *ret_gguf = g;
    return ERR_OK;
fail:
    gguf_close(g);
    return c.err;
}

enum err gguf_open(const char *path, struct why *why, struct gguf **ret_gguf)
{
    struct mapping map;
    enum err e = mapping_init(&map, path, why);
    if (e)
        return e;
    struct gguf *g = NULL;
    e = gguf_open_bytes(map.bytes, map.size, path, why, &g);
    if (e) {
        mapping_fini(&map);
        return e;
    }
    g->map = map;
    *ret_gguf = g;
    return ERR_OK;
}

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    mapping_fini(&g->map);
    free(g->values);
    free(g->by_key);
    free(g->tensors);
    free(g->by_name);
    free(g->path);
    free(g);
}

bool gguf_is_magic(const void *bytes, size_t n)
{
    return n >= 4 && memcmp(bytes, "GGUF", 4) == 0;
}

const char *gguf_path(const struct gguf *g)
{
    return g->path;
}

uint32_t gguf_alignment(const struct gguf *g)
{
    return g->alignment;
}

const struct gguf_value *gguf_find(const struct gguf *g, const char *key)
{
    struct str want = str_from(key);
    size_t low = 0;
    size_t high = g->n_values;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = compare_str(g->by_key[mid]->key, want);
        if (d == 0)
            return g->by_key[mid];
        if (d < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name)
{
    struct str want = str_from(name);
    size_t low = 0;
    size_t high = g->n_tensors;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = compare_str(g->by_name[mid]->name, want);
        if (d == 0)
            return g->by_name[mid];
        if (d < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

const struct gguf_value *gguf_values(const struct gguf *g, size_t *ret_n)
{
    *ret_n = g->n_values;
    return g->values;
}

const struct gguf_tensor *gguf_tensors(const struct gguf *g, size_t *ret_n)
{
    *ret_n = g->n_tensors;
    return g->tensors;
}

/* The bytes of a value of fixed size as a number without sign. */
static uint64_t get_bits(enum gguf_kind kind, const uint8_t *p)
{
    uint64_t size = size_of_kind(kind);
    uint64_t bits = 0;
    for (uint64_t i = 0; i < size; i++)
        bits |= (uint64_t)p[i] << 8 * i;
    return bits;
}

static bool is_signed(enum gguf_kind kind)
{
    return kind == GGUF_I8 || kind == GGUF_I16 || kind == GGUF_I32 || kind == GGUF_I64;
}

static bool is_unsigned(enum gguf_kind kind)
{
    return kind == GGUF_U8 || kind == GGUF_U16 || kind == GGUF_U32 || kind == GGUF_U64;
}

static int64_t get_signed(enum gguf_kind kind, const uint8_t *p)
{
    unsigned shift = (unsigned)(64 - 8 * size_of_kind(kind));
    return (int64_t)(get_bits(kind, p) << shift) >> shift;
}

static bool get_real(enum gguf_kind kind, const uint8_t *p, double *ret)
{
    uint64_t bits = get_bits(kind, p);
    if (kind == GGUF_F32) {
        uint32_t low = (uint32_t)bits;
        float x;
        memcpy(&x, &low, sizeof x);
        *ret = (double)x;
    } else if (kind == GGUF_F64) {
        memcpy(ret, &bits, sizeof *ret);
    } else if (is_signed(kind)) {
        *ret = (double)get_signed(kind, p);
    } else if (is_unsigned(kind)) {
        *ret = (double)bits;
    } else {
        return false;
    }
    return true;
}

static bool get_integer(enum gguf_kind kind, const uint8_t *p, int64_t *ret)
{
    if (is_signed(kind)) {
        *ret = get_signed(kind, p);
        return true;
    }
    uint64_t bits = get_bits(kind, p);
    *ret = (int64_t)bits;
    return is_unsigned(kind) && bits <= INT64_MAX;
}

enum err gguf_get_u64(const struct gguf *g, const char *key, uint64_t *ret)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return ERR_MISSING;
    int64_t x = 0;
    if (!get_integer(v->kind, v->data, &x) || x < 0)
        return ERR_TYPE;
    *ret = (uint64_t)x;
    return ERR_OK;
}

enum err gguf_get_f64(const struct gguf *g, const char *key, double *ret)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return ERR_MISSING;
    return get_real(v->kind, v->data, ret) ? ERR_OK : ERR_TYPE;
}

enum err gguf_get_bool(const struct gguf *g, const char *key, bool *ret)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return ERR_MISSING;
    if (v->kind != GGUF_BOOL)
        return ERR_TYPE;
    *ret = *v->data != 0;
    return ERR_OK;
}

static struct str get_str(const uint8_t *p)
{
    return (struct str){(const char *)p + 8, (size_t)load_u64(p)};
}

enum err gguf_get_str(const struct gguf *g, const char *key, struct str *ret)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return ERR_MISSING;
    if (v->kind != GGUF_STRING)
        return ERR_TYPE;
    *ret = get_str(v->data);
    return ERR_OK;
}

enum err gguf_get_items(const struct gguf *g, const char *key, struct gguf_items *ret)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v)
        return ERR_MISSING;
    if (v->kind != GGUF_ARRAY)
        return ERR_TYPE;
    *ret = (struct gguf_items){.kind = v->item_kind, .n_left = v->n_items, .at = v->data};
    return ERR_OK;
}

bool gguf_next_str(struct gguf_items *items, struct str *ret)
{
    if (items->n_left == 0 || items->kind != GGUF_STRING)
        return false;
    *ret = get_str(items->at);
    items->at += 8 + ret->len;
    items->n_left--;
    return true;
}

bool gguf_next_i64(struct gguf_items *items, int64_t *ret)
{
    if (items->n_left == 0 || !get_integer(items->kind, items->at, ret))
        return false;
    items->at += size_of_kind(items->kind);
    items->n_left--;
    return true;
}

bool gguf_next_f64(struct gguf_items *items, double *ret)
{
    if (items->n_left == 0 || !get_real(items->kind, items->at, ret))
        return false;
    items->at += size_of_kind(items->kind);
    items->n_left--;
    return true;
}
