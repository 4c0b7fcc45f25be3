#include "cpu/kernel_table.hpp"

#include <wasm_simd128.h>

#define ROPEWALK_TARGET_NAMESPACE wasm128
#include "cpu/targets/begin.hpp"

#include "cpu/vec/wasm128.hpp"

#include "cpu/kernels/add_row-inl.hpp"  // with the loop of cos_sin-inl.hpp
#include "cpu/kernels/attention-inl.hpp"
#include "cpu/kernels/attention_no_pairs-inl.hpp"
#include "cpu/kernels/cache_rows-inl.hpp"
#include "cpu/kernels/cos_sin-inl.hpp"
#include "cpu/kernels/rotate-inl.hpp"
#include "cpu/kernels/turn_scattered-inl.hpp"

#include "cpu/targets/end.hpp"
