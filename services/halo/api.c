/* SPDX-License-Identifier: MIT */
#include "services/halo/api.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/opt.h"
#include "services/halo/sse.h"

enum {
    CONNECT_TIMEOUT_MS = 5000,
    POLL_MS = 60000,
    MODELS_TIMEOUT_MS = 10000,
    BODY_CAP = 1024 * 1024, /* of an answer that is not a stream */
    HTTP_OK = 200,
    HTTP_UNAUTHORIZED = 401,
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

/* ---- GET --------------------------------------------------------------------------------------- */

static size_t keep_body(char *bytes, size_t one, size_t n, void *ctx)
{
    struct buf *body = ctx;
    (void)one;
    if (body->len + n > BODY_CAP)
        return 0;
    buf_add(body, bytes, n);
    return n;
}

void api_get(const char *base, const char *path, uint32_t timeout_ms, struct api_answer *ret_answer)
{
    char error[CURL_ERROR_SIZE];
    struct curl_slist *headers = make_headers(false);
    CURL *c = make_handle(base, path, headers, error);
    *ret_answer = (struct api_answer){0};
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

static void conclude(struct stream *s, CURLcode rc, const char *curl_error)
{
    struct api_reply *r = s->reply;
    long status = 0;
    (void)curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
    r->end = API_FAILED;
    if (status != HTTP_OK && status != 0) {
        json_t *o = json_loadb(s->body.ptr, s->body.len, 0, NULL);
        if (json_object_get(o, "error") != NULL)
            take_error(s, o);
        else
            (void)snprintf(r->error, sizeof r->error, "HTTP status %ld", status);
        json_decref(o);
    } else if (s->has_error) {
        return; /* said in the stream */
    } else if (rc != CURLE_OK) {
        keep_error(r->error, rc, curl_error);
    } else if (!s->is_done) {
        (void)snprintf(r->error, sizeof r->error, "the stream ended early: the reply is cut off");
    } else {
        r->end = API_DONE;
    }
}

void api_chat(const struct api_chat *chat, struct api_reply *ret_reply)
{
    char error[CURL_ERROR_SIZE];
    struct curl_slist *headers = make_headers(true);
    struct stream s = {.chat = chat, .reply = ret_reply, .began_ns = clock_now_ns()};
    CURLcode rc = CURLE_OK;
    *ret_reply = (struct api_reply){.end = API_CANCELLED};
    s.sse.event = on_event;
    s.sse.ctx = &s;
    s.curl = make_handle(chat->base, "/v1/chat/completions", headers, error);
    (void)curl_easy_setopt(s.curl, CURLOPT_POSTFIELDS, chat->body);
    (void)curl_easy_setopt(s.curl, CURLOPT_TIMEOUT_MS, (long)chat->timeout_ms);
    (void)curl_easy_setopt(s.curl, CURLOPT_WRITEFUNCTION, on_bytes);
    (void)curl_easy_setopt(s.curl, CURLOPT_WRITEDATA, &s);
    CURLM *multi = curl_multi_init();
    ASSERT(multi != NULL && curl_multi_add_handle(multi, s.curl) == CURLM_OK);
    if (transfer(multi, chat->cancel_fd, &rc))
        conclude(&s, rc, error);
    ret_reply->total_s = seconds_since(s.began_ns);
    (void)curl_multi_remove_handle(multi, s.curl);
    curl_easy_cleanup(s.curl);
    (void)curl_multi_cleanup(multi);
    curl_slist_free_all(headers);
    sse_fini(&s.sse);
    buf_fini(&s.body);
}
