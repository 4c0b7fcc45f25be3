"""Position builders and weight orders from Python: the drawn examples of the headers, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import ropewalk
from ropewalk import CoordinateOptions, GridOptions, GridShape, MropeImage, MropeText, MropeVideo, Rotary, RotarySpec


def test_plain_sequences():
    assert ropewalk.positions_from_range(-1, 3).tolist() == [-1, 0, 1]
    assert ropewalk.positions_from_offsets([5, 0], 2, 2).tolist() == [[5, 6], [0, 1]]
    assert ropewalk.positions_from_cu_seqlens([0, 3, 8]).tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    assert ropewalk.positions_from_mask([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], padding=-7).tolist() == [[-7, -7, 0, 1, 2], [0, 1, 2, 3, 4]]
    assert ropewalk.positions_from_mask(np.array([True, False])).tolist() == [[0, 0]]
    assert ropewalk.positions_for_rank(16, 2, 0, scheme="zigzag").tolist() == [0, 1, 2, 3, 12, 13, 14, 15]
    assert ropewalk.positions_from_rope_deltas([9], [-3], 2).tolist() == [[6, 7]]
    assert ropewalk.positions_from_compressed(2, 3, 4).tolist() == [8, 12, 16]


def test_grids():
    assert ropewalk.positions_from_grids(GridShape(2, 1, 3)).tolist() == [[0] * 6, [0, 1, 2, 0, 1, 2]]
    merged = ropewalk.positions_from_grids([GridShape(1, 2, 4)], GridOptions(merge=2))
    assert merged.tolist() == [[0, 0, 1, 1, 0, 0, 1, 1], [0, 1, 0, 1, 2, 3, 2, 3]]
    assert ropewalk.positions_from_patch_ids([5, 0], 2, 4, "wh").tolist() == [[1, 0], [1, 0]]
    centres = ropewalk.coordinates_from_grid(GridShape(1, 1, 3), CoordinateOptions(unit="own_side", offset=0.5))
    np.testing.assert_allclose(centres, [[0, 0, 0], [-2 / 3, 0, 2 / 3]])
    for family in ropewalk.grid_families():
        options = ropewalk.grid_options(family)
        positions = ropewalk.positions_from_grids(GridShape(1, 4 * options.merge, 4 * options.merge), options)
        assert positions.shape[0] == len(options.axes), family


def test_pictures_among_text():
    for family in ropewalk.mrope_families():
        if family == "minicpmv4_7":
            continue
        found = ropewalk.mrope_positions((MropeText(3),), family, cached_tokens=10, rope_delta=2)
        assert found.positions.shape[1] == 3, family
    clip = ropewalk.mrope_positions((MropeVideo(GridShape(2, 1, 1), 0.5), MropeText(1)), "qwen2_5_vl")
    assert clip.positions[0].tolist() == [0, 1, 2]


def test_dual_chunks():
    assert ropewalk.dual_chunk_key_positions(range(5), 4, 1).tolist() == [0, 1, 2, 0, 1]
    assert ropewalk.dual_chunk_query_positions(range(5), 4, 1, "successive").tolist() == [3, 4, 4, 3, 4]


def test_reordered_weights_give_the_same_scores():
    rng = np.random.default_rng(2)
    weight, x = rng.standard_normal((3 * 16, 5), np.float32), rng.standard_normal((7, 5), np.float32)
    half = RotarySpec(head_dim=16, theta=100.0, rotary_dim=8, rotary_offset=4)
    moved = ropewalk.permute_rows(weight, "half", "interleaved", head_dim=16, rotary_dim=8, rotary_offset=4)
    order = ropewalk.channel_order("half", "interleaved", 16, 8, 4)
    assert (moved.reshape(3, 16, 5) == weight.reshape(3, 16, 5)[:, order]).all()
    turn = lambda spec, w: Rotary(spec).apply((x @ w.T).reshape(1, 7, 3, 16))
    assert (turn(half, weight)[..., order] == turn(replace(half, interleaved=True), moved)).all()
    assert (ropewalk.permute_rows(moved, "interleaved", "half", head_dim=16, rotary_dim=8, rotary_offset=4) == weight).all()


@pytest.mark.parametrize("call, words", [
    (lambda: ropewalk.positions_from_range(2**63 - 1, 2), "want"),
    (lambda: ropewalk.positions_for_rank(15, 2, 0, scheme="zigzag"), "tokens"),
    (lambda: ropewalk.positions_for_rank(16, 2, 0, scheme="ring"), "scheme: want"),
    (lambda: ropewalk.positions_from_cu_seqlens([0, 3, 2]), "cu_seqlens"),
    (lambda: ropewalk.positions_from_mask(np.zeros((1, 1, 1))), r"mask: want \[tokens\]"),
    (lambda: ropewalk.positions_from_grids([3]), r"grids\[0\]: want a GridShape"),
    (lambda: ropewalk.positions_from_grids(GridShape(1, 3, 3), GridOptions(merge=2)), "merge"),
    (lambda: ropewalk.positions_from_grids(GridShape(1, "x", 3)), "grids.rows: want a whole number"),
    (lambda: ropewalk.grid_options("gpt2"), "family: want one of"),
    (lambda: ropewalk.mrope_positions([MropeImage(GridShape(1, 0, 3))], "qwen2_vl"), r"segments\[0\].grid.rows"),
    (lambda: ropewalk.mrope_positions([3], "qwen2_vl"), r"segments\[0\]: want MropeText"),
    (lambda: ropewalk.permute_rows(np.ones((30, 5)), "half", "interleaved", head_dim=16), "from_rows|heads"),
    (lambda: ropewalk.permute_rows(np.ones((32, 5)).T, "half", "interleaved", head_dim=5), "weight: want contiguous rows"),
    (lambda: ropewalk.channel_order("half", "neox", 16), "to_layout: want"),
])
def test_what_is_wrong_is_refused_by_name(call, words):
    with pytest.raises(ropewalk.Error, match=words):
        call()
