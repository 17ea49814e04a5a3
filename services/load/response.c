/* SPDX-License-Identifier: MIT */
#include "services/load/response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void response_reset(struct response *r)
{
    r->state = RESPONSE_HEAD;
    r->status = 0;
    r->is_stream = false;
    r->is_chunked = false;
    r->does_close = false;
    r->has_data = false;
    r->left = 0;
    buf_reset(&r->head);
    buf_reset(&r->line);
    buf_reset(&r->data);
    buf_reset(&r->body);
}

void response_fini(struct response *r)
{
    buf_fini(&r->head);
    buf_fini(&r->line);
    buf_fini(&r->data);
    buf_fini(&r->body);
}

/* ---- events ------------------------------------------------------------------------------------ */

static void end_event(struct response *r)
{
    if (r->has_data)
        r->event(r->ctx, buf_str(&r->data));
    buf_reset(&r->data);
    r->has_data = false;
}

/* Other fields than data and comments mean nothing here. */
static void on_line(struct response *r, const char *p, size_t n)
{
    if (n > 0 && p[n - 1] == '\r')
        n--;
    if (n == 0) {
        end_event(r);
        return;
    }
    if (n < 5 || memcmp(p, "data:", 5) != 0)
        return;
    size_t skip = n > 5 && p[5] == ' ' ? 6 : 5;
    if (r->has_data)
        buf_add_char(&r->data, '\n');
    r->has_data = true;
    buf_add(&r->data, p + skip, n - skip);
}

static void on_stream(struct response *r, const char *p, size_t n)
{
    while (n > 0) {
        const char *end = memchr(p, '\n', n);
        size_t len = end != NULL ? (size_t)(end - p) : n;
        if (end == NULL || r->line.len > 0)
            buf_add(&r->line, p, len);
        if (r->line.len + r->data.len > RESPONSE_EVENT_MAX) {
            r->state = RESPONSE_BAD;
            return;
        }
        if (end == NULL)
            return;
        if (r->line.len > 0)
            on_line(r, r->line.ptr, r->line.len);
        else
            on_line(r, p, len);
        buf_reset(&r->line);
        p += len + 1;
        n -= len + 1;
    }
}

static void on_body(struct response *r, const char *p, size_t n)
{
    if (r->is_stream && r->status == 200) {
        on_stream(r, p, n);
    } else if (r->body.len < r->body_cap) {
        size_t room = r->body_cap - r->body.len;
        buf_add(&r->body, p, n < room ? n : room);
    }
}

/* ---- the head ---------------------------------------------------------------------------------- */

static bool value_has(struct str value, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= value.len; i++) {
        if (strncasecmp(value.ptr + i, word, n) == 0)
            return true;
    }
    return false;
}

static bool is_name(struct str line, const char *name, struct str *ret_value)
{
    size_t n = strlen(name);
    if (line.len <= n || line.ptr[n] != ':' || strncasecmp(line.ptr, name, n) != 0)
        return false;
    n++;
    while (n < line.len && line.ptr[n] == ' ')
        n++;
    *ret_value = (struct str){line.ptr + n, line.len - n};
    return true;
}

static void on_header(struct response *r, struct str line, bool *has_length)
{
    struct str v;
    if (is_name(line, "content-length", &v)) {
        *has_length = true;
        r->left = strtoull(v.ptr, NULL, 10); /* the line is terminated by what follows it */
    } else if (is_name(line, "transfer-encoding", &v)) {
        r->is_chunked = value_has(v, "chunked");
    } else if (is_name(line, "connection", &v)) {
        r->does_close = value_has(v, "close");
    } else if (is_name(line, "content-type", &v)) {
        r->is_stream = value_has(v, "text/event-stream");
    }
}

static bool read_status(struct response *r, struct str line)
{
    if (line.len < 12 || memcmp(line.ptr, "HTTP/1.", 7) != 0)
        return false;
    r->does_close = line.ptr[7] == '0';
    r->status = (int)strtol(line.ptr + 9, NULL, 10);
    return r->status >= 100 && r->status <= 599;
}

static void on_head(struct response *r)
{
    const char *p = r->head.ptr;
    const char *end = p + r->head.len;
    bool has_length = false;
    bool is_first = true;
    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        size_t len = nl != NULL ? (size_t)(nl - p) : (size_t)(end - p);
        struct str line = {p, len > 0 && p[len - 1] == '\r' ? len - 1 : len};
        if (is_first && !read_status(r, line)) {
            r->state = RESPONSE_BAD;
            return;
        }
        if (!is_first)
            on_header(r, line, &has_length);
        is_first = false;
        p += len + 1;
    }
    buf_reset(&r->head);
    if (r->status < 200)
        r->state = RESPONSE_HEAD; /* 100 Continue and the like: the answer follows */
    else if (r->is_chunked)
        r->state = RESPONSE_SIZE;
    else if (r->status == 204 || r->status == 304 || (has_length && r->left == 0))
        r->state = RESPONSE_DONE;
    else
        r->state = has_length ? RESPONSE_DATA : RESPONSE_UNTIL_CLOSE;
    if (r->state == RESPONSE_UNTIL_CLOSE)
        r->does_close = true;
}

static size_t feed_head(struct response *r, const char *p, size_t n)
{
    size_t before = r->head.len;
    size_t from = before > 3 ? before - 3 : 0;
    size_t room = RESPONSE_HEAD_MAX - before;
    buf_add(&r->head, p, n < room ? n : room);
    const char *end = memmem(r->head.ptr + from, r->head.len - from, "\r\n\r\n", 4);
    if (end == NULL) {
        if (r->head.len >= RESPONSE_HEAD_MAX)
            r->state = RESPONSE_BAD;
        return n;
    }
    size_t used = (size_t)(end - r->head.ptr) + 4;
    r->head.len = used - 2;
    on_head(r);
    return used - before;
}

/* ---- the body ---------------------------------------------------------------------------------- */

static void on_coding_line(struct response *r)
{
    struct str line = buf_str(&r->head);
    if (r->state == RESPONSE_TRAILER) {
        r->state = line.len == 0 ? RESPONSE_DONE : RESPONSE_TRAILER;
    } else if (r->state == RESPONSE_DATA_END) {
        r->state = line.len == 0 ? RESPONSE_SIZE : RESPONSE_BAD;
    } else {
        char *end;
        r->left = strtoull(line.ptr, &end, 16);
        if (end == line.ptr || (*end != '\0' && *end != ';' && *end != ' '))
            r->state = RESPONSE_BAD;
        else
            r->state = r->left > 0 ? RESPONSE_DATA : RESPONSE_TRAILER;
    }
    buf_reset(&r->head);
}

/* A line of the chunked coding. */
static size_t feed_line(struct response *r, const char *p, size_t n)
{
    const char *nl = memchr(p, '\n', n);
    size_t len = nl != NULL ? (size_t)(nl - p) : n;
    if (r->head.len + len > RESPONSE_HEAD_MAX) {
        r->state = RESPONSE_BAD;
        return n;
    }
    buf_add(&r->head, p, len);
    if (nl == NULL)
        return n;
    if (r->head.len > 0 && r->head.ptr[r->head.len - 1] == '\r')
        r->head.ptr[--r->head.len] = '\0';
    on_coding_line(r);
    return len + 1;
}

static size_t feed_data(struct response *r, const char *p, size_t n)
{
    size_t take = n < r->left ? n : (size_t)r->left;
    r->left -= take;
    if (r->left == 0)
        r->state = r->is_chunked ? RESPONSE_DATA_END : RESPONSE_DONE;
    on_body(r, p, take);
    return take;
}

size_t response_feed(struct response *r, const char *bytes, size_t n)
{
    size_t at = 0;
    while (at < n && r->state != RESPONSE_DONE && r->state != RESPONSE_BAD) {
        const char *p = bytes + at;
        size_t left = n - at;
        if (r->state == RESPONSE_HEAD) {
            at += feed_head(r, p, left);
        } else if (r->state == RESPONSE_DATA) {
            at += feed_data(r, p, left);
        } else if (r->state == RESPONSE_UNTIL_CLOSE) {
            on_body(r, p, left);
            at = n;
        } else {
            at += feed_line(r, p, left);
        }
    }
    return at;
}

bool response_close(struct response *r)
{
    if (r->state == RESPONSE_UNTIL_CLOSE)
        r->state = RESPONSE_DONE;
    return r->state == RESPONSE_DONE;
}
