# SPDX-License-Identifier: MIT
"""Runs a BitNet b1.58 .h1b file in plain numpy, straight from the definition of the model.

Slow and simple on purpose: it is what other implementations are compared with, by tolerance.

    python3 reference_forward.py halo-demo.h1b --logits "The capital of France"
    python3 reference_forward.py halo-demo.h1b --chat "What is the capital of France?" "And of Italy?"

--logits prints the five highest logits after each position of <|begin_of_text|> + text.
--nll prints the mean of -ln p(token) over the text after <|begin_of_text|>, and its exp.
--chat answers the user turns one after the other, greedily.
--ask answers one question a line of a file, each in a conversation of its own.
"""
import argparse
import json

import numpy as np

import export_h1b
import h1b_file


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def quantize(x):
    """int8 activations per token: the quantised values, still as floats of x's dtype."""
    peak = np.maximum(np.abs(x).max(-1, keepdims=True), x.dtype.type(1e-5))
    return np.clip(np.rint(x * (127 / peak)), -128, 127) * (peak / 127)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def rotate(x, positions, theta):
    """RoPE on [..., tokens, heads, head_dim], pairing element i with i + head_dim / 2."""
    half = x.shape[-1] // 2
    angle = positions[:, None] * theta ** (-np.arange(half) / half)
    cos, sin = np.cos(angle)[:, None].astype(x.dtype), np.sin(angle)[:, None].astype(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


class Model:
    """A model read from a file. `forward` keeps keys and values, `reset` forgets them."""

    def __init__(self, path, dtype=np.float32):
        sections = h1b_file.read(path)
        self.config = json.loads(sections["config"].tobytes())
        self.tokenizer = export_h1b.tokenizer_from_sections(sections)
        self.dtype = dtype
        self.embedding = sections["model.embed_tokens.weight"].astype(dtype)
        self.final_norm = sections["model.norm.weight"].astype(dtype)
        self.layers = [self._layer(sections, i) for i in range(self.config["num_hidden_layers"])]
        self.reset()

    def _layer(self, sections, index):
        layer = {}
        for name in export_h1b.norm_shapes(self.config):
            layer[name] = sections[f"model.layers.{index}.{name}.weight"].astype(self.dtype)
        for name in export_h1b.layer_shapes(self.config):
            codes = sections[f"model.layers.{index}.{name}.weight"].values
            scales = sections[f"model.layers.{index}.{name}.weight_scale"]
            per_row = np.repeat(scales, len(codes) // len(scales))[:, None]
            layer[name] = codes.astype(self.dtype) * per_row.astype(self.dtype)
        return layer

    def reset(self):
        self.past = [None] * len(self.layers)
        self.n_past = 0

    def _attention(self, index, layer, x):
        c, n = self.config, x.shape[-2]
        heads, kv_heads, dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        x = quantize(x)

        def project(name, count):
            return (x @ layer[name].T).reshape(*x.shape[:-1], count, dim)

        positions = np.arange(self.n_past, self.n_past + n)
        q = rotate(project("self_attn.q_proj", heads), positions, c["rope_theta"])
        k = rotate(project("self_attn.k_proj", kv_heads), positions, c["rope_theta"])
        v = project("self_attn.v_proj", kv_heads)
        if self.past[index] is not None:
            k = np.concatenate([self.past[index][0], k], -3)
            v = np.concatenate([self.past[index][1], v], -3)
        self.past[index] = (k, v)
        k, v = (np.repeat(t, heads // kv_heads, axis=-2) for t in (k, v))
        scores = np.einsum("...qhd,...khd->...hqk", q, k) * self.dtype(dim**-0.5)
        hidden_keys = np.arange(k.shape[-3])[None, :] > positions[:, None]
        scores = np.where(hidden_keys, self.dtype(-np.inf), scores)
        out = np.einsum("...hqk,...khd->...qhd", softmax(scores), v)
        out = out.reshape(*x.shape[:-1], heads * dim)
        out = rms_norm(out, layer["self_attn.attn_sub_norm"], c["rms_norm_eps"])
        return quantize(out) @ layer["self_attn.o_proj"].T

    def _mlp(self, layer, x):
        x = quantize(x)
        gate = np.maximum(x @ layer["mlp.gate_proj"].T, 0)
        inner = gate * gate * (x @ layer["mlp.up_proj"].T)
        inner = rms_norm(inner, layer["mlp.ffn_sub_norm"], self.config["rms_norm_eps"])
        return quantize(inner) @ layer["mlp.down_proj"].T

    def forward(self, ids):
        """Logits [..., tokens, vocab] after each of `ids` [..., tokens], which follow all ids given
        before. Leading dimensions are independent sequences of one length."""
        eps = self.config["rms_norm_eps"]
        ids = np.asarray(ids)
        x = self.embedding[ids]
        for i, layer in enumerate(self.layers):
            x = x + self._attention(i, layer, rms_norm(x, layer["input_layernorm"], eps))
            x = x + self._mlp(layer, rms_norm(x, layer["post_attention_layernorm"], eps))
        self.n_past += ids.shape[-1]
        return rms_norm(x, self.final_norm, eps) @ self.embedding.T

    def generate(self, prompts, max_tokens):
        """Greedy continuations of fresh prompts of one length, without the end tokens."""
        self.reset()
        logits = self.forward(prompts)[:, -1]
        out, running = [[] for _ in prompts], set(range(len(prompts)))
        for _ in range(max_tokens):
            best = logits.argmax(-1)
            running -= {i for i in running if best[i] in self.config["eos_token_ids"]}
            for i in running:
                out[i].append(int(best[i]))
            if not running:
                break
            logits = self.forward(best[:, None])[:, -1]
        return out

    def reply(self, messages, max_tokens=200):
        prompt = self.tokenizer.encode_with_specials(chat_prompt(messages))
        return self.tokenizer.decode(self.generate([prompt], max_tokens)[0]).strip()


def chat_prompt(messages):
    """What the chat template in the file renders, with the generation prompt."""
    text = "<|begin_of_text|>"
    for m in messages:
        content = m["content"].strip()
        text += f"<|start_header_id|>{m['role']}<|end_header_id|>\n\n{content}<|eot_id|>"
    return text + "<|start_header_id|>assistant<|end_header_id|>\n\n"


def print_logits(model, text):
    ids = [model.config["bos_token_id"]] + model.tokenizer.encode(text)
    for position, (token, row) in enumerate(zip(ids, model.forward(ids))):
        top = np.argsort(-row, kind="stable")[:5]
        print(position, token, " ".join(f"{i}:{row[i]:.4f}" for i in top))


def print_nll(model, text):
    ids = [model.config["bos_token_id"]] + model.tokenizer.encode(text)
    logits = model.forward(ids)[:-1].astype(np.float64)
    top = logits.max(-1)
    nll = np.log(np.exp(logits - top[:, None]).sum(-1)) + top - logits[range(len(ids) - 1), ids[1:]]
    print(f"{nll.mean():.5f} nats, perplexity {np.exp(nll.mean()):.4f}, {len(nll)} tokens")


def print_chat(model, turns, system):
    messages = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        messages.append({"role": "user", "content": turn})
        messages.append({"role": "assistant", "content": model.reply(messages)})
        print(f"> {turn}\n{messages[-1]['content']}\n", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", help="a .h1b file of architecture bitnet")
    parser.add_argument("--logits", metavar="TEXT")
    parser.add_argument("--nll", metavar="TEXT")
    parser.add_argument("--chat", nargs="+", metavar="TURN")
    parser.add_argument("--ask", metavar="FILE")
    parser.add_argument("--system", default="", help="system message for --chat and --ask")
    parser.add_argument("--float64", action="store_true", help="compute in double precision")
    args = parser.parse_args()
    model = Model(args.model, np.float64 if args.float64 else np.float32)
    if args.logits is not None:
        print_logits(model, args.logits)
    if args.nll is not None:
        print_nll(model, args.nll)
    if args.chat:
        print_chat(model, args.chat, args.system)
    if args.ask:
        with open(args.ask, encoding="utf-8") as lines:
            for line in lines:
                print_chat(model, [line.strip()], args.system)


if __name__ == "__main__":
    main()
