/* SPDX-License-Identifier: MIT */
/* Compares a logged reply with the one that the same request and seed get now. No input or output. */
#ifndef HALO_HALO_VERIFY_CHECK_H
#define HALO_HALO_VERIFY_CHECK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { VERIFY_WHY_CAP = 600 };

enum verify_result {
    VERIFY_SAME,
    VERIFY_DIFFERS,
    VERIFY_UNCHECKED, /* it could not be made again */
};

/* The body that asks for the reply again, whole and with its seed, from the model with this name; "n", "stop"
 * and all that the tokens depend on stay. NULL: the request is none. The caller frees it. */
char *verify_check_body(const char *request, const json_t *receipt, const char *model);

/* Whether a request in the log is of verify_check_body. */
bool verify_check_is_ours(const char *request);

/* Compares two receipts of one reply, and `answer`, what the API said to verify_check_body, with the texts
 * in `replies` (NULL: only the receipt is there). `why` (VERIFY_WHY_CAP bytes) gets one line. */
enum verify_result verify_check_receipts(const json_t *theirs, const json_t *logged, char *why);
enum verify_result verify_check_answer(const json_t *receipt, const json_t *replies,
                                       const json_t *answer, char *why);

#endif
