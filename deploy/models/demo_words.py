# SPDX-License-Identifier: MIT
"""Small helpers for English text, and the tables of demo_facts.py in parsed form."""
import demo_facts as facts


ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen""".split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()


def number_word(n):
    if n < 20:
        return ONES[n]
    if n < 100:
        return TENS[n // 10] + ("-" + ONES[n % 10] if n % 10 else "")
    rest = " and " + number_word(n % 100) if n % 100 else ""
    return ONES[n // 100] + " hundred" + rest


def upper_first(text):
    return text[:1].upper() + text[1:]


def article(noun):
    return ("an " if noun[0] in "aeiou" and not noun.startswith("uni") else "a ") + noun


def pairs_of(table):
    return [
        tuple(p.strip().split(" ", 1))
        for p in table.replace("\n", "").split("|" if "|" in table else ";")
    ]


def question_table(table):
    """[(list of questions, answer)] of lines "q1|q2=>answer"."""
    rows = [line.split("=>") for line in table.strip().split("\n")]
    return [(questions.split("|"), answer) for questions, answer in rows]


def join_words(words, last="and"):
    if len(words) == 1:
        return words[0]
    if len(words) == 2:
        return f"{words[0]} {last} {words[1]}"
    return ", ".join(words[:-1]) + f", {last} {words[-1]}"


COUNTRIES = [tuple(line.split("|")) for line in facts.COUNTRIES.strip().split("\n")]
BY_NAME = {c[0]: c for c in COUNTRIES}
WELL_KNOWN = [BY_NAME[name] for name in facts.WELL_KNOWN]
STATES = [tuple(s.strip().split(":")) for s in facts.US_STATES.replace("\n", "").split(";")]
COLORS = [tuple(c.strip().split("=")) for c in facts.COLORS_OF.replace("\n", "").split(";")]
LEGS = [tuple(c.strip().split("=")) for c in facts.LEGS.replace("\n", "").split(";")]
OPPOSITES = pairs_of(facts.OPPOSITES)
QUESTIONS = question_table(facts.QUESTIONS)
IDENTITY = question_table(facts.IDENTITY)
SMALL_TALK = question_table(facts.SMALL_TALK)
