/* SPDX-License-Identifier: MIT */
#include "common/model_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define GOOD                                                                                       \
    "{\"architecture\": \"bitnet\", \"name\": \"halo-demo\", \"vocab_size\": 300,"                 \
    " \"hidden_size\": 64, \"intermediate_size\": 160, \"num_hidden_layers\": 2,"                  \
    " \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 16,"                   \
    " \"max_position_embeddings\": 128, \"rope_theta\": 500000, \"rms_norm_eps\": 1e-5,"           \
    " \"hidden_act\": \"relu2\", \"tie_word_embeddings\": true, \"bos_token_id\": 1,"              \
    " \"eos_token_ids\": [2, 299], \"pre_tokenizer\": \"gpt2\"}"

static void a_complete_config_is_read(void **state)
{
    (void)state;
    char why[200] = "";
    struct model_config c;
    assert_int_equal(model_config_parse(GOOD, strlen(GOOD), why, sizeof why, &c), ERR_OK);
    assert_string_equal(c.name, "halo-demo");
    assert_string_equal(c.pre_tokenizer, "gpt2");
    assert_int_equal(c.n_vocab, 300);
    assert_int_equal(c.n_hidden, 64);
    assert_int_equal(c.n_ffn, 160);
    assert_int_equal(c.n_layers, 2);
    assert_int_equal(c.n_heads, 4);
    assert_int_equal(c.n_kv_heads, 2);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.n_ctx, 128);
    assert_true(c.rope_theta == 500000.0);
    assert_true(c.rms_eps == 1e-5F);
    assert_true(c.is_tied && c.has_bos && !c.does_add_bos);
    assert_int_equal(c.bos_id, 1);
    assert_int_equal(c.n_eos, 2);
    assert_int_equal(c.eos_ids[0], 2);
    assert_int_equal(c.eos_ids[1], 299);
}

/* The config with the first `find` replaced by `put` must fail with a line that names `key`. */
static void expect_refused(const char *find, const char *put, const char *key)
{
    char text[1024];
    const char *at = strstr(GOOD, find);
    assert_non_null(at);
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - GOOD), GOOD, put, at + strlen(find));
    char why[200] = "";
    struct model_config c;
    memset(&c, 0x5a, sizeof c);
    assert_int_equal(model_config_parse(text, strlen(text), why, sizeof why, &c), ERR_MODEL_FORMAT);
    if (!strstr(why, key) || strchr(why, '\n'))
        fail_msg("\"%s\" lacks \"%s\"", why, key);
    assert_int_equal(((unsigned char *)&c)[0], 0x5a);
}

static void every_bad_value_is_refused_by_its_key(void **state)
{
    (void)state;
    expect_refused("bitnet", "gemma3",
                   "\"gemma3\" is not supported, expected one of bitnet, llama");
    expect_refused("bitnet", "a\\nb", "architecture");
    expect_refused("\"architecture\"", "\"other\"", "architecture");
    expect_refused("relu2", "gelu", "hidden_act");
    expect_refused("\"pre_tokenizer\"", "\"other\"", "pre_tokenizer");
    expect_refused("halo-demo", "", "name");
    expect_refused("halo-demo", "a\\nb", "name");
    expect_refused("gpt2", "a-name-that-is-longer-than-31-bytes", "pre_tokenizer");
    expect_refused("\"gpt2\"", "\"x\", \"tokenizer_model\": \"wordpiece\"", "tokenizer_model");
    expect_refused("\"gpt2\"", "\"x\", \"tokenizer_model\": null", "tokenizer_model");
    expect_refused("\"gpt2\"", "\"x\", \"add_space_prefix\": 1", "add_space_prefix");
    expect_refused("300", "1", "vocab_size");
    expect_refused("300", "300.0", "vocab_size");
    expect_refused("300", "1e400", "config");
    expect_refused("\"hidden_size\": 64", "\"hidden_size\": 0", "hidden_size");
    expect_refused("160", "-160", "intermediate_size");
    expect_refused("num_hidden_layers\": 2", "num_hidden_layers\": 513", "num_hidden_layers");
    expect_refused("heads\": 4", "heads\": 0", "num_attention_heads");
    expect_refused("heads\": 2", "heads\": 3", "num_key_value_heads");
    expect_refused("heads\": 2", "heads\": 8", "num_key_value_heads");
    expect_refused("\"head_dim\": 16", "\"head_dim\": 15", "head_dim");
    expect_refused("\"head_dim\": 16", "\"head_dim\": \"16\"", "head_dim");
    expect_refused("128", "0", "max_position_embeddings");
    expect_refused("500000", "1", "rope_theta");
    expect_refused("1e-5", "0", "rms_norm_eps");
    expect_refused("1e-5", "1e-60", "rms_norm_eps");
    expect_refused("true", "1", "tie_word_embeddings");
    expect_refused("bos_token_id\": 1", "bos_token_id\": 300", "bos_token_id");
    expect_refused("\"bos_token_id\": 1", "\"add_bos\": true", "add_bos");
    expect_refused("[2, 299]", "[]", "eos_token_ids");
    expect_refused("[2, 299]", "2", "eos_token_ids");
    expect_refused("[2, 299]", "[2, 300]", "eos_token_ids");
    expect_refused("[2, 299]", "[0,1,2,3,4,5,6,7,8]", "eos_token_ids");
    expect_refused("\"bos_token_id\": 1", "\"rope_scaling\": 2", "rope_scaling");
    expect_refused("\"bos_token_id\": 1", "\"head_dim\": 16", "duplicate");
}

/* GOOD with `put` in place of its bos_token_id. */
static enum err parse_with(const char *put, char why[200], struct model_config *ret)
{
    static const char FIND[] = "\"bos_token_id\": 1";
    char text[1024];
    const char *at = strstr(GOOD, FIND);
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - GOOD), GOOD, put, at + strlen(FIND));
    return model_config_parse(text, strlen(text), why, 200, ret);
}

static void the_architectures_and_activations_have_their_names(void **state)
{
    (void)state;
    static const char *const ARCHS[] = {"bitnet", "llama", "qwen3"};
    static const char *const ACTS[] = {"relu2", "silu"};
    for (unsigned i = 0; i < 6; i++) {
        char text[1024];
        (void)snprintf(text, sizeof text, "{\"architecture\": \"%s\", \"hidden_act\": \"%s\",%s",
                       ARCHS[i / 2], ACTS[i % 2], strstr(GOOD, " \"name\""));
        char *act = strstr(strstr(text, "1e-5"), "\"hidden_act\"");
        memcpy(act, "\"other__act\"", 12);
        char why[200] = "";
        struct model_config c;
        assert_int_equal(model_config_parse(text, strlen(text), why, sizeof why, &c), ERR_OK);
        assert_int_equal(c.arch, i / 2);
        assert_int_equal(c.act, i % 2);
        assert_string_equal(model_config_arch_name(c.arch), ARCHS[i / 2]);
    }
}

static void an_spm_tokenizer_needs_no_pre_tokenizer(void **state)
{
    (void)state;
    char text[1024];
    const char *at = strstr(GOOD, "\"pre_tokenizer\": \"gpt2\"");
    (void)snprintf(text, sizeof text, "%.*s\"tokenizer_model\": \"spm\"}", (int)(at - GOOD), GOOD);
    char why[200] = "";
    struct model_config c;
    assert_int_equal(model_config_parse(text, strlen(text), why, sizeof why, &c), ERR_OK);
    assert_true(c.is_spm);
    assert_string_equal(c.pre_tokenizer, "");
}

static void each_kind_of_rope_scaling_is_read(void **state)
{
    (void)state;
    char why[200] = "";
    struct model_config c;
    assert_int_equal(parse_with("\"rope_scaling\": null", why, &c), ERR_OK);
    assert_int_equal(c.rope_scaling.type, MODEL_ROPE_DEFAULT);
    assert_int_equal(parse_with("\"rope_scaling\": {\"rope_type\": \"default\"}", why, &c), ERR_OK);
    assert_int_equal(c.rope_scaling.type, MODEL_ROPE_DEFAULT);

    assert_int_equal(
        parse_with("\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.5}", why, &c), ERR_OK);
    assert_int_equal(c.rope_scaling.type, MODEL_ROPE_LINEAR);
    assert_true(c.rope_scaling.factor == 2.5);

    assert_int_equal(parse_with("\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8,"
                                " \"low_freq_factor\": 1, \"high_freq_factor\": 4.0,"
                                " \"original_max_position_embeddings\": 64}",
                                why, &c),
                     ERR_OK);
    assert_int_equal(c.rope_scaling.type, MODEL_ROPE_LLAMA3);
    assert_true(c.rope_scaling.low_freq_factor == 1 && c.rope_scaling.high_freq_factor == 4);
    assert_int_equal(c.rope_scaling.n_ctx_original, 64);

    assert_int_equal(
        parse_with("\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4}", why, &c), ERR_OK);
    assert_int_equal(c.rope_scaling.type, MODEL_ROPE_YARN);
    assert_int_equal(c.rope_scaling.n_ctx_original, 128);
    assert_true(c.rope_scaling.beta_fast == 32 && c.rope_scaling.beta_slow == 1);
    assert_true(c.rope_scaling.attention_factor == 0 && c.rope_scaling.is_truncated);
    assert_int_equal(parse_with("\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4,"
                                " \"original_max_position_embeddings\": 32, \"beta_fast\": 16,"
                                " \"beta_slow\": 2, \"attention_factor\": 1.5, \"mscale\": 0.7,"
                                " \"mscale_all_dim\": 0.9, \"truncate\": false}",
                                why, &c),
                     ERR_OK);
    assert_int_equal(c.rope_scaling.n_ctx_original, 32);
    assert_true(c.rope_scaling.beta_fast == 16 && c.rope_scaling.beta_slow == 2);
    assert_true(c.rope_scaling.attention_factor == 1.5 && c.rope_scaling.mscale == 0.7);
    assert_true(c.rope_scaling.mscale_all_dim == 0.9 && !c.rope_scaling.is_truncated);
}

static void expect_part_refused(const char *put, const char *part)
{
    char why[200] = "";
    struct model_config c;
    assert_int_equal(parse_with(put, why, &c), ERR_MODEL_FORMAT);
    if (!strstr(why, part) || strchr(why, '\n'))
        fail_msg("\"%s\" lacks \"%s\"", why, part);
}

static void rope_scaling_that_would_be_misread_is_refused(void **state)
{
    (void)state;
    expect_part_refused("\"rope_scaling\": {}", "rope_scaling.type");
    expect_part_refused("\"rope_scaling\": {\"type\": \"longrope\"}", "\"longrope\"");
    expect_part_refused("\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2}", "\"dynamic\"");
    expect_part_refused("\"rope_scaling\": {\"type\": \"linear\"}", "rope_scaling.factor");
    expect_part_refused("\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0}", "factor");
    expect_part_refused("\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 2}", "original_max");
    expect_part_refused("\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 2,"
                        " \"original_max_position_embeddings\": 9, \"low_freq_factor\": 2,"
                        " \"high_freq_factor\": 2}",
                        "high_freq_factor");
    expect_part_refused("\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2, \"truncate\": 1}",
                        "rope_scaling.truncate");
    expect_part_refused("\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2,"
                        " \"partial_rotary_factor\": 0.5}",
                        "partial_rotary_factor");
}

static void rotated_inputs_are_read_as_a_whole(void **state)
{
    (void)state;
    char why[200] = "";
    struct model_config c;
    assert_int_equal(parse_with("\"hadamard_inputs\": []", why, &c), ERR_OK);
    assert_int_equal(c.hadamard, 0);
    assert_int_equal(parse_with("\"hadamard_inputs\": [\"o_proj\", \"down_proj\"],"
                                " \"hadamard_block\": 32",
                                why, &c),
                     ERR_OK);
    assert_int_equal(c.hadamard, MODEL_HADAMARD_O | MODEL_HADAMARD_DOWN);
    assert_int_equal(c.hadamard_block, 32);
    assert_int_equal(parse_with("\"hadamard_inputs\": [\"v_proj\", \"up_proj\", \"q_proj\","
                                " \"gate_proj\", \"k_proj\"], \"hadamard_block\": 64",
                                why, &c),
                     ERR_OK);
    assert_int_equal(c.hadamard, MODEL_HADAMARD_QKV | MODEL_HADAMARD_GATE_UP);

    expect_part_refused("\"hadamard_inputs\": \"o_proj\"", "hadamard_inputs");
    expect_part_refused("\"hadamard_inputs\": [\"lm_head\"]", "hadamard_inputs");
    expect_part_refused("\"hadamard_inputs\": [1]", "hadamard_inputs");
    expect_part_refused("\"hadamard_inputs\": [\"q_proj\"], \"hadamard_block\": 2", "all or none");
    expect_part_refused("\"hadamard_inputs\": [\"up_proj\"], \"hadamard_block\": 2", "all or none");
    expect_part_refused("\"hadamard_inputs\": [\"o_proj\"]", "hadamard_block");
    expect_part_refused("\"hadamard_inputs\": [\"o_proj\"], \"hadamard_block\": 48",
                        "power of two");
    expect_part_refused("\"hadamard_inputs\": [\"o_proj\"], \"hadamard_block\": 128", "divides");
    expect_part_refused("\"hadamard_inputs\": [\"down_proj\"], \"hadamard_block\": 64", "divides");
}

static void what_is_not_an_object_is_refused(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {"", "[]", "{", "{} x", "\"bitnet\""};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        char why[200] = "";
        struct model_config c;
        assert_int_equal(model_config_parse(TEXTS[i], strlen(TEXTS[i]), why, sizeof why, &c),
                         ERR_MODEL_FORMAT);
        assert_memory_equal(why, "config: ", 8);
    }
}

static void the_kind_of_tokenizer_may_be_said(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        bool is_spm;
        bool does_add_space;
    } CASES[] = {
        {"", false, false},
        {", \"tokenizer_model\": \"bpe\", \"add_space_prefix\": true", false, false},
        {", \"tokenizer_model\": \"spm\"", true, true},
        {", \"tokenizer_model\": \"spm\", \"add_space_prefix\": false", true, false},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char text[1024];
        char why[200] = "";
        struct model_config c;
        (void)snprintf(text, sizeof text, "%.*s%s}", (int)(strlen(GOOD) - 1), GOOD, CASES[i].keys);
        assert_int_equal(model_config_parse(text, strlen(text), why, sizeof why, &c), ERR_OK);
        assert_int_equal(c.is_spm, CASES[i].is_spm);
        assert_int_equal(c.does_add_space, CASES[i].does_add_space);
    }
}

static void bos_may_be_absent(void **state)
{
    (void)state;
    char text[1024];
    const char *at = strstr(GOOD, "\"bos_token_id\": 1,");
    (void)snprintf(text, sizeof text, "%.*s%s", (int)(at - GOOD), GOOD,
                   at + strlen("\"bos_token_id\": 1,"));
    char why[200] = "";
    struct model_config c;
    assert_int_equal(model_config_parse(text, strlen(text), why, sizeof why, &c), ERR_OK);
    assert_false(c.has_bos);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_complete_config_is_read),
        cmocka_unit_test(every_bad_value_is_refused_by_its_key),
        cmocka_unit_test(what_is_not_an_object_is_refused),
        cmocka_unit_test(the_kind_of_tokenizer_may_be_said),
        cmocka_unit_test(bos_may_be_absent),
        cmocka_unit_test(the_architectures_and_activations_have_their_names),
        cmocka_unit_test(an_spm_tokenizer_needs_no_pre_tokenizer),
        cmocka_unit_test(each_kind_of_rope_scaling_is_read),
        cmocka_unit_test(rope_scaling_that_would_be_misread_is_refused),
        cmocka_unit_test(rotated_inputs_are_read_as_a_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
