/* SPDX-License-Identifier: MIT */
#include "services/router/burnin.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/mem.h"

enum { PERCENT = 100, TIME_CAP = 40, HASH_BYTES = 32 };

static const char *const VERDICT_NAMES[VERDICTS] = {"exact", "different", "empty", "truncated"};
static const char *const SIDE_NAMES[LANES] = {"stable", "candidate"};
static const char *const FINISH_NAMES[] = {"none", "stop", "length", "cancelled", "error"};

const char *burnin_verdict_name(enum verdict v)
{
    return VERDICT_NAMES[v];
}

void burnin_init(struct burnin *b, const char *path, uint32_t share, uint64_t log_bytes)
{
    *b = (struct burnin){
        .share = share, .path = mem_strndup(path, strlen(path)), .log_bytes = log_bytes};
}

void burnin_fini(struct burnin *b)
{
    free(b->path);
    *b = (struct burnin){0};
}

bool burnin_takes_next(struct burnin *b)
{
    b->owed += b->share;
    if (b->owed < PERCENT)
        return false;
    b->owed -= PERCENT;
    return true;
}

/* ---- pairs ------------------------------------------------------------------------------------- */

static void pair_free(struct pair *p)
{
    p->burnin->n_pairs--;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        if (p->sides[lane].request != NULL)
            p->sides[lane].request->pair = NULL;
        free(p->sides[lane].ids);
    }
    request_free(p->origin);
    free(p);
}

/* A request of ours with what was asked. Its end was fixed when the client's was placed. The model is
 * the group's: the candidate may serve another file. */
static struct request *copy_of(const struct request *q)
{
    struct frame_submit f = q->submit;
    struct request *copy;
    f.model_hash = (struct str){0};
    f.numbers = 0;
    f.deadline_ms = 0;
    if (request_new(&f, &copy) != ERR_OK)
        return NULL;
    copy->was_placed = true;
    return copy;
}

struct pair *burnin_pair_new(struct burnin *b, struct request *q, const struct engine *e)
{
    struct request *origin = copy_of(q);
    if (origin == NULL)
        return NULL;
    struct pair *p = mem_zalloc(1, sizeof *p);
    p->burnin = b;
    p->origin = origin;
    b->n_pairs++;
    burnin_started(p, LANE_STABLE, q, e);
    return p;
}

struct request *burnin_shadow(struct pair *p)
{
    struct request *q = copy_of(p->origin);
    if (q == NULL) {
        pair_free(p);
        return NULL;
    }
    q->pair = p;
    q->pair_lane = LANE_CANDIDATE;
    return q;
}

void burnin_skip(struct pair *take_p)
{
    take_p->burnin->counts.skipped++;
    pair_free(take_p);
}

void burnin_started(struct pair *p, uint32_t lane, struct request *q, const struct engine *e)
{
    struct burnin_side *s = &p->sides[lane];
    s->request = q;
    s->group = q->group;
    if (s->start_ns == 0)
        s->start_ns = clock_now_ns();
    (void)snprintf(s->engine, sizeof s->engine, "%s", e->peer.name);
    (void)snprintf(s->build, sizeof s->build, "%s", e->build);
    (void)snprintf(s->backend, sizeof s->backend, "%s", e->backend);
    (void)snprintf(s->model_hash, sizeof s->model_hash, "%s", e->model_hash);
    q->pair = p;
    q->pair_lane = lane;
}

void burnin_token(struct pair *p, uint32_t lane)
{
    if (p->sides[lane].first_ns == 0)
        p->sides[lane].first_ns = clock_now_ns();
}

bool burnin_ended(struct pair *p, uint32_t lane, uint32_t finish, uint32_t code)
{
    struct burnin_side *s = &p->sides[lane];
    struct request *q = s->request;
    s->end_ns = clock_now_ns();
    s->finish = finish;
    s->code = code;
    if (q != NULL) {
        s->ids = mem_zalloc(q->n_ids + 1, sizeof *s->ids);
        s->n_ids = q->n_ids;
        memcpy(s->ids, q->ids, q->n_ids * sizeof *s->ids);
        q->pair = NULL;
        s->request = NULL;
    }
    return p->sides[1 - lane].finish != FINISH_NONE;
}

void burnin_cancel(struct pair *take_p)
{
    take_p->burnin->counts.cancelled++;
    pair_free(take_p);
}

/* ---- a row of the log -------------------------------------------------------------------------- */

static void add_time(struct buf *b)
{
    char text[TIME_CAP];
    uint64_t now = clock_unix_ms();
    time_t seconds = (time_t)(now / 1000);
    struct tm tm;
    (void)gmtime_r(&seconds, &tm);
    (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(b, "{\"time\":\"%s.%03uZ\",", text, (unsigned)(now % 1000));
}

static void add_prompt(struct buf *b, const struct frame_submit *f)
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_Digest(f->prompt, f->n_prompt * sizeof *f->prompt, hash, &n, EVP_sha256(), NULL) != 1)
        n = 0;
    buf_add_cstr(b, "\"prompt_sha256\":\"");
    for (unsigned i = 0; i < n && i < HASH_BYTES; i++)
        buf_printf(b, "%02x", hash[i]);
    buf_printf(b,
               "\",\"prompt_tokens\":%zu,\"max_tokens\":%" PRIu32
               ",\"temperature\":%.9g,\"seed\":%" PRIu64 ",",
               f->n_prompt, f->sampling.max_tokens, (double)f->sampling.temperature,
               f->sampling.seed);
}

static void add_ms(struct buf *b, const char *key, uint64_t from_ns, uint64_t to_ns)
{
    if (to_ns >= from_ns && from_ns > 0)
        buf_printf(b, ",\"%s\":%.3f", key, (double)(to_ns - from_ns) / 1e6);
    else
        buf_printf(b, ",\"%s\":null", key);
}

static void add_number(struct buf *b, const char *key, bool is_there, double value)
{
    if (is_there && isfinite(value))
        buf_printf(b, ",\"%s\":%.6g", key, value);
    else
        buf_printf(b, ",\"%s\":null", key);
}

static void add_side(struct buf *b, const struct pair *p, uint32_t lane, bool is_different)
{
    const struct burnin_side *s = &p->sides[lane];
    buf_printf(b, "\"%s\":{\"group\":%" PRIu32 ",\"engine\":", SIDE_NAMES[lane], s->group);
    buf_add_json(b, str_from(s->engine));
    buf_add_cstr(b, ",\"build\":");
    buf_add_json(b, str_from(s->build));
    buf_add_cstr(b, ",\"backend\":");
    buf_add_json(b, str_from(s->backend));
    buf_add_cstr(b, ",\"model\":");
    buf_add_json(b, str_from(s->model_hash));
    buf_printf(b, ",\"tokens\":%zu,\"finish\":\"%s\"", s->n_ids, FINISH_NAMES[s->finish]);
    if (s->finish == FINISH_ERROR)
        buf_printf(b, ",\"error\":\"%s\"", err_name(err_from_number(s->code)));
    add_ms(b, "first_ms", s->start_ns, s->first_ns);
    add_ms(b, "total_ms", s->start_ns, s->end_ns);
    if (is_different) {
        if (p->difference < s->n_ids)
            buf_printf(b, ",\"token\":%" PRIu32, s->ids[p->difference]);
        else
            buf_add_cstr(b, ",\"token\":null");
        /* Of a run that gave another token than the reply did, the figures are not the reply's. */
        bool is_same =
            s->has_probe && p->difference < s->n_ids && s->probe_id == s->ids[p->difference];
        add_number(b, "logprob", is_same, (double)s->probe_logprob);
        add_number(b, "margin", is_same, (double)s->probe_margin);
    }
    buf_add_cstr(b, lane == LANE_STABLE ? "}," : "}}\n");
}

/* Makes room for a further row: the log as it is becomes <log>.1. */
static void rotate(const struct burnin *b, int fd)
{
    struct stat st;
    struct buf old = {0};
    if (fstat(fd, &st) != 0 || (uint64_t)st.st_size < b->log_bytes)
        return;
    buf_printf(&old, "%s.1", b->path);
    if (rename(b->path, old.ptr) != 0)
        log_warn("burnin-log-not-rotated", S("path", b->path), S("why", strerrordesc_np(errno)));
    buf_fini(&old);
}

static bool append(const struct burnin *b, const struct buf *row)
{
    int fd = open(b->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    ssize_t n = FAULT_HITS(full_disk) ? 0 : write(fd, row->ptr, row->len);
    int error = errno;
    if (n >= 0 && (size_t)n < row->len)
        error = ENOSPC;
    rotate(b, fd);
    (void)close(fd);
    errno = error;
    return n == (ssize_t)row->len;
}

static void write_row(struct pair *take_p, enum verdict verdict)
{
    struct pair *p = take_p;
    struct burnin *b = p->burnin;
    struct buf row = {0};
    add_time(&row);
    add_prompt(&row, &p->origin->submit);
    buf_printf(&row, "\"verdict\":\"%s\",\"first_difference\":", VERDICT_NAMES[verdict]);
    if (verdict == VERDICT_DIFFERENT)
        buf_printf(&row, "%zu,", p->difference);
    else
        buf_add_cstr(&row, "null,");
    for (uint32_t lane = 0; lane < LANES; lane++)
        add_side(&row, p, lane, verdict == VERDICT_DIFFERENT);
    b->counts.verdicts[verdict]++;
    bool ok = append(b, &row);
    if (!ok) {
        b->counts.unlogged++;
        if (!b->is_full_logged)
            log_error("burnin-row-not-written", S("path", b->path),
                      S("why", strerrordesc_np(errno)));
    }
    b->is_full_logged = !ok;
    buf_fini(&row);
    pair_free(p);
}

/* ---- comparing --------------------------------------------------------------------------------- */

static size_t common_prefix(const struct burnin_side *a, const struct burnin_side *b)
{
    size_t n = a->n_ids < b->n_ids ? a->n_ids : b->n_ids;
    size_t i = 0;
    while (i < n && a->ids[i] == b->ids[i])
        i++;
    return i;
}

static enum verdict judge(struct pair *p)
{
    const struct burnin_side *s = &p->sides[LANE_STABLE];
    const struct burnin_side *c = &p->sides[LANE_CANDIDATE];
    for (uint32_t lane = 0; lane < LANES; lane++) {
        uint32_t finish = p->sides[lane].finish;
        if (finish != FINISH_STOP && finish != FINISH_LENGTH)
            return VERDICT_TRUNCATED;
    }
    if (s->n_ids == 0 || c->n_ids == 0)
        return VERDICT_EMPTY;
    p->difference = common_prefix(s, c);
    bool is_same = p->difference == s->n_ids && s->n_ids == c->n_ids && s->finish == c->finish;
    return is_same ? VERDICT_EXACT : VERDICT_DIFFERENT;
}

bool burnin_compare(struct pair *take_p)
{
    struct pair *p = take_p;
    enum verdict verdict = judge(p);
    if (verdict == VERDICT_DIFFERENT) {
        p->n_probes = LANES;
        return true;
    }
    write_row(p, verdict);
    return false;
}

struct request *burnin_probe(struct pair *p, uint32_t lane)
{
    struct request *q = copy_of(p->origin);
    if (q == NULL)
        return NULL;
    for (size_t i = 0; i < p->difference; i++)
        request_record(q, p->sides[LANE_STABLE].ids[i]);
    /* The finish itself may be what differs: then there is no token to ask for beyond the end. */
    uint32_t most = (uint32_t)p->difference + 1;
    if (most < q->submit.sampling.max_tokens)
        q->submit.sampling.max_tokens = most;
    q->submit.sampling.logprobs = true;
    q->submit.sampling.top_logprobs = 2;
    q->group = p->sides[lane].group;
    q->is_probe = true;
    q->pair = p;
    q->pair_lane = lane;
    return q;
}

void burnin_probed(struct pair *p, uint32_t lane, const struct rec_token *token)
{
    struct burnin_side *s = &p->sides[lane];
    if (token != NULL && token->has_id) {
        s->has_probe = true;
        s->probe_id = token->id;
        s->probe_logprob = token->logprob;
        s->probe_margin = token->n_top >= 2 ? token->top[0].logprob - token->top[1].logprob : NAN;
    }
    if (--p->n_probes == 0)
        write_row(p, VERDICT_DIFFERENT);
}
