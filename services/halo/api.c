/* SPDX-License-Identifier: MIT */
#include "services/halo/api.h"

#include <ctype.h>
#include <curl/curl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/opt.h"
#include "services/halo/sse.h"

enum {
    CONNECT_TIMEOUT_MS = 5000,
    POLL_MS = 60000,
    MODELS_TIMEOUT_MS = 10000,
    BODY_CAP = 16 * 1024 * 1024, /* of an answer that is not a stream */
    HTTP_OK = 200,
    HTTP_NO_CONTENT = 204,
    HTTP_BAD_REQUEST = 400,
    HTTP_UNAUTHORIZED = 401,
    HTTP_BAD_GATEWAY = 502,
    HTTP_GATEWAY_TIMEOUT = 504,
    RESUME_S = 20, /* for which a broken stream is asked for, and the server keeps it */
    RETRY_MS = 250, /* the second time; twice as long each further time */
    RETRY_MAX_MS = 2000,
    DELETE_TIMEOUT_MS = 2000,
    STREAM_ID_CAP = 80,
};

void api_init(void)
{
    ASSERT(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

void api_fini(void)
{
    curl_global_cleanup();
}

char *api_base(const char *url)
{
    struct buf b = {0};
    size_t n = strlen(url);
    while (n > 0 && url[n - 1] == '/')
        n--;
    if (n >= 3 && memcmp(url + n - 3, "/v1", 3) == 0)
        n -= 3;
    buf_add(&b, url, n);
    return buf_detach(&b);
}

static struct curl_slist *make_headers(bool is_post)
{
    struct curl_slist *h = NULL;
    const char *key = getenv("HALO_API_KEY");
    if (is_post)
        h = curl_slist_append(h, "Content-Type: application/json");
    if (key != NULL && *key != '\0') {
        struct buf line = {0};
        buf_printf(&line, "Authorization: Bearer %s", key);
        h = curl_slist_append(h, line.ptr);
        buf_fini(&line);
    }
    return h;
}

static CURL *make_handle(const char *base, const char *path, struct curl_slist *headers,
                         char *error)
{
    struct buf url = {0};
    CURL *c = curl_easy_init();
    ASSERT(c != NULL);
    buf_printf(&url, "%s%s", base, path);
    error[0] = '\0';
    (void)curl_easy_setopt(c, CURLOPT_URL, url.ptr);
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, error);
    (void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    const char *ca = getenv("SSL_CERT_FILE"); /* which Debian's libcurl leaves to its callers */
    if (ca != NULL && *ca != '\0')
        (void)curl_easy_setopt(c, CURLOPT_CAINFO, ca);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_USERAGENT, "halo");
    buf_fini(&url);
    return c;
}

static void keep_error(char *error, CURLcode rc, const char *curl_error)
{
    (void)snprintf(error, API_ERROR_CAP, "%s",
                   curl_error[0] != '\0' ? curl_error : curl_easy_strerror(rc));
}

/* ---- whole answers --------------------------------------------------------------------------------------- */

static size_t keep_body(char *bytes, size_t one, size_t n, void *ctx)
{
    struct buf *body = ctx;
    (void)one;
    if (body->len + n > BODY_CAP)
        return 0;
    buf_add(body, bytes, n);
    return n;
}

static void ask(const char *base, const char *path, const char *body, uint32_t timeout_ms,
                struct api_answer *ret_answer)
{
    char error[CURL_ERROR_SIZE];
    struct curl_slist *headers = make_headers(body != NULL);
    CURL *c = make_handle(base, path, headers, error);
    *ret_answer = (struct api_answer){0};
    if (body != NULL)
        (void)curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep_body);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, &ret_answer->body);
    CURLcode rc = curl_easy_perform(c);
    if (rc == CURLE_OK)
        (void)curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &ret_answer->status);
    else
        keep_error(ret_answer->error, rc, error);
    curl_easy_cleanup(c);
    curl_slist_free_all(headers);
}

void api_get(const char *base, const char *path, uint32_t timeout_ms, struct api_answer *ret_answer)
{
    ask(base, path, NULL, timeout_ms, ret_answer);
}

void api_post(const char *base, const char *path, const char *body, uint32_t timeout_ms,
              struct api_answer *ret_answer)
{
    ask(base, path, body, timeout_ms, ret_answer);
}

bool api_certificate_left(const char *base, uint32_t timeout_ms, int64_t *ret_s, char *error)
{
    static const char KEY[] = "Expire date:";
    char curl_error[CURL_ERROR_SIZE];
    struct buf body = {0};
    struct curl_certinfo *info = NULL;
    bool is_found = false;
    CURL *c = make_handle(base, "/healthz", NULL, curl_error);
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    (void)curl_easy_setopt(c, CURLOPT_CERTINFO, 1L);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep_body);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, &body);
    CURLcode rc = curl_easy_perform(c);
    if (rc != CURLE_OK)
        keep_error(error, rc, curl_error);
    else if (curl_easy_getinfo(c, CURLINFO_CERTINFO, &info) == CURLE_OK && info != NULL &&
             info->num_of_certs > 0) {
        for (const struct curl_slist *l = info->certinfo[0]; l != NULL && !is_found; l = l->next) {
            is_found = strncmp(l->data, KEY, sizeof KEY - 1) == 0;
            if (is_found)
                *ret_s = (int64_t)curl_getdate(l->data + sizeof KEY - 1, NULL) -
                         (int64_t)(clock_unix_ms() / 1000);
        }
    }
    if (rc == CURLE_OK && !is_found)
        (void)snprintf(error, API_ERROR_CAP, "%s shows no certificate", base);
    curl_easy_cleanup(c);
    buf_fini(&body);
    return is_found;
}

char *api_first_model(const char *base, char *error)
{
    struct api_answer a;
    api_get(base, "/v1/models", MODELS_TIMEOUT_MS, &a);
    json_t *o = a.body.len > 0 ? json_loadb(a.body.ptr, a.body.len, 0, NULL) : NULL;
    const json_t *first = json_array_get(json_object_get(o, "data"), 0);
    const char *id = json_string_value(json_object_get(first, "id"));
    char *name = id != NULL ? mem_strndup(id, strlen(id)) : NULL;
    if (a.status == 0)
        (void)snprintf(error, API_ERROR_CAP, "%s: %.400s", base, a.error);
    else if (a.status == HTTP_UNAUTHORIZED)
        (void)snprintf(error, API_ERROR_CAP,
                       "%s wants an API key: put it into the environment variable HALO_API_KEY",
                       base);
    else if (a.status != HTTP_OK)
        (void)snprintf(error, API_ERROR_CAP, "%s/v1/models answers %ld", base, a.status);
    else
        (void)snprintf(error, API_ERROR_CAP, "%s serves no model now", base);
    json_decref(o);
    buf_fini(&a.body);
    return name;
}

/* ---- chat -------------------------------------------------------------------------------------- */

struct stream {
    const struct api_chat *chat;
    struct api_reply *reply;
    struct sse sse;
    struct buf body; /* when the answer is not a stream */
    CURL *curl;
    bool is_done; /* [DONE] came */
    bool has_error; /* the server said why */
    uint64_t began_ns;
    uint64_t event_ns; /* when the last event came */
    char id[STREAM_ID_CAP]; /* by which the server knows the stream; "": it does not keep it */
    long status; /* of the last answer; 0: none */
};

static double seconds_since(uint64_t ns)
{
    return (double)(clock_now_ns() - ns) / 1e9;
}

static void take_error(struct stream *s, const json_t *o)
{
    const json_t *error = json_object_get(o, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    if (message == NULL)
        message = json_string_value(error);
    s->has_error = true;
    (void)snprintf(s->reply->error, sizeof s->reply->error, "%s",
                   message != NULL ? message : "the server reports an error without a message");
}

static void take_choice(struct stream *s, const json_t *choice)
{
    const json_t *content = json_object_get(json_object_get(choice, "delta"), "content");
    const char *finish = json_string_value(json_object_get(choice, "finish_reason"));
    if (finish != NULL)
        (void)snprintf(s->reply->finish, sizeof s->reply->finish, "%s", finish);
    if (json_string_length(content) == 0)
        return;
    if (s->reply->first_s == 0)
        s->reply->first_s = seconds_since(s->began_ns);
    s->chat->text(s->chat->ctx,
                  (struct str){json_string_value(content), json_string_length(content)});
}

static void on_event(void *ctx, struct str data)
{
    struct stream *s = ctx;
    s->event_ns = clock_now_ns();
    if (str_is(data, "[DONE]")) {
        s->is_done = true;
        return;
    }
    json_t *o = json_loadb(data.ptr, data.len, 0, NULL);
    if (json_object_get(o, "error") != NULL)
        take_error(s, o);
    const json_t *usage = json_object_get(o, "usage");
    if (json_is_object(usage)) {
        s->reply->prompt_tokens =
            (uint64_t)json_integer_value(json_object_get(usage, "prompt_tokens"));
        s->reply->completion_tokens =
            (uint64_t)json_integer_value(json_object_get(usage, "completion_tokens"));
    }
    const json_t *choice = json_array_get(json_object_get(o, "choices"), 0);
    if (choice != NULL)
        take_choice(s, choice);
    json_decref(o);
}

static size_t on_bytes(char *bytes, size_t one, size_t n, void *ctx)
{
    struct stream *s = ctx;
    long status = 0;
    (void)curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != HTTP_OK)
        return keep_body(bytes, one, n, &s->body);
    return sse_feed(&s->sse, bytes, n) ? n : 0;
}

/* Runs the transfer; false when it was cancelled. */
static bool transfer(CURLM *multi, int cancel_fd, CURLcode *ret_rc)
{
    struct curl_waitfd cancel = {.fd = cancel_fd, .events = CURL_WAIT_POLLIN};
    for (int running = 1;;) {
        int n;
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            running = 0;
        if (running == 0) {
            CURLMsg *m = curl_multi_info_read(multi, &n);
            *ret_rc = m != NULL ? m->data.result : CURLE_FAILED_INIT;
            return true;
        }
        cancel.revents = 0;
        (void)curl_multi_poll(multi, &cancel, cancel_fd >= 0 ? 1 : 0, POLL_MS, &n);
        if (cancel.revents != 0)
            return false;
    }
}

/* Keeps the id of a stream that the server keeps. */
static size_t on_header(char *bytes, size_t one, size_t n, void *ctx)
{
    static const char NAME[] = "x-halo-stream:";
    const size_t name_len = sizeof NAME - 1;
    struct stream *s = ctx;
    (void)one;
    if (n <= name_len || strncasecmp(bytes, NAME, name_len) != 0)
        return n;
    size_t at = name_len + (bytes[name_len] == ' ');
    size_t len = 0;
    while (at + len < n && isalnum((unsigned char)bytes[at + len]))
        len++;
    if (len < sizeof s->id) {
        memcpy(s->id, bytes + at, len);
        s->id[len] = '\0';
    }
    return n;
}

/* What is to be said of a reply that ended, however it did. */
static void conclude(struct stream *s, CURLcode rc, const char *curl_error)
{
    struct api_reply *r = s->reply;
    r->end = API_FAILED;
    if (s->status != HTTP_OK && s->status != 0) {
        json_t *o = json_loadb(s->body.ptr, s->body.len, 0, NULL);
        if (json_object_get(o, "error") != NULL)
            take_error(s, o);
        else
            (void)snprintf(r->error, sizeof r->error, "HTTP status %ld", s->status);
        json_decref(o);
    } else if (s->has_error) {
        return; /* said in the stream */
    } else if (s->is_done) {
        r->end = API_DONE;
    } else if (rc != CURLE_OK) {
        keep_error(r->error, rc, curl_error);
    } else {
        (void)snprintf(r->error, sizeof r->error, "the stream ended early: the reply is cut off");
    }
}

/* One connection; false when the reply was cancelled. `path` of a stream, or NULL to ask anew. */
static bool attempt(struct stream *s, const char *path, const char *extra)
{
    char error[CURL_ERROR_SIZE];
    CURLcode rc = CURLE_OK;
    bool is_post = path == NULL;
    struct curl_slist *headers = make_headers(is_post);
    if (extra != NULL)
        headers = curl_slist_append(headers, extra);
    s->curl = make_handle(s->chat->base, is_post ? "/v1/chat/completions" : path, headers, error);
    s->status = 0;
    buf_reset(&s->body);
    if (is_post)
        (void)curl_easy_setopt(s->curl, CURLOPT_POSTFIELDS, s->chat->body);
    (void)curl_easy_setopt(s->curl, CURLOPT_TIMEOUT_MS, (long)s->chat->timeout_ms);
    (void)curl_easy_setopt(s->curl, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(s->curl, CURLOPT_HEADERDATA, s);
    (void)curl_easy_setopt(s->curl, CURLOPT_WRITEFUNCTION, on_bytes);
    (void)curl_easy_setopt(s->curl, CURLOPT_WRITEDATA, s);
    CURLM *multi = curl_multi_init();
    ASSERT(multi != NULL && curl_multi_add_handle(multi, s->curl) == CURLM_OK);
    bool is_over = transfer(multi, s->chat->cancel_fd, &rc);
    if (is_over) {
        (void)curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &s->status);
        conclude(s, rc, error);
    }
    (void)curl_multi_remove_handle(multi, s->curl);
    curl_easy_cleanup(s->curl);
    (void)curl_multi_cleanup(multi);
    curl_slist_free_all(headers);
    return is_over;
}

/* Whether the rest may be had over another connection. */
static bool is_broken(const struct stream *s)
{
    bool is_proxy = s->status >= HTTP_BAD_GATEWAY && s->status <= HTTP_GATEWAY_TIMEOUT;
    return s->id[0] != '\0' && !s->is_done && !s->has_error &&
           (s->status == 0 || s->status == HTTP_OK || is_proxy);
}

/* False when the reply was cancelled meanwhile. */
static bool wait_to_retry(const struct stream *s, unsigned n_tries)
{
    int ms = n_tries == 0 ? 0 : RETRY_MS << (n_tries < 4 ? n_tries - 1 : 3);
    struct pollfd cancel = {.fd = s->chat->cancel_fd, .events = POLLIN};
    return poll(&cancel, 1, ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS) <= 0;
}

/* Goes on with a stream whose connection broke; false when it was cancelled. */
static bool go_on(struct stream *s)
{
    unsigned n_tries = 0;
    while (is_broken(s)) {
        uint64_t before_ns = s->event_ns;
        if (seconds_since(s->event_ns) > RESUME_S)
            return true;
        if (!wait_to_retry(s, n_tries))
            return false;
        struct buf path = {0};
        buf_printf(&path, "/v1/streams/%s?from=%s", s->id,
                   s->sse.last_id[0] != '\0' ? s->sse.last_id : "0");
        sse_restart(&s->sse);
        bool is_over = attempt(s, path.ptr, NULL);
        buf_fini(&path);
        if (!is_over)
            return false;
        if (s->status == HTTP_NO_CONTENT)
            s->reply->end = API_DONE; /* there was nothing left to say */
        n_tries = s->event_ns != before_ns ? 0 : n_tries + 1;
    }
    return true;
}

/* The server would go on for nobody. */
static void delete_stream(const struct stream *s)
{
    char error[CURL_ERROR_SIZE];
    struct buf path = {0};
    struct buf ignored = {0};
    struct curl_slist *headers = make_headers(false);
    buf_printf(&path, "/v1/streams/%s", s->id);
    CURL *c = make_handle(s->chat->base, path.ptr, headers, error);
    (void)curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, "DELETE");
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)DELETE_TIMEOUT_MS);
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep_body);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, &ignored);
    (void)curl_easy_perform(c); /* if it fails the server's own limit ends the reply */
    curl_easy_cleanup(c);
    curl_slist_free_all(headers);
    buf_fini(&ignored);
    buf_fini(&path);
}

void api_chat(const struct api_chat *chat, struct api_reply *ret_reply)
{
    char resume[32];
    struct stream s = {.chat = chat, .reply = ret_reply, .began_ns = clock_now_ns()};
    *ret_reply = (struct api_reply){.end = API_CANCELLED};
    (void)snprintf(resume, sizeof resume, "x-halo-resume: %d", RESUME_S);
    s.sse.event = on_event;
    s.sse.ctx = &s;
    s.event_ns = s.began_ns;
    bool is_over = attempt(&s, NULL, resume);
    if (is_over && s.status == HTTP_BAD_REQUEST &&
        strstr(ret_reply->error, "x-halo-resume") != NULL) {
        s.has_error = false; /* a server that keeps no streams */
        is_over = attempt(&s, NULL, NULL);
    }
    if (is_over)
        is_over = go_on(&s);
    if (!is_over) {
        ret_reply->end = API_CANCELLED;
        if (s.id[0] != '\0')
            delete_stream(&s);
    }
    ret_reply->total_s = seconds_since(s.began_ns);
    sse_fini(&s.sse);
    buf_fini(&s.body);
}
