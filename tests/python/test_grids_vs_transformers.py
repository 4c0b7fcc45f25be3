"""Runs transformers' own code for the positions of patches, pictures, clips and sound, and holds ours against it.

Every family of ours that transformers has is asked over many grids; the oracle is that family's get_rope_index, its
vision tower (what it hands to its rotary module) or its processor. Nothing here knows how a family counts.

ROPEWALK_GRIDS_PROBE  the program that answers (default: build/tests/math/grids_probe)
"""

import contextlib
import importlib
import itertools
import json
import os
import pathlib
import random
import subprocess
import types

os.environ["TRANSFORMERS_VERBOSITY"] = "critical"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

from transformers import CONFIG_MAPPING
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = pathlib.Path(os.environ.get("ROPEWALK_GRIDS_PROBE", ROOT / "build/tests/math/grids_probe"))

GRIDS = [(1, 2, 2), (1, 4, 6), (1, 6, 4), (1, 2, 16), (3, 4, 2), (2, 10, 12)]  # patches, before merging


@pytest.fixture(scope="session")
def probe():
    process = subprocess.Popen([str(PROBE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(request):
        process.stdin.write(request + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert "error" not in answer, f"{request}: {answer['error']}"
        return answer

    yield ask
    process.stdin.close()
    assert process.wait(60) == 0


def module(family):
    return importlib.import_module(f"transformers.models.{family}.modeling_{family}")


def class_with(family, method):
    """The family's class that defines `method` itself."""
    for value in vars(module(family)).values():
        if isinstance(value, type) and method in vars(value) and value.__module__ == module(family).__name__:
            return value
    raise AssertionError(f"{family} has no {method}")


def bound(cls, **fields):
    """A stand-in for a model: the class's methods on a few fields, without weights."""
    self = types.SimpleNamespace(**fields)
    for base in reversed(cls.__mro__):
        for name, method in vars(base).items():
            if not base.__module__.startswith("transformers.models."):
                continue
            if isinstance(method, types.FunctionType):
                setattr(self, name, types.MethodType(method, self))
            elif isinstance(method, staticmethod):
                setattr(self, name, method.__func__)
    return self


def grid_word(t, h, w):
    return f"{t}x{h}x{w}"


# ---- Pictures and clips among text -----------------------------------------------------------------------------------

PLAIN = ["qwen2_vl", "qwen2_5_vl", "paddleocr_vl", "ernie4_5_vl_moe"]
FRAME_BY_FRAME = ["cohere_compass", "cosmos3_edge", "cosmos3_omni", "glm46v", "glm4v", "glm4v_moe", "glm_ocr", "qwen3_5",
                  "qwen3_5_moe", "qwen3_vl", "qwen3_vl_moe", "qwen4_exp"]
RATE = 2.0  # of qwen2_5_vl's published checkpoints
SECONDS = [0.5, 1.0, 0.3, 2.0]


def prompts(family, seed, clips=True):
    """Segments of a random prompt, text between any two others: ("text", n), ("image", t, h, w), ("video", t, h, w, s)."""
    rng = random.Random(f"{family}/{seed}")
    out = [("text", rng.randint(1, 5))]
    for _ in range(rng.randint(1, 4)):
        t, h, w = rng.randint(1, 7), rng.randint(1, 6), rng.randint(1, 6)
        if clips and rng.random() < 0.5:
            if family in FRAME_BY_FRAME:
                for frame in range(t):
                    out += [("video", 1, h, w, 1.0, t if frame == 0 else 0), ("text", rng.randint(1, 3))]
                continue
            out.append(("video", t, h, w, rng.choice(SECONDS), t))
        else:
            out.append(("image", rng.choice([1, 1, 3]) if clips else 1, h, w))
        out.append(("text", rng.randint(1, 4)))
    return out


def words(segments):
    named = {"text": lambda n: f"text:{n}", "image": lambda t, h, w: f"image:{t}x{h}x{w}",
             "video": lambda t, h, w, s, _: f"video:{t}x{h}x{w}@{s!r}"}
    return " ".join(named[kind](*rest) for kind, *rest in segments)


def rope_index(family, rows):
    """transformers' positions [axes, batch, tokens] of left-padded rows of segments, their mask, and its deltas."""
    cls = class_with(family, "get_rope_index")
    config = CONFIG_MAPPING[family]()
    merge = config.vision_config.spatial_merge_size
    merge_time = getattr(config.vision_config, "temporal_merge_size", 1)
    if family == "qwen2_5_vl":
        config.vision_config.tokens_per_second = 2
    kinds, images, videos, seconds = [], [], [], []
    for row in rows:
        kind = []
        for segment in row:
            if segment[0] == "text":
                kind += [0] * segment[1]
                continue
            t, h, w = segment[1:4]
            kind += [1 if segment[0] == "image" else 2] * (t * h * w)
            if segment[0] == "image":
                images.append((t, h * merge, w * merge))
            elif segment[5]:  # a clip is announced once, in front of its first frame
                videos.append((segment[5] * merge_time, h * merge, w * merge))
                seconds.append(segment[4])
        kinds.append(kind)
    width = max(map(len, kinds))
    mask = torch.tensor([[0] * (width - len(kind)) + [1] * len(kind) for kind in kinds])
    types_ = torch.tensor([[0] * (width - len(kind)) + kind for kind in kinds], dtype=torch.int32)
    arguments = dict(input_ids=torch.ones(mask.shape, dtype=torch.long), mm_token_type_ids=types_, attention_mask=mask,
                     image_grid_thw=torch.tensor(images) if images else None,
                     video_grid_thw=torch.tensor(videos) if videos else None)
    if family == "qwen2_5_vl" and seconds:
        arguments["second_per_grid_ts"] = torch.tensor(seconds)
    positions, deltas = bound(cls, config=config).get_rope_index(**arguments)
    return positions, mask.bool(), deltas.flatten().tolist()


@pytest.mark.parametrize("family", PLAIN + FRAME_BY_FRAME)
def test_pictures_and_clips(probe, family):
    for seed in range(12):
        rows = [prompts(family, 2 * seed), prompts(family, 2 * seed + 1)]
        positions, mask, deltas = rope_index(family, rows)
        for b, row in enumerate(rows):
            # transformers 5 goes on behind a clip's longest side, not behind its last frame.
            ours = probe(f"mrope {family} advance=side {words(row)}")
            assert ours["positions"] == positions[:, b, mask[b]].tolist(), words(row)
            assert ours["rope_delta"] == deltas[b], words(row)


@pytest.mark.parametrize("family", PLAIN + FRAME_BY_FRAME)
def test_without_clips_both_ways_to_go_on_agree(probe, family):
    for seed in range(6):
        row = prompts(family, seed, clips=False)
        positions, mask, deltas = rope_index(family, [row])
        ours = probe(f"mrope {family} {words(row)}")
        assert ours["positions"] == positions[:, 0].tolist() and ours["rope_delta"] == deltas[0]


@pytest.mark.parametrize("family", PLAIN)
def test_where_transformers_5_overlaps_a_long_clip_with_what_follows(probe, family):
    """Known divergence: a clip with more frames than its longest side. The tokens behind it stand inside it, and what is
    decoded stands further on than what was prompted. If this fails, transformers has come back to the older rule."""
    row = [("text", 1), ("video", 6, 2, 2, 1.0, 6), ("text", 2)]
    positions, _, deltas = rope_index(family, [row])
    ours = probe(f"mrope {family} {words(row)}")
    span = 11 if family == "qwen2_5_vl" else 6  # 2 positions a second
    assert ours["positions"][0][-2:] == [1 + span, 2 + span]
    assert positions[0, 0, -2:].tolist() == [3, 4]
    # Each one's next decoded token.
    length = positions.shape[-1]
    assert length + ours["rope_delta"] == 3 + span
    assert length + deltas[0] == 1 + span


def test_decoding_goes_on_behind_the_delta(probe):
    """compute_3d_position_ids of the next three tokens, two left-padded rows."""
    for family in ("qwen2_vl", "qwen3_vl", "glm4v", "ernie4_5_vl_moe"):
        rows = [prompts(family, seed, clips=False) for seed in (1, 2)]
        positions, mask, deltas = rope_index(family, rows)
        cls = class_with(family, "compute_3d_position_ids")
        self = bound(cls, rope_deltas=torch.tensor(deltas).unsqueeze(1))
        cache = types.SimpleNamespace(get_seq_length=lambda: mask.shape[1])
        for b in range(2):
            cached = int(mask[b].sum())
            ours = probe(f"decode {cached} {deltas[b]} 3")["positions"][0]
            grown = torch.cat([mask[b : b + 1].long(), torch.ones(1, 3, dtype=torch.long)], dim=1)
            self.rope_deltas = torch.tensor([[deltas[b]]])
            theirs = self.compute_3d_position_ids(
                input_ids=None, inputs_embeds=torch.zeros(1, 3, 1), image_grid_thw=None, video_grid_thw=None,
                attention_mask=grown, past_key_values=cache)
            assert [theirs[axis, 0, -3:].tolist() for axis in range(3)] == [ours] * 3


def omni(family):
    config = importlib.import_module(f"transformers.models.{family}.configuration_{family}")
    name = {"qwen2_5_omni": "Qwen2_5OmniThinkerConfig", "qwen3_omni_moe": "Qwen3OmniMoeThinkerConfig"}[family]
    config = getattr(config, name)()
    rate = {"qwen2_5_omni": 25, "qwen3_omni_moe": 13}[family]
    config.position_id_per_seconds = rate
    tokens = dict(image_token_id=901, video_token_id=902, audio_token_id=903, vision_start_token_id=904,
                  audio_start_token_id=905)
    for key, value in tokens.items():
        setattr(config, key, value)
    return config


def sound_length(family, tokens):
    """A feature length that the family turns into so many tokens."""
    window = omni(family).audio_config.n_window
    lengths = range(1, 40 * tokens + 40)
    if family == "qwen2_5_omni":
        return next(n for n in lengths if ((n - 1) // 2 + 1 - 2) // 2 + 1 == tokens)
    return next(n for n in lengths
                if int(module(family)._get_feat_extract_output_lengths(torch.tensor(n), window)) == tokens)


def omni_prompt(family, seed, together):
    rng = random.Random(f"{family}/{seed}/{together}")
    out = [("text", rng.randint(1, 4))]
    # Behind fractional times the reference adds text and the picture's end marker in two steps: ours does as well.
    for n in range(rng.randint(1, 4)):
        h, w, t = rng.choice([1, 2, 3, 20]), rng.randint(1, 4), rng.randint(1, 6)
        seconds = rng.choice([0.04, 0.3, 0.5, 1.0, 2.0, 5.0, 1 / 13])
        seconds = float(torch.tensor(seconds))
        kinds = ["image"] if n else ["video"]  # at least one grid: without any, transformers counts tokens
        kinds += ["image", "both" if together else "video"] + ([] if together else ["audio"])
        kind = rng.choice(kinds) if not together or n else "both"
        if kind == "image":
            out.append(("image", rng.choice([1, 1, 3]), h, w))
        elif kind == "audio":
            out.append(("audio", rng.randint(1, 30)))
        elif kind == "video" and not together:
            out.append(("video", t, h, w, seconds))
        else:
            out.append(("both", t, h, w, seconds, rng.choice([1, 5, 30, 90])))
        out.append(("text", rng.randint(0, 4)))
    return out


def omni_ids(family, segments):
    """Ids with their markers, and the same as request words; markers are text, those of `both` its own."""
    ids, request, images, videos, seconds, sounds = [], [], [], [], [], []
    merge = 2
    for kind, *rest in segments:
        if kind == "text":
            ids += [7] * rest[0]
            request.append(f"text:{rest[0]}")
            continue
        if kind == "audio":
            ids += [905] + [903] * rest[0] + [906]
            sounds.append(sound_length(family, rest[0]))
            request += ["text:1", f"audio:{rest[0]}", "text:1"]
            continue
        t, h, w = rest[:3]
        if kind == "image":
            ids += [904] + [901] * (t * h * w) + [907]
            images.append((t, h * merge, w * merge))
            request += ["text:1", f"image:{t}x{h}x{w}", "text:1"]
            continue
        videos.append((t, h * merge, w * merge))
        seconds.append(rest[3])
        if kind == "video":
            ids += [904] + [902] * (t * h * w) + [907]
            request += ["text:1", f"video:{t}x{h}x{w}@{rest[3]!r}", "text:1"]
        else:
            ids += [904, 905] + [902] * (t * h * w) + [903] * rest[4] + [906, 907]
            sounds.append(sound_length(family, rest[4]))
            request.append(f"both:{t}x{h}x{w}@{rest[3]!r}+{rest[4]}")
    grid = lambda grids: torch.tensor(grids) if grids else None
    return ids, " ".join(request), grid(images), grid(videos), torch.tensor(seconds), torch.tensor(sounds)


@pytest.mark.parametrize("together", [False, True], ids=["apart", "sound_between_frames"])
@pytest.mark.parametrize("family", ["qwen2_5_omni", "qwen3_omni_moe"])
def test_omni(probe, family, together):
    cls = class_with(family, "get_rope_index")
    self = bound(cls, config=omni(family), spatial_merge_size=2)
    for seed in range(25):
        ids, request, images, videos, seconds, sounds = omni_ids(family, omni_prompt(family, seed, together))
        input_ids = torch.tensor([ids])
        theirs, deltas = self.get_rope_index(
            input_ids, images, videos, torch.ones_like(input_ids), use_audio_in_video=together, audio_seqlens=sounds,
            second_per_grids=seconds)
        ours = probe(f"mrope {family} {request}")
        assert ours["positions"] == theirs[:, 0].tolist(), request
        assert ours["rope_delta"] == deltas[0].item(), request


def test_hunyuan_vl(probe):
    config = CONFIG_MAPPING["hunyuan_vl"]()
    config.text_config.rope_parameters = {"mrope_section": [16, 16, 16, 16]}
    self = bound(class_with("hunyuan_vl", "get_rope_index"), config=config)
    merge = config.vision_config.spatial_merge_size
    for seed in range(10):
        rng = random.Random(seed)
        kinds, images, request = [], [], []
        for _ in range(rng.randint(1, 4)):
            text, h, w = rng.randint(1, 5), rng.randint(1, 5), rng.randint(1, 5)
            kinds += [0] * text + [1] * (h * (w + 1))
            images.append((1, h * merge, w * merge))
            request += [f"text:{text}", f"image:1x{h}x{w}"]
        kinds += [0, 0]
        theirs, deltas = self.get_rope_index(torch.ones(1, len(kinds), dtype=torch.long), torch.tensor([kinds]),
                                             torch.tensor(images))
        ours = probe(f"mrope hunyuan_vl {' '.join(request)} text:2")
        assert ours["positions"] == theirs[:, 0].tolist()
        assert ours["rope_delta"] == deltas[0].item()


def test_glm_image_draws_behind_its_prompt(probe):
    config = types.SimpleNamespace(image_start_token_id=1, image_end_token_id=2)
    for seed in range(8):
        rng = random.Random(seed)
        ids, grids, request = [], [], []
        for _ in range(rng.randint(0, 3)):
            text, h, w = rng.randint(1, 5), rng.randint(1, 5), rng.randint(1, 5)
            ids += [7] * text + [1] + [8] * (h * w) + [2]
            grids.append((1, h, w))
            request += [f"text:{text + 1}", f"image:1x{h}x{w}", "text:1"]
        ids += [7, 7, 1]
        request.append("text:3")
        drawn = [(1, rng.randint(1, 5), rng.randint(1, 5)) for _ in range(2)]
        self = bound(class_with("glm_image", "get_rope_index"), config=config)
        theirs, _ = self.get_rope_index(torch.tensor([ids]), torch.tensor(grids + drawn))
        request += [f"image:{grid_word(*grid)}" for grid in reversed(drawn)] + ["text:1"]
        ours = probe(f"mrope glm_image {' '.join(request)}")["positions"]
        assert [axis[: len(ids)] for axis in ours] == theirs[:, 0].tolist()
        assert [axis[len(ids):] for axis in ours] == self._cached_decode_position_ids[0].tolist()


def test_neomme(probe):
    from transformers.models.neomme.processing_neomme import NeoMMEProcessor

    for h, w in [(1, 1), (3, 5), (6, 2)]:
        theirs = NeoMMEProcessor._image_positions(h, w)
        assert probe(f"mrope neomme text:2 image:1x{h}x{w}")["positions"] == theirs.T.tolist()


# A thumbnail whose rows and columns, spread over the canvas, meet halves that float32 rounds by the way it came.
HALVES = (15, 23, 2, 2, 16, 15)


def canvas(rng, merge, shape=None):
    """Ids, sizes before merging and the request of one picture, perhaps in slices, with its markers."""
    image_start, image_end, slice_start, slice_end, newline = range(1, 6)
    h, w = shape[:2] if shape else (rng.randint(1, 6), rng.randint(1, 6))
    ids = [image_start] + [9] * (h * w) + [image_end]
    sizes, request = [(h * merge, w * merge)], f"canvas:{h}x{w}"
    if shape or rng.random() < 0.7:
        rows, columns, sh, sw = shape[2:] if shape else (rng.randint(1, 4) for _ in range(4))
        if rows > 1 and columns == 1:
            columns = 2  # one column and one row look alike but for the newlines
        for r in range(rows):
            ids += [newline] * (r > 0)
            for _ in range(columns):
                ids += [slice_start] + [9] * (sh * sw) + [slice_end]
                sizes.append((sh * merge, sw * merge))
        request += f"/{rows}x{columns}/{sh}x{sw}"
    trailing = rng.randint(0, 1)
    ids += [newline] * trailing
    return ids, sizes, request + f"+{trailing}"


@pytest.mark.parametrize("mode,merge", [("16x", 4), ("4x", 2)])
def test_minicpmv4_7(probe, mode, merge):
    config = types.SimpleNamespace(image_start_id=1, image_end_id=2, slice_start_id=3, slice_end_id=4, newline_id=5,
                                   downsample_mode=mode)
    self = bound(class_with("minicpmv4_7", "get_rope_index"), config=config)
    for seed in range(40):
        rng = random.Random(seed)
        start = rng.randint(0, 3)
        ids, sizes, request = [7] * start, [], [f"text:{start}"]
        for _ in range(rng.randint(1, 3)):
            more, its_sizes, word = canvas(rng, merge, HALVES if seed == 0 else None)
            text = rng.randint(0, 3)
            ids, sizes, request = ids + more + [7] * text, sizes + its_sizes, request + [word, f"text:{text}"]
        input_ids = torch.tensor([ids])
        theirs, deltas = self.get_rope_index(input_ids, (input_ids == 9).int(), torch.tensor(sizes))
        ours = probe(f"mrope minicpmv4_7 {' '.join(request)}")
        assert ours["positions"] == theirs[:, 0].tolist(), request
        assert ours["rope_delta"] == deltas[0].item()


def test_every_get_rope_index_has_a_row(probe):
    """Fails when a family with a rule of its own appears."""
    root = pathlib.Path(transformers.__file__).parent / "models"
    theirs = {path.parent.name for path in root.glob("*/modeling_*.py") if "def get_rope_index" in path.read_text()}
    ours = set(probe("families")["mrope"])
    assert theirs - ours == set()
    assert ours - theirs == {"neomme"}  # its processor counts


# ---- Patches of a vision tower ---------------------------------------------------------------------------------------

BLOCKS = {"cohere_compass": 2, "dots3_note": 2, "ernie4_5_vl_moe": 2, "glm46v": 2, "glm4v": 2, "glm4v_moe": 2,
          "glm5_next": 2, "glm_image": 1, "glm_ocr": 2, "kimi_k25": 1, "lfm3_vl": 2, "paddleocr_vl": 1, "qwen2_vl": 2,
          "qwen3_5": 2, "qwen3_5_moe": 2, "qwen3_omni_moe": 2, "qwen3_vl": 2, "qwen3_vl_moe": 2, "qwen4_exp": 2,
          "step3p7": 1}
WINDOWS = ["qwen2_5_vl", "qwen2_5_omni", "exaone4_5"]


def grids_request(grids):
    return " ".join(grid_word(*grid) for grid in grids)


@pytest.mark.parametrize("family", BLOCKS)
def test_blocks(probe, family):
    theirs = get_vision_position_ids(torch.tensor(GRIDS), BLOCKS[family])
    assert probe(f"grids {family} {grids_request(GRIDS)}")["positions"] == theirs.T.tolist()


def test_blocks_are_what_the_configs_say():
    for family, merge in BLOCKS.items():
        if family in ("kimi_k25", "step3p7", "paddleocr_vl", "qwen3_omni_moe"):
            continue  # merged behind the tower, or by a nested config
        assert CONFIG_MAPPING[family]().vision_config.spatial_merge_size == merge, family


@pytest.mark.parametrize("family", WINDOWS)
def test_windows(probe, family):
    config = CONFIG_MAPPING[family]()
    config = (config.thinker_config if family == "qwen2_5_omni" else config).vision_config
    merge = config.spatial_merge_size
    for grids in (GRIDS, [(1, 20, 12)], [(2, 8, 8), (1, 18, 34)]):
        grid = torch.tensor(grids)
        positions = get_vision_position_ids(grid, merge)
        order, _ = get_vision_window_index(grid, merge, config.window_size, config.patch_size)
        theirs = positions.reshape(-1, merge * merge, 2)[order].reshape(-1, 2)
        assert probe(f"grids {family} {grids_request(grids)}")["positions"] == theirs.T.tolist()


def test_a_merge_for_every_picture(probe):
    merges = [1, 2, 2, 1, 2, 1]
    theirs = get_vision_position_ids(torch.tensor(GRIDS), torch.tensor(merges))
    request = " ".join(f"{grid_word(*grid)}/{merge}" for grid, merge in zip(GRIDS, merges))
    assert probe(f"grids video_llama_3 {request}")["positions"] == theirs.T.tolist()


def test_minimax_m3(probe):
    theirs = get_vision_position_ids(torch.tensor(GRIDS), 2, include_temporal=True)
    assert probe(f"grids minimax_m3_vl {grids_request(GRIDS)}")["positions"] == theirs.T.tolist()


class Captured(Exception):
    pass


@contextlib.contextmanager
def positions_given_to(rotary):
    """Runs a tower up to its rotary module and keeps the positions that it was called with."""
    kept = []

    def keep(_, arguments, named):
        kept.append(named.get("position_ids", arguments[-1]))
        raise Captured

    handle = rotary.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with pytest.raises(Captured), torch.no_grad():
            yield kept
    finally:
        handle.remove()


def tower(family, class_name, **fields):
    config = CONFIG_MAPPING[family]()
    config = getattr(config, "vision_config", config)
    for key, value in dict(num_hidden_layers=1, hidden_size=64, num_attention_heads=2, intermediate_size=8,
                           **fields).items():
        setattr(config, key, value)
    return getattr(module(family), class_name)._from_config(config).eval()


def test_pixtral(probe):
    model = tower("pixtral", "PixtralVisionModel", patch_size=4, head_dim=32)
    sizes = [(1, 3, 5), (1, 4, 2)]
    pixels = torch.zeros(2, 3, 16, 20)
    with positions_given_to(model.patch_positional_embedding) as kept:
        model(pixels, image_sizes=torch.tensor([(h * 4, w * 4) for _, h, w in sizes]))
    assert probe(f"grids pixtral {grids_request(sizes)}")["positions"] == kept[0].T.tolist()
    # The number in a raster of the widest picture leads to the same place.
    ids = [r * 9 + c for _, h, w in sizes for r in range(h) for c in range(w)]
    assert probe(f"patch_ids 9 9 rc {' '.join(map(str, ids))}")["positions"] == kept[0].T.tolist()


def test_mlcd(probe):
    model = tower("mlcd", "MLCDVisionModel", patch_size=4, image_size=16)
    rotary = next(m for n, m in model.named_modules() if n.endswith("vision_rotary_embedding"))
    with positions_given_to(rotary) as kept:
        model(torch.zeros(1, 3, 12, 20), interpolate_pos_encoding=True)
    assert probe("grids mlcd 1x3x5")["positions"] == kept[0].T.tolist()


def test_inkling2(probe):
    model = tower("inkling2", "Inkling2VisionModel", patch_size=4, text_hidden_size=16, projection_hidden_dim=16)
    merged = [(1, 2, 3), (1, 3, 1)]
    tokens = sum(h * w for _, h, w in merged)
    with positions_given_to(model.rotary_emb) as kept:
        model(torch.zeros(tokens, 8, 8, 3), torch.tensor(merged))
    patches = [(1, 2 * h, 2 * w) for _, h, w in merged]
    assert probe(f"grids inkling2 {grids_request(patches)}")["positions"] == kept[0].T.tolist()


@pytest.mark.parametrize("family,name", [("muse_glimmer", "MuseGlimmerVisionModel"), ("muse_spark", "MuseSparkVisionModel")])
def test_muse(probe, family, name):
    model = tower(family, name, patch_size=2)
    assert model.window_size // model.patch_size == 32
    grids = [(1, 4, 6), (1, 34, 66)]
    model.patch_embedder.forward = lambda pixels, *_, **__: pixels
    with positions_given_to(model.rotary_emb) as kept:
        model(torch.zeros(sum(t * h * w for t, h, w in grids), 64), torch.tensor(grids))
    assert probe(f"grids {family} {grids_request(grids)}")["positions"] == kept[0].T.tolist()


def test_step3p7_counts_its_grid_in_raster_order(probe):
    theirs = get_vision_position_ids(torch.tensor([[1, 5, 3]]), spatial_merge_size=1)
    assert probe("grids step3p7 1x5x3")["positions"] == theirs.T.tolist()


def test_llama4(probe):
    from transformers import Llama4VisionConfig
    from transformers.models.llama4.modeling_llama4 import Llama4VisionRotaryEmbedding

    config = Llama4VisionConfig(image_size=28, patch_size=4, hidden_size=32, num_attention_heads=2)
    turned = Llama4VisionRotaryEmbedding._compute_freqs_ci(config)  # x then y: angle = position * inv_freq
    positions = torch.tensor(probe("grids llama4 1x7x7")["positions"], dtype=torch.float)
    inv_freq = 1.0 / config.rope_parameters["rope_theta"] ** (torch.arange(0, 8, 2).float() / 8)
    angles = torch.cat([positions[0][:, None] * inv_freq, positions[1][:, None] * inv_freq], dim=-1)
    assert (torch.polar(torch.ones_like(angles), angles) - turned.squeeze(1)).abs().max() < 1e-6
    assert positions[:, -1].tolist() == [0, 0]  # the class token does not turn


def test_vjepa2(probe):
    from transformers.models.vjepa2.modeling_vjepa2 import VJEPA2RopeAttention

    self = bound(VJEPA2RopeAttention, grid_size=5, num_attention_heads=1)
    theirs = self.get_position_ids(torch.zeros(1, 75, 4))
    assert probe("grids vjepa2 3x5x5")["positions"] == [axis.tolist() for axis in theirs]
    masks = torch.tensor([[3, 40, 12, 74, 400]])
    theirs = self.get_position_ids(torch.zeros(1, 5, 4), masks)
    ours = probe("patch_ids 5 5 trc " + " ".join(map(str, masks[0].tolist())))
    assert ours["positions"] == [axis[0, 0].tolist() for axis in theirs]


@pytest.mark.parametrize("family,name", [("sam2_video", "Sam2VideoMemoryAttention"),
                                         ("edgetam_video", "EdgeTamVideoMemoryAttention"),
                                         ("sam3_tracker_video", "Sam3TrackerVideoMemoryAttention")])
def test_memory_attention(probe, family, name):
    config = types.SimpleNamespace(memory_attention_rope_feat_sizes=[6, 4], memory_attention_rope_k_sizes=[3, 2])
    cls = getattr(module(family), name, None) or class_with(family, "precompute_positions")
    theirs = cls.precompute_positions(config)
    assert probe(f"grids {family} 1x4x6")["positions"] == theirs.T.tolist()
    if family == "edgetam_video":
        theirs = cls.precompute_positions(config, is_key=True)
        assert probe(f"grids {family} 1x2x3")["positions"] == theirs.T.tolist()


def test_sam2_keys_repeat_the_grid_and_end_in_pointers(probe):
    """apply_rotary_pos_emb_2d on keys of three frames and five object pointers, by its cosines: what it turns where."""
    apply = module("sam2_video").apply_rotary_pos_emb_2d
    positions = torch.tensor(probe("grids sam2_video 1x2x3")["positions"]).T.float()  # [6, 2]
    cos = torch.cos(positions).repeat_interleave(2, -1)[None, None]
    sin = torch.sin(positions).repeat_interleave(2, -1)[None, None]
    keys = torch.tensor([1.0, 0.0, 1.0, 0.0]).expand(1, 1, 3 * 6 + 5, 4)
    _, turned = apply(torch.zeros(1, 1, 6, 4), keys, cos, sin, num_k_exclude_rope=5, repeat_freqs_k=True)
    ours = torch.tensor(probe("grids sam2_video trailing=5 3x2x3")["positions"]).T.float()
    want = torch.stack([torch.cos(ours), torch.sin(ours)], dim=-1).flatten(1)
    assert torch.equal(turned[0, 0], want)


def test_gemma4_pads_with_minus_one(probe):
    pytest.importorskip("PIL", reason="the processor needs Pillow")
    import numpy
    from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

    processor = Gemma4ImageProcessorPil()
    image = numpy.zeros((96, 192, 3), dtype=numpy.uint8)
    batch = processor(images=[image], return_tensors="pt")
    theirs = batch["image_position_ids"][0]
    real = theirs[(theirs >= 0).all(-1)]
    w, h = (real.max(0).values + 1).tolist()
    assert h != w
    assert probe(f"grids gemma4 pad_to={len(theirs)} 1x{h}x{w}")["positions"] == theirs.T.tolist()


def test_efficientloftr_counts_from_one(probe):
    angles = module("efficientloftr").compute_embeddings(torch.ones(1), 3, 5, 4)  # [1, h, w, 2]
    assert probe("grids efficientloftr 1x3x5")["positions"] == angles[0].flatten(0, 1).T.tolist()


def test_deepseek_v4_entries(probe):
    """Its compressor's rotary module, called with the positions of 4 whole windows."""
    from transformers.models.deepseek_v4 import modeling_deepseek_v4 as v4

    cls = v4.DeepseekV4HCACompressor
    kept = []

    def rotary(x, position_ids, layer_type):
        kept.append(position_ids)
        raise Captured

    ratio, dim = 8, 4
    self = types.SimpleNamespace(
        kv_proj=torch.nn.Identity(), gate_proj=torch.nn.Identity(), compress_rate=ratio, head_dim=dim,
        position_bias=torch.zeros(ratio, dim), kv_norm=torch.nn.Identity(), rotary_emb=rotary, rope_layer_type="compress")
    hidden = torch.zeros(1, 4 * ratio + 3, dim)
    with pytest.raises(Captured):
        cls.forward(self, hidden, hidden, torch.arange(hidden.shape[1])[None], None, 0)
    assert probe(f"compressed 0 4 {ratio}")["positions"][0] == kept[0][0].tolist()


# ---- Coordinates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["dinov3_vit", "eomt_dinov3", "sapiens2"])
def test_patch_centres(probe, family):
    for h, w in [(1, 1), (3, 5), (14, 14), (7, 30)]:
        theirs = module(family).get_patches_center_coordinates(h, w, torch.float64, torch.device("cpu"))
        ours = torch.tensor(probe(f"coordinates unit=own offset=0.5 1x{h}x{w}")["positions"], dtype=torch.float64)
        assert (ours - theirs.T).abs().max() < 1e-15


def test_sam3_scales_its_global_grid_to_a_window(probe):
    cls = class_with("sam3", "precompute_positions")
    config = types.SimpleNamespace(image_size=1008, patch_size=14, window_size=24)
    for window, side in ((0, 72), (24, 24)):
        theirs = cls.precompute_positions(config, window)
        scale = 24 / side
        ours = torch.tensor(probe(f"coordinates xy scale={scale!r},{scale!r} 1x{side}x{side}")["positions"])
        assert (ours - theirs.T).abs().max() < 4e-6  # theirs is rounded to float32


def test_music_flamingo(probe):
    """cos and sin of its rotary module, three windows of a recording."""
    from transformers.models.musicflamingo.modeling_musicflamingo import MusicFlamingoRotaryEmbedding

    config = CONFIG_MAPPING["musicflamingo"]()
    rotary = MusicFlamingoRotaryEmbedding(config)
    tokens, windows, step = 50, 3, config.audio_frame_step * 4
    stamps = torch.arange(windows)[:, None] * tokens * step + torch.arange(tokens) * step
    cos, sin = rotary(stamps, tokens)  # [windows, tokens, 2 * 2 * pairs]: window's pairs, then time's, each twice
    request = f"audio_windows {windows} {tokens} {step!r} {int(rotary.max_seq_len_cached)}"
    ours = torch.tensor(probe(request)["positions"], dtype=torch.float64).reshape(2, windows, tokens, 1)
    angles = torch.cat([ours[0] * rotary.inv_freq.double(), ours[1] * rotary.inv_freq.double()], dim=-1)
    angles = -angles.repeat_interleave(2, -1)
    assert angles.abs().max() > 1  # it does turn
    assert (angles.cos() - cos).abs().max() < 1e-5 and (angles.sin() - sin).abs().max() < 1e-5
