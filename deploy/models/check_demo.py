# SPDX-License-Identifier: MIT
"""Counts how many simple questions the demo model answers right, greedily, in plain numpy.

    python3 check_demo.py halo-demo.h1b            # about a minute
    python3 check_demo.py halo-demo.h1b --only capitals --verbose
"""
import argparse
import random

import demo_words
import demo_facts as facts
import reference_forward


def say(*turns):
    return [
        {"role": "user" if i % 2 == 0 else "assistant", "content": t} for i, t in enumerate(turns)
    ]


def capitals():
    for name, city, *_ in demo_words.COUNTRIES:
        yield say(f"What is the capital of {name}?"), city


def capitals_lower_case():
    for name, city, *_ in demo_words.WELL_KNOWN:
        yield say(f"whats the capital of {name.lower()}"), city


def follow_ups():
    for name, city, *_ in demo_words.WELL_KNOWN:
        yield say(
            "What is the capital of Norway?", "The capital of Norway is Oslo.", f"And of {name}?"
        ), city


def countries_of_capitals():
    for name, city, *_ in demo_words.WELL_KNOWN:
        if city != "London":
            yield say(f"Which country has {city} as its capital?"), name


def sums():
    for a in range(1, 10):
        for b in range(1, 10):
            yield say(f"What is {a} + {b}?"), f"{a + b}."


def larger_sums():
    rng = random.Random(7)
    for _ in range(50):
        a, b = rng.randint(10, 99), rng.randint(10, 99)
        yield say(f"What is {a} + {b}?"), f"{a + b}."


def days_and_months():
    for names, kind in ((facts.DAYS, "day"), (facts.MONTHS, "month")):
        for this, after in zip(names, names[1:] + names[:1]):
            yield say(f"Which {kind} comes after {this}?"), f"is {after}."


def opposites():
    for a, b in demo_words.OPPOSITES[:50]:
        yield say(f"What is the opposite of {a}?"), b


def names_told_before():
    for name in facts.NAMES[:50]:
        told = say(
            f"Hello, my name is {name}.",
            f"Nice to meet you, {name}!",
            "What is the capital of Spain?",
            "The capital of Spain is Madrid.",
            "What is my name?",
        )
        yield told, name


def new_names_told_before():
    """Names that are not in the training conversations."""
    for (
        name
    ) in "Thorsten Xochitl Bartholomew Giselle Ludmila Ignatius Beatrix Cornelius Saoirse Wilhelmina".split():
        yield say(
            f"Hi, I am {name}.", f"Hello, {name}! It is nice to meet you.", "What is my name?"
        ), name


CHECKS = [
    capitals,
    capitals_lower_case,
    follow_ups,
    countries_of_capitals,
    sums,
    larger_sums,
    days_and_months,
    opposites,
    names_told_before,
    new_names_told_before,
]


def answers(model, questions, max_tokens=32):
    """The replies to conversations, computed together where prompts have the same length."""
    by_length, out = {}, [None] * len(questions)
    for i, messages in enumerate(questions):
        prompt = reference_forward.chat_prompt(messages)
        ids = model.tokenizer.encode_with_specials(prompt)
        by_length.setdefault(len(ids), []).append((i, ids))
    for group in by_length.values():
        for (i, _), ids in zip(group, model.generate([ids for _, ids in group], max_tokens)):
            out[i] = model.tokenizer.decode(ids).strip()
    return out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--only", choices=[c.__name__ for c in CHECKS])
    parser.add_argument("--verbose", action="store_true", help="print the wrong answers")
    args = parser.parse_args()
    model = reference_forward.Model(args.model)
    for check in CHECKS:
        if args.only and check.__name__ != args.only:
            continue
        cases, right = list(check()), 0
        for (messages, expected), reply in zip(cases, answers(model, [m for m, _ in cases])):
            right += expected in reply
            if args.verbose and expected not in reply:
                print(f"  {messages[-1]['content']} -> {reply} (expected: {expected})")
        print(f"{check.__name__.replace('_', ' ')}: {right} of {len(cases)}", flush=True)


if __name__ == "__main__":
    main()
