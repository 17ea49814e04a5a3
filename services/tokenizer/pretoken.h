/* SPDX-License-Identifier: MIT */
/* Pre-tokenizers: cut text into the pieces inside which BPE merges, by the rule that the model was
 * trained with. The rules are PCRE2 patterns.
 *
 * What must stay true of the patterns: each character starts a match of at least one character, and
 * one match costs time in proportion to its own length (no nested repeats), so a text costs linear
 * time whatever it holds. White space is spelled out as Unicode's White_Space: PCRE2's \s also takes
 * U+180E, which tokenizers' libraries do not.
 *
 * Measured on 1 MB in 105 languages, one thread of a Zen 3 VM: 196 MB/s with JIT (the pattern must be
 * anchored when it is compiled: anchoring per match silently leaves JIT), 62 MB/s without; a tenth
 * less in both with \s. Where memory must not be both writable and executable the JIT compiler
 * refuses and the interpreter runs.
 *
 * A rule is immutable and may be shared between threads; a scan belongs to one thread. */
#ifndef HALO_TOKENIZER_PRETOKEN_H
#define HALO_TOKENIZER_PRETOKEN_H

#include <stdbool.h>

#include "common/err.h"
#include "common/str.h"

struct pretoken;

/* The rule of that name (tokenizer.ggml.pre of GGUF files; llama-3 is another name of llama-bpe). An
 * unknown one gives ERR_UNKNOWN and a line that lists the known ones in `why`. `jit` = false asks for
 * the interpreter. */
MUST_CHECK enum err pretoken_new(const char *name, bool jit, char *why, size_t cap_why,
                                 struct pretoken **ret_rule);
void pretoken_free(struct pretoken *rule);

/* Whether a piece that is itself a token is taken whole, whatever the merges would make of it. */
bool pretoken_ignores_merges(const struct pretoken *rule);

/* Whether the patterns run as machine code. */
bool pretoken_has_jit(const struct pretoken *rule);

/* Compiles all rules to machine code, for pretoken_new to use: later, in the sandbox, no memory can be run
 * that was written. Once, at the start, before there are threads. */
void pretoken_prepare(void);

struct pretoken_scan;

/* Borrows the rule until pretoken_scan_free. */
MUST_CHECK enum err pretoken_scan_new(const struct pretoken *rule, struct pretoken_scan **ret_scan);
void pretoken_scan_free(struct pretoken_scan *scan);

/* Begins at the text's start. Borrows the text until the next start or the scan's end. */
void pretoken_scan_start(struct pretoken_scan *scan, struct str text);

/* The next piece; empty at the end of the text. The pieces put together are the text, bytes
 * that are not UTF-8 included: a run of those is a piece of its own, and the text around it is cut as
 * if it ended there. Fails only when a match needs more than its share of steps (ERR_TOO_LARGE) or
 * memory. */
MUST_CHECK enum err pretoken_scan_next(struct pretoken_scan *scan, struct str *ret_piece);

#endif
