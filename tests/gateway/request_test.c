/* SPDX-License-Identifier: MIT */
/* What HTTP cannot show well: that every parsed request is in range, whatever the bytes were. */
#include "services/gateway/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/check.h"
#include "common/utf8.h"

static char model_name[] = "m";
static char model_hash[] = "00";
static const struct catalog_model MODEL = {
    .name = model_name, .hash = model_hash, .context = 512, .vocab_size = 100};

static const char *const CORPUS[] = {
    "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stop\":[\"a\",\"b\"],"
    "\"n\":2,\"seed\":5,\"logit_bias\":{\"5\":-1.5,\"17\":100},\"temperature\":0.5,\"top_p\":0.9}",
    "{\"model\":\"m\",\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\","
    "\"text\":"
    "\"\\u00e9\\ud83d\\ude00\"}]},{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[]}],"
    "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"logprobs\":true,"
    "\"top_logprobs\":20,\"max_completion_tokens\":7,\"chat_template_kwargs\":{\"a\":[{}]}}",
    "{\"model\":\"m\",\"prompt\":[[1,2],[3]],\"n\":8,\"best_of\":8,\"max_tokens\":9,"
    "\"min_tokens\":3,\"stop_token_ids\":[1,99],\"ignore_eos\":true,\"min_p\":0.1,\"top_k\":-1}",
    "{\"model\":\"m\",\"prompt\":[\"a\",\"b\",\"c\"],\"echo\":true,\"suffix\":\"\",\"user\":\"u\","
    "\"repetition_penalty\":1.1,\"frequency_penalty\":-2,\"presence_penalty\":2,"
    "\"request_id\":\"x-1\",\"cache_salt\":\"s\",\"include_stop_str_in_output\":true}",
};

static bool parse(struct request *r, enum endpoint endpoint, const char *text, struct api_error *e)
{
    return request_parse(r, endpoint, str_from(text), 1 << 20, e) && request_fit(r, &MODEL, e);
}

static void the_corpus_is_accepted(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(CORPUS); i++) {
        struct request r;
        struct api_error e = {0};
        bool ok = parse(&r, i < 2 ? ENDPOINT_CHAT : ENDPOINT_COMPLETIONS, CORPUS[i], &e);
        if (!ok)
            print_error("%zu: %s\n", i, e.message);
        assert_true(ok);
        request_fini(&r);
    }
}

static void check_prompts(const struct request *r)
{
    assert_in_range(r->n_prompts, 1, REQUEST_PROMPTS_MAX);
    for (size_t i = 0; i < r->n_prompts; i++) {
        const struct prompt *p = &r->prompts[i];
        assert_true(utf8_is_valid(p->text.ptr != NULL ? p->text.ptr : "", p->text.len));
        assert_true(p->n_ids < MODEL.context);
        for (size_t k = 0; k < p->n_ids; k++)
            assert_true(p->ids[k] < MODEL.vocab_size);
    }
}

static void check_ranges(const struct request *r)
{
    const struct rec_sampling *s = &r->sampling;
    check_prompts(r);
    assert_in_range(r->n, 1, REQUEST_CHOICES_MAX);
    assert_in_range(r->best_of, r->n, REQUEST_CHOICES_MAX);
    assert_in_range(r->n_prompts * r->best_of, 1, REQUEST_SEQUENCES_MAX);
    assert_in_range(s->max_tokens, 1, MODEL.context);
    assert_true(s->temperature >= 0 && s->temperature <= 2);
    assert_true(s->top_p > 0 && s->top_p <= 1);
    assert_true(s->min_p >= 0 && s->min_p <= 1);
    assert_true(s->frequency_penalty >= -2 && s->frequency_penalty <= 2);
    assert_true(s->presence_penalty >= -2 && s->presence_penalty <= 2);
    assert_true(s->repetition_penalty >= 0 && s->repetition_penalty <= 10);
    assert_true(s->top_logprobs <= 20);
    assert_true(r->n_stops <= REQUEST_STOPS_MAX);
    for (size_t i = 0; i < r->n_stops; i++)
        assert_true(r->stops[i].len > 0);
    assert_true(s->n_logit_bias <= REQUEST_BIASES_MAX);
    for (size_t i = 0; i < s->n_logit_bias; i++) {
        assert_true(s->logit_bias[i].id < MODEL.vocab_size);
        assert_true(s->logit_bias[i].bias >= -100 && s->logit_bias[i].bias <= 100);
    }
}

/* The frame that the request becomes must always be accepted by the codec. */
static void check_frame(const struct request *r)
{
    struct buf out = {0};
    struct frame_generate g = {
        .req = 1,
        .kind = r->prompts[0].kind,
        .prompt = r->prompts[0].text,
        .sampling = r->sampling,
        .stops = r->stops,
        .n_stops = r->n_stops,
        .template_args = r->template_args,
    };
    assert_int_equal(frame_encode(&out, FRAME_generate, 1, &g), ERR_OK);
    buf_fini(&out);
}

/* Changes a few bytes: other bytes, cut, doubled, or pieces of JSON. */
static void mutate(struct buf *b, unsigned *seed)
{
    static const char *const SPICE[] = {
        "\"",   "{",    "}",    "[",     "]",       ":",    ",",
        "null", "-1",   "1e9",  "99999", "\\u0000", "true", "\xff",
        "0.5",  "[[[[", "\"\"", "{}",    "[]",      "\\",   "18446744073709551616"};
    for (int n = 1 + rand_r(seed) % 3; n > 0 && b->len > 2; n--) {
        size_t at = (size_t)rand_r(seed) % b->len;
        const char *spice = SPICE[(size_t)rand_r(seed) % ARRAY_LEN(SPICE)];
        switch (rand_r(seed) % 4) {
        case 0:
            b->ptr[at] = (char)rand_r(seed);
            break;
        case 1: {
            size_t cut = 1 + (size_t)rand_r(seed) % 8;
            if (at + cut <= b->len) {
                memmove(b->ptr + at, b->ptr + at + cut, b->len - at - cut);
                b->len -= cut;
            }
            break;
        }
        default: {
            struct buf tail = {0};
            buf_add(&tail, b->ptr + at, b->len - at);
            b->len = at;
            buf_add_cstr(b, spice);
            buf_add_str(b, buf_str(&tail));
            buf_fini(&tail);
            break;
        }
        }
    }
}

static void mangled_bodies_are_refused_with_a_reason_or_are_in_range(void **state)
{
    (void)state;
    unsigned seed = 1;
    size_t n_accepted = 0;
    for (int i = 0; i < 40000; i++) {
        struct buf body = {0};
        struct request r;
        struct api_error e = {0};
        size_t which = (size_t)rand_r(&seed) % ARRAY_LEN(CORPUS);
        buf_add_cstr(&body, CORPUS[which]);
        mutate(&body, &seed);
        enum endpoint endpoint = which < 2 ? ENDPOINT_CHAT : ENDPOINT_COMPLETIONS;
        if (request_parse(&r, endpoint, buf_str(&body), 1 << 20, &e) &&
            request_fit(&r, &MODEL, &e)) {
            n_accepted++;
            check_ranges(&r);
            check_frame(&r);
        } else {
            assert_in_range(e.status, 400, 415);
            assert_true(e.message[0] != '\0');
        }
        request_fini(&r);
        buf_fini(&body);
    }
    /* Else the loop would have tested one side only. */
    assert_in_range(n_accepted, 200, 39000);
}

static void drawn_seeds_differ(void **state)
{
    (void)state;
    uint64_t last = 0;
    for (int i = 0; i < 10; i++) {
        struct request r;
        struct api_error e;
        assert_true(parse(&r, ENDPOINT_COMPLETIONS, "{\"model\":\"m\",\"prompt\":\"x\"}", &e));
        assert_true(r.sampling.seed != last && r.sampling.seed < (uint64_t)1 << 53);
        last = r.sampling.seed;
        request_fini(&r);
    }
}

static void equal_salts_give_equal_tenants_and_others_do_not(void **state)
{
    (void)state;
    static const char *const BODIES[] = {"{\"model\":\"m\",\"prompt\":\"x\",\"cache_salt\":\"a\"}",
                                         "{\"model\":\"m\",\"prompt\":\"y\",\"cache_salt\":\"a\"}",
                                         "{\"model\":\"m\",\"prompt\":\"x\",\"cache_salt\":\"b\"}"};
    uint64_t tenants[3];
    for (size_t i = 0; i < 3; i++) {
        struct request r;
        struct api_error e;
        assert_true(parse(&r, ENDPOINT_COMPLETIONS, BODIES[i], &e));
        tenants[i] = r.tenant;
        request_fini(&r);
    }
    assert_int_equal(tenants[0], tenants[1]);
    assert_int_not_equal(tenants[0], tenants[2]);
    assert_int_not_equal(tenants[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_corpus_is_accepted),
        cmocka_unit_test(mangled_bodies_are_refused_with_a_reason_or_are_in_range),
        cmocka_unit_test(drawn_seeds_differ),
        cmocka_unit_test(equal_salts_give_equal_tenants_and_others_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
