/* SPDX-License-Identifier: MIT */
#include "services/gateway/options.h"

#include "common/check.h"
#include "common/opt.h"
#include "common/sandbox.h"

static const struct opt OPTS[] = {
    OPT_STR_ROW(struct options, listen, "listen", "127.0.0.1:8180", "HOST:PORT",
                "where to accept HTTP/1.1 and h2c, unless systemd or the supervisor hands sockets "
                "over; port 0 takes a free one, which the log names; "
                "\"none\" listens on the Unix socket only. There is no TLS "
                "here: beyond loopback put a proxy in front"),
    OPT_STR_ROW(struct options, unix_path, "unix", NULL, "PATH",
                "Unix socket to accept HTTP on as well"),
    OPT_CHOICE_ROW(struct options, unix_mode, "unix-mode", "0660", "0600|0660",
                   "permissions of the Unix socket"),
    OPT_BOOL_ROW(struct options, is_h2c, "h2c", "true",
                 "accept HTTP/2 without TLS (prior knowledge and Upgrade)"),
    OPT_STR_ROW(
        struct options, keys, "keys", NULL, "FILE",
        "API keys, made by `halo key add`: requests to /v1 and /v2 must carry one. By default "
        "everyone who reaches the socket may ask"),
    OPT_STR_ROW(struct options, cors_origin, "cors-origin", NULL, "ORIGIN",
                "let web pages of this origin (https://chat.example, or *) call the API; by "
                "default browsers refuse that"),
    OPT_U64_ROW(struct options, max_body, "max-body", "4M", 1024, 64 << 20, "BYTES",
                "longest request body; a longer one is answered with 413. Parsing takes the loop "
                "about 20 ms per megabyte"),
    OPT_U32_ROW(struct options, max_streams, "max-streams", "1024", 1, 65536, "N",
                "most replies in flight; further requests get 429"),
    OPT_U32_ROW(struct options, request_timeout_ms, "request-timeout-ms", "3600000", 0, 604800000,
                "MS", "time for a whole reply; 0 is no limit"),
    OPT_U32_ROW(struct options, resume_ms, "resume-ms", "60000", 0, 3600000, "MS",
                "how long replies wait for a lost tokenizer before they fail"),
    OPT_U32_ROW(struct options, drain_ms, "drain-ms", "30000", 0, 3600000, "MS",
                "after SIGTERM, how long replies may still run"),
    OPT_U32_ROW(
        struct options, idle_ms, "idle-ms", "60000", 100, 3600000, "MS",
        "time for a request to arrive in full, and for an idle connection to be used again"),
    OPT_U32_ROW(struct options, stall_ms, "stall-ms", "30000", 100, 3600000, "MS",
                "a client that takes nothing for this long is given up"),
    OPT_U64_ROW(struct options, max_pending, "max-pending", "1M", 4096, 1 << 30, "BYTES",
                "most bytes that may wait for a slow client before its reply is cancelled"),
    OPT_U32_ROW(
        struct options, ping_ms, "ping-ms", "10000", 10, 3600000, "MS",
        "a stream that is silent for this long gets an SSE comment, so that proxies keep it"),
    OPT_U32_ROW(struct options, keep_s, "keep-s", "0", 0, 86400, "S",
                "how long a streamed reply goes on and is kept after its client left, for GET "
                "/v1/streams/ID, unless the request's header x-halo-resume says how long; 0: it "
                "is cancelled at once"),
    OPT_U32_ROW(struct options, keep_max_s, "keep-max-s", "300", 0, 86400, "S",
                "the most that x-halo-resume may ask for; a larger one is refused with 400"),
    OPT_U64_ROW(struct options, keep_stream_bytes, "keep-stream-bytes", "4M", 4096, 1 << 30,
                "BYTES", "most bytes kept of a stream; beyond it its oldest events go"),
    OPT_U64_ROW(struct options, keep_bytes, "keep-bytes", "64M", 4096, 1ULL << 36, "BYTES",
                "most bytes kept of all streams; beyond it those that ended first go"),
    OPT_U32_ROW(struct options, n_traces, "traces", "1024", 1, 65536, "N",
                "requests whose way `halo trace` can show: all in flight and the latest that are "
                "over; 3 kB each"),
    OPT_STR_ROW(struct options, reply_log, "reply-log", NULL, "FILE",
                "write every request and reply in full to this file, mode 0600, for `halo verify`; "
                "by default nothing of them is written anywhere"),
    OPT_U64_ROW(struct options, reply_log_bytes, "reply-log-bytes", "64M", 4096, 1ULL << 40,
                "BYTES", "length at which FILE becomes FILE.1, and that one FILE.2"),
    OPT_U32_ROW(struct options, reply_log_files, "reply-log-files", "4", 0, 999, "N",
                "how many such older files stay"),
    OPT_BOOL_ROW(struct options, print_fields, "print-fields", "false",
                 "print the table of request fields as JSON lines and exit"),
    OPT_COMMON_ROWS(struct options),
    SANDBOX_ROW(struct options),
};

bool options_parse(struct options *o, int argc, char **argv, int *ret_exit)
{
    struct opt_program program = {
        .name = "halo-gateway",
        .summary = "Serves the OpenAI API over HTTP and passes requests on to halo-tokenizer.",
        .example = "halo-gateway --listen 127.0.0.1:8180 --unix /run/halo/http.sock",
        .opts = OPTS,
        .n_opts = ARRAY_LEN(OPTS),
        .values = o,
    };
    int operands;
    *o = (struct options){0};
    return opt_parse(&program, argc, argv, &operands, ret_exit);
}
