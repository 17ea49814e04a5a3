/* SPDX-License-Identifier: MIT */
/* The tokenizer on the wire, between gateways and a router that are this test: first in this process, then
 * the real program as a child. */
#include "services/tokenizer/service.h"

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

#include "common/clock.h"
#include "proto/link.h"
#include "tests/common/h1b_write.h"
#include "tests/tokenizer/shared_data.h"

enum { N_GATEWAYS = 2, N_REQS = 8, MAX_IDS = 64, CONTEXT = 200 };

static const char *const TEXTS[] = {"he", "ll",   "hell", "hello",  " w",
                                    "or", " wor", "ld",   " world", NULL};
static const char *const CONTROLS[] = {"<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", NULL};
enum { HELLO = 256 + 3, WORLD = 256 + 8, BEGIN = 265, END, USER, ASSISTANT, N_VOCAB };

static const char TEMPLATE[] = "{% for m in messages %}{% if m.role == 'tool' %}{{ "
                               "raise_exception('no tools here') }}{% endif %}"
                               "{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
                               "{% if add_generation_prompt %}<|assistant|>{% endif %}";

/* What a gateway has of one request. */
struct seen {
    uint32_t prompt_tokens; /* 0: not accepted */
    struct buf text;
    uint32_t ids[MAX_IDS];
    size_t n_ids;
    uint32_t finish;
    uint32_t code;
    char detail[200];
    char token_text[16];
    char top_text[16];
};

struct gateway {
    struct world *world;
    struct link *link;
    struct seen seen[N_REQS];
    size_t n_frames; /* pieces */
    size_t n_status;
    size_t n_models;
    uint32_t context;
    char description[40];
    size_t n_down;
};

struct submit {
    uint64_t req;
    uint32_t prompt[MAX_IDS];
    size_t n_prompt;
    uint32_t resume[MAX_IDS];
    size_t n_resume;
    uint32_t deadline_ms;
    uint64_t seed;
    uint32_t stop_id; /* the first */
};

struct world {
    char run[64];
    char path[96];
    struct loop *loop;
    struct test_vocab vocab;
    struct model *model;
    struct service *service;
    struct gateway gateways[N_GATEWAYS];
    struct link_server *router; /* NULL while there is none */
    struct link *tokenizer;
    struct submit submits[32];
    size_t n_submits;
    uint64_t cancels[32];
    size_t n_cancels;
};

/* Turns the loop until the condition holds; at most 20 s. */
#define UNTIL(w, cond)                                                                             \
    do {                                                                                           \
        uint64_t end_ = clock_now_ms() + 20000;                                                    \
        while (!(cond) && clock_now_ms() < end_)                                                   \
            loop_turn((w)->loop, 50);                                                              \
        assert_true(cond);                                                                         \
    } while (0)

/* ---- the gateways ------------------------------------------------------------------------------- */

static void copy_text(char *to, size_t cap, struct str s)
{
    size_t n = s.len < cap - 1 ? s.len : cap - 1;
    memcpy(to, s.ptr ? s.ptr : "", n);
    to[n] = '\0';
}

static void on_piece(struct gateway *g, const struct rec_piece *p)
{
    struct seen *s = &g->seen[p->req];
    assert_true(p->req < N_REQS);
    assert_int_equal(s->finish, FINISH_NONE);
    buf_add_str(&s->text, p->text);
    if (p->has_id)
        s->ids[s->n_ids++] = p->id;
    s->finish = p->finish;
    s->code = p->code;
    copy_text(s->detail, sizeof s->detail, p->detail);
    copy_text(s->token_text, sizeof s->token_text, p->token_text);
    if (p->n_top > 0)
        copy_text(s->top_text, sizeof s->top_text, p->top[0].text);
}

static void on_gateway_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct gateway *g = ctx;
    (void)l;
    if (f->type == FRAME_accepted) {
        const struct frame_accepted *a = f->body;
        assert_int_equal(g->seen[a->req].prompt_tokens, 0);
        g->seen[a->req].prompt_tokens = a->prompt_tokens;
    } else if (f->type == FRAME_pieces) {
        const struct frame_pieces *p = f->body;
        g->n_frames++;
        for (size_t i = 0; i < p->n_items; i++)
            on_piece(g, &p->items[i]);
    } else {
        assert_int_equal(f->type, FRAME_status);
        const struct frame_status *s = f->body;
        g->n_status++;
        g->n_models = s->n_models;
        if (s->n_models > 0) {
            g->context = s->models[0].context;
            copy_text(g->description, sizeof g->description, s->models[0].description);
            assert_true(str_is(s->models[0].name, "test"));
            assert_int_equal(s->models[0].vocab_size, N_VOCAB);
        }
    }
}

static void on_gateway_up(void *ctx, struct link *l)
{
    (void)ctx;
    (void)l;
}

static void on_gateway_down(void *ctx, struct link *l, enum err why)
{
    struct gateway *g = ctx;
    (void)l;
    (void)why;
    g->n_down++;
}

static void dial(struct world *w, size_t i)
{
    struct gateway *g = &w->gateways[i];
    const struct link_config config = {.loop = w->loop,
                                       .run = w->run,
                                       .service = "gateway",
                                       .instance = i ? "b" : "a",
                                       .epoch = 5 + i};
    const struct link_handler handler = {on_gateway_up, on_gateway_frame, on_gateway_down, g};
    g->world = w;
    assert_int_equal(link_dial(&config, "tokenizer", &handler, &g->link), ERR_OK);
    UNTIL(w, g->n_status > 0);
}

/* Sends a chat of one message; `f` has the rest of the request. */
static void generate(struct world *w, size_t i, uint64_t req, const char *content,
                     struct frame_generate f)
{
    char messages[512];
    (void)snprintf(messages, sizeof messages, "[{\"role\":\"user\",\"content\":\"%s\"}]", content);
    f.req = req;
    if (f.kind == 0) {
        f.kind = PROMPT_CHAT;
        f.messages = str_from(messages);
    }
    f.sampling.max_tokens = 50;
    f.sampling.seed = 9;
    assert_int_equal(link_send(w->gateways[i].link, FRAME_generate, &f), ERR_OK);
}

static const char *text_of(const struct gateway *g, size_t req)
{
    return buf_str(&g->seen[req].text).ptr;
}

/* ---- the router --------------------------------------------------------------------------------- */

static size_t copy_ids(uint32_t *to, const uint32_t *ids, size_t n)
{
    assert_true(n <= MAX_IDS);
    if (n > 0)
        memcpy(to, ids, n * sizeof *ids);
    return n;
}

static void on_router_frame(void *ctx, struct link *l, const struct frame *f)
{
    struct world *w = ctx;
    (void)l;
    if (f->type == FRAME_cancel) {
        w->cancels[w->n_cancels++] = ((const struct frame_cancel *)f->body)->req;
        return;
    }
    assert_int_equal(f->type, FRAME_submit);
    const struct frame_submit *s = f->body;
    struct submit *to = &w->submits[w->n_submits++];
    to->req = s->req;
    to->n_prompt = copy_ids(to->prompt, s->prompt, s->n_prompt);
    to->n_resume = copy_ids(to->resume, s->resume, s->n_resume);
    to->deadline_ms = s->deadline_ms;
    to->seed = s->sampling.seed;
    to->stop_id = s->sampling.n_stop_ids > 0 ? s->sampling.stop_ids[0] : 0;
    assert_int_equal(s->model_hash.len, 64);
}

/* A status with one model, by its hash. */
static void send_status(struct world *w, const char *hash, uint32_t context)
{
    const struct rec_model m = {.name = STR_LIT("from the router"),
                                .hash = str_from(hash),
                                .context = context,
                                .vocab_size = 1};
    const struct frame_status f = {.models = &m, .n_models = 1, .load = {.engines = 1}};
    assert_int_equal(link_send(w->tokenizer, FRAME_status, &f), ERR_OK);
}

static void on_tokenizer_up(void *ctx, struct link *l)
{
    struct world *w = ctx;
    w->tokenizer = l;
    send_status(w, h1b_hash(w->model->file), 150);
}

static void on_tokenizer_down(void *ctx, struct link *l, enum err why)
{
    struct world *w = ctx;
    (void)l;
    (void)why;
    w->tokenizer = NULL;
}

static void start_router(struct world *w)
{
    const struct link_config config = {.loop = w->loop,
                                       .run = w->run,
                                       .service = "router",
                                       .instance = "",
                                       .epoch = clock_random_u64()};
    const struct link_handler handler = {on_tokenizer_up, on_router_frame, on_tokenizer_down, w};
    assert_int_equal(link_listen(&config, &handler, &w->router), ERR_OK);
    UNTIL(w, w->tokenizer);
}

static void stop_router(struct world *w)
{
    link_server_close(w->router);
    w->router = NULL;
    assert_null(w->tokenizer);
    UNTIL(w, w->gateways[0].n_models == 0); /* the tokenizer has seen it */
    (void)link_drain(2000); /* the address is free again */
}

static void send_tokens(struct world *w, const struct rec_token *items, size_t n)
{
    const struct frame_tokens f = {.items = items, .n_items = n};
    assert_int_equal(link_send(w->tokenizer, FRAME_tokens, &f), ERR_OK);
}

/* One token of the reply that was submitted as number `at`; finish if not 0. */
static void token(struct world *w, size_t at, uint32_t id, uint32_t finish)
{
    const struct rec_token t = {
        .req = w->submits[at].req, .has_id = true, .id = id, .finish = finish};
    send_tokens(w, &t, 1);
}

/* ---- the world ---------------------------------------------------------------------------------- */

/* `rule` is the value of pre_tokenizer, with more keys behind it if need be. */
static void write_model_of(struct world *w, const char *template, const char *rule)
{
    static const char CONFIG[] =
        "{\"architecture\":\"bitnet\",\"name\":\"test\",\"vocab_size\":269,\"hidden_size\":8,"
        "\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":1,"
        "\"num_key_value_heads\":1,\"head_dim\":8,\"max_position_embeddings\":200,\"rope_theta\":"
        "10000.0,"
        "\"rms_norm_eps\":1e-5,\"hidden_act\":\"relu2\",\"tie_word_embeddings\":true,\"bos_token_"
        "id\":265,"
        "\"add_bos\":true,\"eos_token_ids\":[266],\"created\":77,"
        "\"license\":\"MIT\",\"description\":\"for tests\",\"pre_tokenizer\":%s}";
    const struct vocab_data *d = &w->vocab.data;
    char config[sizeof CONFIG + 100];
    (void)snprintf(config, sizeof config, CONFIG, rule);
    const struct h1b_item items[] = {
        {"config", H1B_U8, 1, {strlen(config), 1, 1, 1}, config, strlen(config)},
        {"chat_template", H1B_U8, 1, {strlen(template), 1, 1, 1}, template, strlen(template)},
        {"tokenizer.offsets",
         H1B_U32,
         1,
         {d->n_tokens + 1, 1, 1, 1},
         d->offsets,
         4 * (d->n_tokens + 1)},
        {"tokenizer.bytes", H1B_U8, 1, {d->n_bytes, 1, 1, 1}, d->bytes, d->n_bytes},
        {"tokenizer.types", H1B_U8, 1, {d->n_tokens, 1, 1, 1}, d->types, d->n_tokens},
        d->scores ? (struct h1b_item){"tokenizer.scores",
                                      H1B_F32,
                                      1,
                                      {d->n_tokens, 1, 1, 1},
                                      d->scores,
                                      4 * d->n_tokens}
                  : (struct h1b_item){"tokenizer.merges",
                                      H1B_U32,
                                      2,
                                      {d->n_merges, 2, 1, 1},
                                      d->merges,
                                      8 * d->n_merges},
    };
    uint8_t *bytes = NULL;
    size_t size = h1b_write_bytes(items, sizeof items / sizeof items[0], &bytes);
    h1b_write_file(w->path, bytes, size);
    free(bytes);
}

static void write_model(struct world *w, const char *template)
{
    assert_int_equal(w->vocab.data.n_tokens, N_VOCAB);
    write_model_of(w, template, "\"llama-3\"");
}

static void start_service(struct world *w)
{
    assert_int_equal(service_start(w->loop, w->run, w->model, &w->service), ERR_OK);
}

/* A tokenizer in this process, a router and one gateway. */
static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    char why[300] = "";
    assert_non_null(w);
    (void)snprintf(w->run, sizeof w->run, "/tmp/halo-tokenizer-XXXXXX");
    assert_non_null(mkdtemp(w->run));
    (void)snprintf(w->path, sizeof w->path, "%s/test.h1b", w->run);
    test_vocab_init_small(&w->vocab, TEXTS, CONTROLS);
    write_model(w, TEMPLATE);
    if (model_open(w->path, why, sizeof why, &w->model) != ERR_OK)
        fail_msg("%s", why);
    assert_int_equal(loop_new(&w->loop), ERR_OK);
    *state = w;
    return 0;
}

static int setup_started(void **state)
{
    int rc = setup(state);
    struct world *w = *state;
    start_service(w);
    start_router(w);
    dial(w, 0);
    UNTIL(w, w->gateways[0].n_models == 1);
    return rc;
}

static int teardown(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < N_GATEWAYS; i++) {
        link_close(w->gateways[i].link);
        for (size_t k = 0; k < N_REQS; k++)
            buf_fini(&w->gateways[i].seen[k].text);
    }
    service_stop(w->service);
    if (w->router)
        link_server_close(w->router);
    model_close(w->model);
    test_vocab_fini(&w->vocab);
    loop_free(w->loop);
    (void)link_drain(1000);
    char command[160];
    (void)snprintf(command, sizeof command, "rm -rf %s", w->run);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): the command is ours */
    free(w);
    return 0;
}

/* ---- requests ----------------------------------------------------------------------------------- */

static void a_chat_becomes_the_tokens_of_its_template(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    const uint32_t stop_ids[] = {'z'};
    generate(w, 0, 1, "hello world<|end|>",
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
    token(w, 0, HELLO, 0);
    token(w, 0, END, FINISH_STOP);
    UNTIL(w, g->seen[1].finish);
    assert_int_equal(g->seen[1].finish, FINISH_STOP);
    assert_string_equal(text_of(g, 1), "hello");
    assert_int_equal(g->seen[1].n_ids, 2);
}

static void raw_text_and_ids_are_no_chat(void **state)
{
    struct world *w = *state;
    const uint32_t ids[] = {USER, 'a'};
    generate(w, 0, 1, "",
             (struct frame_generate){.kind = PROMPT_TEXT, .prompt = STR_LIT("hello<|end|>")});
    generate(w, 0, 2, "",
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
    dial(w, 1);
    generate(w, 0, 1, "a", (struct frame_generate){0});
    generate(w, 1, 1, "b", (struct frame_generate){0});
    generate(w, 0, 2, "c", (struct frame_generate){0});
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
    send_tokens(w, items, 4);
    const struct gateway *a = &w->gateways[0];
    const struct gateway *b = &w->gateways[1];
    UNTIL(w, a->seen[1].finish && a->seen[2].finish && b->seen[1].finish);
    assert_string_equal(text_of(a, 1), "x");
    assert_string_equal(text_of(b, 1), "y");
    assert_string_equal(text_of(a, 2), "z");
    assert_int_equal(a->n_frames, 1);
    assert_int_equal(b->n_frames, 1);
}

static void a_stop_string_ends_the_reply_on_both_sides(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    const struct str stops[] = {STR_LIT("lo wo")};
    generate(w, 0, 1, "a", (struct frame_generate){.stops = stops, .n_stops = 1});
    generate(w, 0, 2, "a",
             (struct frame_generate){.stops = stops, .n_stops = 1, .include_stop = true});
    UNTIL(w, w->n_submits == 2);
    for (size_t i = 0; i < 2; i++) {
        token(w, i, 'x', 0);
        token(w, i, HELLO, 0);
        token(w, i, WORLD, 0);
        token(w, i, 'y', 0); /* under way when the cancel was sent */
    }
    UNTIL(w, g->seen[1].finish && g->seen[2].finish && w->n_cancels == 2);
    assert_int_equal(g->seen[1].finish, FINISH_STOP);
    assert_string_equal(text_of(g, 1), "xhel");
    assert_string_equal(text_of(g, 2), "xhello wo");
    assert_int_equal(g->seen[1].n_ids, 3);
    assert_int_equal(w->cancels[0], w->submits[0].req);
}

static void what_a_stop_string_held_back_comes_with_the_end(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    const struct str stops[] = {STR_LIT("hello!")};
    generate(w, 0, 1, "a", (struct frame_generate){.stops = stops, .n_stops = 1});
    UNTIL(w, w->n_submits == 1);
    token(w, 0, HELLO, 0);
    UNTIL(w, g->seen[1].n_ids == 1);
    assert_string_equal(text_of(g, 1), "");
    const struct rec_token end = {.req = w->submits[0].req, .finish = FINISH_LENGTH};
    send_tokens(w, &end, 1);
    UNTIL(w, g->seen[1].finish == FINISH_LENGTH);
    assert_string_equal(text_of(g, 1), "hello");
    assert_int_equal(w->n_cancels, 0);
}

static void log_probabilities_come_with_the_bytes_of_tokens(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    generate(w, 0, 1, "a",
             (struct frame_generate){.sampling = {.logprobs = true, .top_logprobs = 1}});
    UNTIL(w, w->n_submits == 1);
    const struct rec_top top = {.id = WORLD, .logprob = -0.5F};
    const struct rec_token t = {.req = w->submits[0].req,
                                .has_id = true,
                                .id = END,
                                .logprob = -1.0F,
                                .top = &top,
                                .n_top = 1};
    send_tokens(w, &t, 1);
    UNTIL(w, g->seen[1].n_ids == 1);
    assert_string_equal(text_of(g, 1), "");
    assert_string_equal(g->seen[1].token_text, "<|end|>");
    assert_string_equal(g->seen[1].top_text, " world");
}

static void errors_of_the_router_reach_the_gateway(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    generate(w, 0, 1, "a", (struct frame_generate){0});
    UNTIL(w, w->n_submits == 1);
    const struct rec_token t = {.req = w->submits[0].req,
                                .finish = FINISH_ERROR,
                                .code = ERR_FULL,
                                .detail = STR_LIT("full up")};
    send_tokens(w, &t, 1);
    UNTIL(w, g->seen[1].finish == FINISH_ERROR);
    assert_int_equal(g->seen[1].code, ERR_FULL);
    assert_string_equal(g->seen[1].detail, "full up");
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
    generate(w, 0, 0, "a", (struct frame_generate){.model = STR_LIT("gpt-9")});
    refused(w, 0, ERR_MODEL_UNKNOWN, "no such model");
    generate(w, 0, 1, many, (struct frame_generate){0});
    refused(w, 1, ERR_CONTEXT, "context is 150 tokens");
    generate(w, 0, 2, "a\",\"x\":[", (struct frame_generate){0});
    refused(w, 2, ERR_INVALID, "messages");
    generate(w, 0, 3, "a\"},{\"role\":\"tool\",\"content\":\"b", (struct frame_generate){0});
    refused(w, 3, ERR_TEMPLATE, "no tools here");
    generate(w, 0, 4, "a", (struct frame_generate){.stops = empty, .n_stops = 1});
    refused(w, 4, ERR_INVALID, "stop");
    generate(
        w, 0, 5, "",
        (struct frame_generate){.kind = PROMPT_IDS, .prompt_ids = too_high, .n_prompt_ids = 1});
    refused(w, 5, ERR_RANGE, "there is no token 269");
    generate(w, 0, 6, "", (struct frame_generate){.kind = PROMPT_IDS});
    refused(w, 6, ERR_INVALID, "empty");
    generate(w, 0, 7, "", (struct frame_generate){.kind = 9});
    refused(w, 7, ERR_INVALID, "kind 9");
}

static void a_cancelled_reply_is_cancelled_upstream(void **state)
{
    struct world *w = *state;
    generate(w, 0, 1, "a", (struct frame_generate){0});
    UNTIL(w, w->n_submits == 1);
    const struct frame_cancel cancel = {.req = 1};
    assert_int_equal(link_send(w->gateways[0].link, FRAME_cancel, &cancel), ERR_OK);
    assert_int_equal(link_send(w->gateways[0].link, FRAME_cancel, &cancel), ERR_OK); /* harmless */
    UNTIL(w, w->n_cancels == 1);
    assert_int_equal(w->cancels[0], w->submits[0].req);
    /* Tokens that were under way find nobody, and the number is free again. */
    token(w, 0, 'x', 0);
    w->gateways[0].seen[1].prompt_tokens = 0;
    generate(w, 0, 1, "b", (struct frame_generate){0});
    UNTIL(w, w->n_submits == 2);
    token(w, 1, 'y', FINISH_LENGTH);
    UNTIL(w, w->gateways[0].seen[1].finish);
    assert_string_equal(text_of(&w->gateways[0], 1), "y");
}

/* ---- failures ----------------------------------------------------------------------------------- */

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
    generate(w, 0, 1, "hello", f);
    generate(w, 0, 2, "world", (struct frame_generate){0});
    UNTIL(w, g->seen[2].prompt_tokens > 0);
    assert_int_equal(g->seen[1].prompt_tokens, 0);
    UNTIL(w, g->seen[1].prompt_tokens > 0 && w->n_submits == 2);
    const uint32_t want[] = {BEGIN, USER, HELLO, END, ASSISTANT};
    assert_int_equal(w->submits[1].n_prompt, sizeof want / sizeof want[0]);
    assert_memory_equal(w->submits[1].prompt, want, sizeof want);
    token(w, 1, HELLO, FINISH_STOP);
    UNTIL(w, g->seen[1].finish);
    assert_string_equal(text_of(g, 1), "hello");
    free(args);
}

static void a_long_prompt_is_resumed_with_its_tokens(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    char *args = long_args();
    const uint32_t resume[] = {HELLO, 'h'};
    generate(
        w, 0, 1, "hello",
        (struct frame_generate){.template_args = str_from(args), .resume = resume, .n_resume = 2});
    UNTIL(w, w->n_submits == 1);
    assert_int_equal(w->submits[0].n_resume, 2);
    assert_memory_equal(w->submits[0].resume, resume, sizeof resume);
    token(w, 0, WORLD, FINISH_STOP);
    UNTIL(w, g->seen[1].finish);
    assert_string_equal(text_of(g, 1), " world");
    free(args);
}

static void a_long_prompt_that_is_refused_gives_the_reason(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    struct buf prompt = {0};
    while (prompt.len < 4 << 20)
        buf_add_cstr(&prompt, "hello world ");
    generate(w, 0, 1, "", (struct frame_generate){.kind = PROMPT_TEXT, .prompt = buf_str(&prompt)});
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
    generate(w, 0, 1, "hello", f);
    assert_int_equal(link_send(g->link, FRAME_cancel, &cancel), ERR_OK);
    generate(w, 0, 1, "world", (struct frame_generate){0}); /* the id is free again */
    generate(w, 0, 2, "hello", f); /* encoded after the first */
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
        generate(w, 0, req, "", f);
    char *args = long_args();
    generate(w, 0, 7, "hello",
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
    dial(w, 1);
    for (uint64_t req = 1; req < 5; req++) {
        generate(w, 0, req, "hello", f);
        generate(w, 1, req, "world", f);
    }
    UNTIL(w, w->n_submits > 0);
    link_close(w->gateways[1].link);
    w->gateways[1].link = NULL;
    UNTIL(w, w->gateways[0].seen[2].prompt_tokens > 0);
    free(args); /* the rest is under way when the service stops */
}

static void a_new_router_is_asked_again_with_the_tokens_so_far(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    generate(w, 0, 1, "a", (struct frame_generate){.deadline_ms = 60000});
    UNTIL(w, w->n_submits == 1);
    token(w, 0, HELLO, 0);
    token(w, 0, 0xc3, 0); /* half a character */
    UNTIL(w, g->seen[1].n_ids == 2);
    stop_router(w);
    generate(w, 0, 2, "b", (struct frame_generate){0}); /* waits */
    UNTIL(w, g->seen[2].prompt_tokens > 0);
    start_router(w);
    UNTIL(w, w->n_submits == 3);
    const struct submit *again = w->submits[1].n_resume > 0 ? &w->submits[1] : &w->submits[2];
    assert_int_equal(again->n_resume, 2);
    assert_int_equal(again->resume[0], HELLO);
    assert_int_equal(again->resume[1], 0xc3);
    assert_int_equal(again->n_prompt, w->submits[0].n_prompt);
    assert_memory_equal(again->prompt, w->submits[0].prompt, again->n_prompt * sizeof(uint32_t));
    assert_true(again->deadline_ms > 0 && again->deadline_ms <= 60000);
    token(w, (size_t)(again - w->submits), 0xa9, FINISH_LENGTH);
    UNTIL(w, g->seen[1].finish);
    assert_string_equal(text_of(g, 1), "hello\xc3\xa9");
}

static void models_are_those_that_engines_serve_now(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    assert_int_equal(g->context, 150); /* the engine's is less than the model's */
    assert_string_equal(g->description, "for tests");
    stop_router(w);
    start_router(w);
    UNTIL(w, g->n_models == 1);
    /* Engines that serve another model do not count. */
    char other[65];
    memset(other, 'a', 64);
    other[64] = '\0';
    send_status(w, other, 100);
    UNTIL(w, g->n_models == 0);
}

static void the_replies_of_a_lost_gateway_are_cancelled(void **state)
{
    struct world *w = *state;
    dial(w, 1);
    generate(w, 0, 1, "a", (struct frame_generate){0});
    generate(w, 1, 1, "b", (struct frame_generate){0});
    generate(w, 1, 2, "b", (struct frame_generate){0});
    UNTIL(w, w->n_submits == 3);
    link_close(w->gateways[1].link);
    w->gateways[1].link = NULL;
    UNTIL(w, w->n_cancels == 2);
    for (size_t i = 0; i < 3; i++)
        token(w, i, HELLO, FINISH_LENGTH);
    UNTIL(w, w->gateways[0].seen[1].finish);
    assert_string_equal(text_of(&w->gateways[0], 1), "hello");
    assert_int_equal(w->gateways[1].n_frames, 0);
}

static void resumed_replies_send_only_what_is_new(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    const uint32_t resume[] = {HELLO, ' ', 0xf0, 0x9f};
    const struct str stops[] = {STR_LIT("lo \xf0\x9f\x98\x80!")};
    generate(
        w, 0, 1, "a",
        (struct frame_generate){.stops = stops, .n_stops = 1, .resume = resume, .n_resume = 4});
    UNTIL(w, w->n_submits == 1);
    assert_int_equal(w->submits[0].n_resume, 4);
    assert_memory_equal(w->submits[0].resume, resume, sizeof resume);
    token(w, 0, 0x98, 0);
    token(w, 0, 0x80, 0);
    token(w, 0, '?', FINISH_LENGTH);
    UNTIL(w, g->seen[1].finish);
    assert_string_equal(text_of(g, 1), "lo \xf0\x9f\x98\x80?"); /* "hel" had been sent before */
    /* Ids that hold a whole stop string: the reply was over. */
    const uint32_t over[] = {HELLO, ' ', 0xf0, 0x9f, 0x98, 0x80, '!'};
    generate(w, 0, 2, "a",
             (struct frame_generate){.stops = stops, .n_stops = 1, .resume = over, .n_resume = 7});
    UNTIL(w, g->seen[2].finish);
    assert_int_equal(g->seen[2].finish, FINISH_STOP);
    assert_string_equal(text_of(g, 2), "");
    assert_int_equal(w->n_submits, 1);
}

static void a_deadline_passes_without_a_router_too(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    stop_router(w);
    generate(w, 0, 1, "a", (struct frame_generate){.deadline_ms = 20});
    UNTIL(w, g->seen[1].finish == FINISH_ERROR);
    assert_int_equal(g->seen[1].code, ERR_TIMEOUT);
}

static void a_frame_that_makes_no_sense_breaks_the_link(void **state)
{
    struct world *w = *state;
    struct gateway *g = &w->gateways[0];
    const struct frame_accepted f = {.req = 1, .prompt_tokens = 1};
    generate(w, 0, 1, "a", (struct frame_generate){0});
    UNTIL(w, w->n_submits == 1);
    assert_int_equal(link_send(g->link, FRAME_accepted, &f), ERR_OK);
    UNTIL(w, g->n_down == 1 && w->n_cancels == 1);
    UNTIL(w, link_is_up(g->link));
    generate(w, 0, 2, "a", (struct frame_generate){0});
    generate(w, 0, 2, "a", (struct frame_generate){0}); /* the same number twice */
    UNTIL(w, g->n_down == 2);
    UNTIL(w, link_is_up(g->link));
}

static void leaving_lets_go_of_all_and_stops_the_loop(void **state)
{
    struct world *w = *state;
    generate(w, 0, 1, "a", (struct frame_generate){0});
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
    write_model(w, "{{ messages\n|foo }}");
    opens_says(w, "chat_template: line 2: filter 'foo' is not supported");
    w->vocab.merges[0] = 9999;
    write_model(w, TEMPLATE);
    opens_says(w, "tokenizer.merges: merge 0");
    w->vocab.types['a'] = 9;
    write_model(w, TEMPLATE);
    opens_says(w, "tokenizer.types: token 97");
}

static void an_unknown_kind_of_tokenizer_is_refused_with_the_known_ones(void **state)
{
    struct world *w = *state;
    write_model_of(w, TEMPLATE, "\"dbrx\"");
    opens_says(w, "pre-tokenizer \"dbrx\" is not known; known are llama-bpe, llama-3, qwen2, ");
    write_model_of(w, TEMPLATE, "\"llama-3\",\"tokenizer_model\":\"wpm\"");
    opens_says(w, "tokenizer_model: expected \"bpe\" or \"spm\"");
    write_model_of(w, TEMPLATE, "\"-\",\"tokenizer_model\":\"spm\"");
    opens_says(w, "section tokenizer.scores is missing");
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
    write_model_of(w, "{% for m in messages %}{{ '<s>' + m.content }}{% endfor %}",
                   "\"-\",\"tokenizer_model\":\"spm\"");
    model_close(w->model);
    w->model = NULL;
    if (model_open(w->path, why, sizeof why, &w->model) != ERR_OK)
        fail_msg("%s", why);
    start_service(w);
    start_router(w);
    dial(w, 0);
    UNTIL(w, w->gateways[0].n_models == 1);
}

static void a_reply_of_a_sentencepiece_model_loses_its_first_space(void **state)
{
    struct world *w = *state;
    const struct gateway *g = &w->gateways[0];
    const uint32_t resume[] = {SPM_A};
    setup_spm(w);
    generate(w, 0, 1, "a b<s>", (struct frame_generate){0});
    generate(w, 0, 2, "a", (struct frame_generate){.continue_final = true});
    generate(w, 0, 3, "", (struct frame_generate){.kind = PROMPT_TEXT, .prompt = STR_LIT("ab")});
    generate(w, 0, 4, "a", (struct frame_generate){.resume = resume, .n_resume = 1});
    UNTIL(w, w->n_submits == 4);
    const uint32_t want[] = {265, 1, SPM_A, SPM_B, 3 + '<', 3 + 's', 3 + '>'};
    assert_int_equal(w->submits[0].n_prompt, sizeof want / sizeof want[0]);
    assert_memory_equal(w->submits[0].prompt, want, sizeof want);
    for (size_t i = 0; i < 4; i++) {
        token(w, i, SPM_A, 0);
        token(w, i, 3 + 0xc3, 0);
        token(w, i, 3 + 0xa9, FINISH_STOP);
    }
    UNTIL(w, g->seen[1].finish && g->seen[2].finish && g->seen[3].finish && g->seen[4].finish);
    assert_string_equal(text_of(g, 1), "a\xc3\xa9");
    assert_string_equal(text_of(g, 2), " a\xc3\xa9");
    assert_string_equal(text_of(g, 3), " a\xc3\xa9");
    assert_string_equal(text_of(g, 4), " a\xc3\xa9"); /* "a" is there already */
}

static void a_template_that_is_known_to_be_wrong_is_replaced(void **state)
{
    struct world *w = *state;
    char why[400] = "";
    struct model *m = NULL;
    write_model(w, "{{ 'BITNETAssistant: ' + eos_token }}");
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
    start_router(w);
    dial(w, 0);
    generate(w, 0, 1, "a", f);
    UNTIL(w, w->n_submits == 1);
    token(w, 0, HELLO, 0);
    token(w, 0, WORLD, 0);
    UNTIL(w, g->seen[1].n_ids == 2);
    assert_string_equal(text_of(g, 1), "hello "); /* "world" is held back */
    assert_int_equal(kill(first, SIGKILL), 0);
    UNTIL(w, g->n_down == 1);
    assert_int_equal(exit_status(first), 256 + SIGKILL);

    pid_t second = spawn_tokenizer(w, "--log-level=error");
    UNTIL(w, link_is_up(g->link) && w->tokenizer);
    struct frame_generate again = f;
    again.resume = g->seen[1].ids;
    again.n_resume = g->seen[1].n_ids;
    g->seen[1].prompt_tokens = 0;
    generate(w, 0, 1, "a", again);
    UNTIL(w, w->n_submits == 2);
    assert_int_equal(w->submits[1].n_resume, 2);
    token(w, 1, '?', 0);
    token(w, 1, END, FINISH_STOP);
    UNTIL(w, g->seen[1].finish);
    assert_string_equal(text_of(g, 1), "hello world?");
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

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup_started, teardown)
#define CASE_WITHOUT_SERVICE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

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
        CASE(what_cannot_be_served_is_refused_with_the_reason),
        CASE(a_cancelled_reply_is_cancelled_upstream),
        CASE(a_long_prompt_does_not_hold_up_a_short_one),
        CASE(a_long_prompt_is_resumed_with_its_tokens),
        CASE(a_long_prompt_that_is_refused_gives_the_reason),
        CASE(a_prompt_that_is_being_encoded_can_be_cancelled),
        CASE(a_deadline_passes_while_a_prompt_is_encoded),
        CASE(what_is_being_encoded_ends_with_its_gateway_and_the_service),
        CASE(a_new_router_is_asked_again_with_the_tokens_so_far),
        CASE(models_are_those_that_engines_serve_now),
        CASE(the_replies_of_a_lost_gateway_are_cancelled),
        CASE(resumed_replies_send_only_what_is_new),
        CASE(a_deadline_passes_without_a_router_too),
        CASE(a_frame_that_makes_no_sense_breaks_the_link),
        CASE(leaving_lets_go_of_all_and_stops_the_loop),
        CASE_WITHOUT_SERVICE(a_model_that_cannot_be_used_is_refused_with_the_place),
        CASE_WITHOUT_SERVICE(an_unknown_kind_of_tokenizer_is_refused_with_the_known_ones),
        CASE_WITHOUT_SERVICE(a_reply_of_a_sentencepiece_model_loses_its_first_space),
        CASE_WITHOUT_SERVICE(a_template_that_is_known_to_be_wrong_is_replaced),
        CASE_WITHOUT_SERVICE(a_killed_program_is_replaced_and_the_stream_goes_on),
        CASE_WITHOUT_SERVICE(the_program_refuses_what_it_cannot_serve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
