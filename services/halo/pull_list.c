/* SPDX-License-Identifier: MIT */
#include "services/halo/pull_list.h"

#include <ctype.h>
#include <curl/curl.h>
#include <fnmatch.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/mem.h"

enum {
    LISTING_CAP = 32 * 1024 * 1024,
    MAX_PAGES = 32,
    TIMEOUT_S = 60,
    TRIES = 4,
    FIRST_WAIT_MS = 150,
    HTTP_OK = 200,
};

/* ---- names -------------------------------------------------------------------------------------- */

static bool is_word(const char *s, size_t n, const char *more)
{
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)s[i]) && (s[i] == '\0' || strchr(more, s[i]) == NULL))
            return false;
    }
    return n > 0 && s[0] != '.' && s[0] != '-';
}

static bool is_url(const char *s)
{
    return strncasecmp(s, "http://", 7) == 0 || strncasecmp(s, "https://", 8) == 0;
}

static bool parse_repo(struct pull_source *s, const char *name)
{
    const char *slash = strchr(name, '/');
    const char *at = strchr(name, '@');
    size_t n = at != NULL ? (size_t)(at - name) : strlen(name);
    const char *revision = at != NULL ? at + 1 : "main";
    if (slash == NULL || (size_t)(slash - name) >= n || n >= sizeof s->repo ||
        !is_word(name, (size_t)(slash - name), "-_.") ||
        !is_word(slash + 1, n - (size_t)(slash + 1 - name), "-_.") ||
        strlen(revision) >= sizeof s->revision || !is_word(revision, strlen(revision), "-_./") ||
        strstr(revision, "..") != NULL)
        return false;
    (void)snprintf(s->repo, sizeof s->repo, "%.*s", (int)n, name);
    (void)snprintf(s->revision, sizeof s->revision, "%s", revision);
    return true;
}

/* The page of a file on the hub shows it; the file is at .../resolve/... */
static void keep_url(struct pull_source *s, const char *url, bool is_of_hub)
{
    const char *blob = is_of_hub ? strstr(url, "/blob/") : NULL;
    if (blob != NULL)
        (void)snprintf(s->url, sizeof s->url, "%.*s/resolve/%s", (int)(blob - url), url, blob + 6);
    else
        (void)snprintf(s->url, sizeof s->url, "%s", url);
}

bool pull_source_parse(struct pull_source *s, const char *name, const char *hub, char *why)
{
    size_t n_hub = strlen(hub);
    *s = (struct pull_source){.hub = hub};
    if (!is_url(hub) || n_hub < 9 || hub[n_hub - 1] == '/') {
        (void)snprintf(why, PULL_WHY_CAP, "--hub %s is no URL like https://huggingface.co", hub);
        return false;
    }
    bool is_of_hub = strncmp(name, hub, n_hub) == 0 && name[n_hub] == '/';
    if (parse_repo(s, is_of_hub ? name + n_hub + 1 : name))
        return true;
    if (is_url(name) && strlen(name) < sizeof s->url) {
        keep_url(s, name, is_of_hub);
        return true;
    }
    (void)snprintf(why, PULL_WHY_CAP,
                   "%s is neither OWNER/REPO, OWNER/REPO@REVISION nor the URL of a file", name);
    return false;
}

/* Scheme, host and port of a URL. */
static size_t origin_length(const char *url)
{
    const char *host = strstr(url, "://");
    return host != NULL ? (size_t)(host + 3 - url) + strcspn(host + 3, "/?#") : 0;
}

/* A token must not go over a network in the clear. */
static bool is_private(const char *url)
{
    return strncasecmp(url, "https://", 8) == 0 || strncasecmp(url, "http://127.", 11) == 0 ||
           strncasecmp(url, "http://localhost", 16) == 0;
}

char *pull_source_auth(const struct pull_source *s, const char *url)
{
    size_t n = origin_length(s->hub);
    if (s->token == NULL || n == 0 || n != origin_length(url) || strncmp(url, s->hub, n) != 0 ||
        !is_private(url))
        return NULL;
    struct buf line = {0};
    buf_printf(&line, "Authorization: Bearer %s", s->token);
    return buf_detach(&line);
}

/* ---- the listing -------------------------------------------------------------------------------- */

struct page {
    struct buf body;
    char next[2048]; /* URL of the next page; "": this is the last */
    long status;
    char error[CURL_ERROR_SIZE];
};

static size_t keep_body(char *bytes, size_t one, size_t n, void *ctx)
{
    struct page *p = ctx;
    (void)one;
    if (p->body.len + n > LISTING_CAP)
        return 0;
    buf_add(&p->body, bytes, n);
    return n;
}

/* Link: <URL>; rel="next" */
static size_t keep_link(char *line, size_t one, size_t n, void *ctx)
{
    struct page *p = ctx;
    (void)one;
    if (n < 8 || strncasecmp(line, "link:", 5) != 0)
        return n;
    const char *from = memchr(line, '<', n);
    const char *to = from != NULL ? memchr(from, '>', n - (size_t)(from - line)) : NULL;
    if (to != NULL && memmem(to, n - (size_t)(to - line), "rel=\"next\"", 10) != NULL &&
        (size_t)(to - from) <= sizeof p->next)
        (void)snprintf(p->next, sizeof p->next, "%.*s", (int)(to - from - 1), from + 1);
    return n;
}

static CURLcode get_once(const struct pull_source *s, const char *url, struct page *p)
{
    CURL *c = curl_easy_init();
    char *auth = pull_source_auth(s, url);
    struct curl_slist *headers = auth != NULL ? curl_slist_append(NULL, auth) : NULL;
    ASSERT(c != NULL);
    buf_reset(&p->body);
    p->next[0] = '\0';
    p->error[0] = '\0';
    (void)curl_easy_setopt(c, CURLOPT_URL, url);
    (void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    (void)curl_easy_setopt(c, CURLOPT_MAXREDIRS, 5L);
    (void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, p->error);
    (void)curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    (void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(c, CURLOPT_USERAGENT, "halo");
    (void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep_body);
    (void)curl_easy_setopt(c, CURLOPT_WRITEDATA, p);
    (void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, keep_link);
    (void)curl_easy_setopt(c, CURLOPT_HEADERDATA, p);
    CURLcode rc = curl_easy_perform(c);
    (void)curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &p->status);
    if (rc != CURLE_OK && p->error[0] == '\0')
        (void)snprintf(p->error, sizeof p->error, "%s", curl_easy_strerror(rc));
    curl_easy_cleanup(c);
    curl_slist_free_all(headers);
    free(auth);
    return rc;
}

static void say_status(const struct pull_source *s, long status, char *why)
{
    if (status == 401 || status == 404)
        (void)snprintf(why, PULL_WHY_CAP,
                       "%s has no %s at revision %s (HTTP %ld), or it is private or gated: accept "
                       "its terms on its page and put a token into HF_TOKEN",
                       s->hub, s->repo, s->revision, status);
    else if (status == 403)
        (void)snprintf(
            why, PULL_WHY_CAP,
            "%s refuses %s (HTTP 403): accept its terms on %s/%s and put a token of that "
            "account into HF_TOKEN",
            s->hub, s->repo, s->hub, s->repo);
    else
        (void)snprintf(why, PULL_WHY_CAP, "%s answers with HTTP status %ld; try again later",
                       s->hub, status);
}

static bool get_page(const struct pull_source *s, const char *url, struct page *p, char *why)
{
    CURLcode rc = CURLE_OK;
    for (int i = 0; i < TRIES; i++) {
        if (i > 0)
            (void)poll(NULL, 0, FIRST_WAIT_MS << i); /* the next try comes later each time */
        rc = get_once(s, url, p);
        if (rc == CURLE_OK && p->status < 500 && p->status != 429)
            break;
    }
    if (rc != CURLE_OK)
        (void)snprintf(why, PULL_WHY_CAP,
                       "cannot reach %s: %s; is there a network? --hub URL names a mirror", s->hub,
                       p->error);
    else if (p->status != HTTP_OK)
        say_status(s, p->status, why);
    return rc == CURLE_OK && p->status == HTTP_OK;
}

/* Relative, without "..", "." or empty parts and without control characters. */
static bool is_safe_path(const char *path)
{
    size_t n = strlen(path);
    if (n == 0 || n > PULL_MAX_PATH || path[0] == '/' || path[n - 1] == '/')
        return false;
    for (const char *part = path; *part != '\0';) {
        size_t len = strcspn(part, "/");
        if (len == 0 || (len <= 2 && strspn(part, ".") >= len))
            return false;
        part += len + (part[len] == '/');
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)path[i] < 0x20 || path[i] == 0x7f)
            return false;
    }
    return true;
}

static void add_escaped(struct buf *url, const char *text, const char *plain)
{
    for (; *text != '\0'; text++) {
        if (isalnum((unsigned char)*text) || strchr(plain, *text) != NULL)
            buf_add_char(url, *text);
        else
            buf_printf(url, "%%%02X", (unsigned char)*text);
    }
}

static char *url_of(const struct pull_source *s, const char *path)
{
    struct buf url = {0};
    buf_printf(&url, "%s/%s/resolve/", s->hub, s->repo);
    add_escaped(&url, s->revision, "-_.~"); /* refs/pr/1 is one part */
    buf_add_char(&url, '/');
    add_escaped(&url, path, "-_.~/");
    return buf_detach(&url);
}

static bool is_hex(const char *s, size_t n)
{
    return s != NULL && strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

static void keep_hash(struct pull_file *f, const json_t *entry)
{
    const char *lfs = json_string_value(json_object_get(json_object_get(entry, "lfs"), "oid"));
    const char *git = json_string_value(json_object_get(entry, "oid"));
    if (lfs != NULL && strncmp(lfs, "sha256:", 7) == 0)
        lfs += 7;
    if (is_hex(lfs, 64))
        f->kind = PULL_HASH_SHA256;
    else if (json_object_get(entry, "lfs") == NULL && is_hex(git, 40))
        f->kind = PULL_HASH_GIT;
    if (f->kind != PULL_HASH_NONE)
        (void)snprintf(f->hash, sizeof f->hash, "%s", f->kind == PULL_HASH_GIT ? git : lfs);
}

static void add_file(struct pull_list *l, struct pull_file f)
{
    l->files = mem_resize(l->files, l->n + 1, sizeof *l->files);
    l->files[l->n++] = f;
}

static bool add_entries(const struct pull_source *s, const struct buf *body, struct pull_list *l,
                        char *why)
{
    json_t *root = json_loadb(buf_str(body).ptr, body->len, 0, NULL);
    bool is_good = json_is_array(root);
    size_t i;
    json_t *entry;
    if (!is_good)
        (void)snprintf(why, PULL_WHY_CAP, "%s does not answer like a hub of models", s->hub);
    json_array_foreach(root, i, entry)
    {
        const char *type = json_string_value(json_object_get(entry, "type"));
        const char *path = json_string_value(json_object_get(entry, "path"));
        json_int_t size = json_integer_value(json_object_get(entry, "size"));
        if (type == NULL || strcmp(type, "file") != 0)
            continue;
        is_good = path != NULL && is_safe_path(path) && size >= 0 && l->n < PULL_MAX_FILES;
        if (!is_good) {
            (void)snprintf(why, PULL_WHY_CAP, "the listing of %s names a file that is refused",
                           s->repo);
            break;
        }
        struct pull_file f = {.path = mem_strndup(path, strlen(path)),
                              .url = url_of(s, path),
                              .size = (uint64_t)size,
                              .has_size = json_is_integer(json_object_get(entry, "size"))};
        keep_hash(&f, entry);
        add_file(l, f);
    }
    json_decref(root);
    return is_good;
}

static bool list_repo(const struct pull_source *s, struct pull_list *l, char *why)
{
    struct page p = {0};
    struct buf url = {0};
    bool is_good = true;
    buf_printf(&url, "%s/api/models/%s/tree/", s->hub, s->repo);
    add_escaped(&url, s->revision, "-_.~");
    buf_add_cstr(&url, "?recursive=true");
    for (int i = 0; is_good && url.len > 0; i++) {
        is_good = get_page(s, url.ptr, &p, why) && add_entries(s, &p.body, l, why);
        buf_reset(&url);
        size_t n = origin_length(s->hub);
        bool is_of_hub = origin_length(p.next) == n && strncmp(p.next, s->hub, n) == 0;
        if (is_good && is_of_hub && i < MAX_PAGES)
            buf_add_cstr(&url, p.next);
    }
    buf_fini(&p.body);
    buf_fini(&url);
    return is_good;
}

static bool list_url(const struct pull_source *s, struct pull_list *l, char *why)
{
    const char *host = strstr(s->url, "://") + 3;
    size_t n = strcspn(host, "?#");
    const char *name = memrchr(host, '/', n);
    char path[PULL_MAX_PATH + 1];
    size_t len = name != NULL ? n - (size_t)(name + 1 - host) : 0;
    (void)snprintf(path, sizeof path, "%.*s", (int)len, name != NULL ? name + 1 : "");
    if (len > PULL_MAX_PATH || !is_safe_path(path)) {
        (void)snprintf(why, PULL_WHY_CAP, "%s does not end with the name of a file", s->url);
        return false;
    }
    add_file(l, (struct pull_file){.path = mem_strndup(path, len),
                                   .url = mem_strndup(s->url, strlen(s->url))});
    return true;
}

bool pull_list_read(const struct pull_source *s, struct pull_list *ret_list, char *why)
{
    struct pull_list l = {0};
    bool is_good = s->repo[0] != '\0' ? list_repo(s, &l, why) : list_url(s, &l, why);
    if (is_good)
        *ret_list = l;
    else
        pull_list_free(&l);
    return is_good;
}

void pull_list_free(struct pull_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->files[i].path);
        free(l->files[i].url);
    }
    free(l->files);
    *l = (struct pull_list){0};
}

/* ---- the choice --------------------------------------------------------------------------------- */

static bool matches(const char *patterns, const char *path)
{
    for (size_t n; *patterns != '\0'; patterns += n + (patterns[n] == ',')) {
        n = strcspn(patterns, ",");
        char *one = mem_strndup(patterns, n);
        bool is_match = fnmatch(one, path, 0) == 0;
        free(one);
        if (is_match)
            return true;
    }
    return false;
}

/* What lies in folders are other forms of the model. */
static bool is_beside(const char *path)
{
    return strchr(path, '/') == NULL &&
           matches("config.json,generation_config.json,tokenizer.json,tokenizer_config.json,"
                   "tokenizer.model,special_tokens_map.json,added_tokens.json,vocab.json,"
                   "merges.txt,chat_template*,*.safetensors.index.json,LICEN[SC]E*,NOTICE*",
                   path);
}

static size_t count(const struct pull_list *l, const char *pattern)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        n += strchr(l->files[i].path, '/') == NULL && matches(pattern, l->files[i].path);
    return n;
}

static const char *usual_weights(const struct pull_list *l, char *why)
{
    static const char *const FORMS[] = {"*.safetensors", "*.gguf", "*.h1b"};
    for (size_t i = 0; i < ARRAY_LEN(FORMS); i++) {
        size_t n = count(l, FORMS[i]);
        if (n == 0)
            continue;
        if (n == 1 || i == 0 || n == count(l, "*-[0-9][0-9][0-9][0-9][0-9]-of-*"))
            return FORMS[i];
        int len = snprintf(why, PULL_WHY_CAP, "there are %zu files %s; choose with --include:", n,
                           FORMS[i]);
        for (size_t k = 0; k < l->n && len >= 0 && len < PULL_WHY_CAP; k++) {
            if (strchr(l->files[k].path, '/') == NULL && matches(FORMS[i], l->files[k].path))
                len += snprintf(why + len, PULL_WHY_CAP - (size_t)len, "\n  --include '%s'",
                                l->files[k].path);
        }
        return NULL;
    }
    (void)snprintf(why, PULL_WHY_CAP,
                   "there are no weights (*.safetensors, *.gguf or *.h1b); choose with --include");
    return NULL;
}

bool pull_list_choose(struct pull_list *l, const char *include, char *why)
{
    const char *weights = include != NULL ? include : usual_weights(l, why);
    if (weights == NULL)
        return false;
    size_t n_kept = 0;
    size_t n_weights = 0;
    for (size_t i = 0; i < l->n; i++) {
        struct pull_file f = l->files[i];
        bool is_weight =
            matches(weights, f.path) && (include != NULL || strchr(f.path, '/') == NULL);
        n_weights += is_weight;
        if (is_weight || is_beside(f.path)) {
            l->files[n_kept++] = f;
        } else {
            free(f.path);
            free(f.url);
        }
    }
    l->n = n_kept;
    if (n_weights == 0)
        (void)snprintf(why, PULL_WHY_CAP, "no file matches --include %s", weights);
    return n_weights > 0;
}
