/* SPDX-License-Identifier: MIT */
/* How fast text becomes ids: encode_bench [FILE]. A table of all vocabularies of the shared data on FILE, or
 * on the shared texts and on a megabyte of one character; best of some runs with one thread, each file as
 * one text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/clock.h"
#include "services/tokenizer/encode.h"
#include "tests/tokenizer/shared_data.h"

enum { RUNS = 5, MEGABYTE = 1 << 20 };

struct text {
    char name[40];
    struct buf bytes;
};

static void measure(const char *vocabulary, struct encoder *e, const struct text *t)
{
    struct ids ids = {0};
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < RUNS; i++) {
        ids.n = 0;
        uint64_t from = clock_now_ns();
        if (encode_text(e, buf_str(&t->bytes), NULL, &ids) != ERR_OK) {
            fprintf(stderr, "encode_bench: %s cannot be encoded\n", t->name);
            exit(1);
        }
        uint64_t took = clock_now_ns() - from;
        best = took < best ? took : best;
    }
    printf("%-10s %-28s %9zu %8zu %8.1f %8.2f\n", vocabulary, t->name, t->bytes.len, ids.n,
           (double)t->bytes.len * 1e3 / (double)best, (double)ids.n * 1e3 / (double)best);
    ids_fini(&ids);
}

static void add_file(struct text *t, const char *title, const char *file, bool is_shared)
{
    snprintf(t->name, sizeof t->name, "%s", title);
    if (is_shared) {
        struct blob b = shared_data_read(file);
        buf_add(&t->bytes, b.p, b.n);
        free(b.p);
        return;
    }
    FILE *f = fopen(file, "rbe");
    char part[4096];
    if (!f) {
        perror(file);
        exit(1);
    }
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        buf_add(&t->bytes, part, n);
    (void)fclose(f);
}

static void add_run(struct text *t, const char *title, const char *unit)
{
    snprintf(t->name, sizeof t->name, "%s", title);
    while (t->bytes.len < MEGABYTE)
        buf_add_cstr(&t->bytes, unit);
}

/* What the texts are; returns how many. */
static size_t list_texts(struct text *t, const char *file)
{
    if (file) {
        add_file(&t[0], "the file", file, false);
        return 1;
    }
    add_run(&t[0], "English",
            "Everyone has the right to freedom of thought, conscience and religion; this right "
            "includes freedom to change his religion or belief, in 1948 as much as today.\n\n");
    add_file(&t[1], "105 languages", "text/udhr-multilingual.txt", true);
    add_file(&t[2], "every block of Unicode", "text/unicode-stress.txt", true);
    add_file(&t[3], "emoji", "text/emoji.txt", true);
    add_run(&t[4], "the letter a", "a");
    add_run(&t[5], "the digit 1", "1");
    add_run(&t[6], "spaces", " ");
    add_run(&t[7], "the ideograph U+4E00", "\xe4\xb8\x80");
    return 8;
}

int main(int argc, char **argv)
{
    static const char *const NAMES[] = {"llama-bpe", "qwen2", "gpt-2", "llama-spm"};
    struct text texts[8] = {0};
    if (!shared_data_is_here())
        return 0;
    size_t n = list_texts(texts, argc > 1 ? argv[1] : NULL);
    printf("%-10s %-28s %9s %8s %8s %8s\n", "vocabulary", "text", "bytes", "tokens", "MB/s",
           "Mtok/s");
    for (size_t k = 0; k < sizeof NAMES / sizeof NAMES[0]; k++) {
        struct test_vocab v;
        struct encoder *e;
        char why[200];
        test_vocab_init(&v, NAMES[k]);
        if (encode_new(v.vocab, NAMES[k], true, why, sizeof why, &e) != ERR_OK) {
            fprintf(stderr, "encode_bench: %s\n", why);
            return 1;
        }
        for (size_t i = 0; i < n; i++)
            measure(NAMES[k], e, &texts[i]);
        encode_free(e);
        test_vocab_fini(&v);
    }
    for (size_t i = 0; i < n; i++)
        buf_fini(&texts[i].bytes);
    return 0;
}
