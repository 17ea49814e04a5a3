/* SPDX-License-Identifier: MIT */
/* Client of the HTTP API, over libcurl. A key in $HALO_API_KEY is sent along; authorities that sign
 * certificates may be named by $SSL_CERT_FILE. */
#ifndef HALO_HALO_API_H
#define HALO_HALO_API_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"

enum { API_ERROR_CAP = 600 };

/* libcurl's global state; once, before and after everything else. */
void api_init(void);
void api_fini(void);

/* The base URL without a trailing "/" or "/v1". The caller frees it. */
char *api_base(const char *url);

struct api_answer {
    long status; /* 0: no answer, see error */
    struct buf body;
    char error[API_ERROR_CAP];
};

/* GET base + path. *ret_answer is always set; the caller frees its body. */
void api_get(const char *base, const char *path, uint32_t timeout_ms,
             struct api_answer *ret_answer);

/* POST base + path with a JSON body; otherwise as api_get. */
void api_post(const char *base, const char *path, const char *body, uint32_t timeout_ms,
              struct api_answer *ret_answer);

/* Seconds until the server's certificate expires; false if it shows none that we trust: `error`
 * (API_ERROR_CAP bytes) says why. For https:// only. */
bool api_certificate_left(const char *base, uint32_t timeout_ms, int64_t *ret_s, char *error);

/* The first name that /v1/models lists; the caller frees it. NULL: `error` (API_ERROR_CAP bytes) says
 * why. */
char *api_first_model(const char *base, char *error);

enum api_end {
    API_DONE, /* the whole reply came */
    API_CANCELLED, /* by cancel_fd */
    API_FAILED, /* see error; some text may have come */
};

struct api_chat {
    const char *base;
    const char *body; /* JSON of a streaming chat completion request */
    uint32_t timeout_ms; /* 0: none */
    int cancel_fd; /* readable: the reply is no longer wanted; -1: none */
    void (*text)(void *ctx, struct str text); /* each piece of the reply */
    void *ctx;
};

struct api_reply {
    enum api_end end;
    char error[API_ERROR_CAP];
    char finish[32]; /* finish_reason */
    uint64_t prompt_tokens; /* usage, if the server sent it */
    uint64_t completion_tokens;
    double first_s; /* seconds to the first piece */
    double total_s;
};

/* POST base + /v1/chat/completions and reads the stream to its end. From a server that keeps streams
 * (x-halo-stream) it goes on over another connection when one breaks, for a while; a reply that is
 * cancelled is deleted there. */
void api_chat(const struct api_chat *chat, struct api_reply *ret_reply);

#endif
