"""A small implementation as a stranger might write it, in float32, right as far as it goes: plain, linear, llama3 and YaRN,
halves, full or partial width. The scripts beside it each get one thing wrong.
"""

import json
import math
import sys

import numpy as np

HALVES = {"llama", "qwen2", "gpt_neox", "phi", "stablelm", "gpt_oss", "glm4_moe"}


class Stranger:
    def rope(self, config):
        return config.get("rope_parameters") or config.get("rope_scaling") or {}

    def theta(self, config):
        return self.rope(config).get("rope_theta", config.get("rope_theta", config.get("rotary_emb_base", 10000.0)))

    def width(self, config, head_dim):
        rope = self.rope(config)
        return int(head_dim * rope.get("partial_rotary_factor",
                                       config.get("partial_rotary_factor", config.get("rotary_pct", 1.0))))

    def denominator(self, config, head_dim):
        return self.width(config, head_dim)

    def inv_freq(self, config, head_dim):
        width, theta = self.width(config, head_dim), self.theta(config)
        plain = theta ** (-np.arange(0, width, 2, dtype=np.float64) / self.denominator(config, head_dim))
        rope = self.rope(config)
        kind = self.kind(config)
        if kind == "default":
            return plain
        s = rope["factor"]
        if kind == "linear":
            return plain / s
        trained = rope["original_max_position_embeddings"]
        if kind == "llama3":
            low, high = rope["low_freq_factor"], rope["high_freq_factor"]
            turns = trained * plain / (2 * math.pi)
            blend = np.clip((turns - low) / (high - low), 0, 1) if high > low else (turns >= low) * 1.0
            return plain * (blend + (1 - blend) / s)
        fast, slow = (width * math.log(trained / (n * 2 * math.pi)) / (2 * math.log(theta))
                      for n in (rope.get("beta_fast", 32), rope.get("beta_slow", 1)))
        if rope.get("truncate", True):
            fast, slow = math.floor(fast), math.ceil(slow)
        fast, slow = max(fast, 0), min(slow, width - 1)
        ramp = np.clip((np.arange(width // 2) - fast) / (slow - fast), 0, 1)
        return plain * (1 - ramp) + plain / s * ramp

    def kind(self, config):
        rope = self.rope(config)
        kind = rope.get("rope_type", rope.get("type", "default"))
        return kind if kind in ("default", "linear", "llama3", "yarn") else None

    def factor(self, config, operand):
        rope = self.rope(config)
        if self.kind(config) != "yarn":
            return 1.0
        return rope.get("attention_factor", 0.1 * math.log(rope["factor"]) + 1)

    def phase(self, positions, inv_freq):
        return positions.astype(np.float32)[:, None] * inv_freq.astype(np.float32)

    def turned(self, x, cos, sin):
        half = cos.shape[-1]
        x0, x1 = x[..., :half], x[..., half:]
        return np.concatenate([x0 * cos - x1 * sin, x1 * cos + x0 * sin], axis=-1)

    def answer(self, request):
        config = request["config"]
        if config.get("model_type") not in HALVES or self.kind(config) is None or "dual_chunk_attention_config" in config:
            return {"unsupported": "not one of the models it was written for"}
        x = np.array(request["x"], dtype=np.float32)  # [tokens, heads, head_dim]
        angles = self.phase(np.array(request["positions"][0]), self.inv_freq(config, request["head_dim"]))
        factor = np.float32(self.factor(config, request["operand"]))
        cos, sin = (factor * f(angles)[:, None].astype(np.float32) for f in (np.cos, np.sin))
        width = 2 * angles.shape[-1]
        y = np.concatenate([self.turned(x[..., :width], cos, sin), x[..., width:]], axis=-1)
        return {"y": y.tolist()}

    def serve(self):
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps({"id": request["id"]} | self.answer(request)), flush=True)


if __name__ == "__main__":
    Stranger().serve()
