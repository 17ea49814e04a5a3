/* SPDX-License-Identifier: MIT */
#include "services/gateway/keys.h"

#include <errno.h>
#include <libgen.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/keyfile.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/gateway/metrics.h"

enum { MINUTE_S = 60, EVENTS_CAP = 4096 };

struct bucket {
    uint32_t limit; /* a minute; 0: none */
    double left;
    uint64_t filled_ns;
};

struct key {
    struct keyfile_key facts;
    bool is_revoked;
    unsigned n_refs; /* replies in flight */
    struct bucket requests;
    struct bucket tokens;
    uint64_t n_requests;
    uint64_t n_tokens;
};

struct keys {
    struct loop *loop;
    struct loop_watch watch; /* inotify on the file's directory */
    char *path;
    char *file_name; /* the last part of path */
    struct key **keys;
    size_t n_keys;
};

/* ---- the file ---------------------------------------------------------------------------------- */

static struct key *find_by_hash(const struct keys *k, const uint8_t *hash)
{
    for (size_t i = 0; i < k->n_keys; i++) {
        if (memcmp(k->keys[i]->facts.hash, hash, KEYFILE_HASH_BYTES) == 0)
            return k->keys[i];
    }
    return NULL;
}

static void set_limit(struct bucket *b, uint32_t limit)
{
    if (b->limit == limit)
        return;
    *b = (struct bucket){.limit = limit, .left = limit, .filled_ns = clock_now_ns()};
}

static void take_key(struct keys *k, const struct keyfile_key *facts)
{
    struct key *key = find_by_hash(k, facts->hash);
    if (key == NULL) {
        key = mem_zalloc(1, sizeof *key);
        k->keys = mem_resize(k->keys, k->n_keys + 1, sizeof(struct key *));
        k->keys[k->n_keys++] = key;
    }
    key->facts = *facts;
    key->is_revoked = false;
    set_limit(&key->requests, facts->requests_per_minute);
    set_limit(&key->tokens, facts->tokens_per_minute);
}

static void drop_revoked(struct keys *k)
{
    size_t n_kept = 0;
    for (size_t i = 0; i < k->n_keys; i++) {
        if (k->keys[i]->is_revoked && k->keys[i]->n_refs == 0)
            free(k->keys[i]);
        else
            k->keys[n_kept++] = k->keys[i];
    }
    k->n_keys = n_kept;
}

static bool load(struct keys *k, char *why)
{
    struct keyfile file = {0};
    if (keyfile_read(k->path, why, &file) != ERR_OK)
        return false;
    for (size_t i = 0; i < k->n_keys; i++)
        k->keys[i]->is_revoked = true;
    for (size_t i = 0; i < file.n_keys; i++)
        take_key(k, &file.keys[i]);
    drop_revoked(k);
    log_info("keys", U("n", file.n_keys));
    keyfile_fini(&file);
    return true;
}

static void on_change(struct loop_watch *w, uint32_t events)
{
    struct keys *k = (struct keys *)(void *)((char *)w - offsetof(struct keys, watch));
    _Alignas(struct inotify_event) char bytes[EVENTS_CAP];
    char why[KEYFILE_WHY_CAP];
    bool is_ours = false;
    (void)events;
    for (ssize_t n; (n = read(w->fd, bytes, sizeof bytes)) > 0;) {
        for (char *p = bytes; p < bytes + n;) {
            const struct inotify_event *e = (const struct inotify_event *)(const void *)p;
            is_ours = is_ours || (e->mask & IN_Q_OVERFLOW) != 0 ||
                      (e->len > 0 && strcmp(e->name, k->file_name) == 0);
            p += sizeof *e + e->len;
        }
    }
    /* The keys that were good stay good while the file is not. */
    if (is_ours && !load(k, why))
        log_error("keys-not-read", S("why", why));
}

static bool watch_directory(struct keys *k)
{
    char *copy = mem_strndup(k->path, strlen(k->path));
    k->watch.ready = on_change;
    k->watch.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    bool ok = k->watch.fd >= 0 &&
              inotify_add_watch(k->watch.fd, dirname(copy),
                                IN_CLOSE_WRITE | IN_MOVED_TO | IN_ATTRIB | IN_ONLYDIR) >= 0 &&
              loop_watch_add(k->loop, &k->watch, EPOLLIN) == ERR_OK;
    free(copy);
    return ok;
}

bool keys_open(struct loop *loop, const char *path, struct keys **ret_keys)
{
    char why[KEYFILE_WHY_CAP];
    struct keys *k = mem_zalloc(1, sizeof *k);
    k->loop = loop;
    k->watch.fd = -1;
    k->path = mem_strndup(path, strlen(path));
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    k->file_name = mem_strndup(name, strlen(name));
    bool ok = watch_directory(k); /* before reading, so that no change is missed */
    if (!ok)
        (void)snprintf(why, sizeof why, "cannot watch the directory of %s: %s", path,
                       strerrordesc_np(errno));
    if (ok && load(k, why)) {
        *ret_keys = k;
        return true;
    }
    (void)fprintf(stderr, "halo-gateway: %s\n", why);
    keys_close(k);
    return false;
}

void keys_close(struct keys *k)
{
    if (k == NULL)
        return;
    if (k->watch.fd >= 0) {
        loop_watch_remove(k->loop, &k->watch);
        (void)close(k->watch.fd);
    }
    for (size_t i = 0; i < k->n_keys; i++)
        free(k->keys[i]);
    free(k->keys);
    free(k->path);
    free(k->file_name);
    free(k);
}

/* ---- who ------------------------------------------------------------------------------------------ */

static struct str presented(const struct exchange *x)
{
    static const char SCHEME[] = "bearer ";
    const size_t n = sizeof SCHEME - 1;
    struct str s = exchange_header(x, "authorization");
    if (s.len == 0)
        return exchange_header(x, "x-api-key");
    if (s.len < n || strncasecmp(s.ptr, SCHEME, n) != 0)
        return STR_LIT("");
    return (struct str){s.ptr + n, s.len - n};
}

struct key *keys_identify(struct keys *k, struct exchange *x, struct api_error *ret_error)
{
    uint8_t hash[KEYFILE_HASH_BYTES];
    struct key *found = NULL;
    struct str secret = presented(x);
    if (secret.len == 0) {
        error_set(ret_error, PROBLEM_KEY_MISSING, NULL,
                  "This server wants an API key: send the header 'Authorization: Bearer KEY'. Its "
                  "operator makes one with `halo key add NAME`.");
        return NULL;
    }
    keyfile_hash(secret, hash);
    for (size_t i = 0; i < k->n_keys; i++) {
        bool is_same = CRYPTO_memcmp(hash, k->keys[i]->facts.hash, sizeof hash) == 0;
        found = is_same && !k->keys[i]->is_revoked ? k->keys[i] : found;
    }
    if (found == NULL)
        error_set(ret_error, PROBLEM_KEY_UNKNOWN, NULL,
                  "The API key is unknown here or was revoked. Check that all of it was copied, or "
                  "ask the operator for another.");
    return found;
}

struct key *key_ref(struct key *key)
{
    key->n_refs++;
    return key;
}

void key_unref(struct key *key)
{
    if (key != NULL)
        key->n_refs--; /* drop_revoked does the rest */
}

/* ---- how much -------------------------------------------------------------------------------------- */

static void fill(struct bucket *b)
{
    uint64_t now = clock_now_ns();
    b->left += (double)(now - b->filled_ns) * 1e-9 * b->limit / MINUTE_S;
    b->left = b->left < b->limit ? b->left : b->limit;
    b->filled_ns = now;
}

/* Until so much is left, rounded up. */
static uint32_t ms_until(const struct bucket *b, double wanted)
{
    double ms = (wanted - b->left) * MINUTE_S * 1000 / b->limit;
    if (ms <= 0 || ms >= UINT32_MAX)
        return ms <= 0 ? 0 : UINT32_MAX;
    return (uint32_t)ms + ((double)(uint32_t)ms < ms);
}

/* At least 1. */
static uint32_t seconds_until(const struct bucket *b, double wanted)
{
    uint32_t ms = ms_until(b, wanted);
    return ms > 1000 ? (ms - 1) / 1000 + 1 : 1;
}

static bool refuse(struct api_error *e, const struct key *key, const struct bucket *b,
                   double wanted, const char *what)
{
    uint32_t wait_s = seconds_until(b, wanted);
    error_set(e, PROBLEM_KEY_BUDGET, NULL,
              "The key '%s' may use %u %s a minute, and they are used up. Try again in %u s.",
              key->facts.name, b->limit, what, wait_s);
    e->retry_ms = ms_until(b, wanted);
    return false;
}

bool key_admit(struct key *key, struct api_error *ret_error)
{
    fill(&key->requests);
    fill(&key->tokens);
    if (key->requests.limit > 0 && key->requests.left < 1)
        return refuse(ret_error, key, &key->requests, 1, "requests");
    if (key->tokens.limit > 0 && key->tokens.left <= 0)
        return refuse(ret_error, key, &key->tokens, 1, "tokens");
    key->requests.left -= 1;
    key->n_requests++;
    return true;
}

void key_spend(struct key *key, uint64_t n_tokens)
{
    key->tokens.left -= (double)n_tokens;
    key->n_tokens += n_tokens;
}

static void add_limit(const struct bucket *b, struct exchange *x, const char *limit_name,
                      const char *left_name, const char *reset_name)
{
    char text[32];
    if (b->limit == 0)
        return;
    (void)snprintf(text, sizeof text, "%u", b->limit);
    exchange_add_header(x, limit_name, str_from(text));
    (void)snprintf(text, sizeof text, "%u", b->left > 0 ? (unsigned)b->left : 0);
    exchange_add_header(x, left_name, str_from(text));
    (void)snprintf(text, sizeof text, "%us", b->left < b->limit ? seconds_until(b, b->limit) : 0);
    exchange_add_header(x, reset_name, str_from(text));
}

void key_add_headers(const struct key *key, struct exchange *x)
{
    add_limit(&key->requests, x, "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests",
              "x-ratelimit-reset-requests");
    add_limit(&key->tokens, x, "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens",
              "x-ratelimit-reset-tokens");
}

uint64_t key_salt(const struct key *key)
{
    uint64_t salt;
    memcpy(&salt, key->facts.hash, sizeof salt);
    return salt;
}

const char *key_name(const struct key *key)
{
    return key->facts.name;
}

void keys_write_metrics(const struct keys *k, struct buf *out)
{
    struct buf labels = {0};
    for (unsigned is_tokens = 0; is_tokens < 2; is_tokens++) {
        for (size_t i = 0; i < k->n_keys; i++) {
            const struct key *key = k->keys[i];
            buf_reset(&labels);
            buf_add_cstr(&labels, "key=");
            metrics_quote(&labels, key->facts.name);
            if (is_tokens)
                metrics_write_one(out, "counter", "halo_key_tokens_total", buf_str(&labels).ptr,
                                  (double)key->n_tokens, i == 0 ? "tokens used with a key" : NULL);
            else
                metrics_write_one(out, "counter", "halo_key_requests_total", buf_str(&labels).ptr,
                                  (double)key->n_requests,
                                  i == 0 ? "requests admitted with a key" : NULL);
        }
    }
    buf_fini(&labels);
}
