/* SPDX-License-Identifier: MIT */
#include "tests/tokenizer/shared_data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uint32_t random_state = 1;

void test_random_start(uint32_t seed)
{
    random_state = seed * 2654435761U + 1;
}

int test_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return (int)(random_state >> 1);
}

static const char *folder(void)
{
    const char *env = getenv("HALO_SHARED");
    return env ? env : HALO_SOURCE_ROOT "/../shared";
}

static bool exists(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/tokenizers/README.md", folder());
    return access(path, R_OK) == 0;
}

bool shared_data_is_at_hand(void)
{
    if (!exists())
        printf("# skipped: what needs %s\n", folder());
    return exists();
}

bool shared_data_is_here(void)
{
    if (!exists())
        printf("1..0 # SKIP no %s\n", folder());
    return exists();
}

struct blob shared_data_read(const char *name)
{
    char path[4096];
    char command[8192];
    snprintf(path, sizeof path, "%s/%s", folder(), name);
    bool is_packed = strlen(name) > 3 && strcmp(name + strlen(name) - 3, ".xz") == 0;
    snprintf(command, sizeof command, "xz -dc '%s'", path);
    /* NOLINTNEXTLINE(cert-env33-c): the command is ours */
    FILE *f = is_packed ? popen(command, "re") : fopen(path, "rbe");
    if (!f)
        fail_msg("cannot open %s", path);
    struct blob b = {malloc(1), 0};
    size_t cap = 0;
    for (;;) {
        if (b.n == cap) {
            cap = cap ? 2 * cap : 1 << 16;
            b.p = realloc(b.p, cap + 1);
            assert_non_null(b.p);
        }
        size_t got = fread(b.p + b.n, 1, cap - b.n, f);
        if (got == 0)
            break;
        b.n += got;
    }
    b.p[b.n] = 0;
    int rc = is_packed ? pclose(f) : fclose(f);
    if (rc != 0 || b.n == 0)
        fail_msg("cannot read %s", path);
    return b;
}

/* ---- GGUF: only what the vocabulary files hold ------------------------------------------------- */

struct gguf {
    const uint8_t *p;
    size_t n;
    size_t at;
};

struct text {
    const uint8_t *p;
    size_t n;
};

static uint64_t gguf_uint(struct gguf *g, size_t n)
{
    uint64_t x = 0;
    if (n > g->n - g->at)
        fail_msg("the GGUF file ends early");
    for (size_t i = 0; i < n; i++)
        x |= (uint64_t)g->p[g->at + i] << (8 * i);
    g->at += n;
    return x;
}

static struct text gguf_text(struct gguf *g)
{
    struct text t;
    t.n = gguf_uint(g, 8);
    if (t.n > g->n - g->at)
        fail_msg("the GGUF file ends early");
    t.p = g->p + g->at;
    g->at += t.n;
    return t;
}

static void gguf_skip(struct gguf *g, uint64_t type)
{
    static const uint8_t SIZES[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    assert_true(type < sizeof SIZES);
    if (type == 8) {
        gguf_text(g);
    } else if (type == 9) {
        uint64_t element = gguf_uint(g, 4);
        for (uint64_t n = gguf_uint(g, 8); n > 0; n--)
            gguf_skip(g, element);
    } else {
        gguf_uint(g, SIZES[type]);
    }
}

/* GPT-2 writes bytes that do not print as code points from 256 on. */
static size_t unprint(struct text t, uint8_t *out)
{
    static uint16_t byte_of[512];
    if (byte_of['!'] == 0) {
        uint16_t extra = 256;
        for (uint16_t b = 0; b < 256; b++) {
            bool prints = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
            byte_of[prints ? b : extra++] = b;
        }
    }
    size_t n = 0;
    for (size_t i = 0; i < t.n; i++) {
        unsigned cp = t.p[i];
        if (cp >= 0x80) {
            assert_true(cp >= 0xc2 && cp <= 0xc5 && i + 1 < t.n);
            cp = (cp & 0x1fU) << 6 | (t.p[++i] & 0x3fU);
        }
        out[n++] = (uint8_t)byte_of[cp];
    }
    return n;
}

/* SentencePiece writes a space as U+2581 and a byte as <0x0A>. */
static size_t unmark(struct text t, uint8_t *out)
{
    unsigned byte;
    char word[8] = "";
    if (t.n == 6) {
        memcpy(word, t.p, 6);
        if (sscanf(word, "<0x%2X>", &byte) == 1) {
            out[0] = (uint8_t)byte;
            return 1;
        }
    }
    size_t n = 0;
    for (size_t i = 0; i < t.n; n++) {
        bool is_space = t.n - i >= 3 && memcmp(t.p + i, "\xe2\x96\x81", 3) == 0;
        out[n] = is_space ? ' ' : t.p[i];
        i += is_space ? 3 : 1;
    }
    return n;
}

static void read_scores(struct test_vocab *t, struct gguf *g)
{
    gguf_uint(g, 4);
    size_t n = gguf_uint(g, 8);
    assert_int_equal(n, t->data.n_tokens);
    t->scores = calloc(n, sizeof *t->scores);
    assert_non_null(t->scores);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)gguf_uint(g, 4);
        memcpy(&t->scores[i], &bits, sizeof bits);
    }
}

static void read_tokens(struct test_vocab *t, struct gguf *g, bool is_spm)
{
    assert_int_equal(gguf_uint(g, 4), 8);
    t->data.n_tokens = gguf_uint(g, 8);
    t->offsets = calloc(t->data.n_tokens + 1, sizeof *t->offsets);
    t->bytes = malloc(g->n);
    assert_true(t->offsets && t->bytes);
    for (size_t i = 0; i < t->data.n_tokens; i++) {
        /* Special tokens are kept as they are: printable ASCII maps to itself. */
        uint8_t *to = t->bytes + t->data.n_bytes;
        t->data.n_bytes += is_spm ? unmark(gguf_text(g), to) : unprint(gguf_text(g), to);
        t->offsets[i + 1] = (uint32_t)t->data.n_bytes;
    }
}

static void read_types(struct test_vocab *t, struct gguf *g)
{
    gguf_uint(g, 4);
    size_t n = gguf_uint(g, 8);
    assert_int_equal(n, t->data.n_tokens);
    t->types = malloc(n);
    assert_non_null(t->types);
    for (size_t i = 0; i < n; i++)
        t->types[i] = (uint8_t)gguf_uint(g, 4);
}

static void read_merges(struct test_vocab *t, struct gguf *g, const struct vocab *tokens)
{
    assert_int_equal(gguf_uint(g, 4), 8);
    t->data.n_merges = gguf_uint(g, 8);
    t->merges = calloc(2 * t->data.n_merges, sizeof *t->merges);
    assert_non_null(t->merges);
    for (size_t i = 0; i < t->data.n_merges; i++) {
        struct text m = gguf_text(g);
        char unprinted[2048];
        assert_true(m.n < sizeof unprinted);
        const uint8_t *space = memchr(m.p, ' ', m.n);
        assert_non_null(space);
        struct text left = {m.p, (size_t)(space - m.p)};
        struct text right = {space + 1, m.n - left.n - 1};
        struct str bytes = {unprinted, unprint(left, (uint8_t *)unprinted)};
        t->merges[2 * i] = vocab_find(tokens, bytes);
        bytes.len = unprint(right, (uint8_t *)unprinted);
        t->merges[2 * i + 1] = vocab_find(tokens, bytes);
    }
}

static struct vocab *make(struct test_vocab *t)
{
    struct vocab *v;
    char why[256];
    t->data.offsets = t->offsets;
    t->data.bytes = t->bytes;
    t->data.types = t->types;
    t->data.merges = t->merges;
    t->data.scores = t->scores;
    enum err e = vocab_new(&t->data, why, sizeof why, &v);
    if (e != ERR_OK)
        fail_msg("%s: %s", err_name(e), why);
    return v;
}

void test_vocab_init(struct test_vocab *t, const char *name)
{
    char file[64];
    *t = (struct test_vocab){0};
    snprintf(file, sizeof file, "tokenizers/%s.gguf.xz", name);
    struct blob b = shared_data_read(file);
    struct gguf g = {b.p, b.n, 0};
    assert_int_equal(gguf_uint(&g, 4), 0x46554747);
    assert_int_equal(gguf_uint(&g, 4), 3);
    gguf_uint(&g, 8);
    size_t merges_at = 0;
    bool is_spm = false;
    for (uint64_t n = gguf_uint(&g, 8); n > 0; n--) {
        struct text key = gguf_text(&g);
        uint64_t type = gguf_uint(&g, 4);
        size_t at = g.at;
        gguf_skip(&g, type);
        size_t end = g.at;
        g.at = at;
        if (key.n == 20 && memcmp(key.p, "tokenizer.ggml.model", 20) == 0)
            is_spm = gguf_text(&g).n == 5; /* llama, not gpt2 */
        else if (key.n == 21 && memcmp(key.p, "tokenizer.ggml.tokens", 21) == 0)
            read_tokens(t, &g, is_spm);
        else if (key.n == 21 && memcmp(key.p, "tokenizer.ggml.scores", 21) == 0)
            read_scores(t, &g);
        else if (key.n == 25 && memcmp(key.p, "tokenizer.ggml.token_type", 25) == 0)
            read_types(t, &g);
        else if (key.n == 21 && memcmp(key.p, "tokenizer.ggml.merges", 21) == 0)
            merges_at = at;
        g.at = end;
    }
    t->vocab = make(t);
    if (!is_spm) {
        struct vocab *tokens = t->vocab;
        g.at = merges_at;
        read_merges(t, &g, tokens);
        vocab_free(tokens);
        t->vocab = make(t);
    }
    free(b.p);
}

/* ---- small vocabularies ------------------------------------------------------------------------ */

static void add_bytes(struct test_vocab *t, const char *text, size_t n, uint8_t type)
{
    memcpy(t->bytes + t->data.n_bytes, text, n);
    t->data.n_bytes += n;
    t->types[t->data.n_tokens++] = type;
    t->offsets[t->data.n_tokens] = (uint32_t)t->data.n_bytes;
}

static void add(struct test_vocab *t, const char *text, uint8_t type)
{
    add_bytes(t, text, strlen(text), type);
}

enum { CAP_SMALL = 2048 };

static void reserve_small(struct test_vocab *t)
{
    *t = (struct test_vocab){0};
    t->offsets = calloc(CAP_SMALL, sizeof *t->offsets);
    t->bytes = malloc(1 << 16);
    t->types = malloc(CAP_SMALL);
    assert_true(t->offsets && t->bytes && t->types);
}

void test_vocab_init_spm(struct test_vocab *t, const char *const *texts, const float *scores)
{
    reserve_small(t);
    t->scores = calloc(CAP_SMALL, sizeof *t->scores);
    assert_non_null(t->scores);
    add(t, "<unk>", VOCAB_UNKNOWN);
    add(t, "<s>", VOCAB_CONTROL);
    add(t, "</s>", VOCAB_CONTROL);
    for (unsigned b = 0; b < 256; b++)
        add_bytes(t, &(char){(char)b}, 1, VOCAB_BYTE);
    for (; *texts; texts++, scores++) {
        t->scores[t->data.n_tokens] = *scores;
        add(t, *texts, VOCAB_NORMAL);
    }
    t->vocab = make(t);
}

static uint32_t lookup(const struct test_vocab *t, const char *text, size_t n)
{
    for (uint32_t i = 0; i < t->data.n_tokens; i++) {
        if (t->offsets[i + 1] - t->offsets[i] == n &&
            memcmp(t->bytes + t->offsets[i], text, n) == 0)
            return i;
    }
    return VOCAB_NONE;
}

void test_vocab_init_small(struct test_vocab *t, const char *const *texts,
                           const char *const *controls)
{
    reserve_small(t);
    t->merges = calloc(2 * (size_t)CAP_SMALL, sizeof *t->merges);
    assert_non_null(t->merges);
    for (unsigned b = 0; b < 256; b++)
        add_bytes(t, &(char){(char)b}, 1, VOCAB_NORMAL);
    for (; *texts; texts++) {
        size_t n = strlen(*texts);
        size_t cut = n - 1;
        while (cut > 0 && (lookup(t, *texts, cut) == VOCAB_NONE ||
                           lookup(t, *texts + cut, n - cut) == VOCAB_NONE))
            cut--;
        assert_true(cut > 0);
        t->merges[2 * t->data.n_merges] = lookup(t, *texts, cut);
        t->merges[2 * t->data.n_merges++ + 1] = lookup(t, *texts + cut, n - cut);
        add(t, *texts, VOCAB_NORMAL);
    }
    for (; *controls; controls++)
        add(t, *controls, VOCAB_CONTROL);
    t->vocab = make(t);
}

void test_vocab_fini(struct test_vocab *t)
{
    vocab_free(t->vocab);
    free(t->offsets);
    free(t->bytes);
    free(t->types);
    free(t->merges);
    free(t->scores);
}
