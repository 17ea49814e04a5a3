/* SPDX-License-Identifier: MIT */
/* Vocabularies and texts. The input gives a small vocabulary on top of the 256 bytes, then a text and where
 * its bytes came from. Whatever the vocabulary, the ids spell the text; a merge list and its heap agree; no
 * control token comes from bytes that are not the template's. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/check.h"
#include "services/tokenizer/bpe.h"
#include "services/tokenizer/encode.h"
#include "services/tokenizer/spm.h"
#include "services/tokenizer/tmpl_value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_TOKENS = 320, MAX_MERGES = 64, TOKEN_BYTES = 8 };

struct input {
    const uint8_t *at;
    size_t left;
};

struct tables {
    uint32_t offsets[MAX_TOKENS + 1];
    uint8_t bytes[MAX_TOKENS * TOKEN_BYTES];
    uint8_t types[MAX_TOKENS];
    uint32_t merges[2 * MAX_MERGES];
    float scores[MAX_TOKENS];
    struct vocab_data data;
};

static uint8_t next(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

static void add(struct tables *t, const uint8_t *bytes, size_t n, uint8_t type, float score)
{
    struct vocab_data *d = &t->data;
    memcpy(t->bytes + d->n_bytes, bytes, n);
    d->n_bytes += n;
    t->types[d->n_tokens] = type;
    t->scores[d->n_tokens++] = score;
    t->offsets[d->n_tokens] = (uint32_t)d->n_bytes;
}

static void read_tables(struct input *in, bool is_spm, struct tables *t)
{
    for (unsigned b = 0; b < 256; b++)
        add(t, &(uint8_t){(uint8_t)b}, 1, is_spm ? VOCAB_BYTE : VOCAB_NORMAL, 0);
    for (unsigned n = next(in) % (MAX_TOKENS - 256U); n > 0; n--) {
        uint8_t bytes[TOKEN_BYTES];
        uint8_t head = next(in);
        size_t len = head % TOKEN_BYTES;
        for (size_t i = 0; i < len; i++)
            bytes[i] = next(in);
        static const uint8_t TYPES[] = {1, 1, 1, 1, 2, 3, 3, 4, 5, 6, 0, 7};
        add(t, bytes, len, TYPES[(head >> 3) % sizeof TYPES], (float)(int8_t)next(in) / 4);
    }
    for (unsigned n = next(in) % MAX_MERGES; n > 0; n--) {
        t->merges[2 * t->data.n_merges] = next(in);
        t->merges[2 * t->data.n_merges++ + 1] = 250U + next(in) % 80U;
    }
    t->data.offsets = t->offsets;
    t->data.bytes = t->bytes;
    t->data.types = t->types;
    t->data.merges = t->merges;
    t->data.scores = is_spm ? t->scores : NULL;
}

/* The text between special tokens, as the vocabulary spells it. */
static void check_ids(const struct vocab *v, struct str text, const uint8_t *origins,
                      bool does_add_space, const struct ids *ids)
{
    struct buf got = {0};
    size_t n_trusted = 0;
    for (size_t i = 0; i < text.len; i++)
        n_trusted += origins[i] == TMPL_FROM_TEMPLATE;
    for (size_t i = 0; i < ids->n; i++) {
        ASSERT(vocab_has(v, ids->v[i]));
        ASSERT(vocab_type_of(v, ids->v[i]) != VOCAB_CONTROL || n_trusted > 0);
        buf_add_str(&got, vocab_bytes(v, ids->v[i]));
    }
    if (!vocab_is_spm(v))
        ASSERT(str_eq(buf_str(&got), text));
    else if (!does_add_space && memmem(text.ptr, text.len, "\xe2\x96\x81", 3) == NULL)
        ASSERT(str_eq(buf_str(&got), text));
    buf_fini(&got);
}

static void check_ways_agree(const struct vocab *v, struct str text)
{
    struct bpe *b;
    struct ids by_list = {0};
    struct ids by_heap = {0};
    text.len = text.len < BPE_SHORT ? text.len : BPE_SHORT;
    if (bpe_new(v, false, &b) != ERR_OK)
        return;
    ASSERT(bpe_encode(b, text, &by_list) == ERR_OK);
    ASSERT(bpe_encode_by_heap(b, text, &by_heap) == ERR_OK);
    ASSERT(by_list.n == by_heap.n);
    ASSERT(by_list.n == 0 || memcmp(by_list.v, by_heap.v, by_list.n * sizeof *by_list.v) == 0);
    ids_fini(&by_list);
    ids_fini(&by_heap);
    bpe_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const RULES[] = {"llama-bpe", "qwen2", "gpt-2", "falcon-e"};
    struct input in = {data, size};
    uint8_t kind = next(&in);
    bool is_spm = kind & 1;
    bool does_add_space = kind & 2;
    char why[256];
    struct vocab *v = NULL;
    struct encoder *e = NULL;
    struct tables *t = calloc(1, sizeof *t);
    ASSERT(t != NULL);
    read_tables(&in, is_spm, t);
    if (vocab_new(&t->data, why, sizeof why, &v) == ERR_OK &&
        encode_new(v, RULES[(kind >> 2) % 4], does_add_space, why, sizeof why, &e) == ERR_OK) {
        struct str text = {in.left > 0 ? (const char *)in.at : "", in.left};
        struct ids ids = {0};
        uint8_t *origins = malloc(text.len + 1);
        ASSERT(origins != NULL);
        for (size_t i = 0; i < text.len; i++)
            origins[i] = kind & 0x40 ? (uint8_t)text.ptr[i] % 5 != 0 : (kind & 0x80) != 0;
        ASSERT(encode_text(e, text, origins, &ids) == ERR_OK);
        check_ids(v, text, origins, does_add_space, &ids);
        check_ways_agree(v, text);
        ids_fini(&ids);
        free(origins);
    }
    encode_free(e);
    vocab_free(v);
    free(t);
    return 0;
}
