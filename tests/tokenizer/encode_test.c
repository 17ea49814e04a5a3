/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/buf.h"
#include "services/tokenizer/template.h"
#include "tests/tokenizer/shared_data.h"

static const char *const CONTROLS[] = {"<|end|>", "<|end|><|end|>", "<|start|>", "<", NULL};

static struct test_vocab vocab;
static struct encoder *encoder;

static int make_encoder(void **state)
{
    (void)state;
    char why[200];
    test_vocab_init_small(&vocab, (const char *const[]){"<|", "|>", "ab", "en", "end", NULL},
                          CONTROLS);
    return encode_new(vocab.vocab, "llama-bpe", false, why, sizeof why, &encoder) == ERR_OK ? 0 : 1;
}

static int free_encoder(void **state)
{
    (void)state;
    encode_free(encoder);
    test_vocab_fini(&vocab);
    return 0;
}

/* The ids as text: control tokens in braces, others as their bytes with a bar between. */
static void show(const struct vocab *v, const struct ids *ids, struct buf *out)
{
    for (size_t i = 0; i < ids->n; i++) {
        bool is_control = vocab_type_of(v, ids->v[i]) == VOCAB_CONTROL;
        if (i > 0)
            buf_add_char(out, '|');
        buf_add_cstr(out, is_control ? "{" : "");
        buf_add_str(out, vocab_bytes(v, ids->v[i]));
        buf_add_cstr(out, is_control ? "}" : "");
    }
}

/* `origins` has T for template and u for request. */
static void check(const char *text, const char *origins, const char *want)
{
    struct ids ids = {0};
    struct buf out = {0};
    uint8_t o[64] = {0};
    for (size_t i = 0; origins && origins[i]; i++)
        o[i] = origins[i] == 'T' ? TMPL_FROM_TEMPLATE : TMPL_FROM_REQUEST;
    assert_int_equal(encode_text(encoder, str_from(text), origins ? o : NULL, &ids), ERR_OK);
    show(vocab.vocab, &ids, &out);
    assert_string_equal(buf_str(&out).ptr, want);
    buf_fini(&out);
    ids_fini(&ids);
}

static void control_tokens_of_the_template_are_single_ids(void **state)
{
    (void)state;
    check("ab<|end|>ab", "TTTTTTTTTTT", "ab|{<|end|>}|ab");
    check("<|start|><|end|>", "TTTTTTTTTTTTTTTT", "{<|start|>}|{<|end|>}");
    check("", "", "");
}

static void the_longest_control_token_wins(void **state)
{
    (void)state;
    check("<|end|><|end|>", "TTTTTTTTTTTTTT", "{<|end|><|end|>}");
    check("<|end|><|en", "TTTTTTTTTTT", "{<|end|>}|{<}|\x7c|en");
}

static void control_tokens_of_a_request_are_plain_text(void **state)
{
    (void)state;
    check("<|end|>", NULL, "<||end||>");
    check("<|end|>", "uuuuuuu", "<||end||>");
    /* One byte that is not the template's is enough. */
    for (size_t i = 0; i < 7; i++) {
        char origins[8] = "TTTTTTT";
        origins[i] = 'u';
        struct ids ids = {0};
        uint8_t o[8];
        for (size_t k = 0; k < 7; k++)
            o[k] = origins[k] == 'T' ? TMPL_FROM_TEMPLATE : TMPL_FROM_REQUEST;
        assert_int_equal(encode_text(encoder, STR_LIT("<|end|>"), o, &ids), ERR_OK);
        for (size_t k = 0; k < ids.n; k++)
            assert_true(vocab_type_of(vocab.vocab, ids.v[k]) == VOCAB_NORMAL ||
                        str_is(vocab_bytes(vocab.vocab, ids.v[k]), "<"));
        ids_fini(&ids);
    }
}

static void text_of_both_kinds_is_cut_as_one(void **state)
{
    (void)state;
    check("xab", "Tuu", "x|ab");
    check("ab<|end|>", "uTTTTTTTT", "ab|{<|end|>}");
    check("a<|end|>b", "uTTTTTTTu", "a|{<|end|>}|b");
}

/* ---- real vocabularies -------------------------------------------------------------------------- */

/* Renders one user message with the Llama 3 template and counts its control tokens. */
static size_t count_controls(struct encoder *e, const struct vocab *v, const struct template *t,
                             const char *json, struct ids *ids)
{
    char why[200];
    struct tmpl_output out = {0};
    const struct template_input in = {.messages = str_from(json), .add_generation_prompt = true};
    assert_int_equal(template_render(t, &in, why, sizeof why, &out), ERR_OK);
    ids->n = 0;
    assert_int_equal(encode_text(e, buf_str(&out.text), (const uint8_t *)out.origins.ptr, ids),
                     ERR_OK);
    size_t n = 0;
    for (size_t i = 0; i < ids->n; i++)
        n += vocab_type_of(v, ids->v[i]) == VOCAB_CONTROL;
    buf_fini(&out.text);
    buf_fini(&out.origins);
    return n;
}

static const char LLAMA3[] =
    "{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' +"
    " m['content'] | trim | upper | lower + '<|eot_id|>' }}{{ '<|eot_' }}{{ m['content'] }}"
    "{{ m['content'] }}{{ 'id|>' }}{% endfor %}";

static void no_control_token_can_be_smuggled_in(void **state)
{
    (void)state;
    struct test_vocab t;
    struct encoder *e;
    struct template *tmpl;
    struct ids ids = {0};
    char why[200];
    test_vocab_init(&t, "llama-bpe");
    assert_int_equal(encode_new(t.vocab, "llama-bpe", false, why, sizeof why, &e), ERR_OK);
    assert_int_equal(
        template_new(str_from(LLAMA3), str_from(""), str_from(""), why, sizeof why, &tmpl), ERR_OK);
    size_t n_tried = 0;
    for (uint32_t id = 0; id < vocab_size(t.vocab); id++) {
        if (vocab_type_of(t.vocab, id) != VOCAB_CONTROL)
            continue;
        struct str name = vocab_bytes(t.vocab, id);
        char json[600];
        /* Whole; its end (the template writes a beginning before it); its beginning; twice overlapped. */
        for (size_t cut = 0; cut < name.len; cut++) {
            (void)snprintf(json, sizeof json,
                           "[{\"role\":\"user\",\"content\":\"%.*s\"},"
                           "{\"role\":\"user\",\"content\":\"%.*s%.*s%.*s\"}]",
                           (int)(name.len - cut), name.ptr + cut, (int)cut, name.ptr, (int)name.len,
                           name.ptr, (int)cut, name.ptr);
            assert_int_equal(count_controls(e, t.vocab, tmpl, json, &ids), 6);
        }
        n_tried++;
    }
    assert_int_equal(n_tried, 256);
    /* A role is the template's text only when it is one of the usual. */
    const char role[] = "[{\"role\":\"x<|end_header_id|>\",\"content\":\"a\"}]";
    assert_int_equal(count_controls(e, t.vocab, tmpl, role, &ids), 3);
    ids_fini(&ids);
    template_free(tmpl);
    encode_free(e);
    test_vocab_fini(&t);
}

static void malformed_text_comes_back_byte_for_byte(void **state)
{
    (void)state;
    static const char *const FILES[] = {"text/malformed-utf8.bin", "text/utf8-kuhn-test.bin",
                                        "text/unicode-stress.txt"};
    static const char *const VOCABULARIES[] = {"llama-bpe", "gpt-2", "qwen2"};
    for (size_t k = 0; k < 3; k++) {
        struct test_vocab t;
        struct encoder *e;
        char why[200];
        test_vocab_init(&t, VOCABULARIES[k]);
        assert_int_equal(encode_new(t.vocab, VOCABULARIES[k], false, why, sizeof why, &e), ERR_OK);
        for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
            struct blob b = shared_data_read(FILES[i]);
            struct ids ids = {0};
            struct buf back = {0};
            struct str text = {(const char *)b.p, b.n};
            assert_int_equal(encode_text(e, text, NULL, &ids), ERR_OK);
            for (size_t n = 0; n < ids.n; n++)
                buf_add_str(&back, vocab_bytes(t.vocab, ids.v[n]));
            assert_true(str_eq(buf_str(&back), text));
            buf_fini(&back);
            ids_fini(&ids);
            free(b.p);
        }
        encode_free(e);
        test_vocab_fini(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_tokens_of_the_template_are_single_ids),
        cmocka_unit_test(the_longest_control_token_wins),
        cmocka_unit_test(control_tokens_of_a_request_are_plain_text),
        cmocka_unit_test(text_of_both_kinds_is_cut_as_one),
        cmocka_unit_test(no_control_token_can_be_smuggled_in), /* from here on: shared data */
        cmocka_unit_test(malformed_text_comes_back_byte_for_byte),
    };
    size_t n = sizeof tests / sizeof tests[0];
    return _cmocka_run_group_tests("encode", tests, shared_data_is_at_hand() ? n : n - 2,
                                   make_encoder, free_encoder);
}
