/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/spm.h"

#include <string.h>

enum {
    KEPT_BYTES = 1 << 20,
};

#define LOW_LINE STR_LIT("\xe2\x96\x81") /* U+2581 */

void spm_scan_init(struct spm_scan *s, const struct vocab *vocab, bool does_add_space)
{
    *s = (struct spm_scan){.does_add_space = does_add_space,
                           .is_cut = !vocab_has_inner_space(vocab)};
}

void spm_scan_fini(struct spm_scan *s)
{
    buf_fini(&s->text);
}

void spm_scan_start(struct spm_scan *s, struct str text)
{
    s->at = 0;
    buf_reset(&s->text);
    if (s->text.cap > KEPT_BYTES)
        buf_fini(&s->text);
    if (s->does_add_space && text.len > 0)
        buf_add_char(&s->text, ' ');
    const char *from = text.ptr;
    size_t left = text.len;
    for (const char *line; left > 0 && (line = memmem(from, left, LOW_LINE.ptr, LOW_LINE.len));) {
        size_t n = (size_t)(line - from);
        buf_add(&s->text, from, n);
        buf_add_char(&s->text, ' ');
        from = line + LOW_LINE.len;
        left -= n + LOW_LINE.len;
    }
    buf_add(&s->text, from, left);
}

struct str spm_scan_next(struct spm_scan *s)
{
    struct str rest = buf_str(&s->text);
    rest.ptr += s->at;
    rest.len -= s->at;
    size_t n = 0;
    while (n < rest.len && rest.ptr[n] == ' ')
        n++;
    const char *space = s->is_cut && n < rest.len ? memchr(rest.ptr + n, ' ', rest.len - n) : NULL;
    rest.len = space ? (size_t)(space - rest.ptr) : rest.len;
    s->at += rest.len;
    return rest;
}
