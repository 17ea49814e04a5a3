/* SPDX-License-Identifier: MIT */
#include "services/engine/options.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "common/check.h"
#include "common/opt.h"
#include "common/sandbox.h"
#include "services/engine/backend_cpu.h"
#include "services/engine/draft.h"
#include "services/engine/hip_core.h"
#include "services/engine/kv.h"
#include "services/engine/pool.h"

enum { DEFAULT_THREADS = 4 };

static const struct opt TABLE[] = {
    OPT_COMMON_ROWS(struct options),
    SANDBOX_ROW(struct options),
    OPT_STR_ROW(struct options, model, "model", NULL, "FILE", "model to serve, an .h1b file"),
    OPT_STR_ROW(struct options, name, "name", "1", "NAME",
                "distinguishes the engines of one router in logs and status"),
    OPT_STR_ROW(struct options, served_name, "served-name", NULL, "NAME",
                "what clients write into `model`; without, the name in the model file. One that is "
                "the same for several models stays when one of them replaces another"),
    OPT_CHOICE_ROW(
        struct options, backend, "backend", "auto", HIP_BACKENDS,
        "what computes: auto takes a GPU if there is one and says so, hip needs one; the "
        "replies are the same"),
    OPT_STR_ROW(
        struct options, gpu, "gpu", "auto", "N",
        "which GPU, as its driver counts from 0; auto: the first that there are kernels for"),
    OPT_STR_ROW(struct options, gpu_library, "gpu-library", NULL, "FILE",
                "library that drives the GPU; without, ROCm's libamdhip64 or NVIDIA's driver"),
    OPT_U32_ROW(struct options, gpu_timeout_ms, "gpu-timeout", "10000", 1, 3600000, "MS",
                "a step on the GPU that takes longer hangs: the engine ends, and others take over"),
    OPT_CHOICE_ROW(struct options, isa, "isa", "auto", "auto|ref|avx2|avxvnni|avx512|neon",
                   "instruction set of the kernels; all give the same bits"),
    OPT_CHOICE_ROW(
        struct options, head, "head", "fast", "fast|full",
        "LM head: fast keeps a copy in bit planes, half of the head's size, that lets greedy and "
        "top-k replies read less than half of the bytes; the head itself comes to memory with "
        "the first reply that needs all of it. The replies are the same"),
    OPT_BOOL_ROW(struct options, does_verify, "verify", "true",
                 "compare every section of the model file with its SHA-256 at the start"),
    OPT_BOOL_ROW(
        struct options, does_copy_weights, "copy-weights", "true",
        "copy the weights into huge pages at the start, which are faster to read than those "
        "of the file; without, engines of one machine share the file's pages"),
    OPT_U32_ROW(struct options, threads, "threads", "0", 0, POOL_MAX_THREADS, "N",
                "threads that compute; 0: one per processor, at most 4, because decoding waits for "
                "memory"),
    OPT_CHOICE_ROW(
        struct options, kv_type, "kv-type", "f16", KV_TYPES,
        "numbers in the KV cache: int8 takes half the memory, decodes long contexts "
        "faster and changes replies a little; all engines of a stack must have the same"),
    OPT_U32_ROW(struct options, kv_tokens, "kv-tokens", "0", 0, 1U << 30, "N",
                "positions in the KV cache; 0: max-seqs times the model's context, but at most a "
                "quarter of the memory, or what is free on the GPU"),
    OPT_U32_ROW(struct options, max_seqs, "max-seqs", "16", 1, 1024, "N",
                "sequences that run at once; more wait"),
    OPT_U32_ROW(struct options, max_waiting, "max-waiting", "256", 1, 65536, "N",
                "requests that wait; further ones are refused"),
    OPT_U32_ROW(struct options, step_tokens, "step-tokens", "256", 1, 16384, "N",
                "most tokens in one step: more make prompts faster, and a prompt that comes behind "
                "them wait longer"),
    OPT_U32_ROW(struct options, stretch, "stretch", "50", 0, 10000, "PERCENT",
                "by which prompts may lengthen the steps of running replies: more make prompts "
                "faster and replies less even; 0: no bound but step-tokens"),
    OPT_U32_ROW(
        struct options, frame_ms, "frame-ms", "8", 0, 1000, "MS",
        "least time between two frames of tokens: where steps are shorter, those of several "
        "go out together. First tokens and ends never wait. 0: each step by itself"),
    OPT_U32_ROW(struct options, spec_tokens, "spec-tokens", "8", 0, DRAFT_MAX_TOKENS, "N",
                "tokens of a reply that one step may guess from its own text and check; 0: none. "
                "The replies are the same, those that repeat themselves or the prompt come faster"),
    OPT_U32_ROW(struct options, lane, "lane", "0", 0, 1, "N", "0 is stable, 1 is the candidate"),
    OPT_U32_ROW(
        struct options, keep_kv_mb, "keep-kv-mb", "1024", 0, 1U << 24, "MB",
        "most of the KV cache that is kept over a restart or handed to a successor, as a "
        "file in the run directory; at most half of what is free there. 0: nothing, what is "
        "needed again is computed again"),
    OPT_BOOL_ROW(struct options, is_standby, "standby", "false",
                 "start out of service: the router places nothing there until `halo undrain`"),
    OPT_STR_ROW(
        struct options, router, "router", NULL, "URL",
        "router on another machine to serve, as tls+tcp://a.example:8443 (its --listen-tls); "
        "the engine calls, and calls again. Default: that of the run directory"),
    TLS_ROWS(struct options),
};

bool options_parse(struct options *o, int argc, char **argv, int *ret_exit)
{
    const struct opt_program program = {
        .name = "halo-engine",
        .summary = "computes the tokens of replies with one model",
        .example = "halo-engine --model models/halo-demo.h1b --max-seqs 8",
        .opts = TABLE,
        .n_opts = ARRAY_LEN(TABLE),
        .values = o,
    };
    int operands = 0;
    if (!opt_parse(&program, argc, argv, &operands, ret_exit))
        return false;
    *ret_exit = 2;
    if (o->model == NULL) {
        (void)fprintf(stderr, "halo-engine: no model; name a file with --model FILE\n");
        return false;
    }
    if (o->step_tokens < o->max_seqs) {
        (void)fprintf(stderr,
                      "halo-engine: --step-tokens %u is less than --max-seqs %u; each running "
                      "sequence takes one token of a step\n",
                      o->step_tokens, o->max_seqs);
        return false;
    }
    if (!hip_core_is_gpu(o->gpu)) {
        (void)fprintf(stderr, "halo-engine: --gpu %s: expected auto or a number, e.g. --gpu 0\n",
                      o->gpu);
        return false;
    }
    return opt_common_setup("engine", &o->run, o->log_level);
}

unsigned options_rights(const struct options *o, bool has_gpu)
{
    return SANDBOX_ENGINE | (has_gpu ? SANDBOX_GPU : 0U) |
           (o->router != NULL ? SANDBOX_REMOTE : 0U);
}

uint32_t options_default_threads(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    uint32_t n = (uint32_t)CPU_COUNT(&set);
    return n < DEFAULT_THREADS ? n : DEFAULT_THREADS;
}

uint64_t options_kv_room(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 4;
}

struct sizes options_sizes(const struct options *o, const struct model *m, uint64_t kv_room)
{
    struct sizes s = {.n_threads = o->threads, .n_ctx = m->config.n_ctx};
    if (s.n_threads == 0)
        s.n_threads = options_default_threads();
    uint64_t tokens = o->kv_tokens;
    if (tokens == 0) {
        uint64_t most = kv_room / backend_cpu_block_bytes(m, kv_type_of(o->kv_type)) * KV_BLOCK;
        tokens = (uint64_t)o->max_seqs * m->config.n_ctx;
        tokens = tokens < most ? tokens : most;
    }
    uint64_t blocks = (tokens + KV_BLOCK - 1) / KV_BLOCK;
    blocks = blocks > 0 ? blocks : 1;
    s.n_blocks = blocks < KV_NONE ? (uint32_t)blocks : KV_NONE - 1;
    if (s.n_ctx > (uint64_t)s.n_blocks * KV_BLOCK)
        s.n_ctx = s.n_blocks * KV_BLOCK;
    return s;
}
