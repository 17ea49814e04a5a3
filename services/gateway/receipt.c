/* SPDX-License-Identifier: MIT */
#include "services/gateway/receipt.h"

#include <openssl/sha.h>

#include "common/opt.h"

enum { VERSION = 1, ID_BYTES = 4 };

/* ---- hashes -------------------------------------------------------------------------------------- */

static void add_hash(struct buf *out, const char *name, struct str bytes)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    (void)SHA256((const unsigned char *)bytes.ptr, bytes.len, digest);
    buf_printf(out, ",\"%s\":\"", name);
    for (size_t i = 0; i < sizeof digest; i++)
        buf_printf(out, "%02x", digest[i]);
    buf_add_char(out, '"');
}

/* Lengths stand before texts, so that no two requests look alike. */
static void describe_text(struct buf *to, const char *name, struct str s)
{
    buf_printf(to, "%s %zu ", name, s.len);
    buf_add_str(to, s);
    buf_add_char(to, '\n');
}

static void describe_ids(struct buf *to, const char *name, const uint32_t *ids, size_t n)
{
    buf_printf(to, "%s %zu", name, n);
    for (size_t i = 0; i < n; i++)
        buf_printf(to, " %u", ids[i]);
    buf_add_char(to, '\n');
}

static void describe_prompt(struct buf *to, const struct request *q)
{
    for (size_t i = 0; i < q->n_prompts; i++) {
        const struct prompt *p = &q->prompts[i];
        buf_printf(to, "kind %u\n", (unsigned)p->kind);
        describe_text(to, "text", p->text);
        describe_ids(to, "ids", p->ids, p->n_ids);
    }
    describe_text(to, "template", q->template_args);
    buf_printf(to, "generation_prompt %d\ncontinue_final %d\n", q->add_generation_prompt,
               q->continue_final);
}

static void describe_sampling(struct buf *to, const struct request *q)
{
    const struct rec_sampling *s = &q->sampling;
    buf_printf(to, "n %u\nbest_of %u\nmax_tokens %u\nmin_tokens %u\ntop_k %u\nignore_eos %d\n",
               q->n, q->best_of, s->max_tokens, s->min_tokens, s->top_k, s->ignore_eos);
    buf_printf(to, "temperature %.9g\ntop_p %.9g\nmin_p %.9g\nrepetition_penalty %.9g\n",
               (double)s->temperature, (double)s->top_p, (double)s->min_p,
               (double)s->repetition_penalty);
    buf_printf(to, "frequency_penalty %.9g\npresence_penalty %.9g\ninclude_stop %d\n",
               (double)s->frequency_penalty, (double)s->presence_penalty, q->include_stop);
    describe_ids(to, "stop_ids", s->stop_ids, s->n_stop_ids);
    for (size_t i = 0; i < q->n_stops; i++)
        describe_text(to, "stop", q->stops[i]);
    for (size_t i = 0; i < s->n_logit_bias; i++)
        buf_printf(to, "bias %u %.9g\n", s->logit_bias[i].id, (double)s->logit_bias[i].bias);
}

static void add_hash_of(struct buf *out, const char *name, const struct request *q,
                        void (*describe)(struct buf *to, const struct request *q))
{
    struct buf words = {0};
    describe(&words, q);
    add_hash(out, name, buf_str(&words));
    buf_fini(&words);
}

/* ---- the object ---------------------------------------------------------------------------------- */

void receipt_begin(const struct receipt *r, struct buf *out)
{
    const struct request *q = r->request;
    buf_printf(out, "{\"version\":%d,\"id\":\"%s\",\"created\":%llu,\"endpoint\":\"%s\",\"model\":",
               VERSION, r->id, (unsigned long long)r->created_s,
               q->endpoint == ENDPOINT_CHAT ? "chat" : "completions");
    buf_add_json(out, q->model);
    buf_add_cstr(out, ",\"model_hash\":");
    buf_add_json(out, str_from(r->model_hash));
    buf_add_cstr(out, ",\"numerics\":");
    buf_add_json(out, str_from(r->numerics));
    buf_add_cstr(out, ",\"build\":");
    buf_add_json(out, str_from(opt_version()));
    buf_printf(out, ",\"protocol\":%d,\"seed\":%lld", PROTO_VERSION, (long long)q->sampling.seed);
    add_hash_of(out, "prompt", q, describe_prompt);
    add_hash_of(out, "sampling", q, describe_sampling);
    buf_add_cstr(out, ",\"choices\":[");
}

void receipt_add_choice(struct buf *out, bool is_first, uint32_t index, enum finish finish,
                        struct str ids, struct str text)
{
    buf_printf(out, "%s{\"index\":%u,\"finish\":\"%s\",\"n\":%zu", is_first ? "" : ",", index,
               finish == FINISH_STOP ? "stop" : "length", ids.len / ID_BYTES);
    add_hash(out, "tokens", ids);
    add_hash(out, "text", text);
    buf_add_char(out, '}');
}

void receipt_end(struct buf *out)
{
    buf_add_cstr(out, "]}");
}

void receipt_add_id(struct buf *ids, uint32_t id)
{
    const unsigned char bytes[ID_BYTES] = {(unsigned char)id, (unsigned char)(id >> 8),
                                           (unsigned char)(id >> 16), (unsigned char)(id >> 24)};
    buf_add(ids, bytes, sizeof bytes);
}
