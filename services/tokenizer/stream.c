/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/stream.h"

enum err stream_init(struct stream *s, const struct vocab *vocab, bool drops_space,
                     const struct str *stops, size_t n_stops, bool keep_stop)
{
    struct stops *made;
    enum err e = stops_new(stops, n_stops, keep_stop, &made);
    if (e != ERR_OK)
        return e;
    *s = (struct stream){.stops = made};
    detok_init(&s->detok, vocab, drops_space);
    return ERR_OK;
}

void stream_fini(struct stream *s)
{
    stops_free(s->stops);
    ids_fini(&s->ids);
    buf_fini(&s->text);
    *s = (struct stream){0};
}

enum err stream_push(struct stream *s, uint32_t id, struct buf *out, bool *ret_is_stopped)
{
    enum err e = ids_push(&s->ids, id);
    if (e != ERR_OK)
        return e;
    buf_reset(&s->text);
    detok_push(&s->detok, id, &s->text);
    *ret_is_stopped = stops_push(s->stops, buf_str(&s->text), out);
    return ERR_OK;
}

bool stream_finish(struct stream *s, struct buf *out)
{
    buf_reset(&s->text);
    detok_finish(&s->detok, &s->text);
    bool is_stopped = stops_push(s->stops, buf_str(&s->text), out);
    stops_finish(s->stops, out);
    return is_stopped;
}

enum err stream_replay(struct stream *s, const uint32_t *ids, size_t n, size_t *ret_n_bytes,
                       bool *ret_is_stopped)
{
    struct buf text = {0};
    enum err e = ERR_OK;
    *ret_n_bytes = 0;
    *ret_is_stopped = false;
    for (size_t i = 0; i < n && e == ERR_OK && !*ret_is_stopped; i++) {
        buf_reset(&text);
        e = stream_push(s, ids[i], &text, ret_is_stopped);
        *ret_n_bytes += text.len;
    }
    buf_fini(&text);
    return e;
}
