/* SPDX-License-Identifier: MIT */
#include "services/model/sentencepiece.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "services/model/spm_text.h"

enum wire {
    WIRE_VARINT = 0,
    WIRE_64 = 1,
    WIRE_BYTES = 2,
    WIRE_32 = 5,
};

enum piece_type {
    PIECE_NORMAL = 1,
    PIECE_BYTE = 6,
};

enum { MODEL_BPE = 2 };

/* A message; `at` counts from the start of the file. Sticky: is_bad stays. */
struct cursor {
    const uint8_t *bytes;
    size_t at;
    size_t end;
    bool is_bad;
};

struct field {
    uint64_t number;
    enum wire wire;
    uint64_t value; /* of a varint, or the bits of a fixed one */
    struct cursor message; /* of bytes */
};

static uint64_t read_varint(struct cursor *c)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (c->at == c->end)
            break;
        uint8_t byte = c->bytes[c->at++];
        v |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return v;
    }
    c->is_bad = true;
    return 0;
}

static uint64_t read_fixed(struct cursor *c, size_t n)
{
    uint64_t v = 0;
    if (c->end - c->at < n) {
        c->is_bad = true;
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)c->bytes[c->at++] << 8 * i;
    return v;
}

/* False at the end of the message, or when it is bad. */
static bool next_field(struct cursor *c, struct field *f)
{
    if (c->is_bad || c->at == c->end)
        return false;
    uint64_t key = read_varint(c);
    *f = (struct field){.number = key >> 3, .wire = (enum wire)(key & 7)};
    switch (f->wire) {
    case WIRE_VARINT:
        f->value = read_varint(c);
        break;
    case WIRE_64:
        f->value = read_fixed(c, 8);
        break;
    case WIRE_32:
        f->value = read_fixed(c, 4);
        break;
    case WIRE_BYTES: {
        uint64_t n = read_varint(c);
        if (c->is_bad || n > c->end - c->at) {
            c->is_bad = true;
            break;
        }
        f->message = (struct cursor){.bytes = c->bytes, .at = c->at, .end = c->at + (size_t)n};
        c->at += (size_t)n;
        break;
    }
    default:
        c->is_bad = true;
        break;
    }
    return !c->is_bad;
}

struct reader {
    struct source *source;
    struct why *why;
    float *scores;
    size_t cap_scores;
    uint64_t model_type;
    bool has_charsmap;
    bool does_add_prefix;
    bool does_remove_spaces;
};

static enum err bad_message(struct why *why, const struct cursor *c)
{
    return why_set(why, ERR_MODEL_FORMAT,
                   "tokenizer.model: at offset %zu: expected a SentencePiece model, the message is "
                   "damaged",
                   c->at);
}

static enum err add_piece(struct reader *r, struct cursor c)
{
    struct str text = {"", 0};
    float score = 0.0F;
    uint64_t type = PIECE_NORMAL;
    for (struct field f; next_field(&c, &f);) {
        uint32_t bits = (uint32_t)f.value;
        if (f.number == 1 && f.wire == WIRE_BYTES)
            text = (struct str){(const char *)c.bytes + f.message.at, f.message.end - f.message.at};
        else if (f.number == 2 && f.wire == WIRE_32)
            memcpy(&score, &bits, sizeof score);
        else if (f.number == 3 && f.wire == WIRE_VARINT)
            type = f.value;
    }
    if (c.is_bad || type < PIECE_NORMAL || type > PIECE_BYTE || !(score >= -1e30F && score < 1e30F))
        return bad_message(r->why, &c);
    struct source_tokenizer *t = &r->source->tokenizer;
    if (t->n_tokens == r->cap_scores) {
        r->cap_scores = r->cap_scores == 0 ? 1024 : 2 * r->cap_scores;
        r->scores = mem_resize(r->scores, r->cap_scores, sizeof *r->scores);
    }
    r->scores[t->n_tokens] = score;
    struct buf bytes = {0};
    uint8_t kind = (uint8_t)type;
    int byte = kind == PIECE_BYTE ? spm_text_byte(text) : -1;
    if (byte >= 0)
        buf_add_char(&bytes, (char)byte);
    else if (kind == PIECE_NORMAL)
        spm_text_add(&bytes, text);
    else
        buf_add_str(&bytes, text);
    enum err e = source_add_token(t, buf_str(&bytes), kind, r->why);
    buf_fini(&bytes);
    return e;
}

static void read_trainer(struct reader *r, struct cursor *c)
{
    for (struct field f; next_field(c, &f);) {
        if (f.number == 3 && f.wire == WIRE_VARINT)
            r->model_type = f.value;
    }
}

static void read_normalizer(struct reader *r, struct cursor *c)
{
    for (struct field f; next_field(c, &f);) {
        if (f.number == 2 && f.wire == WIRE_BYTES)
            r->has_charsmap = f.message.end > f.message.at;
        else if (f.number == 3 && f.wire == WIRE_VARINT)
            r->does_add_prefix = f.value != 0;
        else if (f.number == 4 && f.wire == WIRE_VARINT)
            r->does_remove_spaces = f.value != 0;
    }
}

static enum err read_model(struct reader *r, struct cursor *c)
{
    for (struct field f; next_field(c, &f);) {
        enum err e = ERR_OK;
        if (f.wire != WIRE_BYTES)
            continue;
        if (f.number == 1)
            e = add_piece(r, f.message);
        else if (f.number == 2)
            read_trainer(r, &f.message);
        else if (f.number == 3)
            read_normalizer(r, &f.message);
        if (e || f.message.is_bad)
            return e ? e : bad_message(r->why, &f.message);
    }
    if (c->is_bad || r->source->tokenizer.n_tokens == 0)
        return bad_message(r->why, c);
    return ERR_OK;
}

static enum err refuse(struct reader *r, const char *what)
{
    return why_set(r->why, ERR_UNSUPPORTED, "tokenizer.model: expected %s", what);
}

static enum err check_settings(struct reader *r)
{
    if (r->model_type != MODEL_BPE)
        return refuse(r, "a model of type BPE, not unigram");
    if (r->has_charsmap)
        return refuse(r, "no normalisation of characters");
    if (r->does_remove_spaces)
        return refuse(r, "remove_extra_whitespaces to be false");
    struct source_config *c = &r->source->config;
    (void)snprintf(c->tokenizer_model, sizeof c->tokenizer_model, "spm");
    if (c->extra == NULL)
        c->extra = json_object();
    (void)json_object_set_new(c->extra, "add_space_prefix", json_boolean(r->does_add_prefix));
    return ERR_OK;
}

enum err sentencepiece_read(const uint8_t *bytes, size_t n, struct source *s, struct why *why)
{
    /* The format's defaults are those of a unigram model with both switches on. */
    struct reader r = {.source = s,
                       .why = why,
                       .model_type = 1,
                       .does_add_prefix = true,
                       .does_remove_spaces = true};
    struct cursor c = {.bytes = bytes, .end = n};
    enum err e = read_model(&r, &c);
    if (!e)
        e = check_settings(&r);
    s->tokenizer.scores = r.scores;
    return e;
}
