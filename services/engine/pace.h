/* SPDX-License-Identifier: MIT */
/* pace: how many prompt tokens a step may hold while replies run, so that a prompt lengthens their
 * steps by no more than a given share, whatever the machine, the model and the contexts.
 *
 * It measures: how long steps take that only decode, for each number of sequences (in powers of two),
 * and whether steps with a part of a prompt stay within that time and the allowed share on top. Both
 * figures follow the median: each measurement moves them by a fixed factor, up or down, however far
 * off it is. So a step that another program interrupted counts no more than any other. A step right
 * after a prompt's is not measured: it finds other data in the caches and takes a third longer.
 *
 * A stream of the demo model beside 1,800-token prompts, 2 cores with AVX-512, time of a token alone
 * 0.8 ms (tests/stack/latency_test.py prints such figures; there, on two cores that do other work, too,
 * 1.3 to 3 times the time alone):
 *   prompts take                    token, median   95th percentile   prompt's TTFT
 *   all of 256 rows (stretch 0)         52 ms            113 ms        0.5 s
 *   stretch 100                          2.2 ms            3.7 ms      1.1 s
 *   stretch 50 (the default)             1.5 ms            3.5 ms      1.3 s
 * Without replies beside it the prompt takes 0.4 to 0.5 s. Of 16 rows a step (--step-tokens 16, stretch
 * 0) it took 0.55 s, with a 95th percentile of 13 ms: no fixed number of rows suits all machines. */
#ifndef HALO_ENGINE_PACE_H
#define HALO_ENGINE_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PACE_SIZES = 12, /* 1, 2, 3-4, 5-8 .. sequences */
    PACE_PROBE_STEPS = 32, /* after so many steps with prompts one without is measured */
};

struct pace {
    uint32_t stretch_percent;
    bool was_mixed; /* the last step */
    struct pace_size {
        double decode_ns; /* of a step without prompts; 0: not known */
        double n_prompt; /* tokens that a step may hold beside it */
        uint32_t n_mixed; /* steps with prompts since the last one without */
    } sizes[PACE_SIZES];
};

/* Prompts may lengthen a step by stretch_percent; 0: by any time. */
void pace_init(struct pace *p, uint32_t stretch_percent);

/* How many prompt tokens a step in which n_decode sequences decode may hold, at most `most`. 0: this
 * step is to be measured without. */
uint32_t pace_budget(const struct pace *p, uint32_t n_decode, uint32_t most);

/* A step with so many decoding sequences and prompt tokens took so long. */
void pace_note(struct pace *p, uint32_t n_decode, uint32_t n_prompt, uint64_t ns);

#endif
