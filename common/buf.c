/* SPDX-License-Identifier: MIT */
#include "common/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/check.h"
#include "common/mem.h"
#include "common/utf8.h"

void buf_fini(struct buf *b)
{
    free(b->ptr);
    *b = (struct buf){0};
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    if (b->ptr != NULL)
        b->ptr[0] = '\0';
}

char *buf_reserve(struct buf *b, size_t more)
{
    ASSERT(more < (size_t)1 << 40);
    if (b->cap - b->len < more + 1 || b->ptr == NULL) {
        size_t cap = b->cap * 2 > 64 ? b->cap * 2 : 64;
        if (cap < b->len + more + 1)
            cap = b->len + more + 1;
        b->ptr = mem_resize(b->ptr, cap, 1);
        b->cap = cap;
        b->ptr[b->len] = '\0';
    }
    return b->ptr + b->len;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    char *p = buf_reserve(b, len);
    if (len > 0)
        memcpy(p, data, len);
    b->len += len;
    b->ptr[b->len] = '\0';
}

void buf_add_str(struct buf *b, struct str s)
{
    buf_add(b, s.ptr, s.len);
}

void buf_add_cstr(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_add_char(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_add_u64(struct buf *b, uint64_t v)
{
    char digits[20];
    char *p = digits + sizeof digits;
    do {
        *--p = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    buf_add(b, p, (size_t)(digits + sizeof digits - p));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    char small[256];
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0);
    if ((size_t)n < sizeof small) {
        buf_add(b, small, (size_t)n);
    } else {
        char *p = buf_reserve(b, (size_t)n);
        (void)vsnprintf(p, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

static void add_json_ascii(struct buf *b, char c)
{
    switch (c) {
    case '"':
        buf_add(b, "\\\"", 2);
        break;
    case '\\':
        buf_add(b, "\\\\", 2);
        break;
    case '\n':
        buf_add(b, "\\n", 2);
        break;
    case '\r':
        buf_add(b, "\\r", 2);
        break;
    case '\t':
        buf_add(b, "\\t", 2);
        break;
    default:
        if ((unsigned char)c < 0x20 || c == 0x7f)
            buf_printf(b, "\\u%04x", (unsigned)(unsigned char)c);
        else
            buf_add_char(b, c);
        break;
    }
}

/* How many bytes from s.ptr[i] on stand for themselves. */
static size_t count_plain(struct str s, size_t i)
{
    size_t from = i;
    while (i < s.len && (unsigned char)s.ptr[i] >= 0x20 && (unsigned char)s.ptr[i] < 0x7f &&
           s.ptr[i] != '"' && s.ptr[i] != '\\')
        i++;
    return i - from;
}

void buf_add_json(struct buf *b, struct str s)
{
    buf_add_char(b, '"');
    for (size_t i = 0; i < s.len;) {
        size_t n_plain = count_plain(s, i);
        if (n_plain > 0) {
            buf_add(b, s.ptr + i, n_plain);
            i += n_plain;
            continue;
        }
        int n = utf8_next(s.ptr + i, s.len - i);
        if (n == 1) {
            add_json_ascii(b, s.ptr[i]);
            i++;
        } else if (n > 1) {
            buf_add(b, s.ptr + i, (size_t)n);
            i += (size_t)n;
        } else {
            buf_add(b, "\xef\xbf\xbd", 3);
            i = n == 0 ? s.len : i + (size_t)-n;
        }
    }
    buf_add_char(b, '"');
}

void buf_drop(struct buf *b, size_t n)
{
    ASSERT(n <= b->len);
    if (n == 0)
        return;
    memmove(b->ptr, b->ptr + n, b->len - n + 1);
    b->len -= n;
}

char *buf_detach(struct buf *b)
{
    (void)buf_reserve(b, 0);
    char *p = b->ptr;
    *b = (struct buf){0};
    return p;
}
