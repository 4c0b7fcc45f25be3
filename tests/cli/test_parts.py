"""`--part`, several axes and coordinates that need not be whole, through the tool's verbs."""

import json

import mpmath
import numpy as np
from tool import LLAMA, ok, refused

QWEN = {
    "model_type": "qwen2_5_vl",
    "text_config": {"model_type": "qwen2_5_vl_text", "hidden_size": 256, "num_attention_heads": 2, "num_hidden_layers": 2,
                    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}},
    "vision_config": {"depth": 3, "hidden_size": 128, "num_heads": 4},
}
DINO = {"model_type": "dinov3_vit", "hidden_size": 64, "num_attention_heads": 4, "rope_theta": 100.0}
CENTRES = [[-0.5, 0.0, 1 / 3, 0.999, -1.0], [0.25, 0.0, -2 / 3, 0.125, 1.0]]


def explained(path, *more):
    return json.loads(ok("explain", path, "--json", *more))


def test_a_part_is_explained_and_listed(config):
    path = config(QWEN)
    text, vision = explained(path), explained(path, "--part", "vision")
    assert text["part"] == "text" and vision["part"] == "vision"
    assert text["parts"] == vision["parts"] == ["text", "vision"]
    assert vision["family"] == "qwen2_5_vl_vision" and vision["layer_count"] == 3
    (kind,) = vision["kinds"]
    assert kind["streams"] == ["height", "width"] and kind["axes"] == 2
    assert kind["axis_of_pair"] == [0] * 8 + [1] * 8
    assert kind["inv_freq"][:8] == kind["inv_freq"][8:]
    assert kind["channels"][:4] == [0, 16, 1, 17]
    assert "--part names another: vision" in " ".join(text["notes"])
    page = ok("explain", path, "--part", "vision")
    assert "part        vision" in page


def test_a_tower_that_does_not_turn_says_so(config):
    path = config({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"},
                   "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 1152, "num_attention_heads": 16}})
    said = explained(path, "--part", "vision")
    assert said["part"] == "vision" and not any(kind["rotates"] for kind in said["kinds"])
    assert "has no rotary position encoding" in " ".join(said["notes"])


def test_text_is_no_name_for_something_else(config):
    """Where a config's own meaning is a tower, "text" is that part or refused."""
    tower = {"model_type": "dinov3_vit", "hidden_size": 64, "num_attention_heads": 4, "rope_theta": 100.0}
    refused("explain", config({"model_type": "chmv2", "backbone_config": tower}), "--part", "text",
            says=("part", "backbone", '"text"'))
    tower = {"model_type": "sam3_vision_model", "backbone_config": {"model_type": "sam3_vit_model", "hidden_size": 64}}
    path = config({"model_type": "sam3", "vision_config": tower, "text_config": {"model_type": "clip_text_model"}})
    said = explained(path, "--part", "text")
    assert said["part"] == "text" and said["family"] == "clip_text_model"


def test_a_part_that_is_not_there_is_one_line(config):
    refused("explain", config(QWEN), "--part", "audio", says=("part", "text, vision", "audio"))
    refused("rotate", config(LLAMA), "--part", "vision", "--q", "q.npy", "--positions", "0:1", "--out", "out",
            says=("part", "none", "vision"))
    refused("explain", config(QWEN), "--part", "", "--part", "vision", says="--part")


def turned(path, folder, q, positions, *more):
    np.save(folder / "q.npy", q.astype(np.float32))
    np.save(folder / "positions.npy", positions)
    ok("rotate", path, "--q", folder / "q.npy", "--positions", folder / "positions.npy", "--layout", "thd", "--out",
       folder / "out", *more)
    return np.load(folder / "out/q.npy")


def test_coordinates_turn_by_their_real_number(config, tmp_path):
    """16 channels: rows' and columns' ladders of 4 rungs, 2 pi y * 100^(-2j / 8), channel c with c + 8."""
    where = np.array(CENTRES)
    q = np.random.default_rng(3).standard_normal((5, 2, 16))
    got = turned(config(DINO), tmp_path, q, where)
    with mpmath.workdps(40):
        angle = np.array([[2 * mpmath.pi * mpmath.mpf(where[j // 4][t]) * mpmath.mpf(100) ** (-mpmath.mpf(2 * (j % 4)) / 8)
                           for j in range(8)] for t in range(5)])
        cos = np.array([[float(mpmath.cos(a)) for a in row] for row in angle])[:, None]
        sin = np.array([[float(mpmath.sin(a)) for a in row] for row in angle])[:, None]
    x0, x1 = q[..., :8].astype(np.float32).astype(float), q[..., 8:].astype(np.float32).astype(float)
    want = np.concatenate([x0 * cos - x1 * sin, x1 * cos + x0 * sin], axis=-1)
    assert np.abs(got - want).max() < 1.2e-6
    assert np.array_equal(got[1], q[1].astype(np.float32))  # the middle stands still


def test_whole_coordinates_are_whole_positions(config, tmp_path):
    path = config(LLAMA)
    q = np.random.default_rng(4).standard_normal((4, 1, 64))
    whole = np.array([0, 1, 2**20, -5])
    for numerics in ("exact", "fp32"):
        a = turned(path, tmp_path, q, whole, "--numerics", numerics, "--length", 8192)
        b = turned(path, tmp_path, q, whole.astype(float), "--numerics", numerics, "--length", 8192)
        assert np.array_equal(a, b) if numerics == "fp32" else np.abs(a - b).max() < 1e-6


def test_tables_at_coordinates(config, tmp_path):
    where = np.array([0.0, 0.5, -1 / 3, 1.0])
    np.save(tmp_path / "where.npy", where)
    for what, function in (("cos", np.cos), ("sin", np.sin)):
        said = json.loads(ok("table", config(DINO), "--what", what, "--positions", tmp_path / "where.npy"))
        assert said["positions"] == list(where)
        angle = 2 * np.pi * where[:, None] * 100.0 ** (-np.arange(4) / 4)
        assert np.abs(np.array(said[what]) - function(np.tile(angle, 2))).max() < 2e-7
    rows = ok("table", config(DINO), "--what", "cos", "--positions", tmp_path / "where.npy", "--format", "csv").splitlines()
    assert [float(r.split(",")[0]) for r in rows[1:]] == list(where)
    np.save(tmp_path / "where.npy", where.astype(np.float32))
    refused("table", config(DINO), "--what", "cos", "--positions", tmp_path / "where.npy", says=("where.npy", "float64"))
    np.save(tmp_path / "where.npy", np.array([np.nan]))
    refused("table", config(DINO), "--what", "cos", "--positions", tmp_path / "where.npy", says=("where.npy", "finite"))


def test_fp32_tables_scale_the_position_first(config):
    """As DINOv3's code: float32(2 pi) times the position, rounded, times the frequency, rounded."""
    cells = json.loads(ok("table", config(DINO), "--what", "sin", "--positions", "1,3,1000", "--numerics", "fp32"))["sin"]
    f = np.array(explained(config(DINO), "--numerics", "fp32")["kinds"][0]["inv_freq"][:4]) / (2 * np.pi)
    for position, row in zip((1, 3, 1000), cells):
        phase = np.float32(2 * np.pi) * np.float32(position) * f.astype(np.float32)
        assert np.abs(np.array(row[:4]) - np.sin(phase.astype(float))).max() < 1e-7
