/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/tmpl_value.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

static const struct tmpl_list EMPTY_LIST = {0};
static const struct tmpl_text EMPTY_TEXT = {"", 0, NULL, TMPL_FROM_TEMPLATE};

__attribute__((format(printf, 3, 0))) static void note(struct tmpl_ctx *ctx, enum err e,
                                                       const char *fmt, va_list ap)
{
    ctx->err = e;
    int n = snprintf(ctx->why, ctx->cap_why, "line %u: ", ctx->line);
    if (n >= 0 && (size_t)n < ctx->cap_why)
        (void)vsnprintf(ctx->why + n, ctx->cap_why - (size_t)n, fmt, ap);
}

struct tmpl_value tmpl_fail(struct tmpl_ctx *ctx, enum err e, const char *fmt, ...)
{
    if (ctx->err == ERR_OK) {
        va_list ap;
        va_start(ap, fmt);
        note(ctx, e, fmt, ap);
        va_end(ap);
    }
    return tmpl_undefined(NULL);
}

bool tmpl_spend(struct tmpl_ctx *ctx, uint64_t n)
{
    if (ctx->err != ERR_OK)
        return false;
    if (n > ctx->steps_left) {
        tmpl_fail(ctx, ERR_TOO_LARGE, "the template needs too many steps");
        return false;
    }
    ctx->steps_left -= n;
    return true;
}

void *tmpl_alloc(struct tmpl_ctx *ctx, size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / 2 / size) {
        tmpl_fail(ctx, ERR_TOO_LARGE, "the template needs too much memory");
        return NULL;
    }
    /* A step is about 10 ns, the time to copy some hundred bytes. */
    if (!tmpl_spend(ctx, n * size / 256))
        return NULL;
    void *p = arena_alloc(&ctx->arena, n * size);
    if (!p)
        tmpl_fail(ctx, ERR_TOO_LARGE, "the template needs too much memory");
    return p;
}

/* ---- making values ----------------------------------------------------------------------------- */

struct tmpl_value tmpl_none(void)
{
    return (struct tmpl_value){.kind = TMPL_NONE};
}

struct tmpl_value tmpl_undefined(const char *name)
{
    return (struct tmpl_value){.kind = TMPL_UNDEFINED, .name = name};
}

struct tmpl_value tmpl_bool(bool b)
{
    return (struct tmpl_value){.kind = TMPL_BOOL, .boolean = b};
}

struct tmpl_value tmpl_int(int64_t i)
{
    return (struct tmpl_value){.kind = TMPL_INT, .integer = i};
}

struct tmpl_value tmpl_real(double d)
{
    return (struct tmpl_value){.kind = TMPL_FLOAT, .real = d};
}

static struct tmpl_value text_value(struct tmpl_ctx *ctx, struct tmpl_text t)
{
    struct tmpl_text *made = tmpl_alloc(ctx, 1, sizeof *made);
    if (made)
        *made = t;
    return (struct tmpl_value){.kind = TMPL_TEXT, .text = made ? made : &EMPTY_TEXT};
}

struct tmpl_value tmpl_text(struct tmpl_ctx *ctx, struct str s, enum tmpl_origin origin)
{
    return text_value(ctx,
                      (struct tmpl_text){s.len > 0 ? s.ptr : "", s.len, NULL, (uint8_t)origin});
}

struct tmpl_value tmpl_text_part(struct tmpl_ctx *ctx, const struct tmpl_text *t, size_t from,
                                 size_t to)
{
    const uint8_t *origins = t->origins ? t->origins + from : NULL;
    return text_value(ctx, (struct tmpl_text){t->ptr + from, to - from, origins, t->origin});
}

struct tmpl_value tmpl_text_join(struct tmpl_ctx *ctx, const struct tmpl_text *const *parts,
                                 size_t n)
{
    size_t len = 0;
    size_t used = 0;
    const struct tmpl_text *only = &EMPTY_TEXT;
    bool is_uniform = true;
    for (size_t i = 0; i < n; i++) {
        if (parts[i]->len == 0)
            continue;
        if (parts[i]->origins || (used > 0 && parts[i]->origin != only->origin))
            is_uniform = false;
        only = parts[i];
        used++;
        if (len > SIZE_MAX / 4 - parts[i]->len)
            return tmpl_fail(ctx, ERR_TOO_LARGE, "the template makes too long a text");
        len += parts[i]->len;
    }
    if (used <= 1)
        return (struct tmpl_value){.kind = TMPL_TEXT, .text = only};
    char *ptr = tmpl_alloc(ctx, len, 1);
    uint8_t *origins = is_uniform ? NULL : tmpl_alloc(ctx, len, 1);
    if (ctx->err != ERR_OK)
        return tmpl_undefined(NULL);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const struct tmpl_text *p = parts[i];
        if (p->len == 0)
            continue;
        memcpy(ptr + at, p->ptr, p->len);
        if (origins && p->origins)
            memcpy(origins + at, p->origins, p->len);
        else if (origins)
            memset(origins + at, p->origin, p->len);
        at += p->len;
    }
    return text_value(ctx, (struct tmpl_text){ptr, len, origins, only->origin});
}

const struct tmpl_text **tmpl_text_parts(struct tmpl_ctx *ctx, size_t n)
{
    return tmpl_alloc(ctx, n, sizeof(void *));
}

struct tmpl_value tmpl_text_copy(struct tmpl_ctx *ctx, struct str text, const uint8_t *origins)
{
    char *p = tmpl_alloc(ctx, text.len, 1);
    uint8_t *o = tmpl_alloc(ctx, text.len, 1);
    if (ctx->err != ERR_OK || text.len == 0)
        return (struct tmpl_value){.kind = TMPL_TEXT, .text = &EMPTY_TEXT};
    memcpy(p, text.ptr, text.len);
    memcpy(o, origins, text.len);
    return text_value(ctx, (struct tmpl_text){p, text.len, o, 0});
}

struct tmpl_list *tmpl_list_new(struct tmpl_ctx *ctx, size_t n)
{
    struct tmpl_list *l = tmpl_alloc(ctx, 1, sizeof *l);
    struct tmpl_value *v = tmpl_alloc(ctx, n, sizeof *v);
    if (!l || !v)
        return NULL;
    memset(v, 0, n * sizeof *v);
    *l = (struct tmpl_list){.n = n, .v = v};
    return l;
}

struct tmpl_value tmpl_list(const struct tmpl_list *list)
{
    return (struct tmpl_value){.kind = TMPL_LIST, .list = list ? list : &EMPTY_LIST};
}

struct tmpl_map *tmpl_map_new(struct tmpl_ctx *ctx)
{
    struct tmpl_map *m = tmpl_alloc(ctx, 1, sizeof *m);
    if (m)
        *m = (struct tmpl_map){0};
    return m;
}

static bool map_reserve(struct tmpl_ctx *ctx, struct tmpl_map *map, size_t cap)
{
    if (cap <= map->cap)
        return true;
    struct tmpl_entry *v = tmpl_alloc(ctx, cap, sizeof *v);
    if (!v)
        return false;
    if (map->n > 0)
        memcpy(v, map->v, map->n * sizeof *v);
    map->v = v;
    map->cap = cap;
    return true;
}

void tmpl_map_set(struct tmpl_ctx *ctx, struct tmpl_map *map, struct tmpl_value key,
                  struct tmpl_value value)
{
    if (!tmpl_spend(ctx, 1 + map->n / 8))
        return;
    for (size_t i = 0; i < map->n; i++) {
        if (tmpl_equal(ctx, &map->v[i].key, &key)) {
            map->v[i].value = value;
            return;
        }
    }
    if (map->n == map->cap && !map_reserve(ctx, map, map->cap ? 2 * map->cap : 4))
        return;
    map->v[map->n++] = (struct tmpl_entry){key, value};
}

static struct tmpl_value list_from_json(struct tmpl_ctx *ctx, const json_t *json,
                                        enum tmpl_origin origin)
{
    size_t n = json_array_size(json);
    struct tmpl_list *l = tmpl_list_new(ctx, n);
    for (size_t i = 0; l && i < n && ctx->err == ERR_OK; i++)
        l->v[i] = tmpl_from_json(ctx, json_array_get(json, i), origin);
    return tmpl_list(l);
}

static struct tmpl_value map_from_json(struct tmpl_ctx *ctx, const json_t *json,
                                       enum tmpl_origin origin)
{
    struct tmpl_map *m = tmpl_map_new(ctx);
    if (!m || !map_reserve(ctx, m, json_object_size(json)))
        return tmpl_undefined(NULL);
    /* jansson's iterators want a pointer to non-const but change nothing. */
    union {
        const json_t *in;
        json_t *out;
    } object = {.in = json};
    for (void *i = json_object_iter(object.out); i && m->n < m->cap && ctx->err == ERR_OK;
         i = json_object_iter_next(object.out, i)) {
        struct tmpl_entry *e = &m->v[m->n];
        e->key = tmpl_text(ctx, str_from(json_object_iter_key(i)), origin);
        e->value = tmpl_from_json(ctx, json_object_iter_value(i), origin);
        m->n++;
    }
    return (struct tmpl_value){.kind = TMPL_MAP, .map = m};
}

struct tmpl_value tmpl_from_json(struct tmpl_ctx *ctx, const json_t *json, enum tmpl_origin origin)
{
    if (!tmpl_spend(ctx, 1))
        return tmpl_undefined(NULL);
    switch (json_typeof(json)) {
    case JSON_NULL:
        return tmpl_none();
    case JSON_TRUE:
    case JSON_FALSE:
        return tmpl_bool(json_is_true(json));
    case JSON_INTEGER:
        return tmpl_int(json_integer_value(json));
    case JSON_REAL:
        return tmpl_real(json_real_value(json));
    case JSON_STRING:
        return tmpl_text(ctx, (struct str){json_string_value(json), json_string_length(json)},
                         origin);
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    if (ctx->nesting >= TMPL_MAX_NESTING)
        return tmpl_fail(ctx, ERR_DEPTH, "JSON is nested deeper than %d", TMPL_MAX_NESTING);
    ctx->nesting++;
    struct tmpl_value v =
        json_is_array(json) ? list_from_json(ctx, json, origin) : map_from_json(ctx, json, origin);
    ctx->nesting--;
    return v;
}

/* ---- looking at values ------------------------------------------------------------------------- */

bool tmpl_is_true(const struct tmpl_value *v)
{
    switch (v->kind) {
    case TMPL_UNDEFINED:
    case TMPL_NONE:
        return false;
    case TMPL_BOOL:
        return v->boolean;
    case TMPL_INT:
        return v->integer != 0;
    case TMPL_FLOAT:
        return v->real < 0.0 || v->real > 0.0;
    case TMPL_TEXT:
        return v->text->len > 0;
    case TMPL_LIST:
        return v->list->n > 0 || v->list->is_lazy;
    case TMPL_MAP:
        return v->map->n > 0;
    case TMPL_NAMESPACE:
    case TMPL_LOOP:
    case TMPL_MACRO:
    case TMPL_FUNCTION:
        break;
    }
    return true;
}

struct str tmpl_str(const struct tmpl_value *text)
{
    return (struct str){text->text->ptr, text->text->len};
}

bool tmpl_is_text(const struct tmpl_value *v, const char *s)
{
    return v->kind == TMPL_TEXT && str_is(tmpl_str(v), s);
}

const char *tmpl_kind_name(const struct tmpl_value *v)
{
    static const char *const NAMES[] = {
        [TMPL_UNDEFINED] = "undefined", [TMPL_NONE] = "none",   [TMPL_BOOL] = "boolean",
        [TMPL_INT] = "integer",         [TMPL_FLOAT] = "float", [TMPL_TEXT] = "string",
        [TMPL_LIST] = "list",           [TMPL_MAP] = "mapping", [TMPL_NAMESPACE] = "namespace",
        [TMPL_LOOP] = "loop",           [TMPL_MACRO] = "macro", [TMPL_FUNCTION] = "function",
    };
    return NAMES[v->kind];
}

/* Booleans are the integers 0 and 1, as in Python. */
static bool is_integer(const struct tmpl_value *v, int64_t *ret_i)
{
    *ret_i = v->kind == TMPL_BOOL ? v->boolean : v->kind == TMPL_INT ? v->integer : 0;
    return v->kind == TMPL_BOOL || v->kind == TMPL_INT;
}

static bool is_number(const struct tmpl_value *v, double *ret_d)
{
    int64_t i;
    bool is_int = is_integer(v, &i);
    *ret_d = is_int ? (double)i : v->kind == TMPL_FLOAT ? v->real : 0.0;
    return is_int || v->kind == TMPL_FLOAT;
}

/* -1, 0 or 1 for two numbers; 2 when one is not a number. */
static int compare_numbers(const struct tmpl_value *a, const struct tmpl_value *b)
{
    int64_t i;
    int64_t j;
    if (is_integer(a, &i) && is_integer(b, &j))
        return (i > j) - (i < j);
    double x;
    double y;
    if (is_number(a, &x) && is_number(b, &y))
        return x < y ? -1 : x > y ? 1 : x >= y ? 0 : 2;
    return 2;
}

static bool equal_lists(struct tmpl_ctx *ctx, const struct tmpl_list *a, const struct tmpl_list *b)
{
    bool is_same = a->n == b->n && a->is_tuple == b->is_tuple;
    for (size_t i = 0; is_same && i < a->n; i++)
        is_same = tmpl_equal(ctx, &a->v[i], &b->v[i]);
    return is_same;
}

static bool equal_maps(struct tmpl_ctx *ctx, const struct tmpl_map *a, const struct tmpl_map *b)
{
    bool is_same = a->n == b->n;
    for (size_t i = 0; is_same && i < a->n; i++) {
        const struct tmpl_value *other = tmpl_map_find(ctx, b, &a->v[i].key);
        is_same = other && tmpl_equal(ctx, &a->v[i].value, other);
    }
    return is_same;
}

bool tmpl_equal(struct tmpl_ctx *ctx, const struct tmpl_value *a, const struct tmpl_value *b)
{
    if (a->kind == TMPL_TEXT && b->kind == TMPL_TEXT)
        return str_eq(tmpl_str(a), tmpl_str(b));
    double number;
    if (is_number(a, &number))
        return compare_numbers(a, b) == 0;
    if (a->kind != b->kind)
        return false;
    if (a->kind == TMPL_NONE || a->kind == TMPL_UNDEFINED)
        return true;
    if (a->kind != TMPL_LIST && a->kind != TMPL_MAP)
        return a->map == b->map;
    if (!tmpl_spend(ctx, 1) || ctx->nesting >= TMPL_MAX_NESTING) {
        tmpl_fail(ctx, ERR_DEPTH, "values are nested too deeply");
        return false;
    }
    ctx->nesting++;
    bool is_same =
        a->kind == TMPL_LIST ? equal_lists(ctx, a->list, b->list) : equal_maps(ctx, a->map, b->map);
    ctx->nesting--;
    return is_same;
}

int tmpl_compare(struct tmpl_ctx *ctx, const struct tmpl_value *a, const struct tmpl_value *b)
{
    if (a->kind == TMPL_TEXT && b->kind == TMPL_TEXT) {
        size_t n = a->text->len < b->text->len ? a->text->len : b->text->len;
        int order = memcmp(a->text->ptr, b->text->ptr, n);
        if (order != 0)
            return order < 0 ? -1 : 1;
        return (a->text->len > b->text->len) - (a->text->len < b->text->len);
    }
    int order = compare_numbers(a, b);
    if (order == 2) {
        tmpl_fail(ctx, ERR_TEMPLATE, "no order between %s and %s", tmpl_kind_name(a),
                  tmpl_kind_name(b));
        return 0;
    }
    return order;
}

const struct tmpl_value *tmpl_map_get(const struct tmpl_map *map, struct str key)
{
    for (size_t i = 0; i < map->n; i++) {
        if (map->v[i].key.kind == TMPL_TEXT && str_eq(tmpl_str(&map->v[i].key), key))
            return &map->v[i].value;
    }
    return NULL;
}

const struct tmpl_value *tmpl_map_find(struct tmpl_ctx *ctx, const struct tmpl_map *map,
                                       const struct tmpl_value *key)
{
    if (!tmpl_spend(ctx, 1 + map->n / 8))
        return NULL;
    for (size_t i = 0; i < map->n; i++) {
        if (tmpl_equal(ctx, &map->v[i].key, key))
            return &map->v[i].value;
    }
    return NULL;
}

/* ---- texts by characters ----------------------------------------------------------------------- */

static size_t char_len(const char *p, size_t n)
{
    int len = utf8_next(p, n);
    return len > 0 ? (size_t)len : 1;
}

static size_t count_chars(const struct tmpl_text *t)
{
    size_t n = 0;
    for (size_t at = 0; at < t->len; at += char_len(t->ptr + at, t->len - at))
        n++;
    return n;
}

/* Byte offset of character `n`, the text's length if there are not so many. */
static size_t char_offset(const struct tmpl_text *t, size_t n)
{
    size_t at = 0;
    while (n-- > 0 && at < t->len)
        at += char_len(t->ptr + at, t->len - at);
    return at;
}

static const struct tmpl_list *chars(struct tmpl_ctx *ctx, const struct tmpl_text *t)
{
    struct tmpl_list *l = tmpl_list_new(ctx, count_chars(t));
    size_t at = 0;
    for (size_t i = 0; l && i < l->n; i++) {
        size_t len = char_len(t->ptr + at, t->len - at);
        l->v[i] = tmpl_text_part(ctx, t, at, at + len);
        at += len;
    }
    return l && ctx->err == ERR_OK ? l : &EMPTY_LIST;
}

static bool is_space(unsigned cp)
{
    return (cp >= 0x09 && cp <= 0x0d) || (cp >= 0x1c && cp <= 0x20) || cp == 0x85 || cp == 0xa0 ||
           cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

size_t tmpl_space_at(struct str s)
{
    int n = s.len > 0 ? utf8_next(s.ptr, s.len) : 0;
    return n > 0 && is_space(utf8_decode(s.ptr, n)) ? (size_t)n : 0;
}

size_t tmpl_space_before_end(struct str s)
{
    for (size_t n = 1; n <= 3 && n <= s.len; n++) {
        if (((unsigned char)s.ptr[s.len - n] & 0xc0U) != 0x80)
            return tmpl_space_at((struct str){s.ptr + s.len - n, n}) == n ? n : 0;
    }
    return 0;
}

/* ---- containers -------------------------------------------------------------------------------- */

size_t tmpl_length(struct tmpl_ctx *ctx, const struct tmpl_value *v)
{
    if (v->kind == TMPL_TEXT)
        return tmpl_spend(ctx, v->text->len / 64) ? count_chars(v->text) : 0;
    if (v->kind == TMPL_LIST)
        return v->list->n;
    if (v->kind == TMPL_MAP)
        return v->map->n;
    if (v->kind != TMPL_UNDEFINED)
        tmpl_fail(ctx, ERR_TEMPLATE, "%s has no length", tmpl_kind_name(v));
    return 0;
}

const struct tmpl_list *tmpl_items(struct tmpl_ctx *ctx, const struct tmpl_value *v)
{
    if (v->kind == TMPL_LIST)
        return v->list;
    if (v->kind == TMPL_TEXT)
        return chars(ctx, v->text);
    if (v->kind == TMPL_MAP) {
        struct tmpl_list *l = tmpl_list_new(ctx, v->map->n);
        for (size_t i = 0; l && i < l->n; i++)
            l->v[i] = v->map->v[i].key;
        return l ? l : &EMPTY_LIST;
    }
    if (v->kind != TMPL_UNDEFINED)
        tmpl_fail(ctx, ERR_TEMPLATE, "%s cannot be iterated over", tmpl_kind_name(v));
    return &EMPTY_LIST;
}

struct tmpl_value tmpl_index(struct tmpl_ctx *ctx, const struct tmpl_value *v,
                             const struct tmpl_value *index)
{
    if (v->kind == TMPL_MAP) {
        const struct tmpl_value *found = tmpl_map_find(ctx, v->map, index);
        return found ? *found : tmpl_undefined("a missing key");
    }
    int64_t i;
    if (!is_integer(index, &i) || (v->kind != TMPL_LIST && v->kind != TMPL_TEXT))
        return tmpl_undefined(NULL);
    int64_t n = (int64_t)tmpl_length(ctx, v);
    if (i < 0)
        i += n;
    if (i < 0 || i >= n)
        return tmpl_undefined("a missing element");
    if (v->kind == TMPL_LIST)
        return v->list->v[i];
    size_t at = char_offset(v->text, (size_t)i);
    return tmpl_text_part(ctx, v->text, at, at + char_len(v->text->ptr + at, v->text->len - at));
}

/* One bound of a slice, brought into 0..n (or -1..n-1 when walking backwards). */
static bool bound(struct tmpl_ctx *ctx, const struct tmpl_value *v, int64_t none, int64_t low,
                  int64_t n, int64_t *ret_i)
{
    if (v->kind == TMPL_NONE) {
        *ret_i = none;
        return true;
    }
    int64_t i;
    if (!is_integer(v, &i)) {
        tmpl_fail(ctx, ERR_TEMPLATE, "a slice needs integers, not %s", tmpl_kind_name(v));
        return false;
    }
    if (i < 0)
        i += n;
    *ret_i = i < low ? low : i > n + low ? n + low : i;
    return true;
}

struct tmpl_value tmpl_slice(struct tmpl_ctx *ctx, const struct tmpl_value *v,
                             const struct tmpl_value *from, const struct tmpl_value *to,
                             const struct tmpl_value *step)
{
    if (v->kind != TMPL_LIST && v->kind != TMPL_TEXT)
        return v->kind == TMPL_UNDEFINED
                   ? tmpl_fail(ctx, ERR_TEMPLATE, "%s is undefined", v->name ? v->name : "a value")
                   : tmpl_undefined(NULL);
    int64_t by = 1;
    if (step->kind != TMPL_NONE && (!is_integer(step, &by) || by == 0 || by < -TMPL_MAX_RANGE))
        return tmpl_fail(ctx, ERR_TEMPLATE, "a slice cannot have this step");
    int64_t n = (int64_t)tmpl_length(ctx, v);
    int64_t low = by < 0 ? -1 : 0;
    int64_t a;
    int64_t b;
    if (!bound(ctx, from, by < 0 ? n - 1 : 0, low, n, &a) ||
        !bound(ctx, to, by < 0 ? -1 : n, low, n, &b))
        return tmpl_undefined(NULL);
    if (v->kind == TMPL_TEXT && by == 1) {
        size_t end = a < b ? char_offset(v->text, (size_t)b) : 0;
        return tmpl_text_part(ctx, v->text, a < b ? char_offset(v->text, (size_t)a) : 0, end);
    }
    const struct tmpl_list *all = tmpl_items(ctx, v);
    uint64_t count = 0;
    if (by > 0 && a < b)
        count = (uint64_t)(b - a - 1) / (uint64_t)by + 1;
    else if (by < 0 && a > b)
        count = (uint64_t)(a - b - 1) / (uint64_t)-by + 1;
    struct tmpl_list *l = tmpl_list_new(ctx, count);
    if (!l || !all->v || ctx->err != ERR_OK)
        return ctx->err == ERR_OK ? tmpl_list(l) : tmpl_undefined(NULL);
    for (size_t i = 0; i < l->n; i++)
        l->v[i] = all->v[a + (int64_t)i * by];
    if (v->kind == TMPL_LIST)
        return tmpl_list(l);
    const struct tmpl_text **parts = tmpl_text_parts(ctx, l->n);
    for (size_t i = 0; parts && i < l->n; i++)
        parts[i] = l->v[i].text;
    return parts ? tmpl_text_join(ctx, parts, l->n) : tmpl_undefined(NULL);
}
