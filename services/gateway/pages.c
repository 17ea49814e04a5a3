/* SPDX-License-Identifier: MIT */
#include "services/gateway/pages.h"

#include "common/opt.h"
#include "services/gateway/stream.h"

static void add_model(const struct gateway *g, const struct catalog_model *m, struct buf *out)
{
    uint64_t created = m->created > 0 ? m->created : g->started_s;
    buf_add_cstr(out, "{\"id\":");
    buf_add_json(out, str_from(m->name));
    buf_printf(out, ",\"object\":\"model\",\"created\":%llu,\"owned_by\":\"halo\"",
               (unsigned long long)created);
    buf_printf(out, ",\"max_model_len\":%u,\"hash\":", m->context);
    buf_add_json(out, str_from(m->hash));
    buf_add_cstr(out, ",\"license\":");
    buf_add_json(out, str_from(m->license));
    buf_add_cstr(out, ",\"description\":");
    buf_add_json(out, str_from(m->description));
    buf_add_char(out, '}');
}

static bool are_models_served(const struct gateway *g)
{
    return upstream_why_not(g->upstream, true) == NULL;
}

void pages_models(struct gateway *g, struct exchange *take_x, uint32_t lane)
{
    struct buf out = {0};
    const struct catalog *c = upstream_catalog(g->upstream);
    const struct catalog_model *m;
    buf_add_cstr(&out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; are_models_served(g) && (m = catalog_at(c, lane, i)) != NULL; i++) {
        if (i > 0)
            buf_add_char(&out, ',');
        add_model(g, m, &out);
    }
    buf_add_cstr(&out, "]}\n");
    exchange_answer(take_x, 200, "application/json", buf_str(&out));
    buf_fini(&out);
}

void pages_model(struct gateway *g, struct exchange *take_x, uint32_t lane, struct str name)
{
    const struct catalog_model *m = catalog_find(upstream_catalog(g->upstream), lane, name);
    if (m == NULL || !are_models_served(g)) {
        struct api_error e;
        error_set(&e, PROBLEM_MODEL_UNKNOWN, "model",
                  "The model '%.*s' is not served here; GET /v1/models lists those that are.",
                  (int)(name.len < 100 ? name.len : 100), name.ptr);
        exchange_refuse(take_x, &e);
        return;
    }
    struct buf out = {0};
    add_model(g, m, &out);
    buf_add_char(&out, '\n');
    exchange_answer(take_x, 200, "application/json", buf_str(&out));
    buf_fini(&out);
}

void pages_readyz(struct gateway *g, struct exchange *take_x)
{
    const char *why_not =
        g->is_draining ? "the gateway is shutting down" : upstream_why_not(g->upstream, false);
    if (why_not == NULL) {
        exchange_answer(take_x, 200, "application/json", STR_LIT("{\"status\":\"ready\"}\n"));
        return;
    }
    struct buf out = {0};
    buf_add_cstr(&out, "{\"status\":\"not ready\",\"reason\":");
    buf_add_json(&out, str_from(why_not));
    buf_add_cstr(&out, "}\n");
    exchange_add_header(take_x, "retry-after", STR_LIT("1"));
    exchange_answer(take_x, 503, "application/json", buf_str(&out));
    buf_fini(&out);
}

/* ---- traces -------------------------------------------------------------------------------------- */

void pages_traces(struct gateway *g, struct exchange *take_x)
{
    struct buf out = {0};
    traces_write_list(g->traces, &out);
    exchange_answer(take_x, 200, "application/json", buf_str(&out));
    buf_fini(&out);
}

void pages_trace(struct gateway *g, struct exchange *take_x, struct str id)
{
    struct buf out = {0};
    if (traces_write_one(g->traces, id, &out)) {
        exchange_answer(take_x, 200, "application/json", buf_str(&out));
    } else {
        struct api_error e;
        traces_explain(g->traces, &out);
        error_set(&e, PROBLEM_PATH_UNKNOWN, NULL, "There is no trace of '%.*s' any more. %s",
                  (int)(id.len < 100 ? id.len : 100), id.ptr, buf_str(&out).ptr);
        exchange_refuse(take_x, &e);
    }
    buf_fini(&out);
}

/* ---- metrics ------------------------------------------------------------------------------------- */

static void add_engine_load(const struct gateway *g, struct buf *out)
{
    const struct rec_load *l = upstream_load(g->upstream);
    struct buf labels = {0};
    const struct catalog_model *first = catalog_at(upstream_catalog(g->upstream), 0, 0);
    double used = l->kv_blocks > 0 ? (double)l->kv_blocks_used / l->kv_blocks : 0;
    buf_add_cstr(&labels, "engine=\"0\",model_name=");
    metrics_quote(&labels, first != NULL ? first->name : "");
    const char *of = buf_str(&labels).ptr;
    metrics_write_one(out, "gauge", "vllm:num_requests_running", of, l->running,
                      "sequences in the engines");
    metrics_write_one(out, "gauge", "vllm:num_requests_waiting", of, l->waiting,
                      "requests that wait for an engine");
    metrics_write_one(out, "gauge", "vllm:kv_cache_usage_perc", of, used,
                      "share of KV blocks in use, 0 to 1");
    metrics_write_one(out, "counter", "vllm:num_preemptions_total", of, (double)l->preemptions,
                      "sequences put back for want of KV blocks");
    metrics_write_one(out, "counter", "vllm:prefix_cache_queries_total", of,
                      (double)l->prefix_queries, "prompt tokens looked up in prefix caches");
    metrics_write_one(out, "counter", "vllm:prefix_cache_hits_total", of, (double)l->prefix_hits,
                      "of them found");
    metrics_write_one(out, "counter", "vllm:spec_decode_num_draft_tokens_total", of,
                      (double)l->draft_tokens, "tokens of replies that engines guessed ahead");
    metrics_write_one(out, "counter", "vllm:spec_decode_num_accepted_tokens_total", of,
                      (double)l->accepted_tokens, "of them those that the replies went on with");
    metrics_write_one(out, "gauge", "halo_engines", "", l->engines, "engines that are alive");
    metrics_write_one(out, "counter", "halo_router_replays_total", "", (double)l->replays,
                      "requests sent again because an engine was lost");
    buf_fini(&labels);
}

static void add_own_gauges(const struct gateway *g, struct buf *out)
{
    struct buf labels = {0};
    metrics_write_one(out, "gauge", "halo_ready", "",
                      upstream_why_not(g->upstream, false) == NULL && !g->is_draining,
                      "whether requests can be answered");
    metrics_write_one(out, "gauge", "halo_tokenizer_up", "", upstream_is_up(g->upstream),
                      "whether the tokenizer is connected");
    metrics_write_one(out, "gauge", "halo_replies_in_flight", "", (double)g->n_replies,
                      "requests for text that are being answered");
    metrics_write_one(out, "gauge", "halo_choices_in_flight", "",
                      (double)upstream_n_jobs(g->upstream), "choices of those requests");
    metrics_write_one(out, "counter", "halo_resumes_total", "",
                      (double)upstream_n_resumes(g->upstream),
                      "choices sent again because the tokenizer was lost");
    metrics_write_one(out, "gauge", "halo_streams_kept", "", (double)streams_n(g->streams),
                      "streams whose clients may come back");
    metrics_write_one(out, "gauge", "halo_streams_parked", "", (double)streams_n_parked(g->streams),
                      "of them unfinished ones that nobody reads now");
    metrics_write_one(out, "gauge", "halo_streams_bytes", "", (double)streams_bytes(g->streams),
                      "bytes kept of all streams");
    metrics_write_one(out, "counter", "halo_streams_continued_total", "",
                      (double)streams_n_continued(g->streams), "clients that came back");
    buf_add_cstr(&labels, "version=");
    metrics_quote(&labels, opt_version());
    metrics_write_one(out, "gauge", "halo_build_info", buf_str(&labels).ptr, 1, "always 1");
    buf_fini(&labels);
}

void pages_metrics(struct gateway *g, struct exchange *take_x)
{
    struct buf out = {0};
    add_own_gauges(g, &out);
    add_engine_load(g, &out);
    if (g->keys != NULL)
        keys_write_metrics(g->keys, &out);
    metrics_write(g->metrics, &out);
    exchange_answer(take_x, 200, "text/plain; version=0.0.4; charset=utf-8", buf_str(&out));
    buf_fini(&out);
}
