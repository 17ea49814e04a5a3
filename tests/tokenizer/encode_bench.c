/* SPDX-License-Identifier: MIT */
/* How fast text becomes ids: encode_bench [VOCABULARY [FILE]], names below the shared data's folder.
 * Prints the best of some runs, for whole files as one text and with one thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/clock.h"
#include "services/tokenizer/bpe.h"
#include "services/tokenizer/pretoken.h"
#include "tests/tokenizer/shared_data.h"

enum { RUNS = 5 };

static void run(struct pretoken_scan *scan, struct bpe *bpe, struct str text, struct ids *ids)
{
    ids->n = 0;
    pretoken_scan_start(scan, text);
    for (;;) {
        struct str piece;
        if (pretoken_scan_next(scan, &piece) != ERR_OK || piece.len == 0)
            return;
        if (bpe_encode(bpe, piece, ids) != ERR_OK)
            return;
    }
}

static void measure(const char *vocabulary, const char *file, bool jit)
{
    struct test_vocab t;
    struct pretoken *rule;
    struct pretoken_scan *scan;
    struct bpe *bpe;
    struct ids ids = {0};
    char why[200] = "";
    struct blob b = shared_data_read(file);
    test_vocab_init(&t, vocabulary);
    if (pretoken_new(vocabulary, jit, why, sizeof why, &rule) != ERR_OK ||
        pretoken_scan_new(rule, &scan) != ERR_OK ||
        bpe_new(t.vocab, pretoken_ignores_merges(rule), &bpe) != ERR_OK) {
        fprintf(stderr, "encode_bench: %s\n", why);
        exit(1);
    }
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < RUNS; i++) {
        uint64_t from = clock_now_ns();
        run(scan, bpe, (struct str){(const char *)b.p, b.n}, &ids);
        uint64_t took = clock_now_ns() - from;
        best = took < best ? took : best;
    }
    printf("%-10s %-32s %-11s %8zu bytes %8zu tokens %7.1f MB/s %6.2f M tokens/s\n", vocabulary,
           file, jit ? "jit" : "interpreter", b.n, ids.n, (double)b.n * 1e3 / (double)best,
           (double)ids.n * 1e3 / (double)best);
    ids_fini(&ids);
    bpe_free(bpe);
    pretoken_scan_free(scan);
    pretoken_free(rule);
    test_vocab_fini(&t);
    free(b.p);
}

int main(int argc, char **argv)
{
    static const char *const FILES[] = {"text/udhr-multilingual.txt", "text/unicode-stress.txt",
                                        "text/emoji.txt"};
    if (!shared_data_is_here())
        return 0;
    const char *vocabulary = argc > 1 ? argv[1] : "llama-bpe";
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        const char *file = argc > 2 ? argv[2] : FILES[i];
        measure(vocabulary, file, true);
        measure(vocabulary, file, false);
        if (argc > 2)
            break;
    }
    return 0;
}
