/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/tmpl_format.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/utf8.h"

/* Where a value is being written. */
struct writer {
    struct tmpl_ctx *ctx;
    struct buf out;
    const struct tmpl_format_json *json; /* NULL: as Python's repr */
    size_t depth;
};

static const struct tmpl_text NOTHING = {"", 0, NULL, TMPL_FROM_TEMPLATE};

static void write_value(struct writer *w, const struct tmpl_value *v);

/* The shortest digits that read back as d, laid out as Python's repr does. */
static void write_real(struct writer *w, double d)
{
    if (isnan(d) || isinf(d)) {
        const char *name = isnan(d) ? "nan" : "inf";
        if (w->json)
            name = isnan(d) ? "NaN" : "Infinity";
        buf_printf(&w->out, "%s%s", isinf(d) && d < 0 ? "-" : "", name);
        return;
    }
    char s[40];
    int precision = 0;
    do
        snprintf(s, sizeof s, "%.*e", precision, d);
    while (strtod(s, NULL) != d && precision++ < 17);
    const char *p = s;
    if (*p == '-')
        buf_add_char(&w->out, *p++);
    char digits[24] = "";
    int n = 0;
    for (; *p != 'e'; p++) {
        if (*p != '.')
            digits[n++] = *p;
    }
    long exponent = strtol(p + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        buf_add_char(&w->out, digits[0]);
        if (n > 1)
            buf_printf(&w->out, ".%.*s", n - 1, digits + 1);
        buf_printf(&w->out, "e%c%02ld", exponent < 0 ? '-' : '+', labs(exponent));
        return;
    }
    if (exponent < 0)
        buf_printf(&w->out, "0.%.*s", (int)-exponent - 1, "000");
    for (long i = 0; i < n || i <= exponent; i++) {
        if (i == exponent + 1 && exponent >= 0)
            buf_add_char(&w->out, '.');
        buf_add_char(&w->out, i < n ? digits[i] : '0');
    }
    if (n <= exponent + 1)
        buf_add_cstr(&w->out, ".0");
}

static void write_unicode_escape(struct writer *w, unsigned cp)
{
    if (cp >= 0x10000) {
        unsigned high = 0xd800U + ((cp - 0x10000U) >> 10);
        buf_printf(&w->out, "\\u%04x\\u%04x", high, 0xdc00U + (cp & 0x3ffU));
    } else {
        buf_printf(&w->out, "\\u%04x", cp);
    }
}

/* One character below 0x80 that JSON or repr may have to escape. */
static void write_ascii(struct writer *w, char c, char quote)
{
    static const char PLAIN[] = "\n\r\t\b\f";
    static const char ESCAPED[] = "nrtbf";
    const char *at = c != '\0' ? strchr(PLAIN, c) : NULL;
    if (at && (w->json || at < PLAIN + 3)) {
        buf_add_char(&w->out, '\\');
        buf_add_char(&w->out, ESCAPED[at - PLAIN]);
    } else if (c == quote || c == '\\') {
        buf_add_char(&w->out, '\\');
        buf_add_char(&w->out, c);
    } else if ((unsigned char)c < 0x20 && w->json) {
        buf_printf(&w->out, "\\u%04x", (unsigned)c);
    } else if (((unsigned char)c < 0x20 || c == 0x7f) && !w->json) {
        buf_printf(&w->out, "\\x%02x", (unsigned)c);
    } else {
        buf_add_char(&w->out, c);
    }
}

static void write_quoted(struct writer *w, const struct tmpl_text *t)
{
    if (!tmpl_spend(w->ctx, t->len / 64))
        return;
    char quote = '"';
    if (!w->json && (!memchr(t->ptr, '\'', t->len) || memchr(t->ptr, '"', t->len)))
        quote = '\'';
    buf_add_char(&w->out, quote);
    for (size_t i = 0; i < t->len;) {
        int n = utf8_next(t->ptr + i, t->len - i);
        if (n > 1 && w->json && w->json->is_ascii)
            write_unicode_escape(w, utf8_decode(t->ptr + i, n));
        else if (n > 1)
            buf_add(&w->out, t->ptr + i, (size_t)n);
        else
            write_ascii(w, t->ptr[i], quote);
        i += n > 1 ? (size_t)n : 1;
    }
    buf_add_char(&w->out, quote);
}

/* Before an element: the separator and, with an indent, a new line. */
static void begin_element(struct writer *w, bool is_first)
{
    if (!is_first && w->json)
        buf_add_str(&w->out, w->json->item_separator);
    else if (!is_first)
        buf_add_cstr(&w->out, ", ");
    if (w->json && w->json->indent >= 0)
        buf_printf(&w->out, "\n%*s", (int)w->depth * w->json->indent, "");
}

static void end_elements(struct writer *w, size_t n)
{
    if (w->json && w->json->indent >= 0 && n > 0)
        buf_printf(&w->out, "\n%*s", (int)w->depth * w->json->indent, "");
}

static void write_list(struct writer *w, const struct tmpl_list *l)
{
    bool is_tuple = l->is_tuple && !w->json;
    buf_add_char(&w->out, is_tuple ? '(' : '[');
    w->depth++;
    for (size_t i = 0; i < l->n && w->ctx->err == ERR_OK; i++) {
        begin_element(w, i == 0);
        write_value(w, &l->v[i]);
    }
    w->depth--;
    end_elements(w, l->n);
    if (is_tuple && l->n == 1)
        buf_add_char(&w->out, ',');
    buf_add_char(&w->out, is_tuple ? ')' : ']');
}

static void write_key(struct writer *w, const struct tmpl_value *key)
{
    bool is_quoted = w->json && key->kind != TMPL_TEXT;
    if (is_quoted)
        buf_add_char(&w->out, '"');
    write_value(w, key);
    if (is_quoted)
        buf_add_char(&w->out, '"');
    if (w->json)
        buf_add_str(&w->out, w->json->key_separator);
    else
        buf_add_cstr(&w->out, ": ");
}

static int by_key(const void *a, const void *b)
{
    const struct tmpl_entry *const *x = a;
    const struct tmpl_entry *const *y = b;
    struct str s = (*x)->key.kind == TMPL_TEXT ? tmpl_str(&(*x)->key) : STR_LIT("");
    struct str t = (*y)->key.kind == TMPL_TEXT ? tmpl_str(&(*y)->key) : STR_LIT("");
    int order = memcmp(s.ptr, t.ptr, s.len < t.len ? s.len : t.len);
    return order != 0 ? order : (s.len > t.len) - (s.len < t.len);
}

static void write_map(struct writer *w, const struct tmpl_map *m)
{
    const struct tmpl_entry **order = tmpl_alloc(w->ctx, m->n, sizeof(void *));
    if (!order)
        return;
    for (size_t i = 0; i < m->n; i++)
        order[i] = &m->v[i];
    if (w->json && w->json->is_sorted)
        qsort(order, m->n, sizeof(void *), by_key);
    buf_add_char(&w->out, '{');
    w->depth++;
    for (size_t i = 0; i < m->n && w->ctx->err == ERR_OK; i++) {
        begin_element(w, i == 0);
        write_key(w, &order[i]->key);
        write_value(w, &order[i]->value);
    }
    w->depth--;
    end_elements(w, m->n);
    buf_add_char(&w->out, '}');
}

static void write_value(struct writer *w, const struct tmpl_value *v)
{
    if (w->depth >= TMPL_MAX_NESTING || w->out.len > w->ctx->arena.cap_bytes) {
        tmpl_fail(w->ctx, ERR_TOO_LARGE, "a value is too large to be written");
        return;
    }
    if (!tmpl_spend(w->ctx, 1))
        return;
    switch (v->kind) {
    case TMPL_NONE:
        buf_add_cstr(&w->out, w->json ? "null" : "None");
        break;
    case TMPL_BOOL:
        if (w->json)
            buf_add_cstr(&w->out, v->boolean ? "true" : "false");
        else
            buf_add_cstr(&w->out, v->boolean ? "True" : "False");
        break;
    case TMPL_INT:
        buf_printf(&w->out, "%" PRId64, v->integer);
        break;
    case TMPL_FLOAT:
        write_real(w, v->real);
        break;
    case TMPL_TEXT:
        write_quoted(w, v->text);
        break;
    case TMPL_LIST:
        write_list(w, v->list);
        break;
    case TMPL_MAP:
        write_map(w, v->map);
        break;
    case TMPL_UNDEFINED:
        if (!w->json) {
            buf_add_cstr(&w->out, "Undefined");
            break;
        }
        tmpl_fail(w->ctx, ERR_TEMPLATE, "%s is undefined and cannot be written as JSON",
                  v->name ? v->name : "a value");
        break;
    case TMPL_NAMESPACE:
    case TMPL_LOOP:
    case TMPL_MACRO:
    case TMPL_FUNCTION:
        tmpl_fail(w->ctx, ERR_TEMPLATE, "a %s cannot be printed", tmpl_kind_name(v));
        break;
    }
}

static struct tmpl_value write_all(struct tmpl_ctx *ctx, const struct tmpl_value *v,
                                   const struct tmpl_format_json *json)
{
    struct writer w = {.ctx = ctx, .json = json};
    write_value(&w, v);
    char *copy = ctx->err == ERR_OK ? tmpl_alloc(ctx, w.out.len, 1) : NULL;
    struct tmpl_value made = tmpl_undefined(NULL);
    if (copy) {
        memcpy(copy, buf_str(&w.out).ptr, w.out.len);
        made = tmpl_text(ctx, (struct str){copy, w.out.len}, TMPL_FROM_REQUEST);
    }
    buf_fini(&w.out);
    return made;
}

const struct tmpl_text *tmpl_format_str(struct tmpl_ctx *ctx, const struct tmpl_value *v)
{
    if (v->kind == TMPL_TEXT)
        return v->text;
    if (v->kind == TMPL_UNDEFINED)
        return &NOTHING;
    struct tmpl_value made = write_all(ctx, v, NULL);
    return made.kind == TMPL_TEXT ? made.text : &NOTHING;
}

struct tmpl_value tmpl_format_json(struct tmpl_ctx *ctx, const struct tmpl_value *v,
                                   const struct tmpl_format_json *how)
{
    return write_all(ctx, v, how);
}
