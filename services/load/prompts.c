/* SPDX-License-Identifier: MIT */
#include "services/load/prompts.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/mem.h"
#include "services/load/dice.h"

enum { LINE_MAX_BYTES = 4 * 1024 * 1024, FIRST_ID = 3 };

/* A conversation: what was said so far. */
struct talk {
    struct talk *next;
    struct buf messages; /* PROMPT_CHAT: without brackets; PROMPT_TEXT: the text */
    uint32_t *ids;
    size_t n_ids;
    uint32_t n_asked;
};

struct line {
    enum prompt_kind kind;
    char *text;
    uint32_t max_tokens; /* 0: not said */
};

struct prompts {
    struct prompts_config config;
    struct dice dice;
    struct talk *waiting; /* may go on; the one that has waited longest first */
    struct talk **last;
    struct line *lines;
    size_t n_lines;
    size_t next_line;
};

/* Common English words: about one token each with most vocabularies. */
static const char *const WORDS[] = {
    "time",    "year",    "people",   "way",    "day",    "man",     "thing",   "woman",
    "life",    "child",   "world",    "school", "state",  "family",  "student", "group",
    "country", "problem", "hand",     "part",   "place",  "case",    "week",    "company",
    "system",  "program", "question", "work",   "number", "night",   "point",   "home",
    "water",   "room",    "mother",   "area",   "money",  "story",   "fact",    "month",
    "lot",     "right",   "study",    "book",   "eye",    "job",     "word",    "business",
    "issue",   "side",    "kind",     "head",   "house",  "service", "friend",  "father",
    "power",   "hour",    "game",     "line",   "end",    "member",  "law",     "car"};

struct str prompts_word(uint32_t i)
{
    return str_from(WORDS[i % ARRAY_LEN(WORDS)]);
}

/* ---- files ------------------------------------------------------------------------------------- */

static bool parse_line(const char *text, struct line *l)
{
    json_t *root = json_loads(text, 0, NULL);
    const json_t *prompt = json_object_get(root, "prompt");
    const json_t *messages = json_object_get(root, "messages");
    json_int_t max = json_integer_value(json_object_get(root, "max_tokens"));
    if (json_is_string(prompt)) {
        l->kind = PROMPT_TEXT;
        l->text = mem_strndup(json_string_value(prompt), json_string_length(prompt));
    } else if (json_array_size(messages) > 0) {
        l->kind = PROMPT_CHAT;
        l->text = json_dumps(messages, JSON_COMPACT);
    }
    l->max_tokens = max > 0 && max < UINT32_MAX ? (uint32_t)max : 0;
    json_decref(root);
    return l->text != NULL;
}

static enum err read_file(struct prompts *p, char *why, size_t cap)
{
    const char *path = p->config.file;
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        (void)snprintf(why, cap, "cannot read %s: %s", path, strerrordesc_np(errno));
        return ERR_IO;
    }
    char *text = NULL;
    size_t n = 0;
    size_t number = 0;
    enum err e = ERR_OK;
    for (ssize_t len; e == ERR_OK && (len = getline(&text, &n, f)) >= 0;) {
        number++;
        if (strspn(text, " \t\r\n") == (size_t)len)
            continue;
        p->lines = mem_resize(p->lines, p->n_lines + 1, sizeof *p->lines);
        p->lines[p->n_lines] = (struct line){0};
        if (len <= LINE_MAX_BYTES && parse_line(text, &p->lines[p->n_lines++]))
            continue;
        (void)snprintf(why, cap,
                       "%s:%zu: expected a JSON object with \"prompt\" (a string) or \"messages\" "
                       "(an array)",
                       path, number);
        e = ERR_INVALID;
    }
    free(text);
    (void)fclose(f);
    if (e == ERR_OK && p->n_lines == 0) {
        (void)snprintf(why, cap, "%s has no prompts", path);
        e = ERR_INVALID;
    }
    return e;
}

static void next_line(struct prompts *p, struct prompt *q)
{
    const struct line *l = &p->lines[p->next_line];
    p->next_line = (p->next_line + 1) % p->n_lines;
    q->kind = l->kind;
    buf_add_cstr(&q->text, l->text);
    if (l->max_tokens > 0)
        q->max_tokens = l->max_tokens;
}

/* ---- drawn ------------------------------------------------------------------------------------- */

static uint32_t draw_len(struct prompts *p)
{
    double len = p->config.input_len;
    len *= 1 + p->config.range * (2 * dice_unit(&p->dice) - 1);
    return len < 1 ? 1 : (uint32_t)(len + 0.5);
}

static void add_words(struct buf *b, struct dice *d, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (b->len > 0 && b->ptr[b->len - 1] != '"')
            buf_add_char(b, ' ');
        buf_add_str(b, prompts_word(dice_below(d, ARRAY_LEN(WORDS))));
    }
}

static void add_ids(struct prompts *p, struct talk *t, struct dice *d, uint32_t n)
{
    t->ids = mem_resize(t->ids, t->n_ids + n, sizeof *t->ids);
    for (uint32_t i = 0; i < n; i++)
        t->ids[t->n_ids++] = FIRST_ID + dice_below(d, p->config.vocab - FIRST_ID);
}

/* A new conversation draws which of the shared beginnings it has. */
static struct dice prefix_dice(struct prompts *p)
{
    struct dice d;
    dice_init(&d, p->config.seed ^ (UINT64_C(1) << 63) ^
                      (uint64_t)dice_below(&p->dice, p->config.n_prefixes) << 32);
    return d;
}

static void ask(struct prompts *p, struct talk *t)
{
    const struct prompts_config *c = &p->config;
    bool is_first = t->n_asked == 0;
    struct dice shared = prefix_dice(p);
    uint32_t n_shared = is_first ? c->prefix_len : 0;
    uint32_t n = draw_len(p);
    t->n_asked++;
    if (c->kind == PROMPT_IDS) {
        add_ids(p, t, &shared, n_shared);
        add_ids(p, t, &p->dice, n);
        return;
    }
    if (c->kind == PROMPT_CHAT)
        buf_printf(&t->messages, "%s{\"role\":\"user\",\"content\":\"", is_first ? "" : ",");
    add_words(&t->messages, &shared, n_shared);
    add_words(&t->messages, &p->dice, n);
    if (c->kind == PROMPT_CHAT)
        buf_add_cstr(&t->messages, "\"}");
}

static void talk_free(struct talk *t)
{
    if (t == NULL)
        return;
    buf_fini(&t->messages);
    free(t->ids);
    free(t);
}

/* The talk's memory if it ends with this question, else a copy. */
static void put_question(struct prompt *q, struct talk *t, bool is_last)
{
    if (q->kind == PROMPT_IDS) {
        q->n_ids = t->n_ids;
        q->ids = mem_resize(NULL, t->n_ids, sizeof *q->ids);
        memcpy(q->ids, t->ids, t->n_ids * sizeof *q->ids);
    } else if (q->kind == PROMPT_CHAT) {
        buf_add_char(&q->text, '[');
        buf_add_str(&q->text, buf_str(&t->messages));
        buf_add_char(&q->text, ']');
    } else {
        buf_add_str(&q->text, buf_str(&t->messages));
    }
    q->talk = is_last ? NULL : t;
    if (is_last)
        talk_free(t);
}

void prompts_next(struct prompts *p, struct prompt *ret_prompt)
{
    *ret_prompt = (struct prompt){
        .kind = p->config.kind,
        .max_tokens = p->config.max_tokens,
        .seed = dice_u64(&p->dice) >> 1, /* fits JSON integers of either sign */
    };
    if (p->n_lines > 0) {
        next_line(p, ret_prompt);
        return;
    }
    struct talk *t = p->waiting;
    if (t != NULL) {
        p->waiting = t->next;
        if (p->waiting == NULL)
            p->last = &p->waiting;
        t->next = NULL;
    } else {
        t = mem_zalloc(1, sizeof *t);
    }
    ask(p, t);
    put_question(ret_prompt, t, t->n_asked == p->config.n_turns);
}

/* A text as it stands in JSON. */
static void add_unescaped(struct buf *b, struct str text)
{
    struct buf quoted = {0};
    buf_add_char(&quoted, '"');
    buf_add_str(&quoted, text);
    buf_add_char(&quoted, '"');
    json_t *s = json_loadb(quoted.ptr, quoted.len, JSON_DECODE_ANY, NULL);
    if (s != NULL)
        buf_add(b, json_string_value(s), json_string_length(s));
    json_decref(s);
    buf_fini(&quoted);
}

void prompts_answer(struct prompts *p, struct prompt *q, struct str text, const uint32_t *ids,
                    size_t n_ids, bool is_whole)
{
    struct talk *t = q->talk;
    q->talk = NULL;
    if (t == NULL)
        return;
    if (!is_whole) {
        talk_free(t);
        return;
    }
    if (q->kind == PROMPT_CHAT) {
        buf_add_cstr(&t->messages, ",{\"role\":\"assistant\",\"content\":\"");
        buf_add_str(&t->messages, text);
        buf_add_cstr(&t->messages, "\"}");
    } else if (q->kind == PROMPT_TEXT) {
        add_unescaped(&t->messages, text);
    } else if (n_ids > 0) {
        t->ids = mem_resize(t->ids, t->n_ids + n_ids, sizeof *t->ids);
        memcpy(t->ids + t->n_ids, ids, n_ids * sizeof *ids);
        t->n_ids += n_ids;
    }
    *p->last = t;
    p->last = &t->next;
}

void prompt_fini(struct prompt *q)
{
    buf_fini(&q->text);
    free(q->ids);
    talk_free(q->talk);
    *q = (struct prompt){0};
}

/* ---- life -------------------------------------------------------------------------------------- */

enum err prompts_new(const struct prompts_config *config, char *why, size_t cap_why,
                     struct prompts **ret_prompts)
{
    struct prompts *p = mem_zalloc(1, sizeof *p);
    p->config = *config;
    p->last = &p->waiting;
    dice_init(&p->dice, config->seed);
    ASSERT(config->n_turns > 0 && config->n_prefixes > 0);
    ASSERT(config->kind != PROMPT_IDS || config->vocab > FIRST_ID);
    enum err e = config->file != NULL ? read_file(p, why, cap_why) : ERR_OK;
    if (e != ERR_OK) {
        prompts_free(p);
        return e;
    }
    *ret_prompts = p;
    return ERR_OK;
}

void prompts_free(struct prompts *p)
{
    if (p == NULL)
        return;
    while (p->waiting != NULL) {
        struct talk *t = p->waiting;
        p->waiting = t->next;
        talk_free(t);
    }
    for (size_t i = 0; i < p->n_lines; i++)
        free(p->lines[i].text);
    free(p->lines);
    free(p);
}
