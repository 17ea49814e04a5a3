/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/encode.h"

#include <stdlib.h>

#include "services/tokenizer/bpe.h"
#include "services/tokenizer/pretoken.h"
#include "services/tokenizer/spm.h"
#include "services/tokenizer/tmpl_value.h"

struct special {
    struct str text;
    uint32_t id;
    bool is_control;
};

struct encoder {
    const struct vocab *vocab;
    struct pretoken *rule; /* NULL: spm */
    struct pretoken_scan *scan;
    struct spm_scan spm;
    struct bpe *bpe;
    struct special *specials; /* in order of their texts */
    size_t n_specials;
    uint32_t first[257]; /* specials that begin with byte b are [first[b], first[b + 1]) */
};

/* ---- the table of special tokens ---------------------------------------------------------------- */

static int by_text(const void *a, const void *b)
{
    const struct special *x = a;
    const struct special *y = b;
    size_t n = x->text.len < y->text.len ? x->text.len : y->text.len;
    int order = memcmp(x->text.ptr, y->text.ptr, n);
    if (order != 0)
        return order;
    if (x->text.len != y->text.len)
        return x->text.len < y->text.len ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static bool is_special(const struct vocab *v, uint32_t id)
{
    enum vocab_type type = vocab_type_of(v, id);
    return (type == VOCAB_CONTROL || type == VOCAB_USER_DEFINED) && vocab_bytes(v, id).len > 0;
}

static enum err collect_specials(struct encoder *e)
{
    size_t n = 0;
    for (uint32_t id = 0; id < vocab_size(e->vocab); id++)
        n += is_special(e->vocab, id);
    e->specials = calloc(n > 0 ? n : 1, sizeof *e->specials);
    if (!e->specials)
        return ERR_NOMEM;
    for (uint32_t id = 0; id < vocab_size(e->vocab); id++) {
        if (is_special(e->vocab, id))
            e->specials[e->n_specials++] = (struct special){
                vocab_bytes(e->vocab, id), id, vocab_type_of(e->vocab, id) == VOCAB_CONTROL};
    }
    qsort(e->specials, n, sizeof *e->specials, by_text);
    uint32_t at = 0;
    for (unsigned b = 0; b < 256; b++) {
        e->first[b] = at;
        while (at < n && (uint8_t)e->specials[at].text.ptr[0] == b)
            at++;
    }
    e->first[256] = at;
    return ERR_OK;
}

/* The first special in [low, high), which agree in the bytes before `depth`, whose byte there is not
 * below b. Those that end there come first and are below all. */
static size_t lower_bound(const struct encoder *e, size_t low, size_t high, size_t depth,
                          unsigned b)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct str t = e->specials[middle].text;
        if (t.len <= depth || (uint8_t)t.ptr[depth] < b)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest special token at text[at]; `trusted_end` is where the template's run of bytes ends that
 * holds `at`, or `at` itself. NULL when there is none. */
static const struct special *special_at(const struct encoder *e, struct str text, size_t at,
                                        size_t trusted_end)
{
    const struct special *best = NULL;
    size_t low = e->first[(uint8_t)text.ptr[at]];
    size_t high = e->first[(uint8_t)text.ptr[at] + 1U];
    for (size_t depth = 1; low < high; depth++) {
        for (; low < high && e->specials[low].text.len == depth; low++) {
            if (!e->specials[low].is_control || at + depth <= trusted_end)
                best = &e->specials[low];
        }
        if (at + depth == text.len)
            break;
        unsigned b = (uint8_t)text.ptr[at + depth];
        low = lower_bound(e, low, high, depth, b);
        high = lower_bound(e, low, high, depth, b + 1);
    }
    return best;
}

/* ---- encoding ----------------------------------------------------------------------------------- */

static enum err open_rule(struct encoder *e, const char *name, char *why, size_t cap_why)
{
    enum err err = pretoken_new(name, true, why, cap_why, &e->rule);
    return err == ERR_OK ? pretoken_scan_new(e->rule, &e->scan) : err;
}

enum err encode_new(const struct vocab *vocab, const char *pre_tokenizer, bool does_add_space,
                    char *why, size_t cap_why, struct encoder **ret_encoder)
{
    struct encoder *e = calloc(1, sizeof *e);
    if (!e)
        return ERR_NOMEM;
    e->vocab = vocab;
    enum err err = ERR_OK;
    if (vocab_is_spm(vocab))
        spm_scan_init(&e->spm, vocab, does_add_space);
    else
        err = open_rule(e, pre_tokenizer, why, cap_why);
    if (err == ERR_OK)
        err = bpe_new(vocab, e->rule && pretoken_ignores_merges(e->rule), &e->bpe);
    if (err == ERR_OK)
        err = collect_specials(e);
    if (err != ERR_OK)
        goto fail;
    *ret_encoder = e;
    return ERR_OK;
fail:
    encode_free(e);
    return err;
}

void encode_free(struct encoder *e)
{
    if (!e)
        return;
    bpe_free(e->bpe);
    spm_scan_fini(&e->spm);
    pretoken_scan_free(e->scan);
    pretoken_free(e->rule);
    free(e->specials);
    free(e);
}

bool encode_has_jit(const struct encoder *e)
{
    return e->rule && pretoken_has_jit(e->rule);
}

static enum err next_piece(struct encoder *e, struct str *ret_piece)
{
    if (e->rule)
        return pretoken_scan_next(e->scan, ret_piece);
    *ret_piece = spm_scan_next(&e->spm);
    return ERR_OK;
}

static enum err encode_plain(struct encoder *e, struct str text, struct ids *ids)
{
    if (text.len == 0)
        return ERR_OK;
    if (e->rule)
        pretoken_scan_start(e->scan, text);
    else
        spm_scan_start(&e->spm, text);
    for (;;) {
        struct str piece;
        enum err err = next_piece(e, &piece);
        if (err != ERR_OK || piece.len == 0)
            return err;
        err = bpe_encode(e->bpe, piece, ids);
        if (err != ERR_OK)
            return err;
    }
}

enum err encode_text(struct encoder *e, struct str text, const uint8_t *origins, struct ids *ids)
{
    size_t plain_from = 0;
    size_t trusted_end = 0;
    for (size_t at = 0; at < text.len;) {
        if (trusted_end <= at) {
            trusted_end = at;
            while (origins && trusted_end < text.len && origins[trusted_end] == TMPL_FROM_TEMPLATE)
                trusted_end++;
        }
        const struct special *s = special_at(e, text, at, trusted_end);
        if (!s) {
            at++;
            continue;
        }
        struct str plain = {text.ptr + plain_from, at - plain_from};
        enum err err = encode_plain(e, plain, ids);
        if (err == ERR_OK)
            err = ids_push(ids, s->id);
        if (err != ERR_OK)
            return err;
        at += s->text.len;
        plain_from = at;
    }
    return encode_plain(e, (struct str){text.ptr + plain_from, text.len - plain_from}, ids);
}
