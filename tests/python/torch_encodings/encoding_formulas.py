"""Every encoding as its paper writes it, in float64 and in full: arrays [tokens, keys, ...] that the package never builds.

score_term(encoding, p, q, k, i, j) is what is added to scale q.k, [batch, heads, tokens, keys]; p: the parameters by name, float64.
"""

import math

import torch

COMMON = dict(model_dim=24, heads=6, head_dim=8, layers=2, kv_heads=2, max_tokens=64)
LAYER = 1

# What each name is tried with. Windows hold 12 tokens.
CASES = {
    "none": ("none", {}),
    "none-encoder": ("none", dict(causal=False)),
    "sinusoidal": ("sinusoidal", {}),
    "sinusoidal-fairseq": ("sinusoidal", dict(order="concatenated", exponent="tensor2tensor", position_offset=2, embedding_scale=24**0.5)),
    "learned": ("learned", {}),
    "learned-opt": ("learned", dict(position_offset=2)),
    "rope": ("rope", {}),
    "rope-gptj": ("rope", dict(interleaved=True, rotary_dim=4, theta=500.0)),
    "xpos": ("xpos", {}),
    "fope": ("fope", {}),
    "alibi": ("alibi", {}),
    "alibi-encoder": ("alibi", dict(causal=False)),
    "alibi-mpt": ("alibi", dict(bias_max=4.0)),
    "alibi-trained": ("alibi", dict(trained=True)),
    "t5": ("t5", {}),
    "t5-encoder": ("t5", dict(causal=False)),
    "t5-scaled": ("t5", dict(scale=8**-0.5, shared=False)),
    "kerple": ("kerple", {}),
    "kerple-power": ("kerple", dict(kind="power")),
    "fire": ("fire", {}),
    "fire-rows": ("fire", dict(threshold=3.0, shared=True, width=6)),
    "sandwich": ("sandwich", {}),
    "window": ("window", dict(window=(3, 4), causal=False)),
    "window-beit": ("window", dict(window=(3, 4), class_token=True, causal=False)),
    "log-cpb": ("log-cpb", dict(window=(3, 4), width=16, causal=False)),
    "log-cpb-larger": ("log-cpb", dict(window=(3, 4), pretrained_window=(2, 2), width=16, causal=False)),
    "shaw": ("shaw", dict(clip=3)),
    "shaw-keys": ("shaw", dict(clip=3, values=False, causal=False)),
    "transformer-xl": ("transformer-xl", {}),
    "xlnet": ("transformer-xl", dict(causal=False, tied=False)),
    "deberta": ("deberta", dict(span=5, causal=False)),
    "deberta-v3": ("deberta", dict(span=8, max_distance=12, norm=True, causal=False)),
    "deberta-printed": ("deberta", dict(span=5, p2c_distance="as_printed")),
    "deberta-c2p": ("deberta", dict(span=5, terms=("c2p",))),
    "cope": ("cope", dict(count=4)),
    "cope-encoder": ("cope", dict(count=4, causal=False)),
}
GRIDS = {
    "sinusoidal-2d": ("sinusoidal", dict(axes=2, causal=False)),
    "learned-2d": ("learned", dict(grid=(3, 4), causal=False)),
    "rope-2d": ("rope", dict(axes=2, theta=100.0, interleaved=True, causal=False)),
    "rope-mixed": ("rope-mixed", dict(causal=False)),
}

ALIBI_OF_6_HEADS = {8.0: [2, 4, 6, 8, 1, 3], 4.0: [1, 2, 3, 4, 0.5, 1.5]}  # -log2 of the slopes
# Where T5's buckets of one side begin: 32 causal ones up to 128, and the 16 of one direction.
T5_CAUSAL = [*range(16), 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]
T5_SIDE = [*range(8), 8, 12, 16, 23, 32, 46, 64, 91]


def by_layer(p, name, shared):
    return p[name] if shared else p[name][LAYER]


def alibi(e, p, n):
    exponents = ALIBI_OF_6_HEADS[4.0 if e._spec.bias_max == 4.0 else 8.0]
    slopes = p["slopes"] if "slopes" in p else torch.tensor([2.0**-x for x in exponents], dtype=torch.float64)
    return -slopes.view(-1, 1, 1) * (n.clamp(min=0) if e.causal else n.abs())


def t5(e, p, n):
    starts = torch.tensor(T5_CAUSAL if e.causal else T5_SIDE)
    near = n.clamp(min=0) if e.causal else n.abs()
    bucket = (near.unsqueeze(-1) >= starts).sum(-1) - 1
    if not e.causal:
        bucket = bucket + 16 * (n < 0)
    return by_layer(p, "table", e.shared)[bucket].movedim(-1, -3)


def kerple(e, p, n):
    def cut(x, most):  # its own gradient where it is cut, as the authors' code has it
        return x + (x.clamp(0.01, most) - x).detach()

    r1, r2 = (cut(p[name], most).view(-1, 1, 1) for name, most in (("r1", math.inf), ("r2", 2.0 if e.kind == "power" else math.inf)))
    n = n.clamp(min=0).double()
    if e.kind == "log":
        return -r1 * torch.log(1 + r2 * n)
    return torch.where(n > 0, -r1 * n.clamp(min=1.0) ** r2, 0.0)


def fire(e, p, n, i):
    c, multiplier, w1, b1, w2, b2 = (by_layer(p, name, e.shared) for name in ("c", "threshold_multiplier", "w1", "b1", "w2", "b2"))
    psi = lambda x: torch.log(c.abs() * x + 1)
    row = torch.maximum(i.double().unsqueeze(-1), (multiplier * e.threshold).abs())
    x = psi(n.clamp(min=0).double()) / (psi(row) + 1e-6)
    return (torch.relu(x.unsqueeze(-1) * w1 + b1) @ w2.T + b2).movedim(-1, -3)


def sandwich(e, p, n):
    d = 128
    total = sum(torch.cos(n.double() / 10000 ** (2 * k / d)) for k in range(d // 2)) - d / 2
    ratio = torch.tensor([8 * h / e.heads for h in range(1, e.heads + 1)], dtype=torch.float64)
    return total.unsqueeze(-3) / ratio.view(-1, 1, 1)


def window(e, p, i, j):
    table, lead = by_layer(p, "table", e.shared), int(e.class_token)
    last = (2 * e.rows - 1) * (2 * e.columns - 1)

    def place(a, b):
        if lead and 0 in (a, b):
            return last + (2 if a == b else 0 if a == 0 else 1)
        a, b = a - lead, b - lead
        return (a // e.columns - b // e.columns + e.rows - 1) * (2 * e.columns - 1) + a % e.columns - b % e.columns + e.columns - 1

    return table[torch.tensor([[place(a, b) for b in j.tolist()] for a in i.tolist()])].movedim(-1, -3)


def log_cpb(e, p, i, j):
    w1, b1, w2 = (p[name][LAYER] for name in ("w1", "b1", "w2"))
    side = [trained or own for trained, own in zip(e.pretrained, (e.rows, e.columns))]

    def place(a, b):
        far = (a // e.columns - b // e.columns) * 8 / (side[0] - 1), (a % e.columns - b % e.columns) * 8 / (side[1] - 1)
        return [math.copysign(math.log2(abs(x) + 1), x) / 3 for x in far]

    x = torch.tensor([[place(a, b) for b in j.tolist()] for a in i.tolist()], dtype=torch.float64)
    return (16 * torch.sigmoid(torch.relu(x @ w1.T + b1) @ w2.T)).movedim(-1, -3)


def transformer_xl(e, p, q, k, n, scale):
    half = e.model_dim // 2
    phase = n.double().unsqueeze(-1) * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    r = torch.cat((phase.sin(), phase.cos()), -1)  # [tokens, keys, model_dim]
    wr = torch.einsum("...tkc,hdc->...tkhd", r, p["projection"][LAYER])
    u, v = (p[name] if e.tied else p[name][LAYER] for name in ("u", "v"))
    wr = wr if wr.ndim == 5 else wr.unsqueeze(0)
    by_position = torch.einsum("bthd,btkhd->bhtk", q + v, wr.expand(len(q), -1, -1, -1, -1))
    return scale * (by_position + torch.einsum("hd,bkhd->bhk", u, k).unsqueeze(2))


def deberta(e, p, q, k, n, scale):
    table = p["table"]
    if e.norm is not None:
        table = torch.nn.functional.layer_norm(table, table.shape[-1:], p["norm.weight"], p["norm.bias"], 1e-7)

    def delta(n):
        def bucket(n):
            mid = e.span // 2
            if not e.max_distance or abs(n) <= mid:
                return n
            far = math.ceil(math.log(abs(n) / mid) / math.log((e.max_distance - 1) / mid) * (mid - 1) - 1e-12)
            return int(math.copysign(mid + far, n))

        rows = torch.tensor([bucket(x) for x in n.flatten().tolist()]).view(n.shape)
        return (rows + e.span).clamp(0, 2 * e.span - 1)

    def rows_of(index, projection):  # [batch, tokens, keys, heads, head_dim]
        rows = torch.einsum("...tkc,hdc->...tkhd", table[index], projection)
        return (rows if rows.ndim == 5 else rows.unsqueeze(0)).expand(len(q), -1, -1, -1, -1)

    out = 0.0
    if "c2p" in e.terms:
        out = out + torch.einsum("bthd,btkhd->bhtk", q, rows_of(delta(n), p["key_projection"][LAYER]))
    if "p2c" in e.terms:
        rows = rows_of(delta(n if e.p2c_distance == "as_checkpoints" else -n), p["query_projection"][LAYER])
        out = out + torch.einsum("bkhd,btkhd->bhtk", k, rows + p["query_bias"][LAYER])
    return scale * out


def cope(e, p, q, k, scale, visible):
    """The listing of the paper's appendix, per query and key."""
    scores = torch.einsum("bthd,bkhd->bhtk", q, k) * scale
    gates = torch.sigmoid(scores) * visible
    counted = torch.stack([gates[..., j:].sum(-1) for j in range(gates.shape[-1])], -1).clamp(max=e.count - 1)
    below, above = counted.floor().long(), counted.ceil().long()
    rows = torch.einsum("bthd,dc->bhtc", q, p["table"][LAYER])
    share = counted - counted.floor()
    return rows.gather(-1, above) * share + rows.gather(-1, below) * (1 - share)


def visible(tokens, keys, causal):
    return torch.ones(tokens, keys, dtype=torch.bool).tril(keys - tokens) if causal else torch.ones(tokens, keys, dtype=torch.bool)


def attend(e, p, q, k, v, i, j, scale=None):
    """Attention in full. i, j: positions of queries and keys, [tokens] or [batch, tokens]."""
    scale = e.scale if scale is None else scale
    k, v = (x.repeat_interleave(e.heads // e.kv_heads, 2) for x in (k, v))
    n = i.unsqueeze(-1) - j.unsqueeze(-2)
    sees = visible(q.shape[1], k.shape[1], e.causal)
    forms = {
        "alibi": lambda: alibi(e, p, n.unsqueeze(-3)), "t5": lambda: t5(e, p, n), "kerple": lambda: kerple(e, p, n.unsqueeze(-3)),
        "fire": lambda: fire(e, p, n, i), "sandwich": lambda: sandwich(e, p, n), "window": lambda: window(e, p, i, j),
        "log-cpb": lambda: log_cpb(e, p, i, j), "transformer-xl": lambda: transformer_xl(e, p, q, k, n.clamp(min=0) if e.causal else n, scale),
        "deberta": lambda: deberta(e, p, q, k, n, scale), "cope": lambda: cope(e, p, q, k, scale, sees),
    }
    scores = torch.einsum("bthd,bkhd->bhtk", q, k) * scale
    if e.name == "shaw":
        c = (-n).clamp(-e.clip, e.clip) + e.clip
        rows = p["key_table"][LAYER][c]
        scores = scores + scale * torch.einsum("bthd,btkd->bhtk", q, (rows if rows.ndim == 4 else rows.unsqueeze(0)).expand(len(q), -1, -1, -1))
    elif e.name in forms:
        scores = scores + forms[e.name]()
    shares = torch.softmax(scores.masked_fill(~sees, -math.inf), -1)
    out = torch.einsum("bhtk,bkhd->bthd", shares, v)
    if e.name == "shaw" and "value_table" in p:
        rows = p["value_table"][LAYER][c]
        out = out + torch.einsum("bhtk,btkd->bthd", shares, (rows if rows.ndim == 4 else rows.unsqueeze(0)).expand(len(q), -1, -1, -1))
    return out


# ---- on queries and keys


def turned(x, angle, interleaved, gain=1.0):
    """x: [batch, tokens, heads, d]; angle, gain: [.., tokens, heads or 1, pairs]."""
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
    cos, sin = (angle.cos(), angle.sin()) if torch.is_tensor(angle) else angle
    y = (a * cos - b * sin) * gain, (a * sin + b * cos) * gain
    return torch.stack(y, -1).flatten(-2) if interleaved else torch.cat(y, -1)


def rotate(e, p, x, i, role):
    """One of q and k. i: positions, [tokens] or [batch, tokens]; [2, tokens] on grids."""
    d = e.head_dim
    if e.name == "rope" and e.axes == 2:
        speeds = 100.0 ** (-4 * torch.arange(d // 4, dtype=torch.float64) / d)
        return turned(x, torch.cat([i[axis].double().view(-1, 1, 1) * speeds for axis in range(2)], -1), True)
    if e.name in ("rope", "xpos"):
        spec = e.rotary.spec
        pairs = spec.rotary_dim // 2
        angle = i.double()[..., None, None] * spec.theta ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
        gain = 1.0
        if e.name == "xpos":
            zeta = (2 * torch.arange(pairs, dtype=torch.float64) + 0.4 * d) / (1.4 * d)
            gain = zeta ** ((1 if role == "q" else -1) * i.double()[..., None, None] / 512)
        return torch.cat((turned(x[..., : 2 * pairs], angle, spec.interleaved, gain), x[..., 2 * pairs :]), -1)
    if e.name == "rope-mixed":
        across, down = p["frequencies"][:, LAYER].repeat_interleave(x.shape[2] // e.kv_heads, 1)
        return turned(x, i[1].double().view(-1, 1, 1) * across + i[0].double().view(-1, 1, 1) * down, True)
    if e.name == "fope":
        speeds = [10000.0 ** (-2 * k / d) for k in range(d // 2)]
        speeds = torch.tensor([w for w in speeds if w * e.max_tokens >= 2 * math.pi], dtype=torch.float64)
        angle = i.double().unsqueeze(-1) * speeds
        mixes = (p[name][LAYER].repeat_interleave(x.shape[2] // e.kv_heads, 0) for name in ("cos_mix", "sin_mix"))
        cos, sin = (torch.einsum("...t,hto->...ho", tone, mix) for tone, mix in zip((angle.cos(), angle.sin()), mixes))
        still = d // 2 - len(speeds)
        pad = lambda one, value: torch.cat((one, one.new_full((*one.shape[:-1], still), value)), -1)
        return turned(x, (pad(cos, 1.0), pad(sin, 0.0)), False)
    return x


# ---- on embeddings


def embed(e, p, x, i):
    if e.name == "learned":
        if e.embedding.grid is not None:
            i = i[0] * e.embedding.grid[1] + i[1]
        return x + p["embedding.weight"][i + e.embedding.position_offset]
    if e.name != "sinusoidal":
        return x
    spec = e.embedding.spec
    streams = list(i) if spec.axes == 2 else [i + spec.position_offset]
    half = spec.dim // spec.axes // 2
    parts = []
    for stream in streams:
        phase = stream.double().unsqueeze(-1) * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / (half - (spec.exponent == "tensor2tensor")))
        parts.append(torch.stack((phase.sin(), phase.cos()), -1).flatten(-2) if spec.order == "interleaved" else torch.cat((phase.sin(), phase.cos()), -1))
    return x * e.embedding.embedding_scale + torch.cat(parts, -1)
