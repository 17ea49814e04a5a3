/* SPDX-License-Identifier: MIT */
#include "services/router/options.h"

#include "common/check.h"
#include "common/opt.h"
#include "common/sandbox.h"

static const struct opt OPTS[] = {
    OPT_COMMON_ROWS(struct options),
    SANDBOX_ROW(struct options),
    OPT_U32_ROW(struct options, queue_limit, "queue-limit", "256", 1, 65536, "N",
                "most new requests that wait for an engine; one more is refused (HTTP 429)"),
    OPT_U32_ROW(
        struct options, queue_wait_ms, "queue-wait-ms", "600000", 1000, 604800000, "MS",
        "a request that would wait longer, at the rate at which the queue was seen to drain, "
        "is refused (HTTP 429) and told when to come again; SDKs give up after ten minutes"),
    OPT_U32_ROW(struct options, engine_wait_ms, "engine-wait-ms", "60000", 0, 3600000, "MS",
                "how long a request waits while no engine serves its model; long enough for an "
                "engine to be restarted and load its model"),
    OPT_U32_ROW(
        struct options, dead_ms, "dead-ms", "3000", 500, 600000, "MS",
        "a peer that is silent this long is taken for dead; only a hang needs this, a death "
        "is seen at once"),
    OPT_U32_ROW(struct options, stall_ms, "stall-ms", "20000", 1000, 3600000, "MS",
                "an engine that is busy without progress this long is dropped, and its replies "
                "go on elsewhere; longer than the slowest step"),
    OPT_STR_ROW(struct options, prefill, "prefill-engines", "", "NAMES",
                "engines that compute prompts and leave the replies to the others, separated by "
                "commas, as 1,2; the KV cache of a prompt goes over in a file of the run "
                "directory. Empty: every engine does both"),
    OPT_STR_ROW(struct options, state, "state", NULL, "DIR",
                "directory of what outlives the router: which engines answer /v1, and the burn-in "
                "log; default: the run directory"),
    OPT_U32_ROW(struct options, shadow_share, "shadow-share", "0", 0, 100, "PERCENT",
                "share of the requests to /v1 that the engines of /v2 compute, too, to be compared "
                "token by token (halo burnin); costs their time once more"),
    OPT_U32_ROW(struct options, burnin_log_mb, "burnin-log-mb", "64", 1, 65536, "MB",
                "size at which the burn-in log is moved to burnin.jsonl.1; a row has about 800 "
                "bytes"),
    OPT_U32_ROW(struct options, gate_rounds, "gate-rounds", "1000", 0, UINT32_MAX, "N",
                "cutover: at least so many compared replies of the two lanes as they are now"),
    OPT_U32_ROW(struct options, gate_exact, "gate-exact", "100", 0, 100, "PERCENT",
                "cutover: at least this share of them exact; replies that could not be compared "
                "count as not exact"),
    OPT_U32_ROW(struct options, gate_latency, "gate-latency", "25", 0, 1000000, "PERCENT",
                "cutover: the candidate's median time for a token is at most so much longer"),
    OPT_U32_ROW(struct options, gate_uptime_s, "gate-uptime", "3600", 0, UINT32_MAX, "SECONDS",
                "cutover: the candidate's engines have been up for so long"),
    OPT_U32_ROW(struct options, gate_ppl, "gate-ppl", "1", 0, 1000000, "PER-MILLE",
                "cutover: the candidate's perplexity on --gate-ppl-text is at most so much higher"),
    OPT_STR_ROW(struct options, gate_ppl_text, "gate-ppl-text", NULL, "FILE",
                "text for the perplexity gate; default: no such gate"),
    OPT_STR_ROW(
        struct options, listen_tls, "listen-tls", NULL, "URL",
        "where engines of other machines call, as tls+tcp://0.0.0.0:8443; only those with a "
        "certificate of --tls-ca get in. Default: engines of this machine only"),
    TLS_ROWS(struct options),
    OPT_STR_ROW(struct options, tls_workers, "tls-workers", "", "NAMES",
                "machines whose engines may call, by the names in their certificates, separated by "
                "commas; empty: all that --tls-ca has signed"),
};

bool options_parse(struct options *o, int argc, char **argv, int *ret_exit)
{
    struct opt_program program = {
        .name = "halo-router",
        .summary = "Places requests on engines and brings them through the loss of any of them.",
        .example = "halo-router --queue-limit 64",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = o,
    };
    int operands;
    *o = (struct options){0};
    return opt_parse(&program, argc, argv, &operands, ret_exit);
}
