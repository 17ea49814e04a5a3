/* SPDX-License-Identifier: MIT */
#include "services/engine/core.h"

#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "services/engine/backend_cpu.h"
#include "services/engine/selfcheck.h"

static bool choose_kernels(struct core *c, const struct options *o)
{
    enum isa isa = kernels_best();
    (void)kernels_isa_parse(o->isa, &isa); /* "auto" is no name and keeps the best */
    c->kernels = kernels_get(isa);
    if (c->kernels == NULL)
        log_error("no-such-isa", S("isa", o->isa), S("have", kernels_isa_name(kernels_best())));
    return c->kernels != NULL;
}

static bool has_fast_head(const struct options *o)
{
    return strcmp(o->head, "fast") == 0;
}

static bool load_model(struct core *c, const struct options *o)
{
    uint64_t t0 = clock_now_ms();
    char why[400];
    enum err err = model_open(o->model, o->does_verify ? H1B_VERIFY_ALL : H1B_VERIFY_TABLE, why,
                              sizeof why, &c->model);
    if (err) {
        log_error("model-refused", S("why", why), S("err", err_name(err)),
                  S("hint", "--model names an .h1b file: halo convert makes one, halo inspect "
                            "checks it"));
        return false;
    }
    const struct model_config *m = &c->model->config;
    log_info("model-loaded", S("name", m->name), S("hash", h1b_hash(c->model->file)),
             U("layers", m->n_layers), U("context", m->n_ctx), U("vocab", m->n_vocab),
             S("packing", model_packing_name(c->model)),
             U("bytes_per_token", c->model->bytes_per_token), U("ms", clock_now_ms() - t0));
    return true;
}

static struct hip_wish wish_of(const struct options *o)
{
    return (struct hip_wish){.backend = o->backend, .gpu = o->gpu, .library = o->gpu_library};
}

static void copy_weights(struct core *c, const struct options *o)
{
    if (o->does_copy_weights && model_copy_weights(c->model, !has_fast_head(o)))
        log_warn("weights-not-copied", S("why", "too little memory; decoding is slower"));
}

/* To the GPU, or into huge pages. */
static bool place_weights(struct core *c, const struct options *o)
{
    const struct hip_wish wish = wish_of(o);
    if (!hip_core_load(&c->gpu, &wish, c->model))
        return false;
    if (c->gpu.weights == NULL)
        copy_weights(c, o);
    return true;
}

static bool check_self(struct core *c, const struct options *o)
{
    uint64_t t0 = clock_now_ms();
    struct hip_check check = {.core = &c->gpu,
                              .kv_type = kv_type_of(o->kv_type),
                              .limit_ms = c->on_gpu_hang != NULL ? o->gpu_timeout_ms : 0,
                              .on_hang = c->on_gpu_hang};
    const struct selfcheck how = {
        .n_threads = c->sizes.n_threads,
        .kv_type = kv_type_of(o->kv_type),
        .has_fast_head = has_fast_head(o),
        .open = c->gpu.weights != NULL ? hip_core_open_check : NULL,
        .ctx = &check,
    };
    const char *what = c->gpu.weights != NULL ? c->gpu.device->arch : c->kernels->isa_name;
    enum err err = selfcheck_run(c->model, c->kernels, &how, &c->known_answer);
    if (err)
        log_error("self-check-failed", S("isa", what), S("err", err_name(err)));
    else
        log_info("self-check", S("isa", what), X("logits", c->known_answer),
                 U("ms", clock_now_ms() - t0));
    return err == ERR_OK;
}

/* Rows of drafts in one step; steps with more sequences than these draft little (draft.h). */
static uint32_t draft_rows(const struct options *o)
{
    return o->spec_tokens * (o->max_seqs < 4 ? o->max_seqs : 4);
}

static struct backend_hip_config gpu_config(const struct core *c, const struct options *o)
{
    return (struct backend_hip_config){
        .model = c->model,
        .kv_type = kv_type_of(o->kv_type),
        .n_blocks = c->sizes.n_blocks,
        .max_items = o->max_seqs,
        .max_rows = o->step_tokens,
        .max_logits = o->max_seqs + draft_rows(o),
        .limit_ms = c->on_gpu_hang != NULL ? o->gpu_timeout_ms : 0,
        .on_hang = c->on_gpu_hang,
    };
}

static enum err open_cpu(struct core *c, const struct options *o)
{
    const struct backend_cpu_config config = {
        .model = c->model,
        .kernels = c->kernels,
        .n_threads = c->sizes.n_threads,
        .kv_type = kv_type_of(o->kv_type),
        .n_blocks = c->sizes.n_blocks,
        .max_rows = o->step_tokens,
        .max_logits = o->max_seqs + draft_rows(o),
        .has_fast_head = has_fast_head(o),
    };
    return backend_cpu_new(&config, &c->backend);
}

static bool open_backend(struct core *c, const struct options *o)
{
    enum err err = c->gpu.weights != NULL ? hip_core_backend(&c->gpu, gpu_config(c, o), &c->backend)
                                          : open_cpu(c, o);
    if (err) {
        log_error("backend-refused", U("kv_blocks", c->sizes.n_blocks), S("err", err_name(err)));
        return false;
    }
    c->scheduler = scheduler_new(&(struct scheduler_config){
        .model = &c->model->config,
        .kernels = c->kernels,
        .backend = c->backend,
        .n_ctx = c->sizes.n_ctx,
        .max_seqs = o->max_seqs,
        .spec_tokens = o->spec_tokens,
        .stretch_percent = o->stretch,
        .step_tokens = o->step_tokens,
        .max_waiting = o->max_waiting,
        .numbers = core_numbers(c),
    });
    return true;
}

static void set_sizes(struct core *c, const struct options *o)
{
    uint64_t kv_room = options_kv_room();
    if (c->gpu.weights != NULL) {
        const struct backend_hip_config config = gpu_config(c, o);
        kv_room = hip_core_kv_room(&c->gpu, &config);
    }
    c->sizes = options_sizes(o, c->model, kv_room);
}

/* With --backend auto a GPU that computes something else is no reason not to serve. */
static bool settle(struct core *c, const struct options *o)
{
    if (!place_weights(c, o))
        return false;
    set_sizes(c, o);
    if (check_self(c, o))
        return true;
    if (c->gpu.weights == NULL || strcmp(o->backend, "auto") != 0)
        return false;
    log_warn("gpu-not-used", S("backend", "cpu"), S("why", "its self-check failed"));
    hip_core_close(&c->gpu);
    copy_weights(c, o);
    set_sizes(c, o);
    return check_self(c, o);
}

bool core_open(struct core *c, const struct options *o)
{
    const struct hip_wish wish = wish_of(o);
    return choose_kernels(c, o) && hip_core_find(&c->gpu, &wish) && load_model(c, o) &&
           settle(c, o) && open_backend(c, o);
}

uint64_t core_numbers(const struct core *c)
{
    uint64_t n = (c->known_answer ^ SAMPLER_RULES) * 0x100000001b3U;
    return n != 0 ? n : 1;
}

struct kv_file_cache core_kv_cache(const struct core *c, const struct options *o)
{
    return (struct kv_file_cache){
        .kv = scheduler_kv(c->scheduler),
        .backend = c->backend,
        .key = {h1b_hash(c->model->file), kv_type_of(o->kv_type), c->known_answer},
    };
}

void core_close(struct core *c)
{
    scheduler_free(c->scheduler);
    backend_free(c->backend);
    hip_core_close(&c->gpu);
    model_close(c->model);
}
