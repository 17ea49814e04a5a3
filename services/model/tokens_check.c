/* SPDX-License-Identifier: MIT */
#include "services/model/tokens_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "services/model/token_index.h"

enum token_type {
    TYPE_NORMAL = 1,
    TYPE_UNKNOWN = 2,
    TYPE_BYTE = 6,
};

struct check {
    const struct source *source;
    const struct source_tokenizer *tokens;
    struct why *why;
    struct token_index index; /* of the tokens that text can become */
    bool has_unknown;
};

static bool is_findable(const struct check *k, uint32_t id)
{
    uint8_t type = k->tokens->types[id];
    bool is_spm = k->tokens->scores != NULL;
    return type == TYPE_BYTE || (type == TYPE_NORMAL && !is_spm);
}

static enum err check_bytes(const struct check *k)
{
    for (unsigned b = 0; b < 256; b++) {
        char byte = (char)b;
        if (token_index_find(&k->index, (struct str){&byte, 1}) == TOKEN_NONE && !k->has_unknown)
            return why_set(k->why, ERR_MODEL_FORMAT,
                           "%s: the vocabulary has no token for the byte 0x%02x", k->source->path,
                           b);
    }
    return ERR_OK;
}

static enum err bad_merge(const struct check *k, size_t rank, const char *what)
{
    return why_set(k->why, ERR_MODEL_FORMAT, "%s: merge %zu of the vocabulary %s", k->source->path,
                   rank, what);
}

static enum err check_merge(const struct check *k, size_t rank, struct buf *joined)
{
    const struct source_tokenizer *t = k->tokens;
    uint32_t left = t->merges[2 * rank];
    uint32_t right = t->merges[2 * rank + 1];
    if (left >= t->n_tokens || right >= t->n_tokens)
        return bad_merge(k, rank, "names a token that is not there");
    struct str a = source_token(t, left);
    struct str b = source_token(t, right);
    buf_reset(joined);
    buf_add_str(joined, a);
    buf_add_str(joined, b);
    if (a.len == 0 || b.len == 0 || token_index_find(&k->index, buf_str(joined)) == TOKEN_NONE)
        return bad_merge(k, rank, "makes no token");
    return ERR_OK;
}

static int compare_pairs(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return (*x > *y) - (*x < *y);
}

static enum err check_repeats(const struct check *k)
{
    const struct source_tokenizer *t = k->tokens;
    uint64_t *pairs = mem_resize(NULL, t->n_merges, sizeof *pairs);
    for (size_t i = 0; i < t->n_merges; i++)
        pairs[i] = (uint64_t)t->merges[2 * i] << 32 | t->merges[2 * i + 1];
    qsort(pairs, t->n_merges, sizeof *pairs, compare_pairs);
    enum err e = ERR_OK;
    for (size_t i = 1; i < t->n_merges && !e; i++) {
        if (pairs[i] == pairs[i - 1])
            e = why_set(k->why, ERR_MODEL_FORMAT,
                        "%s: the vocabulary merges the tokens %u and %u twice", k->source->path,
                        (unsigned)(pairs[i] >> 32), (unsigned)pairs[i]);
    }
    free(pairs);
    return e;
}

static enum err check_scores(const struct check *k)
{
    for (uint32_t i = 0; i < k->tokens->n_tokens; i++) {
        if (!isfinite(k->tokens->scores[i]))
            return why_set(k->why, ERR_MODEL_FORMAT, "%s: token %u has no finite score",
                           k->source->path, i);
    }
    return ERR_OK;
}

static enum err check_all(const struct check *k)
{
    enum err e = check_bytes(k);
    if (e)
        return e;
    if (k->tokens->scores != NULL)
        return check_scores(k);
    struct buf joined = {0};
    for (size_t i = 0; i < k->tokens->n_merges && !e; i++)
        e = check_merge(k, i, &joined);
    buf_fini(&joined);
    return e ? e : check_repeats(k);
}

enum err tokens_check(const struct source *s, struct why *why)
{
    const struct source_tokenizer *t = &s->tokenizer;
    struct check k = {.source = s, .tokens = t, .why = why};
    struct str *texts = mem_zalloc(t->n_tokens, sizeof *texts);
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        /* What is not to be found is empty, and no empty text is looked for. */
        texts[i] = is_findable(&k, i) ? source_token(t, i) : (struct str){"", 0};
        k.has_unknown |= t->scores != NULL && t->types[i] == TYPE_UNKNOWN;
    }
    enum err e = token_index_init(&k.index, texts, t->n_tokens);
    e = e ? why_nomem(why, "tokenizer") : check_all(&k);
    token_index_fini(&k.index);
    free(texts);
    return e;
}
