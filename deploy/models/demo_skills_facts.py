# SPDX-License-Identifier: MIT
"""Skills with one right answer: capitals, countries, numbers, the calendar, opposites, colors.

A skill takes a random generator and returns one exchange: a list of (user, assistant) turns.
"""
import demo_facts as facts
from demo_words import (
    COLORS,
    COUNTRIES,
    LEGS,
    OPPOSITES,
    STATES,
    WELL_KNOWN,
    article,
    number_word,
    upper_first,
)


CAPITAL_ASK = [
    "What is the capital of {c}?",
    "What is the capital of {c}?",
    "What's the capital of {c}?",
    "Capital of {c}?",
    "What is the capital city of {c}?",
    "Which city is the capital of {c}?",
    "Tell me the capital of {c}.",
    "Do you know the capital of {c}?",
    "Name the capital of {c}.",
    "Can you tell me the capital of {c}?",
    "What city is the capital of {c}?",
    "Please tell me the capital of {c}.",
    "I want to know the capital of {c}.",
    "Could you tell me what the capital of {c} is?",
    "{c} capital",
    "Hello, what is the capital of {c}?",
    "Hi! What is the capital of {c}?",
    "Quick question: what is the capital of {c}?",
    "What is {c}'s capital?",
    "I forgot the capital of {c}. What is it?",
    "the capital of {c} is",
    "Which city is {c}'s capital?",
    "What is the name of the capital of {c}?",
    "Do you know what the capital of {c} is?",
    "My teacher asked me for the capital of {c}.",
    "capital city {c}",
    "I am going to {c}. What is its capital?",
    "Let's talk about {c}. What is the capital?",
    "Tell me, what is the capital of {c}?",
    "What's {c}'s capital city?",
    "Give me the capital of {c}.",
]
CAPITAL_NEXT = [
    "And of {c}?",
    "And of {c}?",
    "And {c}?",
    "What about {c}?",
    "And the capital of {c}?",
    "How about {c}?",
    "{c}?",
    "And what about {c}?",
    "Now {c}.",
    "And for {c}?",
    "and {c}",
    "Okay, and of {c}?",
    "Thanks. And of {c}?",
    "What is it for {c}?",
    "Next: {c}",
    "Great! And {c}?",
]
CAPITAL_REVERSE = [
    "{p} is the capital of which country?",
    "Which country has the capital {p}?",
    "Of which country is {p} the capital?",
    "What country is {p} the capital of?",
    "{p} is the capital of what country?",
    "Which country's capital is {p}?",
]


def country_name(rng, country):
    nicknames = facts.COUNTRY_NICKNAMES.get(country[0])
    return rng.choice(nicknames) if nicknames and rng.random() < 0.35 else country[0]


def pick_country(rng):
    return rng.choice(WELL_KNOWN if rng.random() < 0.5 else COUNTRIES)


def capital_answer(country):
    dot = "" if country[1].endswith(".") else "."
    return f"The capital of {country[0]} is {country[1]}{dot}"


def capital(rng):
    country = pick_country(rng)
    turns = [
        (rng.choice(CAPITAL_ASK).format(c=country_name(rng, country)), capital_answer(country))
    ]
    while rng.random() < 0.45 and len(turns) < 5:
        country = pick_country(rng)
        turns.append(
            (rng.choice(CAPITAL_NEXT).format(c=country_name(rng, country)), capital_answer(country))
        )
    return turns


def capital_reverse(rng):
    country = pick_country(rng)
    while (
        country[1] in ("London", "San Marino", "Vatican City")
        and country[0] != "the United Kingdom"
    ):
        country = pick_country(rng)
    turns = [
        (
            rng.choice(CAPITAL_REVERSE).format(p=country[1]),
            f"{country[1]} is the capital of {country[0]}.",
        )
    ]
    if rng.random() < 0.3:
        other = rng.choice(WELL_KNOWN)
        turns.append((f"And {other[1].rstrip('.')}?", f"{other[1]} is the capital of {other[0]}."))
    return turns


def capital_check(rng):
    """Is Paris the capital of France? Also mixes both directions."""
    country, other = pick_country(rng), pick_country(rng)
    if rng.random() < 0.5 or other[0] == country[0] or other[1] == country[1]:
        return [
            (
                f"Is {country[1]} the capital of {country[0]}?",
                f"Yes, {country[1]} is the capital of {country[0]}.",
            )
        ]
    return [(f"Is {other[1]} the capital of {country[0]}?", "No. " + capital_answer(country))]


def country_fact(rng):
    country = pick_country(rng)
    name, city, continent, language = country
    subject = upper_first(name)
    verb = (
        "are"
        if name in ("the Philippines", "the Netherlands", "the Seychelles", "the Bahamas")
        else "is"
    )
    where = [f"Where is {name}?", f"On which continent is {name}?", f"What continent is {name} in?"]
    speak = [
        f"What language do people speak in {name}?",
        f"Which language is spoken in {name}?",
        f"What do people speak in {name}?",
    ]
    city_where = [
        f"Where is {city}?",
        f"In which country is {city}?",
        f"What country is {city} in?",
    ]
    plural = "languages are" if " and " in language or "," in language else "language is"
    choice = rng.randrange(4)
    if choice == 0 and continent != name:
        return [(rng.choice(where), f"{subject} {verb} in {continent}.")]
    if choice == 1:
        return [(rng.choice(speak), f"The main {plural} {language}.")]
    if choice == 2 and city not in (name, "London"):
        return [(rng.choice(city_where), f"{city} is in {name}. It is the capital.")]
    turns = [(rng.choice(CAPITAL_ASK).format(c=name), capital_answer(country))]
    turns.append(
        rng.choice(
            [
                ("And what language do they speak there?", f"The main {plural} {language}."),
                ("What language do people speak there?", f"The main {plural} {language}."),
            ]
        )
    )
    return turns


def state_capital(rng):
    state, city = rng.choice(STATES)
    asks = [
        "What is the capital of {s}?",
        "Which city is the capital of {s}?",
        "What is the state capital of {s}?",
    ]
    return [(rng.choice(asks).format(s=state), f"The capital of {state} is {city}.")]


def imaginary_place(rng):
    place = rng.choice(facts.IMAGINARY_PLACES)
    if rng.random() < 0.5:
        parts = [
            "Bor",
            "Kal",
            "Zan",
            "Mir",
            "Tol",
            "Vex",
            "Dra",
            "Quo",
            "Ful",
            "Nim",
            "Gar",
            "Pel",
            "Sor",
            "Wub",
        ]
        place = (
            rng.choice(parts)
            + rng.choice(["o", "a", "i", "u", "e"])
            + rng.choice(["land", "nia", "stan", "via", "dor", "ria", "lia", "ton", "mark"])
        )
    return [(rng.choice(CAPITAL_ASK).format(c=place), f"I do not know a country called {place}.")]


SUM_ASK = [
    "What is {a} {o} {b}?",
    "What is {a} {o} {b}?",
    "How much is {a} {o} {b}?",
    "{a} {o} {b}",
    "{a} {o} {b} = ?",
    "Calculate {a} {o} {b}.",
    "{a} {o} {b}?",
    "What's {a} {o} {b}?",
    "Can you tell me what {a} {o} {b} is?",
    "Please add up: {a} {o} {b}",
    "{a}{o}{b}",
    "{a}{o}{b}=",
    "Tell me {a} {o} {b}.",
    "Solve {a} {o} {b}.",
]


def arithmetic(rng):
    kind = rng.choice("++++--*")
    top = rng.choice([9, 9, 10, 12, 20, 20, 50, 100])
    a, b = rng.randint(0, top), rng.randint(0, top)
    if kind == "-":
        a, b = max(a, b), min(a, b)
        result, words = a - b, ["-", "minus"]
    elif kind == "*":
        a, b = rng.randint(0, 12), rng.randint(0, 12)
        result, words = a * b, ["*", "x", "times"]
    else:
        result, words = a + b, ["+", "plus", "and" if rng.random() < 0.2 else "plus"]
    sign = rng.choice(words)
    ask = rng.choice([t for t in SUM_ASK if len(sign) == 1 or "{a}{o}" not in t])
    if rng.random() < 0.15 and len(sign) > 1 and max(a, b) < 100:
        answer = (
            f"{upper_first(number_word(a))} {words[-1]} {number_word(b)} is {number_word(result)}."
        )
        answer = answer.replace(" and ", " plus ", 1) if words[-1] == "and" else answer
        return [(f"What is {number_word(a)} {sign} {number_word(b)}?", answer)]
    if ask.startswith("Please add") and kind != "+":
        ask = SUM_ASK[0]
    symbol = {"+": "+", "-": "-", "*": "x"}[kind]
    return [(ask.format(a=a, b=b, o=sign), f"{a} {symbol} {b} = {result}.")]


def story_sum(rng):
    name, other = rng.sample(facts.NAMES, 2)
    thing, a, b = rng.choice(facts.THINGS) + "s", rng.randint(2, 12), rng.randint(1, 9)
    thing = {"boxs": "boxes", "toys": "toys"}.get(thing, thing)
    if rng.random() < 0.5:
        ask = rng.choice(
            [
                f"{name} has {a} {thing} and gets {b} more. How many {thing} does {name} have?",
                f"I have {a} {thing} and buy {b} more. How many do I have now?",
                (
                    f"{name} has {a} {thing}. {other} gives {name} {b} more. How many {thing} are"
                    " there now?"
                ),
            ]
        )
        return [(ask, f"{a} + {b} = {a + b}, so the answer is {a + b} {thing}.")]
    a = max(a, b + 1)
    left = (
        f"{a} - {b} = {a - b}, so {a - b} {thing} are left."
        if a - b > 1
        else f"{a} - {b} = 1, so one is left."
    )
    ask = rng.choice(
        [
            f"{name} has {a} {thing} and gives {b} to {other}. How many are left?",
            f"There are {a} {thing}. {name} takes {b}. How many are left?",
            f"I have {a} {thing} and lose {b}. How many do I have left?",
        ]
    )
    return [(ask, left)]


def numbers(rng):
    n, m = rng.sample(range(0, 101), 2)
    choice = rng.randrange(6)
    if choice == 0:
        ask = rng.choice(
            [
                "Which is bigger, {a} or {b}?",
                "Which number is larger: {a} or {b}?",
                "Is {a} bigger than {b}?",
            ]
        )
        yes = ("Yes, " if n > m else "No, ") if ask.startswith("Is") else ""
        return [(ask.format(a=n, b=m), f"{yes}{max(n, m)} is bigger than {min(n, m)}.")]
    if choice == 1:
        return [(f"What number comes after {n}?", f"The number after {n} is {n + 1}.")]
    if choice == 2:
        return [(f"What number comes before {n + 1}?", f"The number before {n + 1} is {n}.")]
    if choice == 3:
        return [(f"Is {n} even or odd?", f"{n} is {'odd' if n % 2 else 'even'}.")]
    if choice == 4:
        return [
            (
                rng.choice(["Write {} in words.", "How do you write {} in words?"]).format(n),
                upper_first(number_word(n)) + ".",
            )
        ]
    start, length = rng.randint(0, 10), rng.randint(4, 11)
    count = ", ".join(str(i) for i in range(start, start + length + 1))
    return [(f"Count from {start} to {start + length}.", count + ".")]


def calendar(rng):
    kind, names = rng.choice([("day", facts.DAYS), ("month", facts.MONTHS)])
    i = rng.randrange(len(names))
    this, after, before = names[i], names[(i + 1) % len(names)], names[i - 1]
    choice = rng.randrange(7)
    if choice <= 1:
        ask = [
            f"What {kind} comes after {this}?",
            f"Which {kind} is after {this}?",
            f"What is the {kind} after {this}?",
            f"Which {kind} follows {this}?",
            f"What comes after {this}?",
        ]
        return [(rng.choice(ask), f"The {kind} after {this} is {after}.")]
    if choice <= 3:
        ask = [
            f"What {kind} comes before {this}?",
            f"Which {kind} is before {this}?",
            f"What is the {kind} before {this}?",
            f"What comes before {this}?",
        ]
        return [(rng.choice(ask), f"The {kind} before {this} is {before}.")]
    if choice == 4 and kind == "day":
        word, day = rng.choice([("tomorrow", after), ("yesterday", before)])
        tense = "will tomorrow be" if word == "tomorrow" else "was yesterday"
        ask = [f"Today is {this}. What day {tense}?", f"If today is {this}, what day {tense}?"]
        return [
            (
                rng.choice(ask),
                f"If today is {this}, then {word} {'is' if word == 'tomorrow' else 'was'} {day}.",
            )
        ]
    if choice == 5 and kind == "month":
        days = facts.MONTH_DAYS[i]
        extra = ", and 29 in a leap year" if days == 28 else ""
        return [(f"How many days does {this} have?", f"{this} has {days} days{extra}.")]
    position = (
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()[
            i
        ]
    )
    group = "week" if kind == "day" else "year"
    return [
        (
            f"What is the {position} {kind} of the {group}?",
            f"The {position} {kind} of the {group} is {this}.",
        )
    ]


def opposite(rng):
    pair = rng.choice(OPPOSITES)
    a, b = pair if rng.random() < 0.6 else pair[::-1]
    quote = rng.choice(["{}", "{}", '"{}"'])
    ask = [
        "What is the opposite of {w}?",
        "Give me the opposite of {w}.",
        "What's the opposite of {w}?",
        "Opposite of {w}?",
        "Tell me the opposite of {w}.",
        "Which word is the opposite of {w}?",
        "What word means the opposite of {w}?",
    ]
    turns = [(rng.choice(ask).format(w=quote.format(a)), f'The opposite of "{a}" is "{b}".')]
    if rng.random() < 0.25:
        c, d = rng.choice(OPPOSITES)
        turns.append(
            (
                rng.choice(["And of {}?", "And {}?", "What about {}?"]).format(c),
                f'The opposite of "{c}" is "{d}".',
            )
        )
    return turns


def color(rng):
    if rng.random() < 0.25:
        a, b, c = rng.choice([m.split() for m in facts.COLOR_MIXES.split(";")])
        if rng.random() < 0.5:
            a, b = b, a
        ask = [
            f"What color do you get when you mix {a} and {b}?",
            f"Mix {a} and {b}. What color is it?",
            f"{a} and {b} make what color?",
        ]
        return [(rng.choice(ask), f"{upper_first(a)} and {b} make {c}.")]
    thing, hue = rng.choice(COLORS)
    subject = upper_first(thing)
    verb = "is"
    ask = [
        f"What color is {thing}?",
        f"Which color is {thing}?",
        f"What is the color of {thing}?",
        f"Tell me the color of {thing}.",
    ]
    return [(rng.choice(ask), f"{subject} {verb} {hue}.")]


def animal(rng):
    choice = rng.randrange(3)
    if choice == 0:
        name, sound = rng.choice(
            [tuple(s.strip().split(" ")) for s in facts.ANIMAL_SOUNDS.replace("\n", "").split(";")]
        )
        the = article(name)
        ask = [
            f"What sound does {the} make?",
            f"What does {the} say?",
            f"Which sound does {the} make?",
        ]
        return [(rng.choice(ask), f"{upper_first(the)} says {sound}.")]
    if choice == 1:
        name, young = rng.choice(
            [tuple(s.strip().split(" ")) for s in facts.BABY_ANIMALS.replace("\n", "").split(";")]
        )
        ask = [
            f"What is a baby {name} called?",
            f"What do you call a baby {name}?",
            f"What is the young of {article(name)}?",
        ]
        return [(rng.choice(ask), f"A baby {name} is called {article(young)}.")]
    name, count = rng.choice(LEGS)
    ask = [f"How many legs does {name} have?", f"How many legs has {name}?"]
    return [(rng.choice(ask), f"{upper_first(name)} has {count} legs.")]


def one_word(rng):
    """The answer in one word when the user asks for it."""
    suffix = rng.choice(
        [" Answer in one word.", " One word only.", " (one word)", " Answer with one word."]
    )
    question, short = short_fact(rng)
    return [(question + suffix, short)]


def short_fact(rng):
    choice = rng.randrange(5)
    if choice <= 1:
        country = pick_country(rng)
        return rng.choice(CAPITAL_ASK[:3]).format(c=country[0]), country[1].rstrip(".") + "."
    if choice == 2:
        thing, hue = rng.choice(COLORS)
        return f"What color is {thing}?", upper_first(hue) + "."
    if choice == 3:
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        return f"What is {a} + {b}?", f"{a + b}."
    a, b = rng.choice(OPPOSITES)
    return f"What is the opposite of {a}?", upper_first(b) + "."


def about_country(rng):
    country = pick_country(rng)
    name, city, continent, language = country
    if continent == name:
        continent = "the south of the world"
    verb = (
        "are"
        if name in ("the Philippines", "the Netherlands", "the Seychelles", "the Bahamas")
        else "is"
    )
    ask = [
        f"Tell me about {name}.",
        f"What do you know about {name}?",
        f"Describe {name}.",
        f"What can you tell me about {name}?",
    ]
    return [
        (
            rng.choice(ask),
            f"{upper_first(name)} {verb} in {continent}. The capital is {city.rstrip('.')}, and the"
            f" main language {'are' if ' and ' in language else 'is'} {language}.".replace(
                "language are", "languages are"
            ),
        )
    ]
