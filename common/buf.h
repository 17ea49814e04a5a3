/* SPDX-License-Identifier: MIT */
/* Growable byte buffer. A struct buf of zeros is empty and ready. Growth aborts on memory exhaustion
 * (see common/mem.h): callers cap what they put in. Data is always followed by a NUL byte. */
#ifndef HALO_COMMON_BUF_H
#define HALO_COMMON_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "common/str.h"

struct buf {
    char *ptr;
    size_t len;
    size_t cap;
};

void buf_fini(struct buf *b);

/* Empties it and keeps the memory. */
void buf_reset(struct buf *b);

void buf_add(struct buf *b, const void *data, size_t len);
void buf_add_str(struct buf *b, struct str s);
void buf_add_cstr(struct buf *b, const char *s);
void buf_add_char(struct buf *b, char c);
void buf_add_u64(struct buf *b, uint64_t v); /* in decimal */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Appends s as a JSON string with quotes. Bytes that are not UTF-8 become U+FFFD. */
void buf_add_json(struct buf *b, struct str s);

/* Room for `more` further bytes; gives the place to write them. Then raise b->len. */
char *buf_reserve(struct buf *b, size_t more);

/* Drops the first n bytes. */
void buf_drop(struct buf *b, size_t n);

/* The memory, NUL-terminated; the caller frees it; b is empty afterwards. Never NULL. */
char *buf_detach(struct buf *b);

static inline struct str buf_str(const struct buf *b)
{
    return (struct str){b->ptr != NULL ? b->ptr : "", b->len};
}

#endif
