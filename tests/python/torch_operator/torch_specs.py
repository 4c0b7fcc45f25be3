"""One spec for every option that a RotarySpec has."""

import math
import random

from ropewalk import (
    DynamicNtkScaling, FourierMix, GivenFrequencies, LinearScaling, LongRopeScaling, RotarySpec, SecondAngle, XPos, YarnScaling,
)

_r = random.Random(0)


def _list(count):
    return tuple(_r.uniform(-1, 1) for _ in range(count))


SPECS = {
    "half": RotarySpec(head_dim=16, theta=1e4),
    "interleaved": RotarySpec(head_dim=16, theta=1e4, interleaved=True),
    "prefix": RotarySpec(head_dim=16, theta=1e4, rotary_dim=8),
    "offset": RotarySpec(head_dim=16, theta=1e4, rotary_dim=8, rotary_offset=4, interleaved=True),
    "fp32": RotarySpec(head_dim=16, theta=1e4, numerics="fp32"),
    "linear": RotarySpec(head_dim=16, theta=1e4, scaling=LinearScaling(4.0)),
    "yarn": RotarySpec(head_dim=16, theta=1e4, scaling=YarnScaling(4.0, 64)),
    "yarn_partial": RotarySpec(head_dim=16, theta=1e4, rotary_dim=8, rotary_offset=2, scaling=YarnScaling(4.0, 64)),
    "dynamic": RotarySpec(head_dim=16, theta=1e4, scaling=DynamicNtkScaling(2.0, 64)),
    "longrope": RotarySpec(head_dim=16, theta=1e4, scaling=LongRopeScaling((1.0,) * 8, tuple(range(1, 9)), 64, factor=4.0)),
    "sections": RotarySpec(head_dim=16, theta=1e4, axis_of_pair=(0, 0, 0, 1, 1, 1, 2, 2)),
    "blocks": RotarySpec(head_dim=16, theta=1e2, pair_blocks=(4, 4), rung_of_pair=(0, 1, 2, 3) * 2, axis_of_pair=(0,) * 4 + (1,) * 4,
                         frequency_dim=8),
    "clockwise": RotarySpec(head_dim=16, theta=1e4, clockwise=True),
    "moved": RotarySpec(head_dim=16, theta=1e4, interleaved=True, output_interleaved=False, rotary_dim=12),
    "multipliers": RotarySpec(head_dim=16, theta=1e4, frequency_multipliers=_list(8)),
    "given": RotarySpec(head_dim=16, given=GivenFrequencies(_list(2 * 8), heads=2)),
    "summed": RotarySpec(head_dim=16, given=GivenFrequencies(_list(2 * 8), axes=2)),
    "scale": RotarySpec(head_dim=16, theta=1e2, position_scale=2 * math.pi),
    "second": RotarySpec(head_dim=16, theta=1e4, second=SecondAngle(rung_of_pair=(1, 2, 3, 4, 5, 6, 7, 0)), scaling=YarnScaling(4.0, 64)),
    "xpos": RotarySpec(head_dim=16, theta=1e4, xpos=XPos()),
    "fourier": RotarySpec(head_dim=16, theta=1e4, fourier=FourierMix(4, 6, _list(2 * 4 * 6), _list(2 * 4 * 6), heads=2)),
}
