/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/detok.h"

#include <string.h>

#include "common/utf8.h"

#define REPLACEMENT STR_LIT("\xef\xbf\xbd")

void detok_init(struct detok *d, const struct vocab *vocab, bool drops_space)
{
    *d = (struct detok){.vocab = vocab, .drops_space = drops_space};
}

void detok_push(struct detok *d, uint32_t id, struct buf *out)
{
    if (!vocab_has(d->vocab, id))
        return;
    enum vocab_type type = vocab_type_of(d->vocab, id);
    struct str bytes = vocab_bytes(d->vocab, id);
    if (type == VOCAB_CONTROL || type == VOCAB_UNUSED || type == VOCAB_UNKNOWN || bytes.len == 0)
        return;
    if (d->drops_space && bytes.ptr[0] == ' ')
        bytes = (struct str){bytes.ptr + 1, bytes.len - 1};
    d->drops_space = false;
    char all[sizeof d->tail + VOCAB_MAX_TOKEN_BYTES];
    size_t n = d->n_tail + bytes.len;
    memcpy(all, d->tail, d->n_tail);
    memcpy(all + d->n_tail, bytes.ptr, bytes.len);
    d->n_tail = 0;
    for (size_t at = 0; at < n;) {
        int len = utf8_next(all + at, n - at);
        if (len == 0) {
            d->n_tail = n - at;
            memcpy(d->tail, all + at, d->n_tail);
            return;
        }
        if (len > 0)
            buf_add(out, all + at, (size_t)len);
        else
            buf_add_str(out, REPLACEMENT);
        at += (size_t)(len > 0 ? len : -len);
    }
}

void detok_finish(struct detok *d, struct buf *out)
{
    if (d->n_tail > 0)
        buf_add_str(out, REPLACEMENT);
    d->n_tail = 0;
}
