/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/frames.h"

static enum err decode(const void *data, size_t len, struct arena *a)
{
    struct frame f;
    return frame_decode(data, len, a, &f);
}

/* Golden bytes: a change here is a change of the wire, which needs a new protocol version. */
static void submit_has_its_golden_bytes(void **state)
{
    (void)state;
    static const unsigned char GOLDEN[] = {
        0x93, 0x20, 0x07, /* [32, epoch 7, */
        0x83, /* three fields present */
        0x01, 0x05, /* req = 5 */
        0x02, 0x92, 0x01, 0xcd, 0x01, 0x2c, /* prompt = [1, 300] */
        0x04, 0x83, /* sampling: three fields */
        0x01, 0x10, /* max_tokens = 16 */
        0x03, 0xca, 0x3f, 0x80, 0x00, 0x00, /* temperature = 1.0f */
        0x0a, 0x00, /* seed = 0 is required, so it is there */
    };
    static const uint32_t IDS[] = {1, 300};
    struct frame_submit m = {.req = 5, .prompt = IDS, .n_prompt = 2};
    m.sampling.max_tokens = 16;
    m.sampling.temperature = 1.0F;
    struct buf out = {0};
    assert_int_equal(frame_encode(&out, FRAME_submit, 7, &m), ERR_OK);
    assert_int_equal(out.len, sizeof GOLDEN);
    assert_memory_equal(out.ptr, GOLDEN, sizeof GOLDEN);

    struct arena a = {0};
    struct frame f;
    assert_int_equal(frame_decode(GOLDEN, sizeof GOLDEN, &a, &f), ERR_OK);
    const struct frame_submit *got = f.body;
    assert_int_equal(f.type, FRAME_submit);
    assert_int_equal(f.epoch, 7);
    assert_int_equal(got->n_prompt, 2);
    assert_int_equal(got->prompt[1], 300);
    assert_true(got->sampling.temperature == 1.0F);
    assert_int_equal(got->n_resume, 0);
    arena_fini(&a);
    buf_fini(&out);
}

static void tokens_with_tops_survive_a_round_trip(void **state)
{
    (void)state;
    const struct rec_top tops[] = {{.id = 9, .logprob = -0.5F}, {.id = 8, .logprob = -1.5F}};
    const struct rec_token items[] = {
        {.req = 1, .has_id = true, .id = 0, .logprob = -0.25F, .top = tops, .n_top = 2},
        {.req = UINT64_MAX, .finish = FINISH_ERROR, .code = ERR_CONTEXT, .detail = STR_LIT("long")},
    };
    struct frame_tokens m = {.items = items, .n_items = 2};
    struct buf out = {0};
    struct arena a = {0};
    struct frame f;
    assert_int_equal(frame_encode(&out, FRAME_tokens, 1, &m), ERR_OK);
    assert_int_equal(frame_decode(out.ptr, out.len, &a, &f), ERR_OK);
    const struct frame_tokens *got = f.body;
    assert_int_equal(got->n_items, 2);
    assert_true(got->items[0].has_id);
    assert_int_equal(got->items[0].top[1].id, 8);
    assert_true(got->items[0].top[1].logprob == -1.5F);
    assert_true(got->items[1].req == UINT64_MAX);
    assert_true(str_is(got->items[1].detail, "long"));
    arena_fini(&a);
    buf_fini(&out);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    static const uint32_t IDS[] = {1, 300, 70000};
    const struct rec_bias bias = {.id = 4, .bias = -100.0F};
    struct frame_generate m = {.req = 77, .kind = PROMPT_TEXT, .prompt = STR_LIT("hello")};
    const struct str stops[] = {STR_LIT("a"), STR_LIT("bb")};
    m.stops = stops;
    m.n_stops = 2;
    m.resume = IDS;
    m.n_resume = 3;
    m.sampling.logit_bias = &bias;
    m.sampling.n_logit_bias = 1;
    struct buf out = {0};
    struct arena a = {0};
    assert_int_equal(frame_encode(&out, FRAME_generate, 1, &m), ERR_OK);
    for (size_t n = 0; n < out.len; n++) {
        char *exact = malloc(n + 1); /* so that ASan sees a read past the end */
        assert_non_null(exact);
        memcpy(exact, out.ptr, n);
        assert_int_not_equal(decode(exact, n, &a), ERR_OK);
        free(exact);
        arena_reset(&a);
    }
    buf_add_char(&out, 0);
    assert_int_equal(decode(out.ptr, out.len, &a), ERR_PROTOCOL); /* trailing byte */
    arena_fini(&a);
    buf_fini(&out);
}

static void huge_counts_are_refused_before_memory_is_taken(void **state)
{
    (void)state;
    static const unsigned char ARRAY[] = {0x93, 0x21, 0x01, 0x81, 0x01,
                                          0xdd, 0xff, 0xff, 0xff, 0xff};
    static const unsigned char MAP[] = {0x93, 0x21, 0x01, 0xdf, 0x7f, 0xff, 0xff, 0xff};
    static const unsigned char TEXT[] = {0x93, 0x03, 0x01, 0x82, 0x01, 0x01, 0x02,
                                         0xdb, 0xff, 0xff, 0xff, 0xff, 'x'};
    struct arena a = {0};
    assert_int_equal(decode(ARRAY, sizeof ARRAY, &a), ERR_PROTOCOL);
    assert_int_equal(decode(MAP, sizeof MAP, &a), ERR_PROTOCOL);
    assert_int_equal(decode(TEXT, sizeof TEXT, &a), ERR_PROTOCOL);
    assert_int_equal(a.used_bytes, 0);
    arena_fini(&a);
}

static void deep_nesting_is_refused(void **state)
{
    (void)state;
    unsigned char deep[100000];
    memset(deep, 0x91, sizeof deep);
    deep[sizeof deep - 1] = 0x01;
    struct arena a = {0};
    assert_int_equal(decode(deep, sizeof deep, &a), ERR_DEPTH);
    arena_fini(&a);
}

static void wrong_types_and_missing_fields_are_refused(void **state)
{
    (void)state;
    static const unsigned char STRING_FOR_NUMBER[] = {0x93, 0x13, 0x01, 0x81, 0x01, 0xa1, 'x'};
    static const unsigned char NEGATIVE[] = {0x93, 0x13, 0x01, 0x81, 0x01, 0xff};
    static const unsigned char MISSING[] = {0x93, 0x13, 0x01, 0x80};
    static const unsigned char TWICE[] = {0x93, 0x13, 0x01, 0x82, 0x01, 0x05, 0x01, 0x06};
    static const unsigned char UNKNOWN_FRAME[] = {0x93, 0x7f, 0x01, 0x80};
    static const unsigned char NOT_A_FRAME[] = {0x81, 0x01, 0x01};
    static const unsigned char BIN[] = {0x93, 0x13, 0x01, 0x81, 0x01, 0xc4, 0x01, 'x'};
    static const unsigned char U32_RANGE[] = {0x93, 0x03, 0x01, 0x82, 0x01, 0xcf, 0,    0,
                                              0,    1,    0,    0,    0,    0,    0x02, 0xa0};
    struct arena a = {0};
    assert_int_equal(decode(STRING_FOR_NUMBER, sizeof STRING_FOR_NUMBER, &a), ERR_TYPE);
    assert_int_equal(decode(NEGATIVE, sizeof NEGATIVE, &a), ERR_TYPE);
    assert_int_equal(decode(MISSING, sizeof MISSING, &a), ERR_MISSING);
    assert_int_equal(decode(TWICE, sizeof TWICE, &a), ERR_PROTOCOL);
    assert_int_equal(decode(UNKNOWN_FRAME, sizeof UNKNOWN_FRAME, &a), ERR_UNKNOWN);
    assert_int_equal(decode(NOT_A_FRAME, sizeof NOT_A_FRAME, &a), ERR_PROTOCOL);
    assert_int_equal(decode(BIN, sizeof BIN, &a), ERR_TYPE);
    assert_int_equal(decode(U32_RANGE, sizeof U32_RANGE, &a), ERR_RANGE);
    arena_fini(&a);
}

static void unknown_keys_are_skipped(void **state)
{
    (void)state;
    static const unsigned char NEWER[] = {0x93, 0x13, 0x01, 0x82, 0x01,
                                          0x05, 0x63, 0x92, 0xc0, 0xc3};
    struct arena a = {0};
    struct frame f;
    assert_int_equal(frame_decode(NEWER, sizeof NEWER, &a, &f), ERR_OK);
    assert_int_equal(((const struct frame_cancel *)f.body)->req, 5);
    arena_fini(&a);
}

static void random_bytes_never_crash(void **state)
{
    (void)state;
    uint64_t x = 88172645463325252U;
    struct arena a = {.cap_bytes = 1 << 20};
    for (int round = 0; round < 200000; round++) {
        unsigned char b[48];
        size_t n = 0;
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        size_t len = 3 + x % (sizeof b - 3);
        b[n++] = 0x93;
        b[n++] = (unsigned char)(x >> 8 & 0x3f);
        while (n < len) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            /* Mostly small containers and numbers, so that many get far. */
            static const unsigned char LIKELY[] = {0x81, 0x82, 0x91, 0x92, 0xa1, 0xc3, 0xca, 0xdc};
            b[n++] = (x & 1) != 0 ? LIKELY[x >> 1 & 7] : (unsigned char)(x >> 16);
        }
        (void)decode(b, len, &a);
        arena_reset(&a);
    }
    arena_fini(&a);
}

static void lists_beyond_their_cap_are_not_encoded(void **state)
{
    (void)state;
    static struct str stops[17];
    struct frame_generate m = {.stops = stops, .n_stops = 17};
    struct buf out = {0};
    assert_int_equal(frame_encode(&out, FRAME_generate, 1, &m), ERR_TOO_LARGE);
    assert_int_equal(out.len, 0);
    buf_fini(&out);
}

static void trace_hides_the_texts_of_users(void **state)
{
    (void)state;
    struct frame_generate m = {
        .req = 1, .kind = PROMPT_TEXT, .prompt = STR_LIT("my secret"), .model = STR_LIT("demo")};
    struct frame f = {FRAME_generate, 1, &m};
    struct buf out = {0};
    frame_trace(&out, &f);
    assert_null(strstr(out.ptr, "secret"));
    assert_non_null(strstr(out.ptr, "prompt:<9 bytes>"));
    assert_non_null(strstr(out.ptr, "model:\"demo\""));
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submit_has_its_golden_bytes),
        cmocka_unit_test(tokens_with_tops_survive_a_round_trip),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(huge_counts_are_refused_before_memory_is_taken),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(wrong_types_and_missing_fields_are_refused),
        cmocka_unit_test(unknown_keys_are_skipped),
        cmocka_unit_test(random_bytes_never_crash),
        cmocka_unit_test(lists_beyond_their_cap_are_not_encoded),
        cmocka_unit_test(trace_hides_the_texts_of_users),
    };
    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
