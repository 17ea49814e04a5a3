/* SPDX-License-Identifier: MIT */
#include "services/gateway/trace_context.h"

#include <ctype.h>
#include <stdio.h>

enum { ID_MAX = 64 };

static bool is_hex(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)s[i]) && (s[i] < 'a' || s[i] > 'f'))
            return false;
    }
    return true;
}

static bool is_zero(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] != '0')
            return false;
    }
    return true;
}

/* version-traceid-parentid-flags. A version beyond 00 may go on behind the flags; ff is none. */
static bool is_valid(struct str h)
{
    if (h.len < TRACE_HEADER_LEN)
        return false;
    bool is_first = memcmp(h.ptr, "00", 2) == 0;
    if (is_first ? h.len != TRACE_HEADER_LEN : h.len > TRACE_HEADER_LEN && h.ptr[55] != '-')
        return false;
    return memcmp(h.ptr, "ff", 2) != 0 && is_hex(h.ptr, 2) && h.ptr[2] == '-' &&
           is_hex(h.ptr + 3, 32) && !is_zero(h.ptr + 3, 32) && h.ptr[35] == '-' &&
           is_hex(h.ptr + 36, 16) && !is_zero(h.ptr + 36, 16) && h.ptr[52] == '-' &&
           is_hex(h.ptr + 53, 2);
}

void trace_context_make(struct trace_context *c, struct str traceparent, const uint64_t random[3])
{
    *c = (struct trace_context){.flags = "01"};
    (void)snprintf(c->span_id, sizeof c->span_id, "%016llx", (unsigned long long)random[2] | 1);
    if (is_valid(traceparent)) {
        memcpy(c->trace_id, traceparent.ptr + 3, 32);
        memcpy(c->parent_id, traceparent.ptr + 36, 16);
        memcpy(c->flags, traceparent.ptr + 53, 2);
        return;
    }
    (void)snprintf(c->trace_id, sizeof c->trace_id, "%016llx%016llx", (unsigned long long)random[0],
                   (unsigned long long)random[1] | 1);
}

void trace_context_write(const struct trace_context *c, char out[TRACE_HEADER_LEN + 1])
{
    (void)snprintf(out, TRACE_HEADER_LEN + 1, "00-%s-%s-%s", c->trace_id, c->span_id, c->flags);
}

bool trace_context_is_id(struct str id)
{
    if (id.len == 0 || id.len > ID_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        unsigned char c = (unsigned char)id.ptr[i];
        if (!isalnum(c) && c != '.' && c != '_' && c != '-')
            return false;
    }
    return true;
}
