/* SPDX-License-Identifier: MIT */
#include "services/halo/sse.h"

static void end_event(struct sse *s)
{
    if (s->has_data)
        s->event(s->ctx, buf_str(&s->data));
    buf_reset(&s->data);
    s->has_data = false;
}

static bool end_line(struct sse *s)
{
    static const struct str DATA = {"data:", 5};
    struct str line = buf_str(&s->line);
    if (line.len == 0) {
        end_event(s);
        return true;
    }
    if (line.len >= DATA.len && str_eq((struct str){line.ptr, DATA.len}, DATA)) {
        size_t skip = DATA.len + (line.len > DATA.len && line.ptr[DATA.len] == ' ');
        if (s->has_data)
            buf_add_char(&s->data, '\n');
        buf_add(&s->data, line.ptr + skip, line.len - skip);
        s->has_data = true;
    }
    buf_reset(&s->line);
    return s->data.len <= SSE_MAX_EVENT;
}

bool sse_feed(struct sse *s, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = bytes[i];
        bool is_second_half = c == '\n' && s->was_cr;
        s->was_cr = c == '\r';
        if (is_second_half)
            continue;
        if (c != '\n' && c != '\r')
            buf_add_char(&s->line, c);
        else if (!end_line(s))
            return false;
        if (s->line.len > SSE_MAX_EVENT)
            return false;
    }
    return true;
}

void sse_fini(struct sse *s)
{
    buf_fini(&s->line);
    buf_fini(&s->data);
}
