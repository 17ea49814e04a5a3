# SPDX-License-Identifier: MIT
"""BitNet b1.58 in PyTorch: float32 master weights, ternary weights and int8 activations in use.

Both quantisers pass gradients straight through. The integers go into the matrix product as they
are (bfloat16 holds -128..127 exactly) and the scales are applied to its result.
"""
import torch
import torch.nn.functional as F
from torch import nn

try:
    from torch.nn.attention.flex_attention import create_block_mask
    from torch.nn.attention.flex_attention import flex_attention as flex
except ImportError:  # PyTorch before 2.5: only dense attention
    flex = None


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def quantize_activations(x):
    """(integers, scale) per token; gradients reach x as if nothing had been rounded."""
    scale = x.detach().abs().amax(-1, keepdim=True).clamp_min(1e-5) / 127
    x = x / scale
    return x + (x.round().clamp(-128, 127) - x).detach(), scale


class BitLinear(nn.Module):
    """`loaded` is set when the weights are already code * scale, as read from a file."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in) * n_in**-0.5)
        self.loaded = False

    def forward(self, quantized):
        x, x_scale = quantized
        w = self.weight
        w_scale = w.detach().abs().amax() if self.loaded else w.detach().abs().mean()
        w_scale = w_scale.clamp_min(1e-8)
        w = w / w_scale
        w = w + (w.round().clamp(-1, 1) - w).detach()
        return F.linear(x, w).float() * (x_scale * w_scale)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def dense_attention(q, k, v, mask):
    """`mask`: [batch, 1, tokens, tokens] of bool, True where a query may look."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def flex_attention(q, k, v, mask):
    q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
    return flex(q, k, v, block_mask=mask, enable_gqa=True)


class Attention(nn.Module):
    def __init__(self, c, attend):
        super().__init__()
        self.heads, self.kv_heads, self.dim = (
            c["num_attention_heads"],
            c["num_key_value_heads"],
            c["head_dim"],
        )
        hidden, inner = c["hidden_size"], c["num_attention_heads"] * c["head_dim"]
        self.q_proj = BitLinear(hidden, inner)
        self.k_proj = BitLinear(hidden, self.kv_heads * self.dim)
        self.v_proj = BitLinear(hidden, self.kv_heads * self.dim)
        self.o_proj = BitLinear(inner, hidden)
        self.attn_sub_norm = RMSNorm(inner, c["rms_norm_eps"])
        self.attend = attend

    def forward(self, x, cos, sin, mask):
        batch, length, _ = x.shape
        x = quantize_activations(x)
        q = self.q_proj(x).view(batch, length, self.heads, self.dim).transpose(1, 2)
        k = self.k_proj(x).view(batch, length, self.kv_heads, self.dim).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, self.kv_heads, self.dim).transpose(1, 2)
        out = (
            self.attend(rotate(q, cos, sin), rotate(k, cos, sin), v, mask)
            .transpose(1, 2)
            .reshape(batch, length, -1)
        )
        return self.o_proj(quantize_activations(self.attn_sub_norm(out)))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        hidden, inner = c["hidden_size"], c["intermediate_size"]
        self.gate_proj = BitLinear(hidden, inner)
        self.up_proj = BitLinear(hidden, inner)
        self.down_proj = BitLinear(inner, hidden)
        self.ffn_sub_norm = RMSNorm(inner, c["rms_norm_eps"])

    def forward(self, x):
        x = quantize_activations(x)
        inner = F.relu(self.gate_proj(x)).square() * self.up_proj(x)
        return self.down_proj(quantize_activations(self.ffn_sub_norm(inner)))


class Layer(nn.Module):
    def __init__(self, c, attend):
        super().__init__()
        self.input_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.self_attn = Attention(c, attend)
        self.post_attention_layernorm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        self.mlp = MLP(c)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Model(nn.Module):
    """`config` as in the .h1b file. forward gives the logits, or the summed loss with targets."""

    def __init__(self, config, attend):
        super().__init__()
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.layers = nn.ModuleList(
            Layer(config, attend) for _ in range(config["num_hidden_layers"])
        )
        self.norm = RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        half = config["head_dim"] // 2
        steps = config["rope_theta"] ** (-torch.arange(half).double() / half)
        angle = torch.arange(config["max_position_embeddings"])[:, None] * steps
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)

    def forward(self, ids, mask, targets=None):
        x = self.embed_tokens(ids)
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        return self.head(x, targets)

    def head(self, x, targets):
        logits = F.linear(self.norm(x), self.embed_tokens.weight).float()
        if targets is None:
            return logits
        return F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum"
        )

    def compile_parts(self):
        """Compiles one layer (all ten share the code) and the head: quicker than the whole."""
        for layer in self.layers:
            layer.compile(dynamic=False)
        self.head = torch.compile(self.head, dynamic=False)

    def load_sections(self, sections, trainable=False):
        """Takes the weights of an .h1b file (h1b_file.read), to use them or to train them on."""
        own = {"model." + name: p for name, p in self.named_parameters()}
        with torch.no_grad():
            for name, parameter in own.items():
                value = sections[name]
                if hasattr(value, "values"):
                    codes, scale = torch.tensor(value.values), float(sections[name + "_scale"][0])
                    value = (master_weights(codes) if trainable else codes.float()) * scale
                parameter.copy_(
                    value if torch.is_tensor(value) else torch.tensor(value.astype("float32"))
                )
        for module in self.modules():
            if isinstance(module, BitLinear):
                module.loaded = not trainable


def master_weights(codes):
    """Random weights of mean magnitude 1 that round to `codes`, spread as in training."""
    spread = torch.rand(codes.shape)
    zeros = 0.9 * spread - 0.45
    others = 0.55 - spread.clamp_min(1e-6).log() * 0.9
    share = (codes != 0).float().mean()
    target = (1 - (1 - share) * zeros.abs().mean()) / share
    others = 0.55 + (others - 0.55) * ((target - 0.55) / 0.9)
    weights = torch.where(codes == 0, zeros, others * codes)
    return weights / weights.abs().mean()


def document_numbers(ids, bos):
    return (ids == bos).cumsum(1)


def dense_mask(documents):
    length = documents.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=documents.device).tril()
    return (causal & (documents[:, :, None] == documents[:, None, :]))[:, None]


def flex_mask(documents):
    def visible(batch, head, query, key):
        return (query >= key) & (documents[batch, query] == documents[batch, key])

    batch, length = documents.shape
    return create_block_mask(visible, batch, None, length, length, device=documents.device)


ATTENTION = {"dense": (dense_attention, dense_mask), "flex": (flex_attention, flex_mask)}


class Muon(torch.optim.Optimizer):
    """Momentum with an orthogonalised update, for matrices (K. Jordan and others, 2024)."""

    def __init__(self, params, lr, weight_decay=0.0, momentum=0.95):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for p in group["params"]:
                by_shape.setdefault(p.shape, []).append(p)
            for params in by_shape.values():
                self._step_stack(group, params)

    def _step_stack(self, group, params):
        """All matrices of one shape in one batch."""
        grads = torch.stack([p.grad for p in params])
        state = self.state[params[0]]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(grads)
        state["momentum"].lerp_(grads, 1 - group["momentum"])
        update = orthogonalize(grads.lerp(state["momentum"], group["momentum"]))
        rows, columns = params[0].shape
        scale = group["lr"] * max(1.0, rows / columns) ** 0.5
        for p, u in zip(params, update):
            p.mul_(1 - group["lr"] * group["weight_decay"]).add_(u.to(p.dtype), alpha=-scale)


def orthogonalize(g, steps=5):
    """Five Newton-Schulz iterations: the nearest matrix with singular values near one."""
    x = g.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if tall else x
