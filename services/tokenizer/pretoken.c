/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/pretoken.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "common/utf8.h"

/* Unicode's White_Space, for use inside [ ]. */
#define SP                                                                                         \
    " \\t-\\r\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{"   \
    "3000}"
#define SPACE "[" SP "]"
#define NOT_SPACE "[^" SP "]"

struct rule {
    const char *name;
    bool ignore_merges;
    const char *pattern;
};

#define LLAMA3_LIKE(digits)                                                                        \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^" SP                \
    "\\p{L}\\p{N}]+[\\r\\n]*|" SPACE "*[\\r\\n]+|" SPACE "+(?!" NOT_SPACE ")|" SPACE "+"

/* GPT-2's rule between two others, as Microsoft's fork of llama.cpp runs it for the models of the Falcon-E
 * family: text is cut at runs of [\p{P}$+<=>^~|`], what is left by GPT-2's rule, those pieces at each
 * [0-9]. The three passes are folded into one pattern: a run of the first pass is a piece, since the
 * other two leave it whole; GPT-2's rule sees each such run as an end of text, so white space in front
 * of one is not parted; and a digit is a piece, as is the space that GPT-2 takes along with it. */
#define PUNCTUATION "\\p{P}$+<=>\\^~|`"
#define FALCON_E                                                                                   \
    "[" PUNCTUATION "]+| ?\\p{L}+|[0-9]| (?=[0-9])| ?[^\\P{N}0-9]+| ?[^" SP PUNCTUATION            \
    "\\p{L}\\p{N}]+|" SPACE "+(?![^" SP PUNCTUATION "])|" SPACE "+"

/* The names are those of `tokenizer.ggml.pre` in GGUF files. Of Falcon3 there are two readings: llama.cpp
 * takes Llama 3's rule, Microsoft's fork the one of Falcon-E; the model's own tokenizer.json decides
 * which of the two names a model file gets. */
static const struct rule RULES[] = {
    {"llama-bpe", true, LLAMA3_LIKE("\\p{N}{1,3}")},
    {"llama-3", true, LLAMA3_LIKE("\\p{N}{1,3}")},
    {"qwen2", false, LLAMA3_LIKE("\\p{N}")},
    {"falcon3", true, LLAMA3_LIKE("\\p{N}{1,3}")},
    {"falcon-e", false, FALCON_E},
    {"falcon_e", false, FALCON_E},
    {"gpt-2", false,
     "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SP "\\p{L}\\p{N}]+|" SPACE "+(?!" NOT_SPACE
     ")|" SPACE "+"},
};

struct pretoken {
    const struct rule *rule;
    pcre2_code *code; /* immutable, so threads share it */
    bool is_prepared; /* the code belongs to `prepared` */
    bool has_jit;
};

struct pretoken_scan {
    const struct pretoken *rule;
    pcre2_match_data *match;
    pcre2_match_context *context;
    struct str text;
    size_t at;
    size_t valid_end; /* text[at, valid_end) is UTF-8 */
};

static const struct rule *rule_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(RULES); i++) {
        if (strcmp(RULES[i].name, name) == 0)
            return &RULES[i];
    }
    return NULL;
}

static void name_known(const char *name, char *why, size_t cap_why)
{
    int n = snprintf(why, cap_why, "pre-tokenizer \"%s\" is not known; known are", name);
    for (size_t i = 0; i < ARRAY_LEN(RULES) && n >= 0 && (size_t)n < cap_why; i++)
        n += snprintf(why + n, cap_why - (size_t)n, "%s %s", i > 0 ? "," : "", RULES[i].name);
}

static pcre2_code *compile(const struct rule *rule, int *ret_code, PCRE2_SIZE *ret_at)
{
    return pcre2_compile((PCRE2_SPTR)rule->pattern, PCRE2_ZERO_TERMINATED,
                         PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, ret_code, ret_at, NULL);
}

/* By rule; those that several names share are compiled once. */
static pcre2_code *prepared[ARRAY_LEN(RULES)];

void pretoken_prepare(void)
{
    for (size_t i = 0; i < ARRAY_LEN(RULES); i++) {
        int code;
        PCRE2_SIZE at;
        for (size_t k = 0; k < i && !prepared[i]; k++)
            prepared[i] = strcmp(RULES[i].pattern, RULES[k].pattern) == 0 ? prepared[k] : NULL;
        if (!prepared[i])
            prepared[i] = compile(&RULES[i], &code, &at);
        if (prepared[i] && pcre2_jit_compile(prepared[i], PCRE2_JIT_COMPLETE) != 0)
            return; /* where it is not possible, it need not be tried again */
    }
}

static bool has_jit(const pcre2_code *code)
{
    size_t size = 0;
    return pcre2_pattern_info(code, PCRE2_INFO_JITSIZE, &size) == 0 && size > 0;
}

enum err pretoken_new(const char *name, bool jit, char *why, size_t cap_why,
                      struct pretoken **ret_rule)
{
    const struct rule *rule = rule_of(name);
    if (!rule) {
        name_known(name, why, cap_why);
        return ERR_UNKNOWN;
    }
    struct pretoken *r = calloc(1, sizeof *r);
    if (!r)
        return ERR_NOMEM;
    r->rule = rule;
    int code = 0;
    PCRE2_SIZE at = 0;
    r->code = prepared[rule - RULES];
    r->is_prepared = r->code != NULL;
    if (!r->is_prepared)
        r->code = compile(rule, &code, &at);
    if (!r->code) {
        snprintf(why, cap_why, "PCRE2 refuses the rule %s at %zu with code %d", name, at, code);
        pretoken_free(r);
        return ERR_UNSUPPORTED;
    }
    if (jit && !r->is_prepared)
        (void)pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE);
    r->has_jit = jit && has_jit(r->code);
    *ret_rule = r;
    return ERR_OK;
}

void pretoken_free(struct pretoken *rule)
{
    if (!rule)
        return;
    if (!rule->is_prepared)
        pcre2_code_free(rule->code);
    free(rule);
}

bool pretoken_ignores_merges(const struct pretoken *rule)
{
    return rule->rule->ignore_merges;
}

bool pretoken_has_jit(const struct pretoken *rule)
{
    return rule->has_jit;
}

enum err pretoken_scan_new(const struct pretoken *rule, struct pretoken_scan **ret_scan)
{
    struct pretoken_scan *s = calloc(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    s->rule = rule;
    s->match = pcre2_match_data_create(1, NULL);
    s->context = pcre2_match_context_create(NULL);
    if (!s->match || !s->context) {
        pretoken_scan_free(s);
        return ERR_NOMEM;
    }
    *ret_scan = s;
    return ERR_OK;
}

void pretoken_scan_free(struct pretoken_scan *scan)
{
    if (!scan)
        return;
    pcre2_match_data_free(scan->match);
    pcre2_match_context_free(scan->context);
    free(scan);
}

/* Where the valid UTF-8 that begins at `at` ends. */
static size_t valid_end(struct str text, size_t at)
{
    while (at < text.len) {
        uint64_t w;
        if (text.len - at >= sizeof w) {
            memcpy(&w, text.ptr + at, sizeof w);
            if ((w & UINT64_C(0x8080808080808080)) == 0) {
                at += sizeof w;
                continue;
            }
        }
        int n = utf8_next(text.ptr + at, text.len - at);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    return at;
}

void pretoken_scan_start(struct pretoken_scan *scan, struct str text)
{
    scan->text = text.len > 0 ? text : STR_LIT("");
    scan->at = 0;
    scan->valid_end = valid_end(text, 0);
    /* The longest match steps back over its own characters a few times, no more. */
    size_t limit = 8 * text.len + 10000;
    pcre2_set_match_limit(scan->context, limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX);
}

/* A run of malformed bytes; what follows it is UTF-8 up to the new valid_end. */
static size_t take_malformed(struct pretoken_scan *s)
{
    size_t end = s->at;
    while (end < s->text.len) {
        int n = utf8_next(s->text.ptr + end, s->text.len - end);
        if (n > 0)
            break;
        end = n == 0 ? s->text.len : end + (size_t)-n;
    }
    s->valid_end = valid_end(s->text, end);
    return end - s->at;
}

enum err pretoken_scan_next(struct pretoken_scan *scan, struct str *ret_piece)
{
    size_t len;
    if (scan->at == scan->valid_end) {
        len = scan->at < scan->text.len ? take_malformed(scan) : 0;
    } else {
        int rc =
            pcre2_match(scan->rule->code, (PCRE2_SPTR)scan->text.ptr, scan->valid_end, scan->at,
                        PCRE2_NO_UTF_CHECK | (scan->rule->has_jit ? 0U : PCRE2_NO_JIT), scan->match,
                        scan->context);
        if (rc == PCRE2_ERROR_NOMEMORY)
            return ERR_NOMEM;
        if (rc < 0)
            return ERR_TOO_LARGE;
        len = pcre2_get_ovector_pointer(scan->match)[1] - scan->at;
    }
    *ret_piece = (struct str){scan->text.ptr + scan->at, len};
    scan->at += len;
    return ERR_OK;
}
