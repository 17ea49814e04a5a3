/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/tmpl_lex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* `{%` and the like with the sign that follows or precedes. */
enum { TAG_BYTES = 2 };

struct lexer {
    struct tmpl_ctx *ctx;
    const char *p;
    const char *end;
    struct tmpl_token *tokens;
    size_t n;
    size_t cap;
    char open[TMPL_MAX_NESTING]; /* brackets that wait for their partner */
    size_t n_open;
    bool is_line_start; /* what was last consumed ended a line */
};

static struct tmpl_token *add(struct lexer *l, enum tmpl_token_kind kind, const char *from,
                              const char *to)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 256;
        struct tmpl_token *tokens = tmpl_alloc(l->ctx, cap, sizeof *tokens);
        if (!tokens)
            return NULL;
        if (l->n > 0)
            memcpy(tokens, l->tokens, l->n * sizeof *tokens);
        l->tokens = tokens;
        l->cap = cap;
    }
    struct tmpl_token *t = &l->tokens[l->n++];
    *t = (struct tmpl_token){.kind = kind, .line = l->ctx->line};
    t->text = (struct str){from, (size_t)(to - from)};
    return t;
}

static void advance(struct lexer *l, const char *to)
{
    for (; l->p < to; l->p++)
        l->ctx->line += *l->p == '\n';
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool starts(const struct lexer *l, const char *s)
{
    size_t n = strlen(s);
    return (size_t)(l->end - l->p) >= n && memcmp(l->p, s, n) == 0;
}

static char peek(const struct lexer *l, size_t at)
{
    return (size_t)(l->end - l->p) > at ? l->p[at] : '\0';
}

/* ---- data between tags -------------------------------------------------------------------------- */

static const char *find_tag(const char *p, const char *end)
{
    for (; p + 1 < end; p++) {
        if (p[0] == '{' && (p[1] == '{' || p[1] == '%' || p[1] == '#'))
            return p;
    }
    return end;
}

/* The end of the data in front of a tag after what the tag takes away. */
static const char *trim_data(const struct lexer *l, const char *tag)
{
    const char *to = tag;
    char sign = tag + TAG_BYTES < l->end ? tag[TAG_BYTES] : '\0';
    if (tag == l->end)
        return to;
    if (sign == '-') {
        while (to > l->p && is_blank(to[-1]))
            to--;
    } else if (sign != '+' && tag[1] != '{') {
        while (to > l->p && to[-1] != '\n' && is_blank(to[-1]))
            to--;
        bool begins_line = to > l->p ? to[-1] == '\n' : l->is_line_start;
        if (!begins_line)
            to = tag;
    }
    return to;
}

/* After a block or comment: one newline goes, or all white space if the tag said so. */
static void trim_after(struct lexer *l, bool eats_all)
{
    const char *to = l->p;
    if (eats_all) {
        while (to < l->end && is_blank(*to))
            to++;
    } else if (to < l->end && *to == '\n') {
        to++;
    }
    l->is_line_start = to > l->p && to[-1] == '\n';
    advance(l, to);
}

static void lex_comment(struct lexer *l)
{
    const char *p = l->p + TAG_BYTES;
    while (p + 1 < l->end && !(p[0] == '#' && p[1] == '}'))
        p++;
    if (p + 1 >= l->end) {
        tmpl_fail(l->ctx, ERR_TEMPLATE, "the comment does not end");
        return;
    }
    char sign = p > l->p + TAG_BYTES ? p[-1] : '\0';
    advance(l, p + TAG_BYTES);
    l->is_line_start = false;
    if (sign != '+')
        trim_after(l, sign == '-');
}

/* Whether l->p is at `{% name %}` with any signs; gives where it ends and its last sign. */
static bool is_lone_tag(const struct lexer *l, const char *p, const char *name,
                        const char **ret_end, bool *ret_eats_all)
{
    size_t n = strlen(name);
    if (l->end - p < TAG_BYTES || p[0] != '{' || p[1] != '%')
        return false;
    p += TAG_BYTES;
    if (p < l->end && (*p == '-' || *p == '+'))
        p++;
    while (p < l->end && is_blank(*p))
        p++;
    if ((size_t)(l->end - p) < n || memcmp(p, name, n) != 0)
        return false;
    p += n;
    while (p < l->end && is_blank(*p))
        p++;
    *ret_eats_all = p < l->end && *p == '-';
    if (p < l->end && (*p == '-' || *p == '+'))
        p++;
    if (l->end - p < TAG_BYTES || p[0] != '%' || p[1] != '}')
        return false;
    *ret_end = p + TAG_BYTES;
    return true;
}

/* {% raw %} ... {% endraw %}, l->p at the first; false if there is none. */
static bool lex_raw(struct lexer *l)
{
    const char *from;
    bool eats_all;
    if (!is_lone_tag(l, l->p, "raw", &from, &eats_all))
        return false;
    advance(l, from);
    if (eats_all)
        trim_after(l, true);
    for (const char *p = l->p; p < l->end; p++) {
        const char *end;
        if (*p == '{' && is_lone_tag(l, p, "endraw", &end, &eats_all)) {
            l->is_line_start = false;
            const char *to = trim_data(l, p);
            if (to > l->p)
                add(l, TMPL_T_DATA, l->p, to);
            advance(l, end);
            trim_after(l, eats_all);
            return true;
        }
    }
    tmpl_fail(l->ctx, ERR_TEMPLATE, "{%% raw %%} does not end");
    return true;
}

/* ---- inside tags -------------------------------------------------------------------------------- */

static size_t put_utf8(char *out, unsigned long cp)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, cp >>= 6)
        out[i] = (char)(0x80U | (cp & 0x3fU));
    out[0] = (char)((0xf00U >> n & 0xf0U) | cp);
    return n;
}

/* \xhh, \uhhhh, \Uhhhhhhhh at p (behind the backslash); returns how many bytes of the source it takes. */
static size_t lex_hex_escape(struct lexer *l, const char *p, const char *end, char *out, size_t *n)
{
    size_t digits = *p == 'x' ? 2 : *p == 'u' ? 4 : 8;
    char hex[9] = "";
    char *rest = hex;
    if ((size_t)(end - p) > digits)
        memcpy(hex, p + 1, digits);
    unsigned long cp = strtoul(hex, &rest, 16);
    if (rest != hex + digits || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff)) {
        tmpl_fail(l->ctx, ERR_TEMPLATE, "the escape \\%c is malformed", *p);
        return 1;
    }
    *n += put_utf8(out + *n, cp);
    return digits + 1;
}

static size_t lex_octal_escape(const char *p, const char *end, char *out, size_t *n)
{
    unsigned long cp = 0;
    size_t used = 0;
    for (; used < 3 && p + used < end && p[used] >= '0' && p[used] <= '7'; used++)
        cp = cp * 8 + (unsigned long)(p[used] - '0');
    *n += put_utf8(out + *n, cp);
    return used;
}

/* Resolves Python's escapes. No escape becomes longer than it is. */
static struct str unescape(struct lexer *l, const char *p, const char *end)
{
    static const char PLAIN[] = "\\'\"abfnrtv";
    static const char MEANS[] = "\\'\"\a\b\f\n\r\t\v";
    char *out = tmpl_alloc(l->ctx, (size_t)(end - p) + 1, 1);
    size_t n = 0;
    if (!out)
        return STR_LIT("");
    while (p < end && l->ctx->err == ERR_OK) {
        if (*p != '\\' || p + 1 == end) {
            out[n++] = *p++;
            continue;
        }
        p++;
        const char *plain = *p != '\0' ? strchr(PLAIN, *p) : NULL;
        if (plain) {
            out[n++] = MEANS[plain - PLAIN];
            p++;
        } else if (*p == '\n') {
            p++;
        } else if (*p == 'x' || *p == 'u' || *p == 'U') {
            p += lex_hex_escape(l, p, end, out, &n);
        } else if (*p >= '0' && *p <= '7') {
            p += lex_octal_escape(p, end, out, &n);
        } else if (*p == 'N') {
            tmpl_fail(l->ctx, ERR_TEMPLATE, "\\N escapes are not supported");
        } else {
            out[n++] = '\\';
            out[n++] = *p++;
        }
    }
    return (struct str){out, n};
}

static void lex_string(struct lexer *l)
{
    char quote = *l->p;
    const char *p = l->p + 1;
    while (p < l->end && *p != quote)
        p += *p == '\\' && p + 1 < l->end ? 2 : 1;
    if (p >= l->end) {
        tmpl_fail(l->ctx, ERR_TEMPLATE, "the string does not end");
        return;
    }
    struct tmpl_token *t = add(l, TMPL_T_STRING, l->p + 1, p);
    if (t && memchr(l->p, '\\', (size_t)(p - l->p)))
        t->text = unescape(l, l->p + 1, p);
    advance(l, p + 1);
}

static void lex_number(struct lexer *l)
{
    char digits[64];
    size_t n = 0;
    const char *p = l->p;
    bool is_float = false;
    int base = 10;
    if (*p == '0' && p + 1 < l->end && strchr("xXoObB", p[1])) {
        base = p[1] == 'x' || p[1] == 'X' ? 16 : p[1] == 'o' || p[1] == 'O' ? 8 : 2;
        p += 2;
    }
    for (; p < l->end && n < sizeof digits - 1; p++) {
        bool is_exponent = base == 10 && (*p == 'e' || *p == 'E');
        bool is_sign = (*p == '-' || *p == '+') && is_float && n > 0 &&
                       (digits[n - 1] == 'e' || digits[n - 1] == 'E');
        bool is_point = base == 10 && *p == '.' && !is_float && p + 1 < l->end && is_digit(p[1]);
        if (is_exponent || is_point)
            is_float = true;
        else if (!is_sign && *p != '_' && !is_name_char(*p))
            break;
        if (*p != '_')
            digits[n++] = *p;
    }
    digits[n] = '\0';
    char *rest;
    errno = 0;
    struct tmpl_token *t = add(l, is_float ? TMPL_T_FLOAT : TMPL_T_INT, l->p, p);
    if (!t)
        return;
    if (is_float)
        t->real = strtod(digits, &rest);
    else
        t->integer = strtoll(digits, &rest, base);
    if (*rest != '\0' || n == 0 || errno == ERANGE)
        tmpl_fail(l->ctx, ERR_TEMPLATE, "the number %.*s is malformed", (int)t->text.len,
                  t->text.ptr);
    advance(l, p);
}

static void lex_operator(struct lexer *l)
{
    static const char *const LONG[] = {"//", "**", "==", "!=", ">=", "<="};
    size_t n = 1;
    for (size_t i = 0; i < sizeof LONG / sizeof LONG[0]; i++)
        n = starts(l, LONG[i]) ? 2 : n;
    char c = *l->p;
    if (n == 1 && (c == '\0' || !strchr("+-/*%~[](){}><=.:|,;", c))) {
        tmpl_fail(l->ctx, ERR_TEMPLATE, "unexpected character '%c'",
                  c >= ' ' && c < 0x7f ? c : '?');
        return;
    }
    if (c == '(' || c == '[' || c == '{') {
        if (l->n_open == sizeof l->open) {
            tmpl_fail(l->ctx, ERR_DEPTH, "too many open brackets");
            return;
        }
        l->open[l->n_open++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (l->n_open == 0 || l->open[--l->n_open] != c) {
            tmpl_fail(l->ctx, ERR_TEMPLATE, "unexpected '%c'", c);
            return;
        }
    }
    add(l, TMPL_T_OP, l->p, l->p + n);
    advance(l, l->p + n);
}

/* Whether l->p is at the end of the tag; consumes it then. */
static bool lex_tag_end(struct lexer *l, bool is_block)
{
    const char *mark = is_block ? "%}" : "}}";
    char sign = *l->p == '-' || (is_block && *l->p == '+') ? *l->p : '\0';
    const char *p = l->p + (sign != '\0');
    if (l->n_open > 0 || l->end - p < TAG_BYTES || memcmp(p, mark, TAG_BYTES) != 0)
        return false;
    add(l, is_block ? TMPL_T_BLOCK_END : TMPL_T_PRINT_END, p, p + TAG_BYTES);
    advance(l, p + TAG_BYTES);
    l->is_line_start = false;
    if (sign == '-' || (is_block && sign == '\0'))
        trim_after(l, sign == '-');
    return true;
}

static void lex_tag(struct lexer *l)
{
    bool is_block = l->p[1] == '%';
    uint32_t line = l->ctx->line;
    add(l, is_block ? TMPL_T_BLOCK : TMPL_T_PRINT, l->p, l->p + TAG_BYTES);
    advance(l, l->p + TAG_BYTES);
    if (peek(l, 0) == '-' || (peek(l, 0) == '+' && is_block))
        advance(l, l->p + 1);
    l->n_open = 0;
    while (l->ctx->err == ERR_OK) {
        while (l->p < l->end && is_blank(*l->p))
            advance(l, l->p + 1);
        if (l->p == l->end) {
            l->ctx->line = line;
            tmpl_fail(l->ctx, ERR_TEMPLATE, "the tag does not end");
            return;
        }
        if (lex_tag_end(l, is_block))
            return;
        const char *p = l->p;
        if (*p == '"' || *p == '\'') {
            lex_string(l);
        } else if (is_digit(*p)) {
            lex_number(l);
        } else if (is_name_char(*p)) {
            while (p < l->end && is_name_char(*p))
                p++;
            add(l, TMPL_T_NAME, l->p, p);
            advance(l, p);
        } else {
            lex_operator(l);
        }
    }
}

/* \r\n and \r become \n, and the last newline goes. */
static struct str normalise(struct tmpl_ctx *ctx, struct str source)
{
    char *out = tmpl_alloc(ctx, source.len, 1);
    size_t n = 0;
    if (!out)
        return STR_LIT("");
    for (size_t i = 0; i < source.len; i++) {
        bool is_return = source.ptr[i] == '\r';
        out[n++] = is_return ? '\n' : source.ptr[i];
        if (is_return && i + 1 < source.len && source.ptr[i + 1] == '\n')
            i++;
    }
    if (n > 0 && out[n - 1] == '\n')
        n--;
    return (struct str){out, n};
}

const struct tmpl_token *tmpl_lex(struct tmpl_ctx *ctx, struct str source)
{
    ctx->line = 1;
    struct str s = normalise(ctx, source);
    struct lexer l = {.ctx = ctx, .p = s.ptr, .end = s.ptr + s.len, .is_line_start = true};
    while (l.p < l.end && ctx->err == ERR_OK) {
        const char *tag = find_tag(l.p, l.end);
        const char *to = trim_data(&l, tag);
        if (to > l.p)
            add(&l, TMPL_T_DATA, l.p, to);
        advance(&l, tag);
        if (l.p == l.end)
            break;
        if (l.p[1] == '#')
            lex_comment(&l);
        else if (l.p[1] == '{' || !lex_raw(&l))
            lex_tag(&l);
    }
    add(&l, TMPL_T_END, l.end, l.end);
    return ctx->err == ERR_OK ? l.tokens : NULL;
}
