# SPDX-License-Identifier: MIT
"""Writes the demo model's synthetic conversations.

A conversation is a few exchanges (see demo_skills_*.py), sometimes with a system message, a greeting,
or a name that is told first and asked for later. Same seed, same conversations.

    python3 demo_chats.py 5            # prints five conversations
"""
import json
import random
import sys

import demo_facts as facts
from demo_skills_facts import (
    about_country,
    animal,
    arithmetic,
    calendar,
    capital,
    capital_check,
    capital_reverse,
    color,
    country_fact,
    imaginary_place,
    numbers,
    one_word,
    opposite,
    short_fact,
    state_capital,
    story_sum,
)
from demo_skills_talk import (
    NAME_ASK,
    NAME_TELL,
    difference,
    feeling_advice,
    identity,
    in_context,
    joke,
    letter,
    make_list,
    member,
    poem,
    reworded,
    scene,
    sentence,
    small_talk,
    table_question,
    tips,
    told_now,
    translate,
    unknown_name,
    unknown_person,
    words,
)
from demo_words import SMALL_TALK, article, upper_first


def memory_facts(rng):
    """(what the user says, the reply, questions about it, the answer) about the user."""
    city, hobby, pet, food = (
        rng.choice(x) for x in (facts.CITIES, facts.HOBBIES, facts.PETS, facts.FOODS)
    )
    job, hue, age = (
        rng.choice(facts.JOB_WORDS),
        rng.choice("red blue green yellow purple orange pink black".split()),
        rng.randint(6, 80),
    )
    pet_name, thing, friend = (
        rng.choice(facts.PET_NAMES),
        rng.choice(facts.THINGS),
        rng.choice(facts.NAMES),
    )
    nice = rng.choice(
        ["That is nice!", "How nice!", "Thank you for telling me.", "That sounds great!"]
    )
    return rng.choice(
        [
            (
                f"I live in {city}.",
                f"{city} is a nice place to live!",
                ["Where do I live?", "In which city do I live?"],
                f"You live in {city}.",
            ),
            (
                f"I like {hobby}.",
                nice,
                ["What do I like?", "What is my hobby?"],
                f"You like {hobby}.",
            ),
            (
                f"I have a {pet} called {pet_name}.",
                f"{pet_name} is a lovely name for a {pet}!",
                [f"What is my {pet} called?", f"What is the name of my {pet}?"],
                f"Your {pet} is called {pet_name}.",
            ),
            (
                f"I have a {pet}.",
                nice,
                ["Which animal do I have?", "What pet do I have?"],
                f"You have a {pet}.",
            ),
            (
                f"My favorite food is {food}.",
                f"{upper_first(food)} sounds good!",
                ["What is my favorite food?", "What do I like to eat?"],
                f"Your favorite food is {food}.",
            ),
            (
                f"My favorite color is {hue}.",
                f"{upper_first(hue)} is a beautiful color.",
                ["What is my favorite color?"],
                f"Your favorite color is {hue}.",
            ),
            (
                f"I am {article(job)}.",
                "That is an interesting job!",
                ["What is my job?", "What do I do for work?"],
                f"You are {article(job)}.",
            ),
            (
                f"I am {age} years old.",
                nice,
                ["How old am I?", "What is my age?"],
                f"You are {age} years old.",
            ),
            (
                f"My best friend is {friend}.",
                f"{friend} must be a nice person.",
                ["Who is my best friend?", "What is my best friend called?"],
                f"Your best friend is {friend}.",
            ),
            (
                f"I put my {thing} in the kitchen.",
                "Thank you. I will remember that.",
                [f"Where is my {thing}?", f"Where did I put my {thing}?"],
                f"Your {thing} is in the kitchen.",
            ),
        ]
    )


def remember(rng):
    """Tells a name or a fact, talks about other things, asks for it."""
    first, last = [], []
    if rng.random() < 0.75:
        name = rng.choice(facts.NAMES)
        tell = rng.choice(NAME_TELL).format(n=name)
        ready = [
            f"Hello, {name}! It is nice to meet you.",
            f"Nice to meet you, {name}!",
            f"Hi {name}! How can I help you?",
        ]
        first.append((tell, rng.choice(ready)))
        last.append((rng.choice(NAME_ASK), f"Your name is {name}."))
    told = set()
    for _ in range(rng.choice([0, 1, 1, 2]) if first else 1):
        say, reply, asks, answer = memory_facts(rng)
        if answer.split(" ")[1:3] in [t.split(" ")[1:3] for t in told]:
            continue
        told.add(answer)
        first.append((say, reply))
        last.append((rng.choice(asks), answer))
    rng.shuffle(last)
    middle = []
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        middle += pick_skill(rng)(rng)
    return first + middle + last


SKILLS = [
    (16, capital),
    (5, capital_reverse),
    (2.5, capital_check),
    (4, country_fact),
    (2, state_capital),
    (1, imaginary_place),
    (11, arithmetic),
    (2, story_sum),
    (3, numbers),
    (5, calendar),
    (5, opposite),
    (3, color),
    (3, animal),
    (7, make_list),
    (13, table_question),
    (8, identity),
    (9, small_talk),
    (2, translate),
    (4, words),
    (3, in_context),
    (2, one_word),
    (1.2, poem),
    (1.5, sentence),
    (0.7, unknown_name),
    (2, about_country),
    (5, reworded),
    (2, difference),
    (4, tips),
    (1.5, feeling_advice),
    (2, scene),
    (1.5, joke),
    (1, letter),
    (2, member),
    (2, told_now),
    (0.7, unknown_person),
]
_SKILL_FUNCTIONS = [f for _, f in SKILLS]
_SKILL_WEIGHTS = [w for w, _ in SKILLS]


def pick_skill(rng):
    return rng.choices(_SKILL_FUNCTIONS, _SKILL_WEIGHTS)[0]


def roughen(rng, text):
    """The user's words as people type them: lower case, no full stop, a slip of the keyboard."""
    if rng.random() < 0.22:
        text = text.lower()
    if rng.random() < 0.15:
        text = text.rstrip(".?!")
    if rng.random() < 0.06:
        spots = [
            i
            for i in range(1, len(text) - 1)
            if text[i - 1 : i + 2].isalpha() and text[i].islower()
        ]
        if len(spots) > 5:
            i = rng.choice(spots)
            text = rng.choice(
                [
                    text[:i] + text[i + 1 :],
                    text[:i] + text[i + 1] + text[i] + text[i + 2 :],
                    text[:i] + text[i] + text[i:],
                ]
            )
    return text


EXACT = {words, in_context, remember, unknown_name, told_now, unknown_person}


def conversation(rng):
    """One record in the corpus's form."""
    turns, messages = [], []
    if rng.random() < 0.04:
        messages.append({"role": "system", "content": rng.choice(facts.SYSTEM_ONE_WORD)})
        for _ in range(rng.randint(1, 4)):
            turns.append(short_fact(rng))
    else:
        if rng.random() < 0.3:
            messages.append({"role": "system", "content": rng.choice(facts.SYSTEM_PLAIN)})
        if rng.random() < 0.12:
            turns += [(rng.choice(SMALL_TALK[0][0]), SMALL_TALK[0][1])]
        for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4])):
            skill = remember if rng.random() < 0.12 else pick_skill(rng)
            new = skill(rng)
            turns += new if skill in EXACT else [(roughen(rng, q), a) for q, a in new]
        if rng.random() < 0.1:
            turns.append((rng.choice(SMALL_TALK[5][0]), SMALL_TALK[5][1]))
        told_name = any(a.startswith("Your name is") for _, a in turns)
        if told_name:
            turns = [t for t in turns if not t[1].startswith("You have not told me")]
    for question, answer in turns:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer})
    return {"messages": messages, "src": "demo-chat"}


def conversations(count, seed):
    rng = random.Random(seed)
    return [conversation(rng) for _ in range(count)]


if __name__ == "__main__":
    for record in conversations(int(sys.argv[1]), 1):
        print(json.dumps(record))
