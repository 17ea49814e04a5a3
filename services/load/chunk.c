/* SPDX-License-Identifier: MIT */
#include "services/load/chunk.h"

#include <string.h>

enum { MAX_DEPTH = 12 };

struct reader {
    const char *p;
    const char *end;
    struct str keys[MAX_DEPTH + 1]; /* [d]: the key under which what is at depth d stands */
    bool is_object[MAX_DEPTH + 1]; /* what is open at depth d - 1 */
    int depth; /* 0 outside */
    struct chunk *out;
};

static void skip_blank(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t'))
        r->p++;
}

/* At the opening quote; afterwards behind the closing one. */
static bool read_string(struct reader *r, struct str *ret)
{
    const char *start = ++r->p;
    for (;;) {
        const char *quote = memchr(r->p, '"', (size_t)(r->end - r->p));
        if (quote == NULL)
            return false;
        const char *slash = quote;
        while (slash > start && slash[-1] == '\\')
            slash--;
        r->p = quote + 1;
        if ((quote - slash) % 2 == 0) {
            *ret = (struct str){start, (size_t)(quote - start)};
            return true;
        }
    }
}

/* The key `up` levels above what is being read; arrays count as levels without a key. */
static bool is_under(const struct reader *r, int up, const char *key)
{
    int d = r->depth - up;
    return d >= 1 && str_is(r->keys[d], key);
}

static void on_string(struct reader *r, struct str s)
{
    struct chunk *c = r->out;
    if (r->depth == 1 && is_under(r, 0, "error")) {
        c->has_error = true;
        c->error = s;
    } else if (is_under(r, 1, "error") && is_under(r, 0, "message")) {
        c->error = s;
    } else if (is_under(r, 0, "finish_reason")) {
        c->has_finish = true;
    } else if (s.len > 0 && ((is_under(r, 1, "delta") && is_under(r, 0, "content")) ||
                             (r->depth == 3 && is_under(r, 0, "text")))) {
        c->text = s;
        c->has_output = true;
    } else if (s.len > 0 && ((is_under(r, 1, "delta") && (is_under(r, 0, "reasoning") ||
                                                          is_under(r, 0, "reasoning_content"))) ||
                             is_under(r, 0, "arguments"))) {
        c->has_output = true;
    }
}

static void on_number(struct reader *r, uint32_t v)
{
    struct chunk *c = r->out;
    if (is_under(r, 1, "usage") && is_under(r, 0, "prompt_tokens"))
        c->prompt_tokens = v;
    else if (is_under(r, 1, "usage") && is_under(r, 0, "completion_tokens"))
        c->completion_tokens = v;
    else if (is_under(r, 0, "cached_tokens"))
        c->cached_tokens = v;
}

static bool open_level(struct reader *r)
{
    if (r->depth == MAX_DEPTH)
        return false;
    if (r->depth == 1 && is_under(r, 0, "error"))
        r->out->has_error = true;
    if (r->depth == 1 && is_under(r, 0, "usage"))
        r->out->has_usage = true;
    r->depth++;
    r->is_object[r->depth] = *r->p == '{';
    r->keys[r->depth] = (struct str){0};
    r->p++;
    return true;
}

static bool is_separator(char c)
{
    return c == ',' || c == ']' || c == '}' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Numbers, true, false, null: their end is the next separator. */
static void read_bare(struct reader *r)
{
    uint32_t v = 0;
    bool is_number = *r->p >= '0' && *r->p <= '9';
    for (; r->p < r->end && !is_separator(*r->p); r->p++) {
        if (*r->p >= '0' && *r->p <= '9')
            v = v * 10 + (uint32_t)(*r->p - '0');
    }
    if (is_number)
        on_number(r, v);
}

/* One step: a key, a value or a bracket. False at what is no JSON. */
static bool step(struct reader *r)
{
    struct str s;
    if (*r->p == '{' || *r->p == '[')
        return open_level(r);
    if (*r->p == '}' || *r->p == ']') {
        if (r->is_object[r->depth] != (*r->p == '}'))
            return false;
        r->depth--;
        r->p++;
        return true;
    }
    if (*r->p == ',') {
        r->p++;
        return true;
    }
    if (*r->p != '"') {
        const char *before = r->p;
        read_bare(r);
        return r->p > before;
    }
    if (!read_string(r, &s))
        return false;
    skip_blank(r);
    if (r->is_object[r->depth] && r->p < r->end && *r->p == ':') {
        r->keys[r->depth] = s;
        r->p++;
    } else {
        on_string(r, s);
    }
    return true;
}

bool chunk_read(struct str json, struct chunk *ret_chunk)
{
    *ret_chunk = (struct chunk){0};
    struct reader r = {.p = json.ptr, .end = json.ptr + json.len, .out = ret_chunk};
    skip_blank(&r);
    if (r.p == r.end || *r.p != '{' || !open_level(&r))
        return false;
    while (r.depth > 0) {
        skip_blank(&r);
        if (r.p == r.end || !step(&r))
            return false;
    }
    return true;
}
