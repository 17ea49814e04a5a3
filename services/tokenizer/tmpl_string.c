/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/tmpl_string.h"

#include <string.h>

#include "common/utf8.h"

static struct str str_of(const struct tmpl_text *t)
{
    return (struct str){t->ptr, t->len};
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

/* Letters outside ASCII count as letters when it comes to where a word begins. */
static bool is_letter(char c)
{
    return is_upper(c) || is_lower(c) || (unsigned char)c >= 0x80;
}

struct tmpl_value tmpl_string_case(struct tmpl_ctx *ctx, const struct tmpl_text *t,
                                   enum tmpl_case how)
{
    char *out = tmpl_alloc(ctx, t->len, 1);
    if (!out)
        return tmpl_undefined(NULL);
    bool begins = true;
    for (size_t i = 0; i < t->len; i++) {
        char c = t->ptr[i];
        bool up = how == TMPL_UPPER || (how != TMPL_LOWER && begins);
        out[i] = c;
        if (up && is_lower(c))
            out[i] = (char)(c - 'a' + 'A');
        else if (!up && is_upper(c))
            out[i] = (char)(c - 'A' + 'a');
        if (how == TMPL_TITLE)
            begins = !is_letter(c);
        else if (how == TMPL_TITLE_FILTER)
            begins = tmpl_space_at((struct str){t->ptr + i, 1}) > 0 ||
                     (c != '\0' && strchr("-({[<", c) != NULL);
        else
            begins = false;
    }
    struct tmpl_value v = tmpl_text(ctx, (struct str){out, t->len}, (enum tmpl_origin)t->origin);
    if (t->origins && ctx->err == ERR_OK) {
        struct tmpl_text *made = tmpl_alloc(ctx, 1, sizeof *made);
        if (!made)
            return tmpl_undefined(NULL);
        *made = (struct tmpl_text){out, t->len, t->origins, t->origin};
        v.text = made;
    }
    return v;
}

/* Length of the character at the beginning (or end) of s if it is to be stripped, else 0. */
static size_t strippable(struct str s, const struct tmpl_text *chars, bool at_end)
{
    if (!chars)
        return at_end ? tmpl_space_before_end(s) : tmpl_space_at(s);
    for (size_t i = 0; i < chars->len;) {
        int step = utf8_next(chars->ptr + i, chars->len - i);
        size_t n = step > 0 ? (size_t)step : 1;
        const char *p = at_end ? s.ptr + s.len - n : s.ptr;
        if (n <= s.len && memcmp(p, chars->ptr + i, n) == 0)
            return n;
        i += n;
    }
    return 0;
}

struct tmpl_value tmpl_string_strip(struct tmpl_ctx *ctx, const struct tmpl_text *t,
                                    const struct tmpl_text *chars, bool left, bool right)
{
    struct str s = str_of(t);
    size_t n;
    while (left && (n = strippable(s, chars, false)) > 0) {
        s.ptr += n;
        s.len -= n;
    }
    while (right && (n = strippable(s, chars, true)) > 0)
        s.len -= n;
    size_t from = (size_t)(s.ptr - t->ptr);
    return tmpl_text_part(ctx, t, from, from + s.len);
}

size_t tmpl_string_find(const struct tmpl_text *t, const struct tmpl_text *part, size_t from)
{
    if (from > t->len)
        return SIZE_MAX;
    if (part->len == 0)
        return from;
    const char *p = memmem(t->ptr + from, t->len - from, part->ptr, part->len);
    return p ? (size_t)(p - t->ptr) : SIZE_MAX;
}

/* Ranges of a text that are to become a list. */
struct ranges {
    struct tmpl_ctx *ctx;
    size_t (*v)[2];
    size_t n;
    size_t cap;
};

static void add_range(struct ranges *r, size_t from, size_t to)
{
    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 16;
        size_t(*v)[2] = tmpl_alloc(r->ctx, cap, sizeof *v);
        if (!v)
            return;
        if (r->n > 0)
            memcpy(v, r->v, r->n * sizeof *v);
        r->v = v;
        r->cap = cap;
    }
    r->v[r->n][0] = from;
    r->v[r->n++][1] = to;
}

static void split_at_separator(struct ranges *r, const struct tmpl_text *t,
                               const struct tmpl_text *separator, int64_t most)
{
    size_t from = 0;
    for (int64_t cuts = 0; (most < 0 || cuts < most) && r->ctx->err == ERR_OK; cuts++) {
        size_t at = tmpl_string_find(t, separator, from);
        if (at == SIZE_MAX)
            break;
        add_range(r, from, at);
        from = at + separator->len;
    }
    add_range(r, from, t->len);
}

static void split_at_separator_from_right(struct ranges *r, const struct tmpl_text *t,
                                          const struct tmpl_text *separator, int64_t most)
{
    size_t end = t->len;
    size_t at = t->len >= separator->len ? t->len - separator->len + 1 : 0;
    for (int64_t cuts = 0; at > 0 && (most < 0 || cuts < most) && r->ctx->err == ERR_OK;) {
        at--;
        if (memcmp(t->ptr + at, separator->ptr, separator->len) != 0)
            continue;
        add_range(r, at + separator->len, end);
        end = at;
        at = at >= separator->len ? at - separator->len + 1 : 0;
        cuts++;
    }
    add_range(r, 0, end);
    for (size_t i = 0; i < r->n / 2; i++) {
        size_t other = r->n - 1 - i;
        size_t swap[2] = {r->v[i][0], r->v[i][1]};
        memcpy(r->v[i], r->v[other], sizeof swap);
        memcpy(r->v[other], swap, sizeof swap);
    }
}

static void split_at_space(struct ranges *r, const struct tmpl_text *t, int64_t most)
{
    struct str s = str_of(t);
    size_t at = 0;
    while (r->ctx->err == ERR_OK) {
        size_t n;
        while ((n = tmpl_space_at((struct str){s.ptr + at, s.len - at})) > 0)
            at += n;
        if (at == s.len)
            return;
        size_t from = at;
        bool is_last = most >= 0 && r->n >= (size_t)most;
        while (at < s.len && (is_last || tmpl_space_at((struct str){s.ptr + at, s.len - at}) == 0))
            at++;
        size_t to = at;
        while (is_last && (n = tmpl_space_before_end((struct str){s.ptr + from, to - from})) > 0)
            to -= n;
        add_range(r, from, is_last ? to : at);
    }
}

struct tmpl_value tmpl_string_split(struct tmpl_ctx *ctx, const struct tmpl_text *t,
                                    const struct tmpl_text *separator, int64_t most,
                                    bool from_right)
{
    struct ranges r = {.ctx = ctx};
    if (separator && separator->len == 0)
        return tmpl_fail(ctx, ERR_TEMPLATE, "the separator is empty");
    if (!separator && from_right && most >= 0)
        return tmpl_fail(ctx, ERR_UNSUPPORTED, "rsplit with a limit needs a separator");
    if (!separator)
        split_at_space(&r, t, most);
    else if (from_right && most >= 0)
        split_at_separator_from_right(&r, t, separator, most);
    else
        split_at_separator(&r, t, separator, most);
    struct tmpl_list *l = tmpl_list_new(ctx, r.n);
    for (size_t i = 0; l && i < r.n; i++)
        l->v[i] = tmpl_text_part(ctx, t, r.v[i][0], r.v[i][1]);
    return ctx->err == ERR_OK ? tmpl_list(l) : tmpl_undefined(NULL);
}

/* Where the next replacement is; an empty `old` stands before each character and at the end. */
static size_t next_match(const struct tmpl_text *t, const struct tmpl_text *old, size_t from,
                         bool is_first)
{
    if (old->len > 0 || is_first)
        return tmpl_string_find(t, old, from);
    if (from >= t->len)
        return SIZE_MAX;
    int n = utf8_next(t->ptr + from, t->len - from);
    return from + (n > 0 ? (size_t)n : 1);
}

struct tmpl_value tmpl_string_replace(struct tmpl_ctx *ctx, const struct tmpl_text *t,
                                      const struct tmpl_text *old, const struct tmpl_text *by,
                                      int64_t most)
{
    struct ranges r = {.ctx = ctx};
    size_t from = 0;
    for (int64_t done = 0; (most < 0 || done < most) && ctx->err == ERR_OK; done++) {
        size_t at = next_match(t, old, from, done == 0);
        if (at == SIZE_MAX)
            break;
        add_range(&r, from, at);
        from = at + old->len;
    }
    add_range(&r, from, t->len);
    const struct tmpl_text **parts = tmpl_text_parts(ctx, 2 * r.n);
    if (!parts || ctx->err != ERR_OK)
        return tmpl_undefined(NULL);
    size_t n = 0;
    for (size_t i = 0; i < r.n; i++) {
        if (i > 0)
            parts[n++] = by;
        struct tmpl_value part = tmpl_text_part(ctx, t, r.v[i][0], r.v[i][1]);
        parts[n++] = part.text;
    }
    return tmpl_text_join(ctx, parts, n);
}

struct tmpl_value tmpl_string_indent(struct tmpl_ctx *ctx, const struct tmpl_text *t, size_t width,
                                     bool first, bool blank)
{
    char *blanks = tmpl_alloc(ctx, width, 1);
    struct ranges r = {.ctx = ctx};
    const struct tmpl_text newline = {"\n", 1, NULL, TMPL_FROM_TEMPLATE};
    split_at_separator(&r, t, &newline, -1);
    const struct tmpl_text **parts = tmpl_text_parts(ctx, 2 * r.n);
    if (!blanks || !parts || ctx->err != ERR_OK)
        return tmpl_undefined(NULL);
    memset(blanks, ' ', width);
    struct tmpl_value space = tmpl_text(ctx, (struct str){blanks, width}, TMPL_FROM_TEMPLATE);
    size_t n = 0;
    for (size_t i = 0; i < r.n; i++) {
        bool is_blank = r.v[i][0] == r.v[i][1];
        if (i == 0 ? first : !is_blank || blank)
            parts[n++] = space.text;
        size_t end = r.v[i][1] + (i + 1 < r.n ? 1 : 0);
        parts[n++] = tmpl_text_part(ctx, t, r.v[i][0], end).text;
    }
    return tmpl_text_join(ctx, parts, n);
}
