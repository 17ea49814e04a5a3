/* SPDX-License-Identifier: MIT */
/* burnin: a share of the stable lane's requests is computed by the candidate lane, too, and the two
 * replies are compared token by token.
 *
 * A pair is one such request: the client's, which the stable lane answers as ever, and its shadow, of
 * which no client sees anything. When both have ended, one row is written to the burn-in log:
 *
 *   exact      the same tokens and the same finish
 *   different  not so. Both lanes are asked once more for the token at the first difference, with log
 *              probabilities, so that the row can say how close the choice was. The difference of two
 *              log probabilities is that of the logits: the margin of the best over the second
 *   empty      a reply without any token: nothing was compared
 *   truncated  one of the two ended with an error or was lost: only a part could be compared
 *
 * Empty and truncated pairs are failures of the comparison and never count as exact. A request that its
 * client cancels is not compared at all. The log (JSON, one object a line, mode 0600) holds hashes and
 * numbers and no text; beyond `log_bytes` it becomes <log>.1, which replaces an older one.
 *
 * This module keeps pairs and writes rows; sending and receiving is the router's business. */
#ifndef HALO_ROUTER_BURNIN_H
#define HALO_ROUTER_BURNIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "services/router/engines.h"
#include "services/router/lanes.h"
#include "services/router/request.h"

enum verdict { VERDICT_EXACT, VERDICT_DIFFERENT, VERDICT_EMPTY, VERDICT_TRUNCATED, VERDICTS };

const char *burnin_verdict_name(enum verdict v);

struct burnin_counts {
    uint64_t verdicts[VERDICTS];
    uint64_t skipped; /* chosen, but the candidate lane had no room to spare */
    uint64_t cancelled; /* by their clients */
    uint64_t unlogged; /* rows that could not be written */
};

struct burnin {
    uint32_t share; /* percent of the stable lane's requests */
    uint32_t owed; /* hundredths of a request that are due for comparison */
    char *path; /* of the log */
    uint64_t log_bytes;
    bool is_full_logged;
    struct burnin_counts counts; /* since the router's start */
    uint32_t n_pairs; /* that are being computed */
};

/* What one lane made of a pair. */
struct burnin_side {
    struct request *request; /* in the router's hands; NULL before and after */
    char engine[PEER_NAME_MAX + 1];
    char build[ENGINE_BUILD_MAX + 1];
    char backend[ENGINE_BACKEND_MAX + 1];
    char model_hash[ENGINE_HASH_MAX + 1];
    uint32_t group; /* of the engines that compute it */
    uint64_t start_ns;
    uint64_t first_ns; /* of the first token; 0: none came */
    uint64_t end_ns;
    uint32_t *ids;
    size_t n_ids;
    uint32_t finish; /* enum finish; FINISH_NONE while it runs */
    uint32_t code; /* enum err, with FINISH_ERROR */
    bool has_probe; /* what the probe of the first difference gave */
    uint32_t probe_id;
    float probe_logprob;
    float probe_margin;
};

struct pair {
    struct burnin *burnin;
    struct request *origin; /* a copy of what was asked */
    struct burnin_side sides[LANES]; /* LANE_STABLE: the client's */
    size_t difference; /* position; valid for VERDICT_DIFFERENT */
    unsigned n_probes; /* that are not back */
};

/* path is borrowed for the call. */
void burnin_init(struct burnin *b, const char *path, uint32_t share, uint64_t log_bytes);
void burnin_fini(struct burnin *b);

/* Whether the next request of the stable lane shall be compared: of a hundred in a row exactly `share`. */
bool burnin_takes_next(struct burnin *b);

/* A pair of the client's request q, just sent to e; NULL when memory runs out. */
struct pair *burnin_pair_new(struct burnin *b, struct request *q, const struct engine *e);

/* The candidate's request of a pair: in no list, its group is not set. NULL, and the pair is freed, when
 * memory runs out. */
struct request *burnin_shadow(struct pair *p);

/* There was no place for the shadow: frees the pair. */
void burnin_skip(struct pair *take_p);

/* Notes that the side's request was sent to e. */
void burnin_started(struct pair *p, uint32_t lane, struct request *q, const struct engine *e);

/* Notes a token that came. */
void burnin_token(struct pair *p, uint32_t lane);

/* Notes the end of a side: its ids are copied and its request is forgotten. True when the other has ended
 * before: then call burnin_compare. */
bool burnin_ended(struct pair *p, uint32_t lane, uint32_t finish, uint32_t code);

/* Compares. True if the pair needs probes: burnin_probe, twice; else it is written and freed. */
bool burnin_compare(struct pair *take_p);

/* A request for the token at the first difference; NULL when memory runs out. Its pair and lane are
 * set; it is in no list. */
struct request *burnin_probe(struct pair *p, uint32_t lane);

/* What the probe brought (NULL: nothing). After the second one the row is written and the pair freed. */
void burnin_probed(struct pair *p, uint32_t lane, const struct rec_token *token);

/* The client has cancelled: frees the pair, no row. Sides still in the router's hands are forgotten. */
void burnin_cancel(struct pair *take_p);

#endif
