/* SPDX-License-Identifier: MIT */
/* The self check must find a kernel that computes something else. */
#include "services/engine/selfcheck.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/engine/testmodel.h"

static enum err check(const struct model *m, const struct kernels *k, enum kv_type kv_type)
{
    const struct selfcheck how = {.n_threads = 2, .kv_type = kv_type, .has_fast_head = true};
    uint64_t hash = 0;
    return selfcheck_run(m, k, &how, &hash);
}

/* Bounds that leave out the best row. */
static void wrong_bound(const struct planes *w, unsigned k, const struct planes_input *x,
                        const struct planes_rows *rows, const int32_t *sums, float *lower,
                        float *upper, size_t y_stride)
{
    planes_bound_ref(w, k, x, rows, sums, lower, upper, y_stride);
    for (size_t t = 0; t < x->n_tokens; t++) {
        for (uint32_t i = 0; i < rows->n; i++) {
            uint32_t r = rows->list != NULL ? rows->list[i] : rows->first + i;
            lower[t * y_stride + r] = (float)r;
            upper[t * y_stride + r] = (float)r;
        }
    }
}

static void wrong_attention(const struct attention *a)
{
    attention_run_ref(a);
    a->out[0] += 1.0F;
}

static void right_kernels_pass_and_wrong_ones_do_not(void **state)
{
    (void)state;
    struct model *m = testmodel_open(&TESTMODEL_TINY);
    for (enum isa isa = ISA_REF; isa < ISA_COUNT; isa++) {
        for (enum kv_type kv_type = KV_F16; kv_type <= KV_INT8 && kernels_get(isa) != NULL;
             kv_type++)
            assert_int_equal(check(m, kernels_get(isa), kv_type), ERR_OK);
    }
    struct kernels k = *kernels_get(kernels_best());
    k.planes_bound = wrong_bound;
    assert_int_equal(check(m, &k, KV_F16), ERR_INTERNAL);
    k = *kernels_get(kernels_best());
    k.attention8_run = wrong_attention;
    assert_int_equal(check(m, &k, KV_F16), ERR_OK);
    assert_int_equal(check(m, &k, KV_INT8), ERR_INTERNAL);
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_kernels_pass_and_wrong_ones_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
