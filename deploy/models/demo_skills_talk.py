# SPDX-License-Identifier: MIT
"""Skills of conversation: lists, explanations, advice, small texts, questions about what was said.

A skill takes a random generator and returns one exchange: a list of (user, assistant) turns.
"""
import demo_facts as facts
import demo_texts as texts
from demo_words import (
    IDENTITY,
    QUESTIONS,
    SMALL_TALK,
    article,
    join_words,
    number_word,
    upper_first,
)


def make_list(rng):
    group = rng.choice(list(facts.LISTS))
    items = facts.LISTS[group].split(",")
    n = rng.randint(2, min(5, len(items)))
    ordered = group in ("days of the week", "months", "even numbers", "odd numbers")
    chosen = items[:n] if ordered else rng.sample(items, n)
    count = rng.choice([number_word(n), number_word(n), str(n)])
    ask = [
        "Name {n} {g}.",
        "List {n} {g}.",
        "Give me {n} {g}.",
        "Can you name {n} {g}?",
        "Tell me {n} {g}.",
        "Please list {n} {g}.",
        "I need {n} {g}.",
        "What are {n} {g}?",
        "Name {n} {g} please",
    ]
    if group.startswith(("words", "things", "ways", "tips")):
        ask = ["Name {n} {g}.", "List {n} {g}.", "Give me {n} {g}.", "Tell me {n} {g}."]
    bullets = rng.random()
    if bullets < 0.2:
        suffix = rng.choice([" Use bullet points.", " as a list", " Write them as a list."])
        question = rng.choice(ask[:5]).format(n=count, g=group).rstrip(".?") + (
            suffix if suffix[1] == "a" else "." + suffix
        )
        return [(question, "\n".join("- " + upper_first(i) for i in chosen))]
    if bullets < 0.3:
        question = rng.choice(
            ["Make a numbered list of {n} {g}.", "Write a numbered list of {n} {g}."]
        ).format(n=count, g=group)
        return [(question, "\n".join(f"{k}. {upper_first(i)}" for k, i in enumerate(chosen, 1)))]
    turns = [(rng.choice(ask).format(n=count, g=group), upper_first(join_words(chosen)) + ".")]
    rest = [i for i in items if i not in chosen]
    if rng.random() < 0.2 and rest and not ordered:
        more = rng.choice(
            ["One more?", "Name one more.", "Another one, please.", "Give me one more."]
        )
        turns.append((more, upper_first(rng.choice(rest)) + "."))
    return turns


def table_question(rng):
    questions, answer = rng.choice(QUESTIONS)
    question = rng.choice(questions)
    if rng.random() < 0.15:
        question = (
            rng.choice(
                [
                    "Please tell me: ",
                    "I have a question. ",
                    "Can you tell me: ",
                    "Hey, ",
                    "Tell me, ",
                ]
            )
            + question
        )
    return [(question, answer)]


def identity(rng):
    questions, answer = rng.choice(IDENTITY if rng.random() < 0.6 else IDENTITY[:6])
    return [(rng.choice(questions), answer)]


def small_talk(rng):
    questions, answer = rng.choice(SMALL_TALK if rng.random() < 0.7 else SMALL_TALK[:9])
    return [(rng.choice(questions), answer)]


def translate(rng):
    row = rng.choice(facts.TRANSLATIONS.strip().split("\n")).split("|")
    language, word = rng.choice(row[1:]).split("=")
    ask = [
        f'How do you say "{row[0]}" in {language}?',
        f"What is {row[0]} in {language}?",
        f"Say {row[0]} in {language}.",
        f"Translate {row[0]} into {language}.",
        f'What is the {language} word for "{row[0]}"?',
    ]
    return [(rng.choice(ask), f'"{upper_first(row[0])}" in {language} is "{word}".')]


def words(rng):
    """Small tasks on a word: spell, upper case, first letter, repeat, rhyme, plural, past tense."""
    word = rng.choice(facts.WORDS)
    several = " ".join(rng.sample(facts.WORDS, rng.randint(2, 5)))
    choice = rng.randrange(9)
    if choice == 0:
        return [
            (
                rng.choice(
                    [f"Spell {word}.", f"How do you spell {word}?", f'Spell the word "{word}".']
                ),
                "-".join(word.upper()) + ".",
            )
        ]
    if choice == 1:
        return [
            (
                rng.choice(
                    [
                        f"Write this in capital letters: {several}",
                        f"Make this upper case: {several}",
                    ]
                ),
                several.upper(),
            )
        ]
    if choice == 2:
        return [
            (
                rng.choice(
                    [
                        f'What is the first letter of "{word}"?',
                        f"What letter does {word} start with?",
                    ]
                ),
                f'The first letter of "{word}" is {word[0].upper()}.',
            )
        ]
    if choice <= 4:
        text = upper_first(several) + "."
        if rng.random() < 0.5:
            text = (
                f"{rng.choice(facts.NAMES)} likes {rng.choice(facts.HOBBIES)} and"
                f" {rng.choice(facts.FOODS)}."
            )
        ask = rng.choice(
            [
                "Repeat after me: {}",
                "Please repeat: {}",
                "Say this: {}",
                "Repeat: {}",
                "Say exactly: {}",
            ]
        )
        return [(ask.format(text), text)]
    if choice == 5:
        a, b = rng.choice([r.strip().split("=") for r in facts.RHYMES.replace("\n", "").split(";")])
        return [
            (
                rng.choice(
                    [
                        f"What rhymes with {a}?",
                        f'Give me a word that rhymes with "{a}".',
                        f"Which word rhymes with {a}?",
                    ]
                ),
                f'"{upper_first(b)}" rhymes with "{a}".',
            )
        ]
    if choice == 6:
        a, b = rng.choice(
            [r.strip().split(" ") for r in facts.PLURALS.replace("\n", "").split(";")]
        )
        return [
            (
                rng.choice([f"What is the plural of {a}?", f'What is the plural of "{a}"?']),
                f'The plural of "{a}" is "{b}".',
            )
        ]
    if choice == 7:
        a, b = rng.choice(
            [r.strip().split(" ") for r in facts.PAST_TENSE.replace("\n", "").split(";")]
        )
        return [
            (
                rng.choice([f"What is the past tense of {a}?", f'What is the past of "{a}"?']),
                f'The past tense of "{a}" is "{b}".',
            )
        ]
    return [
        (
            rng.choice(
                [f"How many letters are in {word}?", f'How many letters does "{word}" have?']
            ),
            f'"{upper_first(word)}" has {number_word(len(word))} letters.',
        )
    ]


def in_context(rng):
    """Questions whose answer stands in the user's own words."""
    a, b = rng.sample(facts.NAMES, 2)
    choice = rng.randrange(6)
    if choice == 0:
        x, y = rng.sample(["red", "blue", "green", "yellow", "black", "white"], 2)
        t, u = rng.sample(facts.THINGS, 2)
        who, hue, thing = rng.choice([(a, x, t), (b, y, u)])
        intro = f"{a} has a {x} {t} and {b} has a {y} {u}. "
        return [
            rng.choice(
                [
                    (intro + f"Who has the {thing}?", f"{who} has the {thing}."),
                    (intro + f"What color is the {thing}?", f"The {thing} is {hue}."),
                    (intro + f"What does {who} have?", f"{who} has a {hue} {thing}."),
                ]
            )
        ]
    if choice == 1:
        n, m = rng.sample(range(3, 80), 2)
        older, younger = (a, b) if n > m else (b, a)
        ask, who = rng.choice([("older", older), ("younger", younger)])
        return [(f"{a} is {n} years old and {b} is {m}. Who is {ask}?", f"{who} is {ask}.")]
    if choice == 2:
        city, place = rng.choice(facts.CITIES), rng.choice(facts.CITIES)
        return [
            (
                f"{a} lives in {city}. {b} lives in {place}. Where does {a} live?",
                f"{a} lives in {city}.",
            )
        ]
    if choice == 3:
        thing, box = rng.choice(facts.THINGS), rng.choice(
            ["box", "bag", "drawer", "garden", "kitchen", "car", "school"]
        )
        return [
            (
                f"{a} put the {thing} in the {box}. Where is the {thing}?",
                f"The {thing} is in the {box}.",
            )
        ]
    if choice == 4:
        tall = rng.choice(["taller", "faster", "stronger", "older"])
        return [(f"{a} is {tall} than {b}. Who is {tall}?", f"{a} is {tall}.")]
    food, other = rng.sample(facts.FOODS, 2)
    return [
        (f"{a} likes {food}, but {b} likes {other}. What does {b} like?", f"{b} likes {other}.")
    ]


def poem(rng):
    ask = [
        "Write a poem.",
        "Write a short poem.",
        "Tell me a poem.",
        "Can you write a poem?",
        "Write a rhyme.",
        "Make a little poem.",
        "Write a poem about nature.",
        "Please write a short poem for me.",
    ]
    return [(rng.choice(ask), rng.choice(facts.RHYMED_POEMS))]


def sentence(rng):
    name, hobby, food, pet = (
        rng.choice(x) for x in (facts.NAMES, facts.HOBBIES, facts.FOODS, facts.PETS)
    )
    ready = [p.split("=") for p in texts.SENTENCES.strip().replace("\n", "|").split("|")]
    made = [
        ("a " + pet, f"The {pet} is playing in the garden."),
        (food, f"My sister makes very good {food}."),
        (hobby, f"{name} loves {hobby} and does it every weekend."),
    ]
    made = made if rng.random() < 0.3 else ready
    topic, text = rng.choice(made)
    return [
        (
            rng.choice(
                [
                    f"Write a sentence about {topic}.",
                    f"Make a sentence about {topic}.",
                    f"Give me one sentence about {topic}.",
                ]
            ),
            text,
        )
    ]


NAME_TELL = [
    "My name is {n}.",
    "I am {n}.",
    "I'm {n}.",
    "Hi, my name is {n}.",
    "Hello! I am {n}.",
    "Hello, I'm {n}.",
    "my name is {n}",
    "Call me {n}.",
    "You can call me {n}.",
    "Hi! I'm {n}. How are you?",
    "Please remember my name: {n}.",
    "hi im {n}",
]
NAME_ASK = [
    "What is my name?",
    "What's my name?",
    "Do you remember my name?",
    "Who am I?",
    "Can you tell me my name?",
    "What was my name?",
    "Do you know my name?",
    "And what is my name?",
    "Tell me my name.",
    "Say my name.",
]
EXPLAIN = [
    "Explain what {x} is.",
    "Tell me what {x} is.",
    "What's {x}?",
    "Can you explain what {x} is?",
    "Do you know what {x} is?",
    "Describe {x}.",
    "Tell me about {x}.",
    "Please explain {x}.",
    "Explain {x}.",
    "Define {x}.",
    "What exactly is {x}?",
    "Explain {x} to a child.",
    "What is {x} in simple words?",
    "what is {x}",
]
MAKE = [
    "How can I make {x}?",
    "How to make {x}?",
    "What is the best way to make {x}?",
    "Give me a recipe for {x}.",
    "Explain how to make {x}.",
    "I want to make {x}. How do I do that?",
    "Do you know how to make {x}?",
    "How is {x} made?",
]


def reworded(rng):
    """A question of the table in other words, where its form allows that."""
    while True:
        questions, answer = rng.choice(QUESTIONS)
        question = rng.choice(questions)
        if question.startswith(("What is a", "What is ")) and answer.lower().startswith(
            question[8:-1].lower()
        ):
            return [(rng.choice(EXPLAIN).format(x=question[8:-1]), answer)]
        if question.startswith("How do I make "):
            return [(rng.choice(MAKE).format(x=question[14:-1]), answer)]
        if question.startswith("How do I "):
            ask = rng.choice(
                [
                    "How can I {x}?",
                    "How to {x}?",
                    "Tell me how to {x}.",
                    "I want to {x}.",
                    "What is the best way to {x}?",
                ]
            )
            return [(ask.format(x=question[9:-1]), answer)]
        if question.startswith("Why "):
            ask = rng.choice(
                [
                    "Can you tell me why {x}?",
                    "Explain: why {x}?",
                    "Do you know why {x}?",
                    "Please explain why {x}.",
                ]
            )
            words = question[4:-1].split(" ")
            if words[0] in ("do", "should"):
                return [(ask.format(x=" ".join(words[1:])), answer)]


def difference(rng):
    a, b, answer = rng.choice([line.split("|") for line in texts.DIFFERENCES.strip().split("\n")])
    x, y = (a, b) if rng.random() < 0.6 else (b, a)
    ask = [
        f"What is the difference between {x} and {y}?",
        f"What's the difference between {x} and {y}?",
        f"How is {x} different from {y}?",
        f"Compare {x} and {y}.",
        f"Explain the difference between {x} and {y}.",
    ]
    return [(rng.choice(ask), answer)]


def tips(rng):
    topic, how, text = rng.choice([line.split("|") for line in texts.TIPS.strip().split("\n")])
    items = text.split(";")
    ask = [
        f"Give me tips for {topic}.",
        f"Give me some tips for {topic}.",
        f"How can I {how}?",
        f"How do I {how}?",
        f"I want to {how}. What should I do?",
        f"What should I do to {how}?",
        f"Do you have any advice on {topic}?",
        f"Help me {how}.",
        f"What is the best way to {how}?",
        f"How to {how}?",
        f"Any tips for {topic}?",
    ]
    question = rng.choice(ask)
    if rng.random() < 0.25:
        return [
            (
                question.rstrip(".?") + rng.choice([" as a list.", " in a list."]),
                "\n".join("- " + i for i in items),
            )
        ]
    sentence = ", ".join([items[0]] + [i[0].lower() + i[1:] for i in items[1:-1]])
    last = items[-1][0].lower() + items[-1][1:]
    return [(question, f"{sentence}, and {last}." if len(items) > 2 else f"{sentence} and {last}.")]


def feeling_advice(rng):
    word, answer = rng.choice(
        [line.split("=") for line in texts.FEELING_ADVICE.strip().split("\n")]
    )
    ask = [
        f"What should I do if I feel {word}?",
        f"What can I do when I am {word}?",
        f"I feel {word}. What should I do?",
        f"What should I do when I'm {word}?",
        f"How can I feel better when I am {word}?",
        f"I am {word}. What can I do?",
    ]
    return [(rng.choice(ask[:4] + ask[5:] if word == "happy" else ask), answer)]


def scene(rng):
    names, text = rng.choice([line.split("=") for line in texts.SCENES.strip().split("\n")])
    name = rng.choice(names.split("|"))
    ask = [
        f"Describe {name}.",
        f"Please describe {name}.",
        f"Write a short description of {name}.",
        f"Can you describe {name}?",
        f"Write a few sentences about {name}.",
        f"Write a paragraph about {name}.",
        f"Write something about {name}.",
    ]
    return [(rng.choice(ask), text)]


def joke(rng):
    ask = [
        "Tell me a joke.",
        "Can you tell me a joke?",
        "Do you know a joke?",
        "Make me laugh.",
        "Tell me something funny.",
        "A joke, please.",
        "Do you know any jokes?",
        "Say something funny.",
        "joke",
    ]
    jokes = texts.JOKES.strip().split("\n")
    first, second = rng.sample(jokes, 2)
    turns = [(rng.choice(ask), first)]
    if rng.random() < 0.25:
        turns.append(
            (
                rng.choice(
                    [
                        "Another one, please.",
                        "Another one!",
                        "Tell me another joke.",
                        "One more joke.",
                    ]
                ),
                second,
            )
        )
    return turns


def letter(rng):
    who, text = rng.choice([line.split("|") for line in texts.LETTERS.strip().split("\n")])
    kind = rng.choice(["letter", "letter", "email", "message", "note"])
    ask = [
        f"Write a short {kind} to {who}.",
        f"Write {article(kind)} to {who}.",
        f"Can you write {article(kind)} to {who}?",
        f"Help me write {article(kind)} to {who}.",
        f"Please write a short {kind} to {who}.",
    ]
    return [(rng.choice(ask), text.replace("\\n", "\n"))]


MEMBERS = {
    "fruit": "fruits",
    "vegetable": "vegetables",
    "animal": "animals",
    "bird": "birds",
    "insect": "insects",
    "fish": "fish",
    "color": "colors",
    "country": "countries",
    "planet": "planets",
    "sport": "sports",
    "flower": "flowers",
    "tree": "trees",
    "drink": "drinks",
    "job": "jobs",
    "shape": "shapes",
    "metal": "metals",
    "language": "languages",
    "vehicle": "vehicles",
    "tool": "tools",
    "musical instrument": "musical instruments",
    "piece of furniture": "pieces of furniture",
}
UNCOUNTED = ("color", "country", "planet", "sport", "drink", "metal", "language")


def member(rng):
    """Is a carrot a fruit? What is a carrot?"""
    kind, other = rng.sample(list(MEMBERS), 2)
    item = rng.choice(facts.LISTS[MEMBERS[kind]].split(","))
    if item in facts.LISTS[MEMBERS[other]].split(",") or {kind, other} <= {
        "animal",
        "bird",
        "insect",
        "fish",
    }:
        other = kind
    thing = item if kind in UNCOUNTED or item.endswith("s") else article(item)
    if kind == "planet" and item == "Earth":
        thing = "the Earth"
    verb = "are" if item in ("drums", "shoes", "gloves", "socks", "pliers") else "is"
    answer = f"{upper_first(thing)} {verb} {article(kind)}."
    if verb == "are":
        return table_question(rng)
    if rng.random() < 0.4:
        return [(rng.choice(["What is {}?", "What kind of thing is {}?"]).format(thing), answer)]
    ask = f"Is {thing} {article(rng.choice([kind, other]))}?"
    yes = ask == f"Is {thing} {article(kind)}?"
    return [(ask, ("Yes, " if yes else "No, ") + (thing + answer[len(thing) :]))]


def told_now(rng):
    """The answer is in the same message."""
    name, city, hobby, pet = (
        rng.choice(x) for x in (facts.NAMES, facts.CITIES, facts.HOBBIES, facts.PETS)
    )
    tell = rng.choice(
        [f"My name is {name}.", f"I am {name}.", f"Hi, I'm {name}.", f"I am called {name}."]
    )
    ask, answer = rng.choice(
        [
            (f"{tell} {rng.choice(NAME_ASK[:5])}", f"Your name is {name}."),
            (f"{tell} {rng.choice(NAME_ASK[:5])}", f"Your name is {name}."),
            (f"{tell} I live in {city}. Where do I live?", f"You live in {city}."),
            (f"{tell} I live in {city}. What is my name?", f"Your name is {name}."),
            (f"I live in {city}. Where do I live?", f"You live in {city}."),
            (f"I like {hobby}. What do I like?", f"You like {hobby}."),
            (f"I have a {pet} and I like {hobby}. What pet do I have?", f"You have a {pet}."),
        ]
    )
    return [(ask, answer)]


SURNAMES = """Miller Schmidt Kowalski Rossi Garcia Tanaka Novak Brown Jensen Larsen Weber Moreau Silva Petrov Nagy Lindgren Murphy
Okafor Haddad Suzuki Khan Wilson Baker Turner Cole Reed Fox""".split()


def unknown_person(rng):
    name = f"{rng.choice(facts.NAMES)} {rng.choice(SURNAMES)}"
    ask = [
        "Who is {n}?",
        "Do you know {n}?",
        "Tell me about {n}.",
        "Who was {n}?",
        "What did {n} do?",
    ]
    return [(rng.choice(ask).format(n=name), f"I am sorry, I do not know who {name} is.")]


def unknown_name(rng):
    return [(rng.choice(NAME_ASK), "You have not told me your name yet. What is your name?")]
