# SPDX-License-Identifier: MIT
"""Byte-level BPE: pre-tokenizer, trainer and encoder of the demo model.

Token ids 0..255 are the 256 bytes, then one id for each merge result in rank order, then the
special tokens. A merge is a pair of ids; its result is the token whose bytes are the two parts
joined. A piece of the pre-tokenizer that is itself a token is taken whole, otherwise the lowest
rank merges first, leftmost among equals. Needs the `regex` module for \\p{..} classes.
"""
import heapq
from collections import Counter, defaultdict

import regex

# The pre-tokenizer rule of Llama 3: contractions, words with one leading character, numbers in
# groups of one to three digits, punctuation, line ends, spaces.
LLAMA3_RULE = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLIT = regex.compile(LLAMA3_RULE)

SPECIALS = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
] + [f"<|reserved_{i}|>" for i in range(11)]
TYPE_NORMAL, TYPE_CONTROL = 1, 3


def count_pieces(texts, counts=None, weight=1):
    """Adds `weight` for every piece of every text to a Counter of pieces (as bytes)."""
    counts = Counter() if counts is None else counts
    local = Counter()
    for text in texts:
        local.update(SPLIT.findall(text))
    for piece, n in local.items():
        counts[piece.encode()] += n * weight
    return counts


class _PairIndex:
    """Counts of neighbouring id pairs over a weighted word list, kept up to date by merges."""

    def __init__(self, words, weights):
        self.words, self.weights = words, weights
        self.count = Counter()
        self.where = defaultdict(set)
        for i, word in enumerate(words):
            for pair in zip(word, word[1:]):
                self.count[pair] += weights[i]
                self.where[pair].add(i)
        self.heap = [(-n, pair) for pair, n in self.count.items()]
        heapq.heapify(self.heap)

    def best(self):
        """The most frequent pair, the smaller ids first among equals; None when none is left."""
        while self.heap:
            n, pair = heapq.heappop(self.heap)
            now = self.count.get(pair, 0)
            if now == -n and now > 0:
                return pair
            if now > 0:
                heapq.heappush(self.heap, (-now, pair))
        return None

    def merge(self, pair, new_id):
        changed = set()
        for i in sorted(self.where.pop(pair)):
            word, weight = self.words[i], self.weights[i]
            for old in zip(word, word[1:]):
                self.count[old] -= weight
                changed.add(old)
            word = self.words[i] = apply_merge(word, pair, new_id)
            for new in zip(word, word[1:]):
                self.count[new] += weight
                self.where[new].add(i)
                changed.add(new)
        self.count.pop(pair, None)
        for p in changed:
            if self.count.get(p, 0) > 0:
                heapq.heappush(self.heap, (-self.count[p], p))


def apply_merge(ids, pair, new_id):
    """`ids` with every occurrence of `pair`, from the left, replaced by `new_id`."""
    out, i, last = [], 0, len(ids) - 1
    while i <= last:
        if i < last and ids[i] == pair[0] and ids[i + 1] == pair[1]:
            out.append(new_id)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out


def train(counts, vocab_size, min_count=3):
    """Learns merges from piece counts until the vocabulary (bytes, merges, SPECIALS) is full."""
    items = sorted((p, n) for p, n in counts.items() if n >= min_count)
    index = _PairIndex([list(p) for p, _ in items], [n for _, n in items])
    tokens = [bytes([b]) for b in range(256)]
    ids = {t: i for i, t in enumerate(tokens)}
    merges = []
    while len(tokens) < vocab_size - len(SPECIALS):
        pair = index.best()
        if pair is None:
            raise ValueError("too little text for this vocabulary size")
        joined = tokens[pair[0]] + tokens[pair[1]]
        if joined not in ids:
            ids[joined] = len(tokens)
            tokens.append(joined)
        index.merge(pair, ids[joined])
        merges.append(pair)
    return Tokenizer(tokens + [s.encode() for s in SPECIALS], merges, len(SPECIALS))


class Tokenizer:
    """A vocabulary with its merges. The last `n_special` tokens are control tokens."""

    def __init__(self, tokens, merges, n_special):
        self.tokens = tokens
        self.merges = [tuple(int(x) for x in m) for m in merges]
        self.n_normal = len(tokens) - n_special
        self.ids = {t: i for i, t in enumerate(tokens[: self.n_normal])}
        self.special = {
            t.decode(): self.n_normal + i for i, t in enumerate(tokens[self.n_normal :])
        }
        self.rank = {pair: r for r, pair in reversed(list(enumerate(self.merges)))}
        self.cache = {}
        names = "|".join(regex.escape(s) for s in self.special)
        self.special_split = regex.compile(f"({names})")

    def encode_piece(self, piece):
        raw = piece.encode()
        if raw in self.ids:
            return [self.ids[raw]]
        word = list(raw)
        while len(word) > 1:
            rank, i = min(
                (self.rank.get(pair, len(self.merges)), i)
                for i, pair in enumerate(zip(word, word[1:]))
            )
            if rank == len(self.merges):
                break
            word[i : i + 2] = [self.ids[self.tokens[word[i]] + self.tokens[word[i + 1]]]]
        return word

    def encode(self, text):
        """Ids of plain text; the names of special tokens in it are ordinary characters."""
        out = []
        for piece in SPLIT.findall(text):
            ids = self.cache.get(piece)
            if ids is None:
                ids = self.cache[piece] = self.encode_piece(piece)
            out.extend(ids)
        return out

    def encode_with_specials(self, text):
        """Ids of text in which the names of special tokens stand for the tokens themselves."""
        out = []
        for part in self.special_split.split(text):
            if part in self.special:
                out.append(self.special[part])
            elif part:
                out.extend(self.encode(part))
        return out

    def decode(self, ids):
        return b"".join(self.tokens[i] for i in ids).decode("utf-8", "replace")
