/* SPDX-License-Identifier: MIT */
/* Prompts that are encoded on the worker's thread, and a model with a SentencePiece vocabulary, on the wire. */
#include "services/tokenizer/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/tokenizer/service_world.h"

/* ---- long prompts ------------------------------------------------------------------------------- */

/* Template arguments that take long to read and change nothing. */
static char *long_args(void)
{
    struct buf args = {0};
    buf_add_cstr(&args, "{\"x\":[0");
    while (args.len < 2 << 20)
        buf_add_cstr(&args, ",\"abcd\"");
    buf_add_cstr(&args, "]}");
    return buf_detach(&args);
}

static void a_long_prompt_does_not_hold_up_a_short_one(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    char *args = long_args();
    const struct frame_generate f = {.template_args = str_from(args)};
    world_generate(w, 0, 1, "hello", f);
    world_generate(w, 0, 2, "world", (struct frame_generate){0});
    UNTIL(w, g->seen[2].prompt_tokens > 0);
    assert_int_equal(g->seen[1].prompt_tokens, 0);
    UNTIL(w, g->seen[1].prompt_tokens > 0 && w->n_submits == 2);
    const uint32_t want[] = {BEGIN, USER, HELLO, END, ASSISTANT};
    assert_int_equal(w->submits[1].n_prompt, sizeof want / sizeof want[0]);
    assert_memory_equal(w->submits[1].prompt, want, sizeof want);
    world_token(w, 1, HELLO, FINISH_STOP);
    UNTIL(w, g->seen[1].finish);
    assert_string_equal(world_text_of(g, 1), "hello");
    free(args);
}

static void a_long_prompt_is_resumed_with_its_tokens(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    char *args = long_args();
    const uint32_t resume[] = {HELLO, 'h'};
    world_generate(
        w, 0, 1, "hello",
        (struct frame_generate){.template_args = str_from(args), .resume = resume, .n_resume = 2});
    UNTIL(w, w->n_submits == 1);
    assert_int_equal(w->submits[0].n_resume, 2);
    assert_memory_equal(w->submits[0].resume, resume, sizeof resume);
    world_token(w, 0, WORLD, FINISH_STOP);
    UNTIL(w, g->seen[1].finish);
    assert_string_equal(world_text_of(g, 1), " world");
    free(args);
}

static void a_long_prompt_that_is_refused_gives_the_reason(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    struct buf prompt = {0};
    while (prompt.len < 4 << 20)
        buf_add_cstr(&prompt, "hello world ");
    world_generate(w, 0, 1, "",
                   (struct frame_generate){.kind = PROMPT_TEXT, .prompt = buf_str(&prompt)});
    UNTIL(w, g->seen[1].finish);
    assert_int_equal(g->seen[1].code, ERR_CONTEXT);
    assert_non_null(strstr(g->seen[1].detail, "context"));
    assert_int_equal(w->n_submits, 0);
    buf_fini(&prompt);
}

static void a_prompt_that_is_being_encoded_can_be_cancelled(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    char *args = long_args();
    const struct frame_generate f = {.template_args = str_from(args)};
    const struct frame_cancel cancel = {.req = 1};
    world_generate(w, 0, 1, "hello", f);
    assert_int_equal(link_send(g->link, FRAME_cancel, &cancel), ERR_OK);
    world_generate(w, 0, 1, "world", (struct frame_generate){0}); /* the id is free again */
    world_generate(w, 0, 2, "hello", f); /* encoded after the first */
    UNTIL(w, g->seen[2].prompt_tokens > 0 && w->n_submits == 2);
    assert_int_equal(w->submits[0].prompt[2], 'w'); /* "world" begins with no known pair */
    assert_int_equal(w->n_cancels, 0); /* the router never knew it */
    free(args);
}

static void a_deadline_passes_while_a_prompt_is_encoded(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    struct buf spaces = {0};
    while (spaces.len < 3 << 20)
        buf_add_cstr(&spaces, " ");
    const struct frame_generate f = {.kind = PROMPT_TEXT, .prompt = buf_str(&spaces)};
    for (uint64_t req = 1; req <= 6; req++)
        world_generate(w, 0, req, "", f);
    char *args = long_args();
    world_generate(w, 0, 7, "hello",
                   (struct frame_generate){.template_args = str_from(args), .deadline_ms = 1});
    UNTIL(w, g->seen[7].finish);
    assert_int_equal(g->seen[7].code, ERR_TIMEOUT);
    free(args);
    buf_fini(&spaces);
}

static void what_is_being_encoded_ends_with_its_gateway_and_the_service(void **state)
{
    struct world *w = *state;
    char *args = long_args();
    const struct frame_generate f = {.template_args = str_from(args)};
    world_dial(w, 1);
    for (uint64_t req = 1; req < 5; req++) {
        world_generate(w, 0, req, "hello", f);
        world_generate(w, 1, req, "world", f);
    }
    UNTIL(w, w->n_submits > 0);
    link_close(w->gateways[1].link);
    w->gateways[1].link = NULL;
    UNTIL(w, w->gateways[0].seen[2].prompt_tokens > 0);
    free(args); /* the rest is under way when the service stops */
}

/* ---- SentencePiece ------------------------------------------------------------------------------ */

enum { SPM_A = 261, SPM_B };

static void setup_spm(struct world *w)
{
    static const char *const ITS[] = {"a", "b", " a", " b", "ab", " ", NULL};
    static const float SCORES[] = {-9, -9, -1, -2, -3, -9};
    char why[300] = "";
    test_vocab_fini(&w->vocab);
    test_vocab_init_spm(&w->vocab, ITS, SCORES);
    world_write_model_of(w, "{% for m in messages %}{{ '<s>' + m.content }}{% endfor %}",
                         "\"-\",\"tokenizer_model\":\"spm\"");
    model_close(w->model);
    w->model = NULL;
    if (model_open(w->path, why, sizeof why, &w->model) != ERR_OK)
        fail_msg("%s", why);
    world_start_service(w);
    world_start_router(w);
    world_dial(w, 0);
    UNTIL(w, w->gateways[0].n_models == 1);
}

static void a_reply_of_a_sentencepiece_model_loses_its_first_space(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    const uint32_t resume[] = {SPM_A};
    setup_spm(w);
    world_generate(w, 0, 1, "a b<s>", (struct frame_generate){0});
    world_generate(w, 0, 2, "a", (struct frame_generate){.continue_final = true});
    world_generate(w, 0, 3, "",
                   (struct frame_generate){.kind = PROMPT_TEXT, .prompt = STR_LIT("ab")});
    world_generate(w, 0, 4, "a", (struct frame_generate){.resume = resume, .n_resume = 1});
    UNTIL(w, w->n_submits == 4);
    const uint32_t want[] = {265, 1, SPM_A, SPM_B, 3 + '<', 3 + 's', 3 + '>'};
    assert_int_equal(w->submits[0].n_prompt, sizeof want / sizeof want[0]);
    assert_memory_equal(w->submits[0].prompt, want, sizeof want);
    for (size_t i = 0; i < 4; i++) {
        world_token(w, i, SPM_A, 0);
        world_token(w, i, 3 + 0xc3, 0);
        world_token(w, i, 3 + 0xa9, FINISH_STOP);
    }
    UNTIL(w, g->seen[1].finish && g->seen[2].finish && g->seen[3].finish && g->seen[4].finish);
    assert_string_equal(world_text_of(g, 1), "a\xc3\xa9");
    assert_string_equal(world_text_of(g, 2), " a\xc3\xa9");
    assert_string_equal(world_text_of(g, 3), " a\xc3\xa9");
    assert_string_equal(world_text_of(g, 4), " a\xc3\xa9"); /* "a" is there already */
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, world_setup_started, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_long_prompt_does_not_hold_up_a_short_one),
        CASE(a_long_prompt_is_resumed_with_its_tokens),
        CASE(a_long_prompt_that_is_refused_gives_the_reason),
        CASE(a_prompt_that_is_being_encoded_can_be_cancelled),
        CASE(a_deadline_passes_while_a_prompt_is_encoded),
        CASE(what_is_being_encoded_ends_with_its_gateway_and_the_service),
        cmocka_unit_test_setup_teardown(a_reply_of_a_sentencepiece_model_loses_its_first_space,
                                        world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
