/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/stops.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/utf8.h"

/* Knuth-Morris-Pratt: `border[k]` is the length of the longest proper prefix of text[0, k) that also
 * ends it; `at` is the length of the longest prefix of text that ends what was seen. */
struct stop {
    char text[STOPS_MAX_BYTES];
    uint16_t border[STOPS_MAX_BYTES + 1];
    size_t len;
    size_t at;
};

struct stops {
    size_t n;
    bool keep;
    bool is_found;
    char held[STOPS_MAX_BYTES];
    size_t n_held;
    struct stop stop[];
};

static void step(struct stop *s, char c)
{
    while (s->at > 0 && s->text[s->at] != c)
        s->at = s->border[s->at];
    if (s->text[s->at] == c)
        s->at++;
}

static void compile(struct stop *s, struct str text)
{
    memcpy(s->text, text.ptr, text.len);
    s->len = text.len;
    for (size_t i = 1; i < text.len; i++) {
        step(s, text.ptr[i]);
        s->border[i + 1] = (uint16_t)s->at;
    }
    s->at = 0;
}

enum err stops_new(const struct str *texts, size_t n, bool keep, struct stops **ret_stops)
{
    if (n > STOPS_MAX)
        return ERR_TOO_LARGE;
    for (size_t i = 0; i < n; i++) {
        if (texts[i].len == 0)
            return ERR_INVALID;
        if (texts[i].len > STOPS_MAX_BYTES)
            return ERR_TOO_LARGE;
        if (!utf8_is_valid(texts[i].ptr, texts[i].len))
            return ERR_UTF8;
    }
    struct stops *s = calloc(1, sizeof *s + n * sizeof s->stop[0]);
    if (!s)
        return ERR_NOMEM;
    s->n = n;
    s->keep = keep;
    for (size_t i = 0; i < n; i++)
        compile(&s->stop[i], texts[i]);
    *ret_stops = s;
    return ERR_OK;
}

void stops_free(struct stops *s)
{
    free(s);
}

/* Length of the longest stop string that is complete after `c`, or 0. */
static size_t step_all(struct stops *s, char c)
{
    size_t found = 0;
    for (size_t i = 0; i < s->n; i++) {
        step(&s->stop[i], c);
        if (s->stop[i].at == s->stop[i].len && s->stop[i].len > found)
            found = s->stop[i].len;
    }
    return found;
}

static size_t longest_beginning(const struct stops *s)
{
    size_t longest = 0;
    for (size_t i = 0; i < s->n; i++)
        longest = s->stop[i].at > longest ? s->stop[i].at : longest;
    return longest;
}

/* Lets through the first n bytes of what was held and `text`. */
static void let_through(const struct stops *s, struct str text, size_t n, struct buf *out)
{
    size_t n_held = n < s->n_held ? n : s->n_held;
    buf_add(out, s->held, n_held);
    buf_add(out, text.ptr, n - n_held);
}

/* Keeps the last n bytes of what was held and `text`. */
static void hold(struct stops *s, struct str text, size_t n)
{
    if (n > text.len) {
        size_t n_old = n - text.len;
        memmove(s->held, s->held + s->n_held - n_old, n_old);
        memcpy(s->held + n_old, text.ptr, text.len);
    } else {
        memcpy(s->held, text.ptr + text.len - n, n);
    }
    s->n_held = n;
}

bool stops_push(struct stops *s, struct str text, struct buf *out)
{
    if (s->is_found || text.len == 0)
        return s->is_found;
    for (size_t i = 0; i < text.len; i++) {
        size_t found = step_all(s, text.ptr[i]);
        if (found > 0) {
            s->is_found = true;
            let_through(s, text, s->n_held + i + 1 - (s->keep ? 0 : found), out);
            s->n_held = 0;
            return true;
        }
    }
    size_t n = longest_beginning(s);
    let_through(s, text, s->n_held + text.len - n, out);
    hold(s, text, n);
    return false;
}

void stops_finish(struct stops *s, struct buf *out)
{
    buf_add(out, s->held, s->n_held);
    s->n_held = 0;
}
