# SPDX-License-Identifier: MIT
"""The demo model's data: reads and cleans the corpus, adds synthetic conversations, encodes, packs.

A document is an array of uint16 token ids. Text: <|begin_of_text|> text <|end_of_text|>. Chat: the
chat template's tokens, with LOSS_BIT set on what the assistant says and on the <|eot_id|> after it.
A set of documents is one flat array and the offsets of its documents, saved as kind.ids, kind.at.
"""
import concurrent.futures
import json
import lzma
import os
import random
import re

import numpy as np

import bpe
import demo_chats
import demo_facts
import demo_words
import export_h1b

LOSS_BIT = np.uint16(0x8000)
ID_MASK = np.uint16(0x7FFF)
KINDS = """stories stories-synth books textbooks encyclopedic dialog-open dialog-task chat
chat-synth""".split()
TOKENIZER_WEIGHTS = {"stories": 2, "chat": 2, "chat-synth": 2, "dialog-open": 2}
VOCAB_SIZE = 12288

# Epoch weights. The text phase learns English from everything. The chat phase mixes rows of answers
# with rows of running text, so that the text is not forgotten.
TEXT_MIX = {
    "stories": 2.0,
    "stories-synth": 0.75,
    "books": 1.0,
    "textbooks": 1.0,
    "encyclopedic": 1.5,
    "dialog-open": 1.5,
    "dialog-task": 0.4,
    "chat": 1.0,
    "chat-synth": 0.5,
    "demo-chat": 0.15,
}
CHAT_MIX = {
    "chat-good": 1.0,
    "persona": 0.7,
    "chat-synth": 0.5,
    "story-chat": 1.0,
    "demo-chat": 0.5,
}
REHEARSAL_MIX = {
    "stories": 2.0,
    "stories-synth": 0.2,
    "books": 1.0,
    "textbooks": 1.0,
    "encyclopedic": 1.5,
}
# Share of each source of chat.train that the chat phase uses; other sources stay out of it.
CHAT_SOURCES = {
    "dolly-15k": 1.0,
    "self-instruct": 1.0,
    "oasst-sample": 1.0,
    "personality-chat": 1.0,
    "wordnet": 0.7,
    "openstax-glossary": 0.6,
    "periodic-table": 1.0,
    "factbook": 0.5,
    "jokes": 0.5,
    "webquestions": 0.1,
}
# Questions that a small model cannot learn the answers of; it learns to say so.
REFUSED_SOURCES = {"opentriviaqa": 0.05, "nq-open": 0.35}
DO_NOT_KNOW = "I am sorry, I do not know that. I am only a small model."
# A few files of one source hold text that was decoded as Windows-1252 once too often.
MOJIBAKE = [
    ("\u00e2\u20ac\u0153", '"'),
    ("\u00e2\u20ac\u2122", "'"),
    ("\u00e2\u20ac\u02dc", "'"),
    ("\u00e2\u20ac\u201c", " - "),
    ("\u00e2\u20ac\u201d", " - "),
    ("\u00e2\u20ac\u00a6", "..."),
    ("\u00e2\u20ac\u009d", '"'),
    ("\u00e2\u20ac", '"'),
]
WHO_I_AM = "I am the demo model of Halo, a small language model with ternary weights."
IDENTITY_ANSWERS = [
    ("You can call me your assistant", WHO_I_AM),
    ("I am a small assistant that runs on", WHO_I_AM),
    ("I am a small language model. I", WHO_I_AM),
    ("I do not have a special name", "I have no name of my own. I am the demo model of Halo."),
    (
        "I was made by people",
        "I was trained for Halo, a server for language models with ternary weights.",
    ),
    (
        "People who like small",
        "I was trained for Halo, a server for language models with ternary weights.",
    ),
]
ABOUT_ITSELF = re.compile(
    r"\b(your name|who are you|what are you\b|who (made|created|built)|your"
    r" (boss|age|father|mother|birthday)|"
    r"capital|are you (a|an|human|real|alive|chat)|how old)",
    re.I,
)
STORY_ANIMALS = """ant badger bear bird butterfly camel cat crab deer dog dolphin donkey duck elephant fish fox frog giraffe goat
goose hamster hedgehog hen horse kangaroo kitten koala lamb lion mole monkey mouse otter owl panda parrot penguin pig pony puppy
rabbit raccoon seal sheep snail sparrow squirrel swan tiger turtle whale wolf zebra crow""".split()
# A story about an animal is as good about one of these.
STORY_OTHERS = """dragon robot dinosaur unicorn monster ghost dog cat wolf monkey snake shark spider bee cow horse lion mouse frog
puppy kitten fairy elf troll giant alien crocodile rabbit bear fox turtle fish bird owl""".split()
STORY_HEROES = {
    "girl": ["princess", "girl", "girl", "witch", "fairy", "queen", "woman"],
    "boy": ["prince", "boy", "boy", "knight", "wizard", "pirate", "king", "man"],
}


def records(corpus, kind, part="train"):
    folder = corpus if part == "train" else os.path.join(corpus, part)
    with lzma.open(
        os.path.join(folder, f"{kind}.{part}.jsonl.xz"), "rt", encoding="utf-8"
    ) as lines:
        for line in lines:
            yield clean_record(json.loads(line))


def clean_text(text):
    if "\u00e2\u20ac" in text:
        for wrong, right in MOJIBAKE:
            text = text.replace(wrong, right)
    return text.strip()


def clean_record(record):
    if "text" in record:
        record["text"] = clean_text(record["text"])
        return record
    for message in record["messages"]:
        message["content"] = clean_text(message["content"])
        if message["role"] == "assistant" and record["src"] == "synth-chat":
            for start, answer in IDENTITY_ANSWERS:
                if start in message["content"]:
                    message["content"] = answer
    return record


def train_tokenizer(corpus):
    counts = None
    for kind in KINDS:
        texts = []
        for record in records(corpus, kind):
            texts += (
                [record["text"]] if "text" in record else [m["content"] for m in record["messages"]]
            )
        counts = bpe.count_pieces(texts, counts, TOKENIZER_WEIGHTS.get(kind, 1))
    return bpe.train(counts, VOCAB_SIZE)


class DocumentWriter:
    """Collects documents of one kind as token ids."""

    def __init__(self, tokenizer):
        self.tokenizer, self.parts, self.at = tokenizer, [], [0]
        self.special = tokenizer.special

    def add(self, record):
        ids = self.text(record["text"]) if "text" in record else self.chat(record["messages"])
        self.parts.append(np.array(ids, np.uint16))
        self.at.append(self.at[-1] + len(ids))

    def text(self, text):
        return [
            self.special["<|begin_of_text|>"],
            *self.tokenizer.encode(text),
            self.special["<|end_of_text|>"],
        ]

    def chat(self, messages):
        out, s = [self.special["<|begin_of_text|>"]], self.special
        for message in messages:
            out += [
                s["<|start_header_id|>"],
                *self.tokenizer.encode(message["role"]),
                s["<|end_header_id|>"],
            ]
            out += self.tokenizer.encode("\n\n")
            said = [*self.tokenizer.encode(message["content"].strip()), s["<|eot_id|>"]]
            out += [i | int(LOSS_BIT) for i in said] if message["role"] == "assistant" else said
        return out

    def arrays(self, kind):
        ids = np.concatenate(self.parts) if self.parts else np.zeros(0, np.uint16)
        return {f"{kind}.ids": ids, f"{kind}.at": np.array(self.at, np.int64)}


def good_chat(corpus, rng):
    """The part of chat.train that teaches a small model to answer well, and shortly."""
    for record in records(corpus, "chat"):
        source, messages = record["src"].split(":")[0], record["messages"]
        if rng.random() < REFUSED_SOURCES.get(source, 0):
            messages[1]["content"] = DO_NOT_KNOW
            yield {"messages": messages[:2], "src": source}
            continue
        asked = " ".join(m["content"] for m in messages if m["role"] == "user")
        answered = max(len(m["content"]) for m in messages if m["role"] == "assistant")
        if rng.random() >= CHAT_SOURCES.get(source, 0) or ABOUT_ITSELF.search(asked):
            continue
        if answered < 400 and len(asked) < 800:
            yield maybe_system(record, rng)


def persona_chat(corpus, rng):
    for record in records(corpus, "dialog-open"):
        if record["src"] == "synthetic-persona-chat":
            yield maybe_system(record, rng)


def maybe_system(record, rng):
    if rng.random() < 0.2 and record["messages"][0]["role"] == "user":
        record["messages"].insert(
            0, {"role": "system", "content": rng.choice(demo_facts.SYSTEM_PLAIN)}
        )
    return record


def story_chat(corpus, rng):
    """Template stories as answers to a request that names who is in them, often somebody new."""
    asks = [
        "Tell me a story{}.",
        "Tell me a short story{}.",
        "Can you tell me a story{}?",
        "Write a short story{}.",
        "story{}",
        "Please tell me a story{}.",
        "I want to hear a story{}.",
        "Write a story{}.",
        "Make up a story{}.",
        "Tell me a tale{}.",
    ]
    for record in records(corpus, "stories-synth"):
        if rng.random() < 0.3:
            continue
        text, about = retold(record["text"], rng)
        turns = [(rng.choice(asks).format(about), text)]
        if rng.random() < 0.1:
            turns.append(
                (
                    rng.choice(["Thank you!", "Thanks!", "That was nice."]),
                    "You are welcome! I am glad that you liked it.",
                )
            )
        messages = []
        for question, answer in turns:
            question = question.lower() if rng.random() < 0.1 else question
            messages += [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer},
            ]
        yield maybe_system({"messages": messages, "src": "story-chat"}, rng)


def swap_word(text, old, new):
    """Replaces a noun, with its article."""
    text = re.sub(
        rf"\b(a|an) ((?:[a-z]+ )?){old}\b", lambda m: demo_words.article((m[2] or "") + new), text
    )
    return re.sub(rf"\b{old}\b", new, text)


def retold(text, rng):
    """(the story, its animal or hero perhaps exchanged, the words " about ..." of the request)."""
    named = []
    hero = re.search(r"\b(girl|boy)\b", text[:120])
    name = re.search(r"(?:named|called) ([A-Z][a-z]+)|^([A-Z][a-z]+) was an? ", text[:120])
    if hero:
        new = rng.choice(STORY_HEROES[hero[1]])
        text = swap_word(text, hero[1], new)
        named.append(
            demo_words.article(new)
            + (f" named {name[1] or name[2]}" if name and rng.random() < 0.35 else "")
        )
    animals = [a for a in STORY_ANIMALS if re.search(rf"\b{a}\b", text)]
    if animals:
        old = max(animals, key=text.count)
        new = (
            rng.choice(STORY_OTHERS)
            if rng.random() < 0.7 and not re.search(rf"\b{old}s\b", text)
            else old
        )
        text = swap_word(text, old, new)
        named.append(demo_words.article(new))
    if not named or rng.random() < 0.12:
        return text, ""
    chosen = (
        named
        if len(named) > 1 and rng.random() < 0.35
        else [named[-1] if rng.random() < 0.6 else named[0]]
    )
    rng.shuffle(chosen)
    return text, " about " + " and ".join(chosen)


def source_of(corpus, kind, part, count, seed):
    """The records of one document set."""
    rng = random.Random(f"{kind} {seed}")
    if kind == "demo-chat":
        return demo_chats.conversations(count, seed)
    if kind in ("chat-good", "persona", "story-chat"):
        return {"chat-good": good_chat, "persona": persona_chat, "story-chat": story_chat}[kind](
            corpus, rng
        )
    return records(corpus, kind, part)


def encode_set(job):
    corpus, work, kind, part, count, seed = job
    writer = DocumentWriter(export_h1b.load_tokenizer(os.path.join(work, "tokenizer.npz")))
    for record in source_of(corpus, kind, part, count, seed):
        writer.add(record)
    return writer.arrays(kind)


def join_sets(sets, kind):
    ids = np.concatenate([s[f"{kind}.ids"] for s in sets])
    starts = np.cumsum([0] + [len(s[f"{kind}.ids"]) for s in sets])
    at = [s[f"{kind}.at"][:-1] + start for s, start in zip(sets, starts)]
    return {f"{kind}.ids": ids, f"{kind}.at": np.concatenate(at + [starts[-1:]])}


def prepare(corpus, work, demo_count, seed, processes, log=print):
    """Writes tokenizer.npz, train.npz and valid.npz into the folder `work`."""
    os.makedirs(work, exist_ok=True)
    path = os.path.join(work, "tokenizer.npz")
    if not os.path.exists(path):
        export_h1b.save_tokenizer(path, train_tokenizer(corpus))
    parts = 12  # of the synthetic conversations, each with a seed of its own
    jobs = [
        (corpus, work, "demo-chat", "train", demo_count // parts, seed * 1000 + i)
        for i in range(parts)
    ]
    jobs += [
        (corpus, work, kind, "train", 0, seed)
        for kind in [*KINDS, "chat-good", "persona", "story-chat"]
    ]
    jobs += [(corpus, work, "demo-chat", "valid", 1000, seed * 1000 + parts)]
    jobs += [(corpus, work, kind, "valid", 0, seed) for kind in KINDS]
    with concurrent.futures.ProcessPoolExecutor(processes) as pool:
        sets = list(pool.map(encode_set, jobs))
    train, valid = join_sets(sets[:parts], "demo-chat"), {}
    for job, arrays in zip(jobs[parts:], sets[parts:]):
        (train if job[3] == "train" else valid).update(arrays)
    with lzma.open(
        os.path.join(corpus, "wikitext-2", "wiki.test.raw.xz"), "rt", encoding="utf-8"
    ) as file:
        valid["wikitext.ids"] = np.array(
            export_h1b.load_tokenizer(path).encode(file.read()), np.uint16
        )
    np.savez(os.path.join(work, "train.npz"), **train)
    np.savez(os.path.join(work, "valid.npz"), **valid)
    for part, data in (("train", train), ("valid", valid)):
        for name, ids in data.items():
            if name.endswith(".ids"):
                log(f"{part} {name[:-4]}: {len(ids):,} tokens")


class Packer:
    """Endless rows of tokens from a mixture of document sets, reshuffled every epoch."""

    def __init__(self, data, mix, length, bos, pad, seed, whole=False):
        self.data, self.mix, self.length = data, mix, length
        self.bos, self.pad, self.whole = bos, pad, whole
        self.rng = np.random.default_rng(seed)
        self.rows, self.used = np.zeros((0, length + 1), np.uint16), 0

    def _epoch_documents(self):
        docs = []
        for kind, weight in self.mix.items():
            ids, at = self.data[f"{kind}.ids"], self.data[f"{kind}.at"]
            n = len(at) - 1
            repeats = np.full(n, int(weight)) + (self.rng.random(n) < weight - int(weight))
            docs += [ids[at[i] : at[i + 1]] for i in np.repeat(np.arange(n), repeats)]
        return [docs[i] for i in self.rng.permutation(len(docs))]

    def _fill(self):
        docs = self._epoch_documents()
        if self.whole:
            self.rows = self._whole_rows(self._join_some(docs))
        else:
            stream = np.concatenate(docs)
            n = len(stream) // (self.length + 1)
            self.rows = stream[: n * (self.length + 1)].reshape(n, self.length + 1)
            self.rows = self.rows[self.rng.permutation(n)]
        self.used = 0

    def _join_some(self, docs):
        """Makes one conversation of several short ones, for practice with more turns."""
        out, i = [], 0
        while i < len(docs):
            k = 1
            if self.rng.random() < 0.35:
                k = int(self.rng.integers(2, 5))
            group = [d for d in docs[i : i + k]]
            if k > 1 and max(len(d) for d in group) < 160:
                out.append(np.concatenate([group[0]] + [d[1:] for d in group[1:]]))
            else:
                out += group
            i += k
        return out

    def _whole_rows(self, docs):
        width = self.length + 1
        rows, row, room = [], [], width
        for doc in docs:
            doc = doc[:width]
            if len(doc) > room:
                rows.append(np.concatenate(row + [np.full(room, self.pad, np.uint16)]))
                row, room = [], width
            row.append(doc)
            room -= len(doc)
        return np.stack(rows)

    def batch(self, n):
        """The next n rows: [n, length + 1] of uint16, LOSS_BIT as in the documents."""
        out = []
        while n:
            if self.used == len(self.rows):
                self._fill()
            take = self.rows[self.used : self.used + n]
            self.used += len(take)
            n -= len(take)
            out.append(take)
        return np.concatenate(out)
