/* SPDX-License-Identifier: MIT */
/* Real vocabularies against published and own token vectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "services/tokenizer/bpe.h"
#include "services/tokenizer/encode.h"
#include "services/tokenizer/pretoken.h"
#include "tests/tokenizer/shared_data.h"

#define SEPARATOR "\n__ggml_vocab_test__\n"

struct model {
    const char *name;
    bool jit;
    struct test_vocab t;
    struct pretoken *rule;
    struct pretoken_scan *scan;
    struct bpe *bpe;
    struct encoder *spm; /* instead of the three */
    struct ids ids;
};

static void open_model(struct model *m, const char *name, bool jit)
{
    char why[200] = "";
    *m = (struct model){.name = name};
    test_vocab_init(&m->t, name);
    if (vocab_is_spm(m->t.vocab)) {
        assert_int_equal(encode_new(m->t.vocab, "", true, why, sizeof why, &m->spm), ERR_OK);
        return;
    }
    assert_int_equal(pretoken_new(name, jit, why, sizeof why, &m->rule), ERR_OK);
    assert_int_equal(pretoken_scan_new(m->rule, &m->scan), ERR_OK);
    assert_int_equal(bpe_new(m->t.vocab, pretoken_ignores_merges(m->rule), &m->bpe), ERR_OK);
}

static void close_model(struct model *m)
{
    ids_fini(&m->ids);
    encode_free(m->spm);
    bpe_free(m->bpe);
    pretoken_scan_free(m->scan);
    pretoken_free(m->rule);
    test_vocab_fini(&m->t);
}

static void encode(struct model *m, struct str text)
{
    if (m->spm) {
        assert_int_equal(encode_text(m->spm, text, NULL, &m->ids), ERR_OK);
        return;
    }
    pretoken_scan_start(m->scan, text);
    for (;;) {
        struct str piece;
        assert_int_equal(pretoken_scan_next(m->scan, &piece), ERR_OK);
        if (piece.len == 0)
            return;
        assert_int_equal(bpe_encode(m->bpe, piece, &m->ids), ERR_OK);
    }
}

static void check_published(struct model *m)
{
    char name[64];
    snprintf(name, sizeof name, "tokenizers/%s.inp", m->name);
    struct blob in = shared_data_read(name);
    snprintf(name, sizeof name, "tokenizers/%s.out", m->name);
    struct blob out = shared_data_read(name);
    const char *text = (const char *)in.p;
    const char *line = (const char *)out.p;
    size_t n = 0;
    for (const char *end; (end = strstr(text, SEPARATOR)) != NULL; n++) {
        m->ids.n = 0;
        encode(m, (struct str){text, (size_t)(end - text)});
        for (size_t i = 0; i < m->ids.n; i++) {
            char *rest;
            unsigned long id = strtoul(line, &rest, 10);
            if (*line == '\n' || id != m->ids.v[i])
                fail_msg("%s, text %zu: token %zu is %u, expected %lu", m->name, n, i, m->ids.v[i],
                         id);
            line = rest;
        }
        assert_int_equal(*line, '\n');
        line++;
        text = end + strlen(SEPARATOR);
    }
    assert_int_equal(n, 46);
    free(in.p);
    free(out.p);
}

static void check_extra(struct model *m, const json_t *root)
{
    size_t at;
    json_t *vector;
    json_array_foreach(json_object_get(root, "vectors"), at, vector)
    {
        const json_t *text = json_object_get(vector, "text");
        const json_t *want = json_object_get(json_object_get(vector, "ids"), m->name);
        m->ids.n = 0;
        encode(m, (struct str){json_string_value(text), json_string_length(text)});
        bool is_same = json_array_size(want) == m->ids.n;
        for (size_t i = 0; is_same && i < m->ids.n; i++)
            is_same = json_integer_value(json_array_get(want, i)) == m->ids.v[i];
        if (!is_same)
            fail_msg("%s, vector %zu (%.60s): other ids", m->name, at, json_string_value(text));
    }
    assert_int_equal(at, 205);
}

static void check_file(struct model *m, const char *name, const json_t *want)
{
    char path[128];
    snprintf(path, sizeof path, "text/%s", name);
    struct blob b = shared_data_read(path);
    m->ids.n = 0;
    for (size_t at = 0; at < b.n;) {
        const uint8_t *end = memchr(b.p + at, '\n', b.n - at);
        size_t len = end ? (size_t)(end - b.p) - at : b.n - at;
        encode(m, (struct str){(const char *)b.p + at, len});
        at += len + 1;
    }
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < m->ids.n; i++) {
        for (unsigned k = 0; k < 4; k++)
            hash = (hash ^ (m->ids.v[i] >> (8 * k) & 0xff)) * UINT64_C(0x100000001b3);
    }
    char hex[17];
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)hash);
    assert_int_equal(m->ids.n, json_integer_value(json_object_get(want, "tokens")));
    assert_string_equal(hex, json_string_value(json_object_get(want, "fnv1a64")));
    free(b.p);
}

static void check_model(const char *name, bool jit)
{
    struct model m;
    open_model(&m, name, jit);
    struct blob b = shared_data_read("tokenizers/extra-vectors.json");
    json_t *root = json_loadb((const char *)b.p, b.n, JSON_ALLOW_NUL, NULL);
    assert_non_null(root);
    check_published(&m);
    check_extra(&m, root);
    const char *file;
    json_t *want;
    json_object_foreach(json_object_get(root, "files"), file, want)
        check_file(&m, file, json_object_get(want, name));
    json_decref(root);
    free(b.p);
    close_model(&m);
}

static void llama_bpe_gives_the_reference_ids(void **state)
{
    (void)state;
    check_model("llama-bpe", true);
}

static void gpt_2_gives_the_reference_ids(void **state)
{
    (void)state;
    check_model("gpt-2", true);
}

static void qwen2_gives_the_reference_ids(void **state)
{
    (void)state;
    check_model("qwen2", true);
}

static void llama_spm_gives_the_reference_ids(void **state)
{
    (void)state;
    check_model("llama-spm", true);
}

static void the_interpreter_gives_the_reference_ids(void **state)
{
    (void)state;
    check_model("llama-bpe", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_bpe_gives_the_reference_ids),
        cmocka_unit_test(gpt_2_gives_the_reference_ids),
        cmocka_unit_test(qwen2_gives_the_reference_ids),
        cmocka_unit_test(llama_spm_gives_the_reference_ids),
        cmocka_unit_test(the_interpreter_gives_the_reference_ids),
    };
    if (!shared_data_is_here())
        return 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
