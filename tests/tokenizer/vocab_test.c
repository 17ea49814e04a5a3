/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/vocab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* The 256 bytes, "ab", "abc", a control "ab", an empty unused one; merges a+b and ab+c. */
struct fixture {
    struct vocab_data d;
    uint32_t offsets[261];
    uint8_t bytes[300];
    uint8_t types[260];
    uint32_t merges[4];
};

static void add(struct fixture *f, const char *text, size_t n, uint8_t type)
{
    memcpy(f->bytes + f->d.n_bytes, text, n);
    f->d.n_bytes += n;
    f->types[f->d.n_tokens++] = type;
    f->offsets[f->d.n_tokens] = (uint32_t)f->d.n_bytes;
}

static void fill(struct fixture *f)
{
    *f = (struct fixture){.merges = {'a', 'b', 256, 'c'}};
    for (unsigned b = 0; b < 256; b++)
        add(f, &(char){(char)b}, 1, VOCAB_NORMAL);
    add(f, "ab", 2, VOCAB_NORMAL);
    add(f, "abc", 3, VOCAB_NORMAL);
    add(f, "ab", 2, VOCAB_CONTROL);
    add(f, "", 0, VOCAB_UNUSED);
    f->d.offsets = f->offsets;
    f->d.bytes = f->bytes;
    f->d.types = f->types;
    f->d.merges = f->merges;
    f->d.n_merges = 2;
}

static void refuses(const struct fixture *f, const char *part)
{
    char why[200];
    struct vocab *v = NULL;
    assert_int_equal(vocab_new(&f->d, why, sizeof why, &v), ERR_MODEL_FORMAT);
    assert_null(v);
    if (!strstr(why, part))
        fail_msg("\"%s\" does not name \"%s\"", why, part);
}

static struct vocab *make(const struct fixture *f)
{
    char why[200];
    struct vocab *v = NULL;
    assert_int_equal(vocab_new(&f->d, why, sizeof why, &v), ERR_OK);
    assert_string_equal(why, "");
    return v;
}

static void finds_tokens_by_bytes_and_kind(void **state)
{
    (void)state;
    struct fixture f;
    fill(&f);
    struct vocab *v = make(&f);
    assert_int_equal(vocab_size(v), 260);
    assert_int_equal(vocab_find(v, STR_LIT("ab")), 256);
    assert_int_equal(vocab_find_control(v, STR_LIT("ab")), 258);
    assert_int_equal(vocab_find_control(v, STR_LIT("abc")), VOCAB_NONE);
    assert_int_equal(vocab_find(v, STR_LIT("abd")), VOCAB_NONE);
    assert_int_equal(vocab_find(v, STR_LIT("")), VOCAB_NONE);
    for (unsigned b = 0; b < 256; b++)
        assert_int_equal(vocab_byte(v, (uint8_t)b), b);
    assert_true(str_is(vocab_bytes(v, 257), "abc"));
    assert_int_equal(vocab_bytes(v, 259).len, 0);
    assert_int_equal(vocab_type_of(v, 258), VOCAB_CONTROL);
    assert_true(vocab_has(v, 259));
    assert_false(vocab_has(v, 260));
    vocab_free(v);
}

static void ranks_merges_by_their_order(void **state)
{
    (void)state;
    struct fixture f;
    fill(&f);
    struct vocab *v = make(&f);
    uint32_t merged = 0;
    assert_int_equal(vocab_rank(v, 'a', 'b', &merged), 0);
    assert_int_equal(merged, 256);
    assert_int_equal(vocab_rank(v, 256, 'c', &merged), 1);
    assert_int_equal(merged, 257);
    assert_int_equal(vocab_rank(v, 'b', 'a', &merged), VOCAB_NONE);
    vocab_free(v);
}

static void the_lowest_of_equal_tokens_is_found(void **state)
{
    (void)state;
    struct fixture f;
    fill(&f);
    memcpy(f.bytes + f.offsets[257], "zab", 3);
    f.d.n_merges = 1;
    f.types[258] = VOCAB_NORMAL;
    struct vocab *v = make(&f);
    assert_int_equal(vocab_find(v, STR_LIT("ab")), 256);
    vocab_free(v);
}

static void refuses_damaged_tokens(void **state)
{
    (void)state;
    struct fixture f;
    fill(&f);
    f.d.n_tokens = 0;
    refuses(&f, "0 tokens");
    fill(&f);
    f.offsets[0] = 1;
    refuses(&f, "first offset is 1");
    fill(&f);
    f.offsets[7] = 0;
    refuses(&f, "token 6");
    fill(&f);
    f.offsets[260]++;
    refuses(&f, "token 259");
    fill(&f);
    f.d.n_bytes++;
    refuses(&f, "last offset");
    fill(&f);
    f.types[3] = 7;
    refuses(&f, "token 3 has the unknown type 7");
    fill(&f);
    f.types[3] = 0;
    refuses(&f, "token 3 has the unknown type 0");
    fill(&f);
    f.types[0x41] = VOCAB_CONTROL;
    refuses(&f, "no token for the byte 0x41");
}

static void refuses_damaged_merges(void **state)
{
    (void)state;
    struct fixture f;
    fill(&f);
    f.merges[3] = 260;
    refuses(&f, "merge 1 names tokens 256 and 260");
    fill(&f);
    f.merges[3] = 'd';
    refuses(&f, "merge 1 (256 + 100) makes no token");
    fill(&f);
    f.merges[3] = 259;
    refuses(&f, "makes no token");
    fill(&f);
    f.merges[2] = 'a';
    f.merges[3] = 'b';
    refuses(&f, "merge 1 repeats merge 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_tokens_by_bytes_and_kind),
        cmocka_unit_test(ranks_merges_by_their_order),
        cmocka_unit_test(the_lowest_of_equal_tokens_is_found),
        cmocka_unit_test(refuses_damaged_tokens),
        cmocka_unit_test(refuses_damaged_merges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
