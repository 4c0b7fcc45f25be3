// Closes what begin.hpp opened and exports the one thing a target has: its table of kernels.
}  // namespace

const KernelTable table = {
    .cos_sin_at = cos_sin_at,
    .cos_sin_on_axes = cos_sin_on_axes,
    .cos_sin_of = cos_sin_of,
    .rotate_half = {rotate<float, Halves>, rotate<BFloat16, Halves>, rotate<Float16, Halves>},
    .rotate_interleaved = {rotate<float, Neighbours>, rotate<BFloat16, Neighbours>, rotate<Float16, Neighbours>},
    .turn_scattered = {turn_scattered<float>, turn_scattered<BFloat16>, turn_scattered<Float16>},
    .end_streaming = end_streaming,
    .cache_rows = cache_rows,
    .add_row = {add_row<float>, add_row<BFloat16>, add_row<Float16>},
    .accumulate_row = {accumulate_row<float>, accumulate_row<BFloat16>, accumulate_row<Float16>},
    .attention = {.multiply = multiply,
                  .softmax = softmax,
                  .softmax_gradient = softmax_gradient,
                  .add_scaled = add_scaled,
                  .transpose = transpose,
                  .widen = {widen_rows<float>, widen_rows<BFloat16>, widen_rows<Float16>},
                  .narrow = {narrow_row<float>, narrow_row<BFloat16>, narrow_row<Float16>},
                  .scores_of_few = {scores_of_few<float>, scores_of_few<BFloat16>, scores_of_few<Float16>},
                  .add_few = {add_few<float>, add_few<BFloat16>, add_few<Float16>},
                  .softmax_row = softmax_row,
                  .multiply_pairs = kMultiplyPairs,
                  .softmax_pairs = kSoftmaxPairs,
                  .pair_rows = kPairRows},
};

}  // namespace ropewalk::cpu::ROPEWALK_TARGET_NAMESPACE

#undef ROPEWALK_INLINE
#undef ROPEWALK_TARGET_NAMESPACE
