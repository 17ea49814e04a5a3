/* SPDX-License-Identifier: MIT */
#include "tests/tokenizer/service_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/common/h1b_write.h"

static const char *const TEXTS[] = {"he", "ll",   "hell", "hello",  " w",
                                    "or", " wor", "ld",   " world", NULL};
static const char *const CONTROLS[] = {"<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", NULL};

const char WORLD_TEMPLATE[] = "{% for m in messages %}{% if m.role == 'tool' %}{{ "
                              "raise_exception('no tools here') }}{% endif %}"
                              "{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
                              "{% if add_generation_prompt %}<|assistant|>{% endif %}";

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
    s->retry_ms = p->retry_ms;
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
    } else if (f->type == FRAME_queued) {
        const struct frame_queued *q = f->body;
        for (size_t i = 0; i < q->n_items; i++)
            g->seen[q->items[i].req].position = q->items[i].position;
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

void world_dial(struct world *w, size_t i)
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
void world_generate(struct world *w, size_t i, uint64_t req, const char *content,
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

const char *world_text_of(const struct gateway *g, size_t req)
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
    to->share = s->share;
    to->again = s->again;
    to->stop_id = s->sampling.n_stop_ids > 0 ? s->sampling.stop_ids[0] : 0;
    assert_int_equal(s->model_hash.len, 64);
}

/* A status with one model, by its hash. */
void world_send_status(struct world *w, const char *hash, uint32_t context)
{
    const struct rec_model m = {
        .name = STR_LIT("test"), .hash = str_from(hash), .context = context, .vocab_size = 1};
    const struct frame_status f = {.models = &m, .n_models = 1, .load = {.engines = 1}};
    assert_int_equal(link_send(w->tokenizer, FRAME_status, &f), ERR_OK);
}

static void on_tokenizer_up(void *ctx, struct link *l)
{
    struct world *w = ctx;
    w->tokenizer = l;
    world_send_status(w, h1b_hash(w->model->file), 150);
}

static void on_tokenizer_down(void *ctx, struct link *l, enum err why)
{
    struct world *w = ctx;
    (void)l;
    (void)why;
    w->tokenizer = NULL;
}

void world_start_router(struct world *w)
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

void world_stop_router(struct world *w)
{
    link_server_close(w->router);
    w->router = NULL;
    assert_null(w->tokenizer);
    UNTIL(w, w->gateways[0].n_models == 0); /* the tokenizer has seen it */
    (void)link_drain(2000); /* the address is free again */
}

void world_send_tokens(struct world *w, const struct rec_token *items, size_t n)
{
    const struct frame_tokens f = {.items = items, .n_items = n};
    assert_int_equal(link_send(w->tokenizer, FRAME_tokens, &f), ERR_OK);
}

/* One token of the reply that was submitted as number `at`; finish if not 0. */
void world_token(struct world *w, size_t at, uint32_t id, uint32_t finish)
{
    const struct rec_token t = {
        .req = w->submits[at].req, .has_id = true, .id = id, .finish = finish};
    world_send_tokens(w, &t, 1);
}

/* ---- the world ---------------------------------------------------------------------------------- */

/* `rule` is the value of pre_tokenizer, with more keys behind it if need be. */
void world_write_model_of(struct world *w, const char *template, const char *rule)
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

void world_write_model(struct world *w, const char *template)
{
    assert_int_equal(w->vocab.data.n_tokens, N_VOCAB);
    world_write_model_of(w, template, "\"llama-3\"");
}

void world_start_service(struct world *w)
{
    assert_int_equal(service_start(w->loop, w->run, w->model, &w->service), ERR_OK);
}

/* A tokenizer in this process, a router and one gateway. */
int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    char why[300] = "";
    assert_non_null(w);
    (void)snprintf(w->run, sizeof w->run, "/tmp/halo-tokenizer-XXXXXX");
    assert_non_null(mkdtemp(w->run));
    (void)snprintf(w->path, sizeof w->path, "%s/test.h1b", w->run);
    test_vocab_init_small(&w->vocab, TEXTS, CONTROLS);
    world_write_model(w, WORLD_TEMPLATE);
    if (model_open(w->path, why, sizeof why, &w->model) != ERR_OK)
        fail_msg("%s", why);
    assert_int_equal(loop_new(&w->loop), ERR_OK);
    *state = w;
    return 0;
}

int world_setup_started(void **state)
{
    int rc = world_setup(state);
    struct world *w = *state;
    world_start_service(w);
    world_start_router(w);
    world_dial(w, 0);
    UNTIL(w, w->gateways[0].n_models == 1);
    return rc;
}

int world_teardown(void **state)
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
