/* SPDX-License-Identifier: MIT */
/* A tokenizer that the gateway's tests can steer: it listens as "tokenizer", serves one model and
 * answers with pieces that are a pure function of the prompt and the position, so that a resumed
 * reply goes on exactly where it stopped.
 *
 * A reply repeats the words of the prompt (the content of the last message of a chat), a token each,
 * unless the prompt begins with a directive:
 *   @dump             one piece: the generate frame as JSON
 *   @count N          N pieces "0 ", "1 ", ...
 *   @big N            N pieces of 1000 bytes
 *   @hang             nothing ever
 *   @fail CODE TEXT   an error at once; @midfail: after the first word
 *   @busy MS          refused: come again after so long
 *   @pieces           a chosen list: a token without text, a token that is half a character, ...
 * Commands on standard input: "models 0", "models 1", "delay MS" (between pieces), "place REQ N" (tells
 * that a reply is the Nth in the queue).
 * Lines on standard output: "up", "down", "generate REQ RESUMED", "cancel REQ". */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/link.h"
#include "proto/span.h"

enum { BIG_BYTES = 1000, CONTEXT = 4096, VOCAB = 128, BATCH_MAX = 256 };

struct reply {
    struct reply *next;
    uint64_t req;
    char *script; /* the prompt's text */
    char *dump;
    uint32_t position; /* of the next piece */
    uint32_t max_tokens;
    bool logprobs;
    uint32_t top_logprobs;
};

static struct {
    struct loop *loop;
    struct link *link;
    struct link_server *server;
    struct loop_watch input;
    struct loop_timer timer;
    struct reply *replies;
    uint64_t delay_ms;
    uint32_t n_models;
} fake;

static void say(const char *what, uint64_t a, uint64_t b)
{
    printf("%s %llu %llu\n", what, (unsigned long long)a, (unsigned long long)b);
    (void)fflush(stdout);
}

static void send_frame(struct link *l, enum frame_type type, const void *body)
{
    enum err e = link_send(l, type, body);
    if (e != ERR_OK)
        fprintf(stderr, "fake: cannot send %s: %s\n", frame_name(type), err_name(e));
}

static void send_status(void)
{
    static const char HASH[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    struct rec_model model = {
        .name = STR_LIT("fake-model"),
        .hash = str_from(HASH),
        .context = CONTEXT,
        .vocab_size = VOCAB,
        .created = 1700000000,
        .license = STR_LIT("MIT"),
        .description = STR_LIT("repeats"),
    };
    struct frame_status status = {
        .models = &model,
        .n_models = fake.n_models,
        .load = {.engines = fake.n_models,
                 .running = 3,
                 .waiting = 2,
                 .kv_blocks = 100,
                 .kv_blocks_used = 25,
                 .prefix_queries = 1000,
                 .prefix_hits = 600,
                 .draft_tokens = 50,
                 .accepted_tokens = 40},
    };
    if (fake.link != NULL)
        send_frame(fake.link, FRAME_status, &status);
}

/* ---- replies ------------------------------------------------------------------------------------- */

static bool starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static uint32_t number_after(const char *s)
{
    const char *space = strchr(s, ' ');
    return space != NULL ? (uint32_t)strtoul(space, NULL, 10) : 0;
}

/* The n-th word with the blank that follows it; false after the last. */
static bool word_at(const char *s, uint32_t n, struct str *ret)
{
    for (;; n--) {
        size_t len = strcspn(s, " ");
        if (len == 0)
            return false;
        size_t blank = s[len] == ' ' ? 1 : 0;
        if (n == 0) {
            *ret = (struct str){s, len + blank};
            return true;
        }
        s += len + blank;
    }
}

/* "é" in two halves, a token of no text, text held back and then given with the next token. */
static const struct {
    const char *text;
    const char *token;
} PIECES[] = {{"a", "a"}, {"", "\xc3"}, {"\xc3\xa9", "\xa9"},
              {"", "b"},  {"bc", "c"},  {"\"\n", "\"\n"}};

/* The piece at a position; false past the end. */
static bool piece_at(const struct reply *r, uint32_t n, struct buf *scratch, struct rec_piece *p)
{
    const char *s = r->script;
    if (starts(s, "@dump")) {
        p->text = str_from(r->dump);
        return n == 0;
    }
    if (starts(s, "@pieces")) {
        if (n >= ARRAY_LEN(PIECES))
            return false;
        p->text = str_from(PIECES[n].text);
        p->token_text = str_from(PIECES[n].token);
        return true;
    }
    if (starts(s, "@count") || starts(s, "@big")) {
        if (starts(s, "@count"))
            buf_printf(scratch, "%u ", n);
        for (size_t i = 0; starts(s, "@big") && i < BIG_BYTES; i++)
            buf_add_char(scratch, (char)('a' + n % 26));
        p->text = buf_str(scratch);
        return n < number_after(s);
    }
    return word_at(s, n, &p->text);
}

static void free_reply(struct reply **link)
{
    struct reply *r = *link;
    *link = r->next;
    free(r->script);
    free(r->dump);
    free(r);
}

/* What one step brings for all replies; sent as one frame, as a real tokenizer does. */
struct batch {
    struct rec_piece items[BATCH_MAX];
    struct buf texts[BATCH_MAX];
    char details[BATCH_MAX][64];
    struct rec_top tops[BATCH_MAX][20];
    size_t n;
};

static void send_batch(struct batch *b)
{
    struct frame_pieces frame = {.items = b->items, .n_items = b->n};
    if (b->n > 0 && fake.link != NULL)
        send_frame(fake.link, FRAME_pieces, &frame);
    for (size_t i = 0; i < b->n; i++)
        buf_fini(&b->texts[i]);
    b->n = 0;
}

static void fill_logprobs(const struct reply *r, struct rec_piece *p, struct rec_top top[20])
{
    static const char *const NAMES[] = {"x", "y", "\xff", "z", "w"};
    if (!r->logprobs)
        return;
    if (p->token_text.len == 0)
        p->token_text = p->text;
    p->logprob = -0.5F - 0.25F * (float)(r->req % 4);
    for (uint32_t i = 0; i < r->top_logprobs; i++)
        top[i] =
            (struct rec_top){.id = i, .logprob = -1.0F - (float)i, .text = str_from(NAMES[i % 5])};
    p->top = top;
    p->n_top = r->top_logprobs;
}

static void fail_piece(const struct reply *r, struct rec_piece *p, char detail[64])
{
    if (starts(r->script, "@busy")) {
        p->finish = FINISH_ERROR;
        p->code = ERR_FULL;
        p->retry_ms = number_after(r->script);
        return;
    }
    const char *text = strchr(strchr(r->script, ' ') + 1, ' ');
    (void)snprintf(detail, 64, "%s", text != NULL ? text + 1 : "");
    p->finish = FINISH_ERROR;
    p->code = number_after(r->script);
    p->detail = str_from(detail);
}

/* What a stack does for a reply of two tokens and more, all of it in ten milliseconds. */
static void fill_spans(const struct reply *r, struct rec_piece *p)
{
    static struct rec_span first[4];
    static struct rec_span last[2];
    static const uint64_t MS = 1000000;
    uint64_t now = clock_now_ns();
    first[0] = span_of(SPAN_tokenize, now - 10 * MS, now - 9 * MS);
    first[1] = span_of(SPAN_route, now - 9 * MS, now - 7 * MS);
    first[2] = span_of(SPAN_queue, now - 7 * MS, now - 4 * MS);
    first[3] = span_of(SPAN_prefill, now - 4 * MS, now);
    last[0] = span_of(SPAN_decode, now - 6 * MS, now);
    last[0].n = 2;
    last[0].at = STR_LIT("engine.7");
    last[1] = span_of(SPAN_detokenize, now - 6 * MS, now);
    last[1].n = 3;
    last[1].busy_ns = 3 * MS;
    if (p->finish != FINISH_NONE) {
        p->spans = last;
        p->n_spans = ARRAY_LEN(last);
    } else if (r->position == 1) {
        p->spans = first;
        p->n_spans = ARRAY_LEN(first);
    }
}

/* Puts the next piece into the batch; false when the reply has ended. */
static bool step(struct reply *r, struct batch *b)
{
    if (starts(r->script, "@hang"))
        return true;
    if (b->n == BATCH_MAX)
        send_batch(b);
    size_t i = b->n++;
    struct rec_piece *p = &b->items[i];
    struct rec_piece after = {0};
    struct buf ahead = {0};
    *p = (struct rec_piece){.req = r->req};
    if (starts(r->script, "@fail") || starts(r->script, "@busy") ||
        (starts(r->script, "@midfail") && r->position == 1)) {
        fail_piece(r, p, b->details[i]);
    } else if (piece_at(r, r->position, &b->texts[i], p)) {
        p->has_id = true;
        p->id = r->position % VOCAB;
        p->cached_tokens = r->position == 0 ? 2 : 0;
        fill_logprobs(r, p, b->tops[i]);
        r->position++;
        if (!starts(r->script, "@midfail") && !piece_at(r, r->position, &ahead, &after))
            p->finish = FINISH_STOP;
        else if (r->position >= r->max_tokens)
            p->finish = FINISH_LENGTH;
    } else {
        p->finish = FINISH_STOP;
    }
    buf_fini(&ahead);
    fill_spans(r, p);
    if (p->finish != FINISH_NONE && b->texts[i].len == 0) {
        /* The script and the dump go with the reply, before the batch is sent. */
        buf_add_str(&b->texts[i], p->text);
        if (p->token_text.ptr == p->text.ptr)
            p->token_text = buf_str(&b->texts[i]);
        p->text = buf_str(&b->texts[i]);
    }
    return p->finish == FINISH_NONE;
}

static void on_timer(struct loop_timer *t)
{
    static struct batch batch;
    for (struct reply **link = &fake.replies; *link != NULL;) {
        if (step(*link, &batch))
            link = &(*link)->next;
        else
            free_reply(link);
    }
    send_batch(&batch);
    if (fake.replies != NULL)
        loop_timer_set(fake.loop, t, fake.delay_ms);
}

/* ---- frames -------------------------------------------------------------------------------------- */

static json_t *text_or_null(struct str s)
{
    return s.len > 0 ? json_stringn(s.ptr, s.len) : json_null();
}

static json_t *ids_as_json(const uint32_t *ids, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(list, json_integer(ids[i]));
    return list;
}

static json_t *sampling_as_json(const struct rec_sampling *s)
{
    json_t *bias = json_object();
    for (size_t i = 0; i < s->n_logit_bias; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%u", s->logit_bias[i].id);
        (void)json_object_set_new(bias, key, json_real((double)s->logit_bias[i].bias));
    }
    return json_pack("{s:I,s:I,s:f,s:f,s:I,s:f,s:f,s:f,s:f,s:I,s:b,s:I,s:b,s:o,s:o}", "max_tokens",
                     (json_int_t)s->max_tokens, "min_tokens", (json_int_t)s->min_tokens,
                     "temperature", (double)s->temperature, "top_p", (double)s->top_p, "top_k",
                     (json_int_t)s->top_k, "min_p", (double)s->min_p, "repetition_penalty",
                     (double)s->repetition_penalty, "frequency_penalty",
                     (double)s->frequency_penalty, "presence_penalty", (double)s->presence_penalty,
                     "seed", (json_int_t)s->seed, "logprobs", s->logprobs, "top_logprobs",
                     (json_int_t)s->top_logprobs, "ignore_eos", s->ignore_eos, "stop_ids",
                     ids_as_json(s->stop_ids, s->n_stop_ids), "logit_bias", bias);
}

static char *dump(const struct frame_generate *g)
{
    char tenant[24];
    char share[24];
    (void)snprintf(share, sizeof share, "%llx", (unsigned long long)g->share);
    (void)snprintf(tenant, sizeof tenant, "%llx", (unsigned long long)g->tenant);
    json_t *stops = json_array();
    for (size_t i = 0; i < g->n_stops; i++)
        (void)json_array_append_new(stops, json_stringn(g->stops[i].ptr, g->stops[i].len));
    json_t *root = json_pack(
        "{s:I,s:o,s:o,s:o,s:o,s:o,s:I,s:b,s:s,s:o,s:o,s:b,s:b,s:b,s:I,s:s,s:b,s:o}", "kind",
        (json_int_t)g->kind, "messages",
        json_loadb(g->messages.ptr != NULL ? g->messages.ptr : "", g->messages.len, 0, NULL) != NULL
            ? json_loadb(g->messages.ptr, g->messages.len, 0, NULL)
            : json_null(),
        "prompt", text_or_null(g->prompt), "prompt_ids",
        ids_as_json(g->prompt_ids, g->n_prompt_ids), "sampling", sampling_as_json(&g->sampling),
        "stops", stops, "deadline_ms", (json_int_t)g->deadline_ms, "has_tenant", g->tenant != 0,
        "tenant", tenant, "model", text_or_null(g->model), "template_args",
        text_or_null(g->template_args), "no_generation_prompt", g->no_generation_prompt,
        "continue_final", g->continue_final, "include_stop", g->include_stop, "lane",
        (json_int_t)g->lane, "share", share, "again", g->again, "trace", text_or_null(g->trace));
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

/* What the reply is made from: the prompt, or the content of the last message. */
static char *script_of(const struct frame_generate *g)
{
    if (g->kind == PROMPT_IDS)
        return mem_strndup("@dump", 5);
    if (g->kind == PROMPT_TEXT)
        return mem_strndup(g->prompt.ptr, g->prompt.len);
    json_t *messages = json_loadb(g->messages.ptr, g->messages.len, 0, NULL);
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const char *content = json_string_value(json_object_get(last, "content"));
    char *copy = mem_strndup(content, strlen(content));
    json_decref(messages);
    return copy;
}

static void on_generate(struct link *l, const struct frame_generate *g)
{
    struct reply *r = mem_zalloc(1, sizeof *r);
    struct frame_accepted accepted = {.req = g->req, .prompt_tokens = 7};
    r->next = fake.replies;
    r->req = g->req;
    r->script = script_of(g);
    r->dump = dump(g);
    r->position = (uint32_t)g->n_resume;
    r->max_tokens = g->sampling.max_tokens;
    r->logprobs = g->sampling.logprobs;
    r->top_logprobs = g->sampling.top_logprobs;
    for (size_t i = 0; i < g->n_resume; i++)
        ASSERT(g->resume[i] == i % VOCAB);
    fake.replies = r;
    say("generate", g->req, g->n_resume);
    send_frame(l, FRAME_accepted, &accepted);
    loop_timer_set(fake.loop, &fake.timer, fake.delay_ms);
}

static void on_cancel(uint64_t req)
{
    say("cancel", req, 0);
    for (struct reply **link = &fake.replies; *link != NULL; link = &(*link)->next) {
        if ((*link)->req == req) {
            free_reply(link);
            return;
        }
    }
}

static void on_frame(void *ctx, struct link *l, const struct frame *f)
{
    (void)ctx;
    if (f->type == FRAME_generate)
        on_generate(l, f->body);
    else if (f->type == FRAME_cancel)
        on_cancel(((const struct frame_cancel *)f->body)->req);
}

static void on_up(void *ctx, struct link *l)
{
    (void)ctx;
    fake.link = l;
    say("up", 0, 0);
    send_status();
}

static void on_down(void *ctx, struct link *l, enum err why)
{
    (void)ctx;
    (void)l;
    fake.link = NULL;
    while (fake.replies != NULL)
        free_reply(&fake.replies);
    say("down", (uint64_t)why, 0);
}

/* ---- commands ------------------------------------------------------------------------------------ */

static void send_place(const char *line)
{
    char *end;
    uint64_t req = strtoull(line + strlen("place "), &end, 10);
    const struct rec_place p = {.req = req, .position = (uint32_t)strtoul(end, NULL, 10)};
    send_frame(fake.link, FRAME_queued, &(struct frame_queued){.items = &p, .n_items = 1});
}

static void on_command(const char *line)
{
    if (starts(line, "models")) {
        fake.n_models = number_after(line);
        send_status();
    } else if (starts(line, "delay")) {
        fake.delay_ms = number_after(line);
    } else if (starts(line, "place")) {
        send_place(line);
    }
    say("ok", 0, 0);
}

static void on_input(struct loop_watch *w, uint32_t events)
{
    (void)events;
    char text[256];
    ssize_t n = read(w->fd, text, sizeof text - 1);
    if (n <= 0) {
        loop_watch_remove(fake.loop, w);
        loop_stop(fake.loop);
        return;
    }
    text[n] = '\0';
    char *rest = text;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        on_command(line);
}

int main(int argc, char **argv)
{
    struct link_handler handler = {.up = on_up, .frame = on_frame, .down = on_down};
    if (argc != 3) {
        fprintf(stderr, "usage: fake_tokenizer RUN_DIR DELAY_MS\n");
        return 2;
    }
    log_init("fake", LOG_WARN);
    fake.delay_ms = strtoul(argv[2], NULL, 10);
    fake.n_models = 1;
    fake.timer.fire = on_timer;
    ASSERT(loop_new(&fake.loop) == ERR_OK);
    struct link_config config = {.loop = fake.loop,
                                 .run = argv[1],
                                 .service = "tokenizer",
                                 .instance = "",
                                 .epoch = clock_random_u64()};
    enum err e = link_listen(&config, &handler, &fake.server);
    if (e != ERR_OK) {
        fprintf(stderr, "fake: cannot listen: %s\n", err_name(e));
        return 1;
    }
    fake.input = (struct loop_watch){.fd = STDIN_FILENO, .ready = on_input};
    ASSERT(loop_watch_add(fake.loop, &fake.input, EPOLLIN) == ERR_OK);
    loop_run(fake.loop);
    link_server_close(fake.server);
    (void)link_drain(500);
    while (fake.replies != NULL)
        free_reply(&fake.replies);
    loop_free(fake.loop);
    return 0;
}
