/* SPDX-License-Identifier: MIT */
#include "services/halo/sse.h"

static void end_event(struct sse *s)
{
    if (s->has_data) {
        memcpy(s->last_id, s->next_id, sizeof s->last_id);
        s->event(s->ctx, buf_str(&s->data));
    }
    buf_reset(&s->data);
    s->has_data = false;
}

/* The value of a field's line; false if it is of another field. */
static bool is_field(struct str line, const char *name, struct str *ret_value)
{
    size_t n = strlen(name);
    if (line.len < n || memcmp(line.ptr, name, n) != 0)
        return false;
    n += line.len > n && line.ptr[n] == ' ';
    *ret_value = (struct str){line.ptr + n, line.len - n};
    return true;
}

static bool end_line(struct sse *s)
{
    struct str line = buf_str(&s->line);
    struct str value;
    if (line.len == 0) {
        end_event(s);
        return true;
    }
    if (is_field(line, "data:", &value)) {
        if (s->has_data)
            buf_add_char(&s->data, '\n');
        buf_add_str(&s->data, value);
        s->has_data = true;
    } else if (is_field(line, "id:", &value) && value.len < SSE_ID_CAP) {
        memcpy(s->next_id, value.ptr, value.len);
        s->next_id[value.len] = '\0';
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

void sse_restart(struct sse *s)
{
    buf_reset(&s->line);
    buf_reset(&s->data);
    s->has_data = false;
    s->was_cr = false;
    memcpy(s->next_id, s->last_id, sizeof s->next_id);
}

void sse_fini(struct sse *s)
{
    buf_fini(&s->line);
    buf_fini(&s->data);
}
