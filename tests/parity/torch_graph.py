# SPDX-License-Identifier: MIT
"""The graphs of ternary models in plain torch functions, written from the papers and model cards.

It knows nothing of transformers: make_fixtures.py holds the two against each other. `config` is a
config.json as a dict, `tensors` maps the names of the checkpoint to float tensors, with each linear
weight as the value that multiplies (code * scale).
"""
import math

import torch

PROJECTIONS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def quantize(x, group=0):
    """Activations as int8 would have them: one step per token or per group of values, absmax / 127."""
    spans = x.reshape(*x.shape[:-1], -1, group or x.shape[-1])
    scale = 127 / spans.abs().amax(-1, keepdim=True).clamp(min=1e-5)
    return ((spans * scale).round().clamp(-128, 127) / scale).reshape(x.shape)


def hadamard(x, block):
    """Each `block` values times the normalised Sylvester matrix."""
    matrix = torch.ones(1, 1, dtype=x.dtype)
    while len(matrix) < block:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)], 0)
    blocks = x.reshape(*x.shape[:-1], -1, block)
    return (blocks @ (matrix / math.sqrt(block))).reshape(x.shape)


def _yarn(scaling, freq, dim, theta, n_ctx):
    factor = scaling["factor"]
    original = scaling.get("original_max_position_embeddings") or n_ctx

    def place(turns):
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(place(scaling.get("beta_fast") or 32)), 0)
    high = min(math.ceil(place(scaling.get("beta_slow") or 1)), dim - 1)
    ramp = ((torch.arange(dim // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
    attention = scaling.get("attention_factor") or 0.1 * math.log(factor) + 1
    return freq / factor * ramp + freq * (1 - ramp), attention


def _llama3(scaling, freq):
    original = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    smooth = ((original * freq / (2 * math.pi) - low) / (high - low)).clamp(0, 1)
    return (1 - smooth) * freq / scaling["factor"] + smooth * freq


def rope(config, n):
    """Cosines and sines [n, 1, head_dim / 2]."""
    dim, theta = config["head_dim"], config["rope_theta"]
    freq = theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    factor, scaling = 1.0, config.get("rope_scaling") or {}
    kind = scaling.get("rope_type") or scaling.get("type")
    if kind == "linear":
        freq = freq / scaling["factor"]
    elif kind == "llama3":
        freq = _llama3(scaling, freq)
    elif kind == "yarn":
        freq, factor = _yarn(scaling, freq, dim, theta, config["max_position_embeddings"])
    elif kind is not None:
        raise ValueError(f"no RoPE scaling {kind!r}")
    angle = torch.arange(n, dtype=torch.float64)[:, None, None] * freq
    return (angle.cos() * factor).float(), (angle.sin() * factor).float()


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Graph:
    """One model. `has_int8`: whether the inputs of linear layers are quantised, those of projections in
    `groups` by groups of so many values; `has_half_kv`: whether keys and values are rounded to f16, as
    a cache may keep them."""

    def __init__(self, config, tensors, has_int8, has_half_kv=False, groups=None):
        self.config, self.tensors, self.groups = config, tensors, groups or {}
        self.has_int8, self.has_half_kv = has_int8, has_half_kv

    def _linear(self, layer, name, x):
        short = name.split(".")[1]
        if short in self.config.get("hadamard_inputs", ()):
            x = hadamard(x, self.config["hadamard_block"])
        x = quantize(x, self.groups.get(name, 0)) if self.has_int8 else x
        return x @ self.tensors[f"model.layers.{layer}.{name}.weight"].T

    def _norm(self, name, x):
        """The norm of that name, or nothing if the model has none."""
        weight = self.tensors.get(f"{name}.weight")
        return x if weight is None else rms_norm(x, weight, self.config["rms_norm_eps"])

    def _attention(self, layer, x, cos, sin):
        c, n = self.config, len(x)
        heads, kv_heads, dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        at = f"model.layers.{layer}.self_attn"
        q = self._linear(layer, "self_attn.q_proj", x).reshape(n, heads, dim)
        k = self._linear(layer, "self_attn.k_proj", x).reshape(n, kv_heads, dim)
        v = self._linear(layer, "self_attn.v_proj", x).reshape(n, kv_heads, dim)
        q = rotate(self._norm(f"{at}.q_norm", q), cos, sin)
        k = rotate(self._norm(f"{at}.k_norm", k), cos, sin)
        if self.has_half_kv:
            k, v = k.half().to(k.dtype), v.half().to(v.dtype)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(dim)
        scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), -math.inf)
        out = torch.einsum("hqk,khd->qhd", scores.softmax(-1), v).reshape(n, heads * dim)
        return self._linear(layer, "self_attn.o_proj", self._norm(f"{at}.attn_sub_norm", out))

    def _mlp(self, layer, x):
        gate = self._linear(layer, "mlp.gate_proj", x)
        if self.config["hidden_act"] == "relu2":
            gate = gate.relu() ** 2
        else:
            gate = gate * gate.sigmoid()
        inner = gate * self._linear(layer, "mlp.up_proj", x)
        inner = self._norm(f"model.layers.{layer}.mlp.ffn_sub_norm", inner)
        return self._linear(layer, "mlp.down_proj", inner)

    def logits(self, ids):
        """[len(ids), vocab] after each token."""
        x = self.tensors["model.embed_tokens.weight"][ids]
        cos, sin = rope(self.config, len(ids))
        for i in range(self.config["num_hidden_layers"]):
            at = f"model.layers.{i}"
            x = x + self._attention(i, self._norm(f"{at}.input_layernorm", x), cos, sin)
            x = x + self._mlp(i, self._norm(f"{at}.post_attention_layernorm", x))
        head = self.tensors.get("lm_head.weight", self.tensors["model.embed_tokens.weight"])
        return self._norm("model.norm", x) @ head.T
