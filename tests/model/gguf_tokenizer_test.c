/* SPDX-License-Identifier: MIT */
#include "services/model/gguf_tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "services/model/printable.h"
#include "tests/tokenizer/shared_data.h"

/* A real vocabulary against the reader of the tokenizer's tests, which shares no code with this one. */
static void compare(const char *name, const char *pre, const char *model)
{
    char file[64];
    (void)snprintf(file, sizeof file, "tokenizers/%s.gguf.xz", name);
    struct blob b = shared_data_read(file);
    struct test_vocab want;
    test_vocab_init(&want, name);
    struct gguf *g = NULL;
    struct why why;
    struct source s = {.path = name};
    if (gguf_open_bytes(b.p, b.n, name, &why, &g) != ERR_OK ||
        gguf_tokenizer_read(g, NULL, &s, &why) != ERR_OK)
        fail_msg("%s", why.text);
    const struct source_tokenizer *t = &s.tokenizer;
    assert_int_equal(t->n_tokens, want.data.n_tokens);
    assert_int_equal(t->bytes.len, want.data.n_bytes);
    assert_memory_equal(t->bytes.ptr, want.bytes, want.data.n_bytes);
    assert_memory_equal(t->offsets, want.offsets, (want.data.n_tokens + 1) * sizeof *t->offsets);
    assert_memory_equal(t->types, want.types, want.data.n_tokens);
    assert_int_equal(t->n_merges, want.data.n_merges);
    if (t->n_merges > 0)
        assert_memory_equal(t->merges, want.merges, 2 * t->n_merges * sizeof *t->merges);
    assert_int_equal(t->scores != NULL, want.scores != NULL);
    if (t->scores)
        assert_memory_equal(t->scores, want.scores, t->n_tokens * sizeof *t->scores);
    assert_string_equal(s.config.pre_tokenizer, pre);
    assert_string_equal(s.config.tokenizer_model, model);
    gguf_close(g);
    source_close(&s);
    test_vocab_fini(&want);
    free(b.p);
}

static void real_vocabularies_give_all_tokens_and_merges(void **state)
{
    (void)state;
    if (!shared_data_is_at_hand())
        return;
    compare("gpt-2", "gpt-2", "bpe");
    compare("llama-bpe", "llama-3", "bpe");
    compare("qwen2", "qwen2", "bpe");
    compare("llama-spm", "", "spm");
}

/* The published file of BitNet b1.58 2B-4T has no tokenizer.ggml.pre. */
static void a_known_number_of_merges_stands_for_the_missing_pre_tokenizer(void **state)
{
    (void)state;
    if (!shared_data_is_at_hand())
        return;
    struct blob b = shared_data_read("tokenizers/llama-bpe.gguf.xz");
    char *key = memmem(b.p, b.n, "tokenizer.ggml.pre", 18);
    assert_non_null(key);
    memcpy(key, "tokenizer.ggml.xxx", 18);
    struct gguf *g = NULL;
    struct why why;
    struct source s = {.path = "x"};
    assert_int_equal(gguf_open_bytes(b.p, b.n, "x", &why, &g), ERR_OK);
    assert_int_equal(gguf_tokenizer_read(g, NULL, &s, &why), ERR_OK);
    assert_string_equal(s.config.pre_tokenizer, "llama-3");
    assert_non_null(strstr(s.notes.ptr, "280147 merges"));
    assert_true(s.config.has_bos && s.config.does_add_bos);
    assert_int_equal(s.config.bos_id, 128000);
    gguf_close(g);
    source_close(&s);
    free(b.p);
}

static void printable_characters_stand_for_all_bytes_once(void **state)
{
    (void)state;
    struct buf b = {0};
    bool is_seen[256] = {false};
    for (unsigned code = 0; code < 0x400; code++) {
        char text[2] = {(char)code, 0};
        size_t n = 1;
        if (code >= 0x80) {
            text[0] = (char)(0xc0 | code >> 6);
            text[1] = (char)(0x80 | (code & 63));
            n = 2;
        }
        buf_reset(&b);
        if (!printable_add_bytes(&b, (struct str){text, n}))
            continue;
        assert_int_equal(b.len, 1);
        assert_false(is_seen[(uint8_t)b.ptr[0]]);
        is_seen[(uint8_t)b.ptr[0]] = true;
    }
    for (size_t i = 0; i < 256; i++)
        assert_true(is_seen[i]);
    buf_reset(&b);
    assert_true(printable_add_bytes(&b, STR_LIT("\xc4\xa0Hi\xc4\x8a\xc3\xb1")));
    assert_true(str_is(buf_str(&b), " Hi\n\xf1"));
    assert_false(printable_add_bytes(&b, STR_LIT("a b")));
    assert_false(printable_add_bytes(&b, STR_LIT("a\xc4")));
    assert_int_equal(b.len, 5);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printable_characters_stand_for_all_bytes_once),
        cmocka_unit_test(real_vocabularies_give_all_tokens_and_merges),
        cmocka_unit_test(a_known_number_of_merges_stands_for_the_missing_pre_tokenizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
