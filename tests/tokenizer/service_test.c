/* SPDX-License-Identifier: MIT */
/* The tokenizer on the wire, between gateways and a router that are this test: first in this process, then
 * the real program as a child. */
#include "tests/tokenizer/service_world.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- requests ----------------------------------------------------------------------------------- */

static void a_chat_becomes_the_tokens_of_its_template(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    const uint32_t stop_ids[] = {'z'};
    world_generate(w, 0, 1, "hello world<|end|>",
                   (struct frame_generate){.model = STR_LIT("test"),
                                           .sampling = {.stop_ids = stop_ids, .n_stop_ids = 1}});
    UNTIL(w, g->seen[1].prompt_tokens > 0 && w->n_submits == 1);
    const uint32_t want[] = {BEGIN, USER, HELLO, WORLD, '<', '|',      'e',
                             'n',   'd',  '|',   '>',   END, ASSISTANT};
    assert_int_equal(w->submits[0].n_prompt, sizeof want / sizeof want[0]);
    assert_memory_equal(w->submits[0].prompt, want, sizeof want);
    assert_int_equal(g->seen[1].prompt_tokens, sizeof want / sizeof want[0]);
    assert_int_equal(w->submits[0].seed, 9);
    assert_int_equal(w->submits[0].stop_id, 'z');
    assert_int_equal(w->submits[0].deadline_ms, 0);
    world_token(w, 0, HELLO, 0);
    world_token(w, 0, END, FINISH_STOP);
    UNTIL(w, g->seen[1].finish);
    assert_int_equal(g->seen[1].finish, FINISH_STOP);
    assert_string_equal(world_text_of(g, 1), "hello");
    assert_int_equal(g->seen[1].n_ids, 2);
}

static void raw_text_and_ids_are_no_chat(void **state)
{
    struct world *w = *state;
    const uint32_t ids[] = {USER, 'a'};
    world_generate(w, 0, 1, "",
                   (struct frame_generate){.kind = PROMPT_TEXT, .prompt = STR_LIT("hello<|end|>")});
    world_generate(
        w, 0, 2, "",
        (struct frame_generate){.kind = PROMPT_IDS, .prompt_ids = ids, .n_prompt_ids = 2});
    UNTIL(w, w->n_submits == 2);
    const uint32_t want[] = {BEGIN, HELLO, '<', '|', 'e', 'n', 'd', '|', '>'};
    assert_int_equal(w->submits[0].n_prompt, sizeof want / sizeof want[0]);
    assert_memory_equal(w->submits[0].prompt, want, sizeof want);
    assert_int_equal(w->submits[1].n_prompt, 2);
    assert_memory_equal(w->submits[1].prompt, ids, sizeof ids);
}

static void a_step_is_one_frame_for_each_gateway(void **state)
{
    struct world *w = *state;
    world_dial(w, 1);
    world_generate(w, 0, 1, "a", (struct frame_generate){0});
    world_generate(w, 1, 1, "b", (struct frame_generate){0});
    world_generate(w, 0, 2, "c", (struct frame_generate){0});
    UNTIL(w, w->n_submits == 3);
    size_t order[3] = {0, 0, 0};
    for (size_t i = 0; i < 3; i++)
        order[w->submits[i].prompt[2] - 'a'] = i;
    struct rec_token items[4];
    for (size_t i = 0; i < 3; i++)
        items[i] = (struct rec_token){.req = w->submits[order[i]].req,
                                      .has_id = true,
                                      .id = (uint32_t)('x' + i),
                                      .finish = FINISH_LENGTH};
    items[3] = (struct rec_token){.req = 12345, .has_id = true, .id = 'q'}; /* of nobody */
    world_send_tokens(w, items, 4);
    const struct gateway *a = &w->gateways[0];
    const struct gateway *b = &w->gateways[1];
    UNTIL(w, a->seen[1].finish && a->seen[2].finish && b->seen[1].finish);
    assert_string_equal(world_text_of(a, 1), "x");
    assert_string_equal(world_text_of(b, 1), "y");
    assert_string_equal(world_text_of(a, 2), "z");
    assert_int_equal(a->n_frames, 1);
    assert_int_equal(b->n_frames, 1);
}

static void a_stop_string_ends_the_reply_on_both_sides(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    const struct str stops[] = {STR_LIT("lo wo")};
    world_generate(w, 0, 1, "a", (struct frame_generate){.stops = stops, .n_stops = 1});
    world_generate(w, 0, 2, "a",
                   (struct frame_generate){.stops = stops, .n_stops = 1, .include_stop = true});
    UNTIL(w, w->n_submits == 2);
    for (size_t i = 0; i < 2; i++) {
        world_token(w, i, 'x', 0);
        world_token(w, i, HELLO, 0);
        world_token(w, i, WORLD, 0);
        world_token(w, i, 'y', 0); /* under way when the cancel was sent */
    }
    UNTIL(w, g->seen[1].finish && g->seen[2].finish && w->n_cancels == 2);
    assert_int_equal(g->seen[1].finish, FINISH_STOP);
    assert_string_equal(world_text_of(g, 1), "xhel");
    assert_string_equal(world_text_of(g, 2), "xhello wo");
    assert_int_equal(g->seen[1].n_ids, 3);
    assert_int_equal(w->cancels[0], w->submits[0].req);
}

static void what_a_stop_string_held_back_comes_with_the_end(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    const struct str stops[] = {STR_LIT("hello!")};
    world_generate(w, 0, 1, "a", (struct frame_generate){.stops = stops, .n_stops = 1});
    UNTIL(w, w->n_submits == 1);
    world_token(w, 0, HELLO, 0);
    UNTIL(w, g->seen[1].n_ids == 1);
    assert_string_equal(world_text_of(g, 1), "");
    const struct rec_token end = {.req = w->submits[0].req, .finish = FINISH_LENGTH};
    world_send_tokens(w, &end, 1);
    UNTIL(w, g->seen[1].finish == FINISH_LENGTH);
    assert_string_equal(world_text_of(g, 1), "hello");
    assert_int_equal(w->n_cancels, 0);
}

static void log_probabilities_come_with_the_bytes_of_tokens(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    world_generate(w, 0, 1, "a",
                   (struct frame_generate){.sampling = {.logprobs = true, .top_logprobs = 1}});
    UNTIL(w, w->n_submits == 1);
    const struct rec_top top = {.id = WORLD, .logprob = -0.5F};
    const struct rec_token t = {.req = w->submits[0].req,
                                .has_id = true,
                                .id = END,
                                .logprob = -1.0F,
                                .top = &top,
                                .n_top = 1};
    world_send_tokens(w, &t, 1);
    UNTIL(w, g->seen[1].n_ids == 1);
    assert_string_equal(world_text_of(g, 1), "");
    assert_string_equal(g->seen[1].token_text, "<|end|>");
    assert_string_equal(g->seen[1].top_text, " world");
}

static void errors_of_the_router_reach_the_gateway(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    world_generate(w, 0, 1, "a", (struct frame_generate){0});
    UNTIL(w, w->n_submits == 1);
    const struct rec_token t = {.req = w->submits[0].req,
                                .finish = FINISH_ERROR,
                                .code = ERR_FULL,
                                .detail = STR_LIT("full up"),
                                .retry_ms = 1234};
    world_send_tokens(w, &t, 1);
    UNTIL(w, g->seen[1].finish == FINISH_ERROR);
    assert_int_equal(g->seen[1].code, ERR_FULL);
    assert_string_equal(g->seen[1].detail, "full up");
    assert_int_equal(g->seen[1].retry_ms, 1234);
}

static void a_place_in_the_queue_reaches_the_gateway_that_waits(void **state)
{
    struct world *w = *state;
    world_dial(w, 1);
    world_generate(w, 0, 1, "a", (struct frame_generate){.share = 77});
    world_generate(w, 1, 1, "b", (struct frame_generate){.share = 78, .again = true});
    UNTIL(w, w->n_submits == 2);
    size_t a = w->submits[0].share == 77 ? 0 : 1;
    assert_int_equal(w->submits[1 - a].share, 78);
    assert_true(w->submits[1 - a].again && !w->submits[a].again);
    const struct rec_place items[] = {{.req = w->submits[a].req, .position = 5},
                                      {.req = 99999, .position = 6}, /* nobody's */
                                      {.req = w->submits[1 - a].req, .position = 7}};
    const struct frame_queued f = {.items = items, .n_items = 3};
    assert_int_equal(link_send(w->tokenizer, FRAME_queued, &f), ERR_OK);
    UNTIL(w, w->gateways[0].seen[1].position == 5 && w->gateways[1].seen[1].position == 7);
}

static void refused(struct world *w, uint64_t req, uint32_t code, const char *detail)
{
    const struct seen *s = &w->gateways[0].seen[req];
    UNTIL(w, s->finish);
    assert_int_equal(s->finish, FINISH_ERROR);
    assert_int_equal(s->code, code);
    if (!strstr(s->detail, detail))
        fail_msg("\"%s\" does not say \"%s\"", s->detail, detail);
    assert_int_equal(s->prompt_tokens, 0);
    assert_int_equal(w->n_submits, 0);
}

static void what_cannot_be_served_is_refused_with_the_reason(void **state)
{
    struct world *w = *state;
    const uint32_t too_high[] = {N_VOCAB};
    const struct str empty[] = {STR_LIT("")};
    char many[3 * 150 + 1];
    for (size_t i = 0; i < sizeof many; i++)
        many[i] = "a b"[i % 3];
    many[sizeof many - 1] = '\0';
    world_generate(w, 0, 0, "a", (struct frame_generate){.model = STR_LIT("gpt-9")});
    refused(w, 0, ERR_MODEL_UNKNOWN, "no such model");
    world_generate(w, 0, 1, many, (struct frame_generate){0});
    refused(w, 1, ERR_CONTEXT, "context is 150 tokens");
    world_generate(w, 0, 2, "a\",\"x\":[", (struct frame_generate){0});
    refused(w, 2, ERR_INVALID, "messages");
    world_generate(w, 0, 3, "a\"},{\"role\":\"tool\",\"content\":\"b", (struct frame_generate){0});
    refused(w, 3, ERR_TEMPLATE, "no tools here");
    world_generate(w, 0, 4, "a", (struct frame_generate){.stops = empty, .n_stops = 1});
    refused(w, 4, ERR_INVALID, "stop");
    world_generate(
        w, 0, 5, "",
        (struct frame_generate){.kind = PROMPT_IDS, .prompt_ids = too_high, .n_prompt_ids = 1});
    refused(w, 5, ERR_RANGE, "there is no token 269");
    world_generate(w, 0, 6, "", (struct frame_generate){.kind = PROMPT_IDS});
    refused(w, 6, ERR_INVALID, "empty");
    world_generate(w, 0, 7, "", (struct frame_generate){.kind = 9});
    refused(w, 7, ERR_INVALID, "kind 9");
}

static void a_cancelled_reply_is_cancelled_upstream(void **state)
{
    struct world *w = *state;
    world_generate(w, 0, 1, "a", (struct frame_generate){0});
    UNTIL(w, w->n_submits == 1);
    const struct frame_cancel cancel = {.req = 1};
    assert_int_equal(link_send(w->gateways[0].link, FRAME_cancel, &cancel), ERR_OK);
    assert_int_equal(link_send(w->gateways[0].link, FRAME_cancel, &cancel), ERR_OK); /* harmless */
    UNTIL(w, w->n_cancels == 1);
    assert_int_equal(w->cancels[0], w->submits[0].req);
    /* Tokens that were under way find nobody, and the number is free again. */
    world_token(w, 0, 'x', 0);
    w->gateways[0].seen[1].prompt_tokens = 0;
    world_generate(w, 0, 1, "b", (struct frame_generate){0});
    UNTIL(w, w->n_submits == 2);
    world_token(w, 1, 'y', FINISH_LENGTH);
    UNTIL(w, w->gateways[0].seen[1].finish);
    assert_string_equal(world_text_of(&w->gateways[0], 1), "y");
}

/* ---- failures ----------------------------------------------------------------------------------- */

static void a_new_router_is_asked_again_with_the_tokens_so_far(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    world_generate(w, 0, 1, "a", (struct frame_generate){.deadline_ms = 60000});
    UNTIL(w, w->n_submits == 1);
    world_token(w, 0, HELLO, 0);
    world_token(w, 0, 0xc3, 0); /* half a character */
    UNTIL(w, g->seen[1].n_ids == 2);
    world_stop_router(w);
    world_generate(w, 0, 2, "b", (struct frame_generate){0}); /* waits */
    UNTIL(w, g->seen[2].prompt_tokens > 0);
    world_start_router(w);
    UNTIL(w, w->n_submits == 3);
    assert_true(!w->submits[0].again && w->submits[1].again != w->submits[2].again);
    const struct submit *again = w->submits[1].n_resume > 0 ? &w->submits[1] : &w->submits[2];
    assert_int_equal(again->n_resume, 2);
    assert_int_equal(again->resume[0], HELLO);
    assert_int_equal(again->resume[1], 0xc3);
    assert_int_equal(again->n_prompt, w->submits[0].n_prompt);
    assert_memory_equal(again->prompt, w->submits[0].prompt, again->n_prompt * sizeof(uint32_t));
    assert_true(again->deadline_ms > 0 && again->deadline_ms <= 60000);
    world_token(w, (size_t)(again - w->submits), 0xa9, FINISH_LENGTH);
    UNTIL(w, g->seen[1].finish);
    assert_string_equal(world_text_of(g, 1), "hello\xc3\xa9");
}

static void models_are_those_that_engines_serve_now(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    assert_int_equal(g->context, 150); /* the engine's is less than the model's */
    assert_string_equal(g->description, "for tests");
    world_stop_router(w);
    world_start_router(w);
    UNTIL(w, g->n_models == 1);
    /* Engines that serve another model do not count. */
    char other[65];
    memset(other, 'a', 64);
    other[64] = '\0';
    world_send_status(w, other, 100);
    UNTIL(w, g->n_models == 0);
}

static void the_replies_of_a_lost_gateway_are_cancelled(void **state)
{
    struct world *w = *state;
    world_dial(w, 1);
    world_generate(w, 0, 1, "a", (struct frame_generate){0});
    world_generate(w, 1, 1, "b", (struct frame_generate){0});
    world_generate(w, 1, 2, "b", (struct frame_generate){0});
    UNTIL(w, w->n_submits == 3);
    link_close(w->gateways[1].link);
    w->gateways[1].link = NULL;
    UNTIL(w, w->n_cancels == 2);
    for (size_t i = 0; i < 3; i++)
        world_token(w, i, HELLO, FINISH_LENGTH);
    UNTIL(w, w->gateways[0].seen[1].finish);
    assert_string_equal(world_text_of(&w->gateways[0], 1), "hello");
    assert_int_equal(w->gateways[1].n_frames, 0);
}

static void resumed_replies_send_only_what_is_new(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    const uint32_t resume[] = {HELLO, ' ', 0xf0, 0x9f};
    const struct str stops[] = {STR_LIT("lo \xf0\x9f\x98\x80!")};
    world_generate(
        w, 0, 1, "a",
        (struct frame_generate){.stops = stops, .n_stops = 1, .resume = resume, .n_resume = 4});
    UNTIL(w, w->n_submits == 1);
    assert_int_equal(w->submits[0].n_resume, 4);
    assert_memory_equal(w->submits[0].resume, resume, sizeof resume);
    world_token(w, 0, 0x98, 0);
    world_token(w, 0, 0x80, 0);
    world_token(w, 0, '?', FINISH_LENGTH);
    UNTIL(w, g->seen[1].finish);
    assert_string_equal(world_text_of(g, 1),
                        "lo \xf0\x9f\x98\x80?"); /* "hel" had been sent before */
    /* Ids that hold a whole stop string: the reply was over. */
    const uint32_t over[] = {HELLO, ' ', 0xf0, 0x9f, 0x98, 0x80, '!'};
    world_generate(
        w, 0, 2, "a",
        (struct frame_generate){.stops = stops, .n_stops = 1, .resume = over, .n_resume = 7});
    UNTIL(w, g->seen[2].finish);
    assert_int_equal(g->seen[2].finish, FINISH_STOP);
    assert_string_equal(world_text_of(g, 2), "");
    assert_int_equal(w->n_submits, 1);
}

static void a_deadline_passes_without_a_router_too(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    world_stop_router(w);
    world_generate(w, 0, 1, "a", (struct frame_generate){.deadline_ms = 20});
    UNTIL(w, g->seen[1].finish == FINISH_ERROR);
    assert_int_equal(g->seen[1].code, ERR_TIMEOUT);
}

static void a_frame_that_makes_no_sense_breaks_the_link(void **state)
{
    struct world *w = *state;
    struct gateway *g = &w->gateways[0];
    const struct frame_accepted f = {.req = 1, .prompt_tokens = 1};
    world_generate(w, 0, 1, "a", (struct frame_generate){0});
    UNTIL(w, w->n_submits == 1);
    assert_int_equal(link_send(g->link, FRAME_accepted, &f), ERR_OK);
    UNTIL(w, g->n_down == 1 && w->n_cancels == 1);
    UNTIL(w, link_is_up(g->link));
    world_generate(w, 0, 2, "a", (struct frame_generate){0});
    world_generate(w, 0, 2, "a", (struct frame_generate){0}); /* the same number twice */
    UNTIL(w, g->n_down == 2);
    UNTIL(w, link_is_up(g->link));
}

static void leaving_lets_go_of_all_and_stops_the_loop(void **state)
{
    struct world *w = *state;
    world_generate(w, 0, 1, "a", (struct frame_generate){0});
    UNTIL(w, w->n_submits == 1);
    service_leave(w->service);
    UNTIL(w, loop_is_stopping(w->loop));
    UNTIL(w, w->gateways[0].n_down == 1 && w->tokenizer == NULL);
}

/* ---- model files -------------------------------------------------------------------------------- */

static void opens_says(struct world *w, const char *part)
{
    char why[400] = "";
    struct model *m = NULL;
    assert_int_not_equal(model_open(w->path, why, sizeof why, &m), ERR_OK);
    if (!strstr(why, part) || !strstr(why, "test.h1b"))
        fail_msg("\"%s\" does not name \"%s\"", why, part);
}

static void a_model_that_cannot_be_used_is_refused_with_the_place(void **state)
{
    struct world *w = *state;
    world_write_model(w, "{{ messages\n|foo }}");
    opens_says(w, "chat_template: line 2: filter 'foo' is not supported");
    w->vocab.merges[0] = 9999;
    world_write_model(w, WORLD_TEMPLATE);
    opens_says(w, "tokenizer.merges: merge 0");
    w->vocab.types['a'] = 9;
    world_write_model(w, WORLD_TEMPLATE);
    opens_says(w, "tokenizer.types: token 97");
}

static void an_unknown_kind_of_tokenizer_is_refused_with_the_known_ones(void **state)
{
    struct world *w = *state;
    world_write_model_of(w, WORLD_TEMPLATE, "\"dbrx\"");
    opens_says(w, "pre-tokenizer \"dbrx\" is not known; known are llama-bpe, llama-3, qwen2, ");
    world_write_model_of(w, WORLD_TEMPLATE, "\"llama-3\",\"tokenizer_model\":\"wpm\"");
    opens_says(w, "tokenizer_model: expected \"bpe\" or \"spm\"");
    world_write_model_of(w, WORLD_TEMPLATE, "\"-\",\"tokenizer_model\":\"spm\"");
    opens_says(w, "section tokenizer.scores is missing");
}

static void a_template_that_is_known_to_be_wrong_is_replaced(void **state)
{
    struct world *w = *state;
    char why[400] = "";
    struct model *m = NULL;
    world_write_model(w, "{{ 'BITNETAssistant: ' + eos_token }}");
    assert_int_equal(model_open(w->path, why, sizeof why, &m), ERR_OK);
    assert_true(m->has_other_template);
    const struct template_input in = {.messages =
                                          STR_LIT("[{\"role\":\"user\",\"content\":\" a \"}]"),
                                      .add_generation_prompt = true};
    struct tmpl_output out = {0};
    assert_int_equal(template_render(m->template, &in, why, sizeof why, &out), ERR_OK);
    assert_string_equal(out.text.ptr, "User: a<|eot_id|>Assistant: ");
    buf_fini(&out.text);
    buf_fini(&out.origins);
    model_close(m);
}

/* ---- the real program --------------------------------------------------------------------------- */

static pid_t spawn_tokenizer(const struct world *w, const char *extra)
{
    char run[80];
    char model[120];
    char option[64];
    char program[] = HALO_TOKENIZER;
    (void)snprintf(run, sizeof run, "--run=%s", w->run);
    (void)snprintf(model, sizeof model, "--model=%s", w->path);
    (void)snprintf(option, sizeof option, "%s", extra);
    char *argv[] = {program, run, model, option, NULL};
    char *envp[] = {NULL};
    posix_spawn_file_actions_t actions; /* stdout is the test's report */
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0), 0);
    pid_t pid = 0;
    assert_int_equal(posix_spawn(&pid, program, &actions, NULL, argv, envp), 0);
    assert_int_equal(posix_spawn_file_actions_destroy(&actions), 0);
    return pid;
}

static int exit_status(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static void a_killed_program_is_replaced_and_the_stream_goes_on(void **state)
{
    struct world *w = *state;
    struct gateway *g = &w->gateways[0];
    const struct str stops[] = {STR_LIT("world!")};
    const struct frame_generate f = {.stops = stops, .n_stops = 1};
    pid_t first = spawn_tokenizer(w, "--log-level=error");
    world_start_router(w);
    world_dial(w, 0);
    world_generate(w, 0, 1, "a", f);
    UNTIL(w, w->n_submits == 1);
    world_token(w, 0, HELLO, 0);
    world_token(w, 0, WORLD, 0);
    UNTIL(w, g->seen[1].n_ids == 2);
    assert_string_equal(world_text_of(g, 1), "hello "); /* "world" is held back */
    assert_int_equal(kill(first, SIGKILL), 0);
    UNTIL(w, g->n_down == 1);
    assert_int_equal(exit_status(first), 256 + SIGKILL);

    pid_t second = spawn_tokenizer(w, "--log-level=error");
    UNTIL(w, link_is_up(g->link) && w->tokenizer);
    struct frame_generate again = f;
    again.resume = g->seen[1].ids;
    again.n_resume = g->seen[1].n_ids;
    g->seen[1].prompt_tokens = 0;
    world_generate(w, 0, 1, "a", again);
    UNTIL(w, w->n_submits == 2);
    assert_int_equal(w->submits[1].n_resume, 2);
    world_token(w, 1, '?', 0);
    world_token(w, 1, END, FINISH_STOP);
    UNTIL(w, g->seen[1].finish);
    assert_string_equal(world_text_of(g, 1), "hello world?");
    assert_int_equal(kill(second, SIGTERM), 0);
    UNTIL(w, w->tokenizer == NULL);
    assert_int_equal(exit_status(second), 0);
}

static void the_program_refuses_what_it_cannot_serve(void **state)
{
    struct world *w = *state;
    assert_int_equal(exit_status(spawn_tokenizer(w, "--no-such-option")), 2);
    assert_int_equal(exit_status(spawn_tokenizer(w, "--help")), 0);
    assert_int_equal(truncate(w->path, 500), 0);
    assert_int_equal(exit_status(spawn_tokenizer(w, "--log-level=error")), 1);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, world_setup_started, world_teardown)
#define CASE_WITHOUT_SERVICE(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_chat_becomes_the_tokens_of_its_template),
        CASE(raw_text_and_ids_are_no_chat),
        CASE(a_step_is_one_frame_for_each_gateway),
        CASE(a_stop_string_ends_the_reply_on_both_sides),
        CASE(what_a_stop_string_held_back_comes_with_the_end),
        CASE(log_probabilities_come_with_the_bytes_of_tokens),
        CASE(errors_of_the_router_reach_the_gateway),
        CASE(a_place_in_the_queue_reaches_the_gateway_that_waits),
        CASE(what_cannot_be_served_is_refused_with_the_reason),
        CASE(a_cancelled_reply_is_cancelled_upstream),
        CASE(a_new_router_is_asked_again_with_the_tokens_so_far),
        CASE(models_are_those_that_engines_serve_now),
        CASE(the_replies_of_a_lost_gateway_are_cancelled),
        CASE(resumed_replies_send_only_what_is_new),
        CASE(a_deadline_passes_without_a_router_too),
        CASE(a_frame_that_makes_no_sense_breaks_the_link),
        CASE(leaving_lets_go_of_all_and_stops_the_loop),
        CASE_WITHOUT_SERVICE(a_model_that_cannot_be_used_is_refused_with_the_place),
        CASE_WITHOUT_SERVICE(an_unknown_kind_of_tokenizer_is_refused_with_the_known_ones),
        CASE_WITHOUT_SERVICE(a_template_that_is_known_to_be_wrong_is_replaced),
        CASE_WITHOUT_SERVICE(a_killed_program_is_replaced_and_the_stream_goes_on),
        CASE_WITHOUT_SERVICE(the_program_refuses_what_it_cannot_serve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
