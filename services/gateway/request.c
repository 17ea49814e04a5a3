/* SPDX-License-Identifier: MIT */
#include "services/gateway/request.h"

#include <jansson.h>
#include <stdio.h>

#include "common/clock.h"
#include "services/gateway/body.h"
#include "services/gateway/fields.h"

enum {
    COMPLETIONS_MAX_TOKENS = 16, /* OpenAI's default */
    SEED_BITS = 53, /* drawn seeds survive clients that keep numbers as doubles */
};

static bool has_both(const json_t *body, const char *a, const char *b)
{
    const json_t *x = json_object_get(body, a);
    const json_t *y = json_object_get(body, b);
    return x != NULL && y != NULL && !json_is_null(x) && !json_is_null(y);
}

static bool refuse(struct api_error *e, enum problem p, const char *param, const char *text)
{
    error_set(e, p, param, "%s", text);
    return false;
}

static bool check_required(const struct request *r, struct api_error *e)
{
    if (r->model.len == 0)
        return refuse(e, PROBLEM_FIELD_MISSING, "model",
                      "'model' is missing; GET /v1/models lists the names.");
    if (r->n_prompts == 0 && r->endpoint == ENDPOINT_CHAT)
        return refuse(e, PROBLEM_FIELD_MISSING, "messages",
                      "'messages' is missing; expected an array of messages.");
    if (r->n_prompts == 0)
        return refuse(e, PROBLEM_FIELD_MISSING, "prompt",
                      "'prompt' is missing; expected a string or an array.");
    return true;
}

static bool check_names(const json_t *body, const struct request *r, struct api_error *e)
{
    if (has_both(body, "repetition_penalty", "repeat_penalty"))
        return refuse(e, PROBLEM_FIELD_CONFLICT, "repeat_penalty",
                      "'repeat_penalty' is another name of 'repetition_penalty'; send one.");
    if (r->max_tokens > 0 && r->max_completion_tokens > 0 &&
        r->max_tokens != r->max_completion_tokens)
        return refuse(e, PROBLEM_FIELD_CONFLICT, "max_tokens",
                      "'max_tokens' and 'max_completion_tokens' differ; send one.");
    return true;
}

static bool check_shape(const struct request *r, struct api_error *e)
{
    if (r->has_stream_options && !r->stream)
        return refuse(e, PROBLEM_FIELD_CONFLICT, "stream_options",
                      "'stream_options' needs 'stream': true.");
    if (r->has_top_logprobs && !r->logprobs)
        return refuse(e, PROBLEM_FIELD_CONFLICT, "top_logprobs",
                      "'top_logprobs' needs 'logprobs': true.");
    if (r->echo && r->logprobs)
        return refuse(e, PROBLEM_FIELD_CONFLICT, "echo",
                      "'echo' together with 'logprobs' is not supported: log probabilities of the "
                      "prompt are not computed.");
    if (r->echo && r->prompts[0].kind == PROMPT_IDS)
        return refuse(e, PROBLEM_FIELD_CONFLICT, "echo",
                      "'echo' needs prompts that are texts, not token ids.");
    if (r->continue_final && r->has_add_generation_prompt && r->add_generation_prompt)
        return refuse(e, PROBLEM_FIELD_CONFLICT, "continue_final_message",
                      "'continue_final_message' and 'add_generation_prompt' exclude each other.");
    return true;
}

static bool check_choices(struct request *r, struct api_error *e)
{
    if (r->best_of == 0)
        r->best_of = r->n;
    if (r->best_of < r->n)
        return refuse(e, PROBLEM_FIELD_CONFLICT, "best_of", "'best_of' is less than 'n'.");
    if (r->best_of > r->n && r->stream)
        return refuse(e, PROBLEM_FIELD_CONFLICT, "best_of",
                      "'best_of' greater than 'n' cannot be streamed.");
    if (r->n_prompts * r->best_of > REQUEST_SEQUENCES_MAX) {
        error_set(e, PROBLEM_FIELD_VALUE, "n",
                  "%zu prompts with %u choices each are more than %d replies; split the request.",
                  r->n_prompts, r->best_of, REQUEST_SEQUENCES_MAX);
        return false;
    }
    return true;
}

static void settle(struct request *r)
{
    struct rec_sampling *s = &r->sampling;
    s->max_tokens = r->max_tokens > 0 ? r->max_tokens : r->max_completion_tokens;
    if (s->max_tokens == 0 && r->endpoint == ENDPOINT_COMPLETIONS)
        s->max_tokens = COMPLETIONS_MAX_TOKENS;
    /* Candidates are ranked by their log probabilities. */
    s->logprobs = r->logprobs || r->best_of > r->n;
    if (!r->has_seed)
        s->seed = clock_random_u64() >> (64 - SEED_BITS);
}

static bool check(struct request *r, const json_t *body, struct api_error *e)
{
    if (!check_required(r, e) || !check_names(body, r, e) || !check_shape(r, e) ||
        !check_choices(r, e))
        return false;
    settle(r);
    if (r->sampling.max_tokens > 0 && r->sampling.min_tokens > r->sampling.max_tokens)
        return refuse(e, PROBLEM_FIELD_CONFLICT, "min_tokens",
                      "'min_tokens' is greater than the most tokens to generate.");
    return true;
}

bool request_parse(struct request *r, enum endpoint endpoint, struct str body, uint64_t max_body,
                   struct api_error *ret_error)
{
    *r = (struct request){
        .endpoint = endpoint,
        .n = 1,
        .add_generation_prompt = true,
        .sampling = {.temperature = 1, .top_p = 1},
    };
    json_t *root = body_parse(body, max_body, ret_error);
    if (root == NULL)
        return false;
    bool ok = fields_apply(r, root, ret_error) && check(r, root, ret_error);
    json_decref(root);
    return ok;
}

void request_fini(struct request *r)
{
    arena_fini(&r->arena);
}

/* ---- against the model --------------------------------------------------------------------------- */

static bool check_ids(const uint32_t *ids, size_t n, const struct catalog_model *m,
                      const char *param, struct api_error *e)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < m->vocab_size)
            continue;
        error_set(e, PROBLEM_FIELD_VALUE, param,
                  "'%s' has the token id %u; the model %s has ids below %u.", param, ids[i],
                  m->name, m->vocab_size);
        return false;
    }
    return true;
}

bool request_fit(struct request *r, const struct catalog_model *m, struct api_error *ret_error)
{
    struct rec_sampling *s = &r->sampling;
    if (!check_ids(s->stop_ids, s->n_stop_ids, m, "stop_token_ids", ret_error))
        return false;
    for (size_t i = 0; i < s->n_logit_bias; i++) {
        if (!check_ids(&s->logit_bias[i].id, 1, m, "logit_bias", ret_error))
            return false;
    }
    for (size_t i = 0; i < r->n_prompts; i++) {
        const struct prompt *p = &r->prompts[i];
        if (p->n_ids >= m->context) {
            error_set(ret_error, PROBLEM_CONTEXT, "prompt",
                      "The prompt has %zu tokens; the context of %s is %u for prompt and reply "
                      "together. Shorten the prompt.",
                      p->n_ids, m->name, m->context);
            return false;
        }
        if (!check_ids(p->ids, p->n_ids, m, "prompt", ret_error))
            return false;
    }
    if (s->max_tokens == 0 || s->max_tokens > m->context)
        s->max_tokens = m->context;
    return true;
}
