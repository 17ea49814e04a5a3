/* SPDX-License-Identifier: MIT */
/* The body of a request, as either endpoint takes it. */
#include <stdint.h>

#include "common/check.h"
#include "services/gateway/catalog.h"
#include "services/gateway/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(enum endpoint endpoint, struct str body)
{
    static char name[] = "m";
    static char hash[] = "00";
    static const struct catalog_model MODEL = {
        .name = name, .hash = hash, .context = 512, .vocab_size = 100};
    struct request r;
    struct api_error e = {0};
    if (request_parse(&r, endpoint, body, 1 << 20, &e) && request_fit(&r, &MODEL, &e)) {
        ASSERT(r.n_prompts >= 1 && r.n_prompts <= REQUEST_PROMPTS_MAX);
        ASSERT(r.n >= 1 && r.best_of >= r.n && r.n_prompts * r.best_of <= REQUEST_SEQUENCES_MAX);
        ASSERT(r.n_stops <= REQUEST_STOPS_MAX && r.sampling.max_tokens >= 1);
    }
    request_fini(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str body = {(const char *)data, size};
    run(ENDPOINT_CHAT, body);
    run(ENDPOINT_COMPLETIONS, body);
    return 0;
}
