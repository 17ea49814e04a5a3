/* SPDX-License-Identifier: MIT */
#include "services/model/why.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/utf8.h"

/* Copies `from`, with bytes that a terminal must not see written as \xNN. */
static void clean(char *to, size_t cap, const char *from)
{
    size_t n = 0;
    size_t left = strlen(from);
    while (left > 0 && n + 5 < cap) {
        int len = utf8_next(from, left);
        if (len > 0 && (unsigned char)*from >= 0x20 && *from != 0x7f) {
            memcpy(to + n, from, (size_t)len);
            n += (size_t)len;
        } else {
            n += (size_t)snprintf(to + n, cap - n, "\\x%02x", (unsigned)(unsigned char)*from);
            len = 1;
        }
        from += len;
        left -= (size_t)len;
    }
    to[n] = '\0';
}

enum err why_set(struct why *why, enum err e, const char *fmt, ...)
{
    char raw[sizeof why->text];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    clean(why->text, sizeof why->text, raw);
    return e;
}

enum err why_errno(struct why *why, const char *path, const char *what, int errnum)
{
    return why_set(why, errnum == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s: %s", path, what,
                   strerrordesc_np(errnum));
}

enum err why_nomem(struct why *why, const char *what)
{
    return why_set(why, ERR_NOMEM, "%s: out of memory", what);
}
