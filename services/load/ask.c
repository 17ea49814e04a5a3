/* SPDX-License-Identifier: MIT */
#include "services/load/ask.h"

#include <inttypes.h>

static void add_body(const struct ask_config *c, const struct prompt *p, struct buf *out)
{
    buf_add_cstr(out, "{\"model\":");
    buf_add_json(out, str_from(c->model));
    if (p->kind == PROMPT_CHAT) {
        buf_add_cstr(out, ",\"messages\":");
        buf_add_str(out, buf_str(&p->text));
    } else if (p->kind == PROMPT_TEXT) {
        buf_add_cstr(out, ",\"prompt\":");
        buf_add_json(out, buf_str(&p->text));
    } else {
        buf_add_cstr(out, ",\"prompt\":");
        for (size_t i = 0; i < p->n_ids; i++)
            buf_printf(out, "%c%" PRIu32, i == 0 ? '[' : ',', p->ids[i]);
        buf_add_char(out, ']');
    }
    buf_printf(
        out,
        ",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"max_tokens\":%" PRIu32
        ",\"seed\":%" PRIu64 "%s}",
        p->max_tokens, p->seed, c->members);
}

static void add_head(const struct ask_config *c, const char *method, const char *path,
                     struct buf *out)
{
    buf_printf(out, "%s %s%s HTTP/1.1\r\nhost: %s\r\nuser-agent: halo-load\r\n%s", method, c->base,
               path, c->host, c->headers);
    if (!c->does_keep_alive)
        buf_add_cstr(out, "connection: close\r\n");
}

void ask_write(const struct ask_config *c, const struct prompt *p, struct buf *out)
{
    struct buf body = {0};
    add_body(c, p, &body);
    add_head(c, "POST", p->kind == PROMPT_CHAT ? "/chat/completions" : "/completions", out);
    buf_printf(out,
               "content-type: application/json\r\naccept: text/event-stream\r\n"
               "content-length: %zu\r\n\r\n",
               body.len);
    buf_add_str(out, buf_str(&body));
    buf_fini(&body);
}

void ask_write_get(const struct ask_config *c, const char *path, struct buf *out)
{
    add_head(c, "GET", path, out);
    buf_add_cstr(out, "\r\n");
}
