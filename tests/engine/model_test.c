/* SPDX-License-Identifier: MIT */
#include "services/engine/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "services/engine/linear.h"
#include "tests/engine/testmodel.h"

static char path[] = "/tmp/halo-model-test-XXXXXX";

static int setup(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    (void)state;
    return unlink(path);
}

static void all_parts_are_bound(void **state)
{
    (void)state;
    struct testmodel t = TESTMODEL_TINY;
    t.n_scales = 2;
    t.is_tied = false;
    struct model *m = testmodel_open(&t);
    assert_int_equal(m->config.n_vocab, t.n_vocab);
    assert_ptr_not_equal(m->head, m->embedding);
    for (uint32_t i = 0; i < t.n_layers; i++) {
        const struct model_layer *l = &m->layers[i];
        assert_non_null(l->input_norm);
        assert_int_equal(l->k.n_rows, t.n_kv_heads * t.head_dim);
        assert_int_equal(l->k.rows_per_scale, t.n_kv_heads * t.head_dim / 2);
        assert_int_equal(l->down.n_cols, t.n_ffn);
    }
    assert_true(m->rope_cos[0] == 1.0F && m->rope_sin[0] == 0.0F);
    model_close(m);
    model_close(NULL);
}

static void a_step_reads_the_head_but_not_the_embedding(void **state)
{
    (void)state;
    struct testmodel t = TESTMODEL_TINY;
    struct model *tied = testmodel_open(&t);
    t.is_tied = false;
    struct model *untied = testmodel_open(&t);
    assert_ptr_equal(tied->head, tied->embedding);
    assert_int_equal(tied->bytes_per_token, untied->bytes_per_token);
    assert_true(tied->bytes_per_token < h1b_file_size(tied->file));
    assert_true(tied->bytes_per_token > (uint64_t)2 * t.n_vocab * t.n_hidden);
    model_close(tied);
    model_close(untied);
}

static void expect_copied(const struct ternary_weights *copy, const struct ternary_weights *w)
{
    assert_int_equal(copy->group, w->group);
    assert_memory_equal(copy->scales, w->scales, linear_scale_bytes(w));
    assert_ptr_not_equal(copy->codes, w->codes);
    assert_memory_equal(copy->codes, w->codes,
                        w->n_rows * ternary_row_bytes(w->packing, w->n_cols));
}

static void expect_same_copy(const struct testmodel *t)
{
    struct model *m = testmodel_open(t);
    struct model *copy = testmodel_open(t);
    assert_int_equal(model_copy_weights(copy, true), ERR_OK);
    for (uint32_t i = 0; i < m->config.n_layers; i++) {
        const struct model_layer *a = &copy->layers[i];
        const struct model_layer *b = &m->layers[i];
        expect_copied(&a->q, &b->q);
        expect_copied(&a->k, &b->k);
        expect_copied(&a->v, &b->v);
        expect_copied(&a->o, &b->o);
        expect_copied(&a->gate, &b->gate);
        expect_copied(&a->up, &b->up);
        expect_copied(&a->down, &b->down);
    }
    size_t n_head = (size_t)m->config.n_vocab * m->config.n_hidden * sizeof *m->head;
    assert_ptr_not_equal(copy->head, copy->embedding);
    assert_memory_equal(copy->head, m->head, n_head);
    assert_memory_equal(copy->embedding, m->embedding, n_head);
    model_close(copy);
    model_close(m);
}

static void copied_weights_are_the_same(void **state)
{
    (void)state;
    struct testmodel t = TESTMODEL_TINY;
    struct testmodel grouped = {1, 331,  128,         192,        2,    4,      2,  32,  128,
                                1, true, MODEL_QWEN3, MODEL_SILU, NULL, H1B_B1, 64, NULL};
    expect_same_copy(&t);
    expect_same_copy(&grouped);
}

static void expect_refused(const char *omit, const char *reshape)
{
    testmodel_write(&TESTMODEL_TINY, path, omit, reshape);
    char why[256];
    struct model *m = NULL;
    assert_int_equal(model_open(path, H1B_VERIFY_ALL, why, sizeof why, &m), ERR_MODEL_FORMAT);
    const char *name = omit != NULL ? omit : reshape;
    if (!strstr(why, name) || !strstr(why, path))
        fail_msg("\"%s\" lacks \"%s\"", why, name);
}

static void a_missing_or_misshapen_tensor_is_named(void **state)
{
    (void)state;
    static const char *const NAMES[] = {
        "model.embed_tokens.weight",
        "model.norm.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.1.post_attention_layernorm.weight",
        "model.layers.2.self_attn.attn_sub_norm.weight",
        "model.layers.0.mlp.ffn_sub_norm.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.1.self_attn.k_proj.weight",
        "model.layers.2.self_attn.v_proj.weight",
        "model.layers.2.self_attn.o_proj.weight",
        "model.layers.2.mlp.gate_proj.weight",
        "model.layers.2.mlp.up_proj.weight",
        "model.layers.2.mlp.down_proj.weight",
    };
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        expect_refused(NAMES[i], NULL);
        expect_refused(NULL, NAMES[i]);
    }
    expect_refused("config", NULL);
    expect_refused("model.layers.2.mlp.down_proj.weight_scale", NULL);
}

static void scales_must_divide_the_rows(void **state)
{
    (void)state;
    struct testmodel t = TESTMODEL_TINY;
    t.n_scales = 5;
    testmodel_write(&t, path, NULL, NULL);
    char why[256];
    struct model *m = NULL;
    assert_int_equal(model_open(path, H1B_VERIFY_ALL, why, sizeof why, &m), ERR_MODEL_FORMAT);
    assert_non_null(strstr(why, "weight_scale"));
}

/* They are multiplied by the same activations, which are quantised for one kind of scales. */
static void matrices_of_one_input_need_scales_of_one_kind(void **state)
{
    (void)state;
    static const char *const PARTS[][2] = {{"self_attn.q_proj", "q_proj, k_proj and v_proj"},
                                           {"self_attn.k_proj", "q_proj, k_proj and v_proj"},
                                           {"self_attn.v_proj", "q_proj, k_proj and v_proj"},
                                           {"mlp.gate_proj", "gate_proj and up_proj"},
                                           {"mlp.up_proj", "gate_proj and up_proj"}};
    struct testmodel t = TESTMODEL_TINY;
    t.n_hidden = 128;
    t.n_ffn = 192;
    t.head_dim = 32;
    t.group = 64;
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++) {
        t.no_groups = PARTS[i][0];
        testmodel_write(&t, path, NULL, NULL);
        char why[256];
        struct model *m = NULL;
        assert_int_equal(model_open(path, H1B_VERIFY_ALL, why, sizeof why, &m), ERR_MODEL_FORMAT);
        assert_non_null(strstr(why, PARTS[i][1]));
    }
    t.no_groups = "mlp.down_proj"; /* has an input of its own */
    struct model *m = testmodel_open(&t);
    assert_string_equal(model_packing_name(m), "mixed");
    model_close(m);
    t.no_groups = NULL;
    m = testmodel_open(&t);
    assert_string_equal(model_packing_name(m), "T2/64");
    model_close(m);
}

static void a_head_size_that_kernels_lack_is_refused(void **state)
{
    (void)state;
    struct testmodel t = TESTMODEL_TINY;
    t.head_dim = 10;
    testmodel_write(&t, path, NULL, NULL);
    char why[256];
    struct model *m = NULL;
    assert_int_equal(model_open(path, H1B_VERIFY_ALL, why, sizeof why, &m), ERR_MODEL_FORMAT);
    assert_non_null(strstr(why, "head_dim"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_parts_are_bound),
        cmocka_unit_test(a_step_reads_the_head_but_not_the_embedding),
        cmocka_unit_test(copied_weights_are_the_same),
        cmocka_unit_test(a_missing_or_misshapen_tensor_is_named),
        cmocka_unit_test(scales_must_divide_the_rows),
        cmocka_unit_test(matrices_of_one_input_need_scales_of_one_kind),
        cmocka_unit_test(a_head_size_that_kernels_lack_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
