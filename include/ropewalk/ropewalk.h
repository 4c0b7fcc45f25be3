/// The C interface of Ropewalk: rotary position encodings from C99, and from any language that can call C.
///
/// In the order the numbers flow:
///
///     1. rw_status, rw_version     how a call ends; which library this is
///     2. rw_spec                   an encoding as plain data, one of nine scalings in it
///     3. rw_frequencies            how fast each pair turns                inv_freq[pairs], attention_factor
///     4. rw_positions_view         where each token stands                 positions[axes, batch, tokens]
///     5. rw_rotary                 turns the pairs of q and k              x[batch, tokens, heads, head_dim]
///     6. rw_cache_view             keeps k and v, moves k later            rows[slots, heads, head_dim]
///     7. rw_checkpoint             what a config.json or a GGUF asks for
///     8. rw_permute_rows, rw_dynamic_length    weights between layouts; the length behind a dynamic base
///     9. rw_sinusoidal, rw_bias            what is added instead of turned: to embeddings, to scores
///
/// The rules that hold for all of it:
///
/// Errors      A function that can fail returns an rw_status and takes `char* error, size_t error_size` last. On
///             failure one line, "path: want ..., got ...", is written there, cut to fit (never inside a UTF-8
///             character) and always ended by a zero; on success the empty string. Null or 0: nothing is written.
///             Nothing is printed; no exception leaves a call. A null argument is refused by its name, save where its
///             comment says what null means.
/// Structs     Structs grow at their end. Each begins with `struct_size`, set by its RW_..._INIT, which sets defaults
///             too: `rw_yarn yarn = RW_YARN_INIT;`. A shorter struct (of an older header) is taken with defaults for
///             the rest; a longer one is taken if what this library does not know of it is all zero, and refused with
///             RW_UNSUPPORTED if not. A field that a later version adds has a default of zero. `reserved` fields
///             have to be 0. In an array all elements have the struct_size of the first, which is the distance from
///             one to the next.
/// Ownership   A handle (an incomplete struct) comes from a function that writes it to its `..._out` argument, null
///             on failure, and is freed by its `_destroy`, which takes null too. What a call reads it has copied or
///             done with when it returns. Every string and every array that a handle hands out belongs to the handle,
///             never changes, and lives as long as the handle. Pointers in views are the caller's and are not kept.
/// Threads     Handles do not change after they are made (rw_dynamic_length aside): any number of threads may use one
///             at once. There is no global state to set up. Calls on one and the same buffer are the caller's to order.
/// Numbers     Enumerations are int32_t; their numbers never change their meaning. Flags are int32_t, 0 or 1. A
///             number that is none of those listed is refused.
///
/// Shapes are written outermost first. `pairs` is rotary_dim / 2.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---- 1. How a call ends; which library this is ----------------------------------------------------------------------

/// The version of this header.
#define RW_VERSION_MAJOR 0
#define RW_VERSION_MINOR 1
#define RW_VERSION_PATCH 0
#define RW_VERSION "0.1.0"
#define RW_VERSION_NUMBER (RW_VERSION_MAJOR * 10000 + RW_VERSION_MINOR * 100 + RW_VERSION_PATCH)

typedef int32_t rw_status;
enum {
  RW_OK = 0,
  RW_INVALID = 1,      ///< an argument or a field has a value it may not have
  RW_UNSUPPORTED = 2,  ///< well formed, but this version does not know it
  RW_UNAVAILABLE = 3,  ///< known, but not in this build, on this machine, or at this path
  RW_FORMAT = 4,       ///< a file is not what it says it is: truncated, overlapping, malformed
  RW_NO_MEMORY = 5,    ///< what the call had to allocate was not to be had
  RW_INTERNAL = 6      ///< a mistake of this library's own
};

/// "ok", "invalid", "unsupported", "unavailable", "format", "no memory", "internal"; "?" for another number. Constant.
const char* rw_status_name(rw_status status);

/// The version of the library that runs, "0.1.0", and as RW_VERSION_NUMBER counts. Constant.
const char* rw_version(void);
int32_t rw_version_number(void);

/// The CPU target whose kernels are at work: "avx512_bf16", "avx512", "avx2", "neon", "scalar", ... The best that runs
/// on this processor, or what the environment variable ROPEWALK_TARGET named at the first call of any function that
/// asks. For reports: results have the same bits on every target. Constant.
const char* rw_target_name(void);

// ---- 2. An encoding as plain data -----------------------------------------------------------------------------------

/// Which two channels of a head turn together. Drawn for rotary_dim = 8 of head_dim = 10:
///
///     channel                0 1 2 3 4 5 6 7 8 9
///     RW_LAYOUT_INTERLEAVED  a a b b c c d d . .    also called: adjacent, GPT-J, "norm" (GGUF), traditional (MLX)
///     RW_LAYOUT_HALF         a b c d a b c d . .    also called: rotate_half, GPT-NeoX, "neox" (GGUF)
///
/// A letter is a pair, a dot is left as it was. The layout is a property of the weights: there is no default.
typedef int32_t rw_layout;
enum { RW_LAYOUT_INTERLEAVED = 0, RW_LAYOUT_HALF = 1, RW_LAYOUT_UNSET = 255 };

/// In which arithmetic a phase is formed.
typedef int32_t rw_numerics;
enum {
  RW_NUMERICS_EXACT = 0,  ///< the real-number formula, right at any position
  RW_NUMERICS_FP32 = 1    ///< the float32 chain of transformers, for parity
};

/// Position interpolation: every frequency divided by `factor`. "linear" in config.json.
typedef struct rw_linear {
  size_t struct_size;
  double factor;  ///< >= 1
} rw_linear;
#define RW_LINEAR_INIT \
  { sizeof(rw_linear), 1.0 }

typedef int32_t rw_ntk_form;
enum {
  RW_NTK_BASE = 0,   ///< theta * s^(d/(d-2)); Tencent's alpha
  RW_NTK_FIXED = 1,  ///< theta * s, then divided by s^(2/d); vLLM's "ntk"
  RW_NTK_MIXED = 2   ///< divided by exp(a * (j+1)^b), a = ln s / (d/2)^b; vLLM's "ntk" with mixed_b
};
/// NTK-aware scaling with a fixed factor s.
typedef struct rw_ntk {
  size_t struct_size;
  double factor;  ///< >= 1
  rw_ntk_form form;
  int32_t reserved;
  double mixed_b;  ///< > 0, read in the mixed form only
} rw_ntk;
#define RW_NTK_INIT \
  { sizeof(rw_ntk), 1.0, RW_NTK_BASE, 0, 0.625 }

typedef int32_t rw_dynamic_growth;
enum {
  RW_GROWTH_RUNNING_LENGTH = 0,  ///< from the running length (transformers)
  RW_GROWTH_FULL_LENGTH = 1      ///< fixed at factor * trained_context for every prompt (vLLM)
};
/// Dynamic NTK: the base grows with the running length beyond trained_context.
typedef struct rw_dynamic_ntk {
  size_t struct_size;
  double factor;            ///< >= 1
  int64_t trained_context;  ///< tokens, > 0: max_position_embeddings, not the original length
  rw_dynamic_growth growth;
  int32_t reserved;
} rw_dynamic_ntk;
#define RW_DYNAMIC_NTK_INIT \
  { sizeof(rw_dynamic_ntk), 1.0, 0, RW_GROWTH_RUNNING_LENGTH, 0 }

typedef int32_t rw_mscale_rule;
enum {
  RW_MSCALE_BOTH = 0,      ///< the ratio if both mscales are given and not 0 (transformers)
  RW_MSCALE_NUMERATOR = 1  ///< mscale or 1 over mscale_all_dim or 0 (DeepSeek's own code, vLLM)
};
typedef int32_t rw_ramp_guard;
enum {
  RW_RAMP_NUDGE = 0,  ///< the end moves by 0.001 if it is the beginning (the paper's code, transformers, vLLM)
  RW_RAMP_FLOOR = 1   ///< the width is at least 0.001 (ggml)
};
/// YaRN, arXiv 2309.00071.
typedef struct rw_yarn {
  size_t struct_size;
  double factor;                 ///< wanted context / trained context, >= 1
  int64_t trained_context;       ///< tokens, > 0: original_max_position_embeddings
  double beta_fast;              ///< > 0; a pair turning oftener than this over trained_context is left alone
  double beta_slow;              ///< > 0; a pair turning more rarely is divided by factor
  int32_t truncate;              ///< 1: the ramp between them is widened to whole pairs
  int32_t has_attention_factor;  ///< 0: it follows from the mscales, else mscale_coefficient * ln(factor) + 1
  double attention_factor;       ///< on cos and sin; 0 where has_attention_factor is 0
  double mscale;                 ///< 0 is "not given"
  double mscale_all_dim;         ///< 0 is "not given"
  rw_mscale_rule mscale_rule;
  rw_ramp_guard ramp_guard;
  double mscale_coefficient;    ///< 0.07 in TeleChat3
  double extrapolation_factor;  ///< in [0, 1]: weight of the unscaled part of the ramp (ggml's ext_factor)
  int32_t scale_softmax;        ///< 1: softmax scale times the square of mscale_all_dim's magnitude (DeepSeek)
  int32_t reserved;
} rw_yarn;
#define RW_YARN_INIT \
  { sizeof(rw_yarn), 1.0, 0, 32.0, 1.0, 1, 0, 0.0, 0.0, 0.0, RW_MSCALE_BOTH, RW_RAMP_NUDGE, 0.1, 1.0, 0, 0 }

typedef int32_t rw_longrope_policy;
enum {
  RW_LONGROPE_BY_LENGTH = 0,  ///< long once the running length is above trained_context (transformers)
  RW_LONGROPE_SHORT = 1,
  RW_LONGROPE_LONG = 2  ///< for engines that choose once from the configured length (vLLM, llama.cpp)
};
/// LongRoPE, arXiv 2402.13753: every frequency divided by an entry of one of two lists. "longrope", "su".
typedef struct rw_longrope {
  size_t struct_size;
  const double* short_factor;  ///< [pairs], each > 0
  size_t short_factor_count;
  const double* long_factor;  ///< [pairs], each > 0
  size_t long_factor_count;
  int64_t trained_context;       ///< tokens, > 0: original_max_position_embeddings
  double factor;                 ///< >= 1, for the factor on cos and sin
  int32_t has_attention_factor;  ///< 0: 1 if factor <= 1, else sqrt(1 + ln factor / ln trained_context)
  int32_t has_short_mscale;
  int32_t has_long_mscale;
  rw_longrope_policy policy;
  double attention_factor;  ///< on cos and sin; this and the next two are 0 where their has_ is 0
  double short_mscale;      ///< PhiMoE: replaces the factor while the short list applies
  double long_mscale;       ///< PhiMoE: replaces the factor while the long list applies
} rw_longrope;
#define RW_LONGROPE_INIT \
  { sizeof(rw_longrope), 0, 0, 0, 0, 0, 1.0, 0, 0, 0, RW_LONGROPE_BY_LENGTH, 0.0, 0.0, 0.0 }

/// Llama 3.1's scaling by wavelength.
typedef struct rw_llama3 {
  size_t struct_size;
  double factor;            ///< >= 1
  double low_freq_factor;   ///< > 0; wavelengths above trained_context / this are divided by factor
  double high_freq_factor;  ///< >= low_freq_factor; wavelengths below trained_context / this are left alone
  int64_t trained_context;  ///< tokens, > 0
} rw_llama3;
#define RW_LLAMA3_INIT \
  { sizeof(rw_llama3), 8.0, 1.0, 4.0, 0 }

/// Gemma 4: the first rungs of the ladder turn, the others stand still.
typedef struct rw_proportional {
  size_t struct_size;
  double fraction;  ///< in (0, 1] of frequency_dim, or of rotary_dim if that is 0
  double factor;    ///< >= 1
} rw_proportional;
#define RW_PROPORTIONAL_INIT \
  { sizeof(rw_proportional), 1.0, 1.0 }

/// A list of divisors, one a pair: GGUF's rope_freqs.weight.
typedef struct rw_divisors {
  size_t struct_size;
  const double* divisors;  ///< [pairs], each > 0; +infinity stops a pair
  size_t divisors_count;
  double factor;            ///< >= 1, beside the list
  double attention_factor;  ///< on cos and sin
} rw_divisors;
#define RW_DIVISORS_INIT \
  { sizeof(rw_divisors), 0, 0, 1.0, 1.0 }

/// Frequencies that are given, not computed, in place of theta, frequency_dim, rung_of_pair and a scaling.
typedef struct rw_given {
  size_t struct_size;
  int32_t heads;  ///< tables; head h of H uses table h * heads / H
  int32_t axes;   ///< 1: pair j follows axis_of_pair[j]; more: its phase is the sum over the first `axes` streams
  const double* inv_freq;  ///< [heads, axes, pairs] radians per unit of position, of any sign
  size_t inv_freq_count;
} rw_given;
#define RW_GIVEN_INIT \
  { sizeof(rw_given), 1, 1, 0, 0 }

/// An angle of its own for the second channel of a pair (V-JEPA 2, HunyuanVL): no rotation.
typedef struct rw_second_angle {
  size_t struct_size;
  const int32_t* rung_of_pair;  ///< [pairs]; none: as the first channel
  size_t rung_of_pair_count;
  const uint8_t* axis_of_pair;  ///< [pairs]; none: as the first channel
  size_t axis_of_pair_count;
} rw_second_angle;
#define RW_SECOND_ANGLE_INIT \
  { sizeof(rw_second_angle), 0, 0, 0, 0 }

/// xPos, arXiv 2212.10554. Operands have to say which of them are queries (rw_operand).
typedef struct rw_xpos {
  size_t struct_size;
  double scale_base;     ///< tokens, > 0
  double gamma;          ///< > 0
  int32_t centre_above;  ///< 1: an odd length has its centre above the half (torchscale), not below (flash-attn)
  int32_t reserved;
} rw_xpos;
#define RW_XPOS_INIT \
  { sizeof(rw_xpos), 512.0, 0.4, 0, 0 }

/// FoPE, arXiv 2412.17739: cosines mixed into cosines by a learned matrix, sines into sines.
typedef struct rw_fourier_mix {
  size_t struct_size;
  int32_t heads;  ///< matrices; head h of H uses matrix h * heads / H
  int32_t tones;
  int32_t outputs;
  int32_t reserved;
  const double* cos_mix;  ///< [heads, tones, outputs]
  size_t cos_mix_count;
  const double* sin_mix;  ///< [heads, tones, outputs]
  size_t sin_mix_count;
} rw_fourier_mix;
#define RW_FOURIER_MIX_INIT \
  { sizeof(rw_fourier_mix), 1, 0, 0, 0, 0, 0, 0, 0 }

/// A factor on the query that grows with its position: 1 + beta * ln(1 + floor((p + offset) / context)). Reported, and
/// the caller's to multiply.
typedef struct rw_query_temperature {
  size_t struct_size;
  double beta;
  int64_t context;  ///< tokens, > 0
  int64_t offset;
} rw_query_temperature;
#define RW_QUERY_TEMPERATURE_INIT \
  { sizeof(rw_query_temperature), 0.0, 1, 0 }

/// What a spec is made from, and what rw_spec_get gives back. A list of count 0 is "none"; its pointer may be null.
///
/// A head is head_dim channels, of which [rotary_offset, rotary_offset + rotary_dim) turn. Pair j turns by
/// position[axis_of_pair[j]] * inv_freq[j], where inv_freq comes from theta and the scaling.
typedef struct rw_spec_fields {
  size_t struct_size;
  int32_t head_dim;         ///< channels in one head, in [2, 65536]
  int32_t rotary_dim;       ///< channels that turn, even, in [2, head_dim - rotary_offset]
  int32_t rotary_offset;    ///< the first of them
  int32_t frequency_dim;    ///< d in theta^(-2j/d); 0 is rotary_dim
  rw_layout layout;         ///< no default
  rw_layout output_layout;  ///< where the results go if not where they came from; unset: as layout
  rw_numerics numerics;
  int32_t clockwise;                ///< 1: turn by -phase
  double theta;                     ///< base of the ladder, in (1, 1e30], `rope_theta`; no default; 0 with `given`
  double position_scale;            ///< radians that one unit of position stands for on the rung of 1
  double softmax_scale_multiplier;  ///< on the softmax scale, beside the scaling's own
  const int32_t* rung_of_pair;      ///< [pairs]: the rung of the ladder on which a pair stands; none: pair j on rung j
  size_t rung_of_pair_count;
  const uint8_t* axis_of_pair;  ///< [pairs]: which stream of positions turns a pair (M-RoPE sections); none: stream 0
  size_t axis_of_pair_count;
  const double* frequency_multipliers;  ///< [pairs]: learned factors on inv_freq, applied after the scaling
  size_t frequency_multipliers_count;
  const int32_t* pair_blocks;  ///< pairs of each block of channels that is laid out by itself; none: one block
  size_t pair_blocks_count;
  // The scaling: at most one of these is not null. All null: none.
  const rw_linear* linear;
  const rw_ntk* ntk;
  const rw_dynamic_ntk* dynamic_ntk;
  const rw_yarn* yarn;
  const rw_longrope* longrope;
  const rw_llama3* llama3;
  const rw_proportional* proportional;
  const rw_divisors* divisors;
  // What few encodings have; null: not this one.
  const rw_given* given;
  const rw_second_angle* second;
  const rw_xpos* xpos;
  const rw_fourier_mix* fourier;
  const rw_query_temperature* query_temperature;
} rw_spec_fields;
#define RW_SPEC_FIELDS_INIT                                                                                          \
  {                                                                                                                  \
    sizeof(rw_spec_fields), 0, 0, 0, 0, RW_LAYOUT_UNSET, RW_LAYOUT_UNSET, RW_NUMERICS_EXACT, 0, 0.0, 1.0, 1.0, 0, 0, \
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0                                                      \
  }

/// A rotary encoding: what one kind of layer does to its queries and keys. Checked when it is made.
typedef struct rw_spec rw_spec;

/// Errors: RW_INVALID by the field's name ("theta", "scaling.factor", "axis_of_pair[3]") for a value outside of its
/// domain; "scaling.struct_size" and the like for structs.
rw_status rw_spec_create(const rw_spec_fields* fields, rw_spec** spec_out, char* error, size_t error_size);
void rw_spec_destroy(rw_spec* spec);

/// Writes the fields of a spec; pointers in it are the spec's. A struct that a pointer leads to is as long as its
/// struct_size says, which in an older library is less than sizeof.
rw_status rw_spec_get(const rw_spec* spec, rw_spec_fields* fields_out, char* error, size_t error_size);

/// One line with every field that differs from its default, in the words of config.json. "" for null.
const char* rw_spec_text(const rw_spec* spec);
/// rotary_dim / 2. 0 for null.
int32_t rw_spec_pairs(const rw_spec* spec);
/// Streams of positions it needs. 0 for null.
int32_t rw_spec_axes(const rw_spec* spec);
/// 1 if norms are kept (attention factor aside) and a score depends on the distance of its tokens alone. 0 for null.
int32_t rw_spec_is_rotation(const rw_spec* spec);
/// 1 if the frequencies depend on how long the sequence has grown (dynamic NTK, LongRoPE by length). 0 for null.
int32_t rw_spec_depends_on_length(const rw_spec* spec);
/// The channels of a pair, counted from the head's first: those it is read from, then those it is written to.
///
/// pair          in [0, pairs)
/// channels_out  [4]: first and second read, first and second written
rw_status rw_spec_channels(const rw_spec* spec, int32_t pair, int32_t* channels_out, char* error, size_t error_size);

/// Bytes of a fingerprint: 16 hexadecimal digits and the zero.
#define RW_FINGERPRINT_SIZE 17

/// Writes a hash of what the spec does: two spellings of one encoding have one fingerprint, on every machine.
///
/// running_length   tokens the sequence reaches, for scalings that depend on it; 0: the trained length
/// fingerprint_out  [RW_FINGERPRINT_SIZE]
rw_status rw_spec_fingerprint(const rw_spec* spec, int64_t running_length, char* fingerprint_out, char* error,
                              size_t error_size);

// ---- 3. How fast each pair turns ------------------------------------------------------------------------------------

typedef struct rw_frequencies rw_frequencies;

/// The lists have `count` entries: one a pair, or [heads, axes, pairs] for a spec with given frequencies. A list that a
/// spec does not have is null.
typedef struct rw_frequencies_fields {
  size_t struct_size;
  size_t count;
  const double* inv_freq;           ///< radians per token, position_scale included
  const uint64_t* turns_per_token;  ///< 2^64 to a turn, modulo a turn; null under RW_NUMERICS_FP32
  const float* inv_freq_fp32;       ///< without position_scale; null under RW_NUMERICS_EXACT
  // The second channel's, for a spec with `second`; else null.
  const double* second_inv_freq;
  const uint64_t* second_turns_per_token;
  const float* second_inv_freq_fp32;
  double attention_factor;          ///< on cos and sin, hence on q.k by its square
  double softmax_scale_multiplier;  ///< on the softmax scale, 1/sqrt(head_dim)
  int64_t centre;                   ///< xPos: the position of magnitude 1
} rw_frequencies_fields;
#define RW_FREQUENCIES_FIELDS_INIT \
  { sizeof(rw_frequencies_fields), 0, 0, 0, 0, 0, 0, 0, 1.0, 1.0, 0 }

/// running_length  tokens the sequence reaches (largest position + 1), >= 0, for scalings that depend on it; 0: the
///                 trained length
rw_status rw_frequencies_create(const rw_spec* spec, int64_t running_length, rw_frequencies** frequencies_out,
                                char* error, size_t error_size);
void rw_frequencies_destroy(rw_frequencies* frequencies);
rw_status rw_frequencies_get(const rw_frequencies* frequencies, rw_frequencies_fields* fields_out, char* error,
                             size_t error_size);

// ---- 4. Where each token stands -------------------------------------------------------------------------------------

/// Positions seen as [axes, batch, tokens]. A stride of 0 repeats: one row for the whole batch.
typedef struct rw_positions_view {
  size_t struct_size;
  const int64_t* data;  ///< any int64, in any order; null if there are no tokens
  int32_t axes;         ///< streams, at least rw_spec_axes; a spec with one axis reads stream 0
  int32_t reserved;
  int64_t batch;  ///< rows; 1 serves any batch
  int64_t tokens;
  int64_t axis_stride;   ///< elements from a stream to the next
  int64_t batch_stride;  ///< elements from a row to the next
  int64_t token_stride;  ///< elements from a token to the next
} rw_positions_view;
#define RW_POSITIONS_VIEW_INIT \
  { sizeof(rw_positions_view), 0, 1, 0, 1, 0, 0, 0, 1 }

/// The same for positions that are no whole numbers: patch centres, seconds. Not finite ones count as 0.
typedef struct rw_coordinates_view {
  size_t struct_size;
  const double* data;
  int32_t axes;
  int32_t reserved;
  int64_t batch;
  int64_t tokens;
  int64_t axis_stride;
  int64_t batch_stride;
  int64_t token_stride;
} rw_coordinates_view;
#define RW_COORDINATES_VIEW_INIT \
  { sizeof(rw_coordinates_view), 0, 1, 0, 1, 0, 0, 0, 1 }

/// One stream, one row for the whole batch: [tokens].
static inline rw_positions_view rw_positions_row(const int64_t* positions, int64_t tokens) {
  rw_positions_view view = RW_POSITIONS_VIEW_INIT;
  view.data = positions;
  view.tokens = tokens;
  return view;
}

/// One stream, a row each: contiguous [batch, tokens].
static inline rw_positions_view rw_positions_rows(const int64_t* positions, int64_t batch, int64_t tokens) {
  rw_positions_view view = rw_positions_row(positions, tokens);
  view.batch = batch;
  view.batch_stride = tokens;
  return view;
}

/// Several streams for one row: contiguous [axes, tokens].
static inline rw_positions_view rw_positions_streams(const int64_t* positions, int32_t axes, int64_t tokens) {
  rw_positions_view view = rw_positions_row(positions, tokens);
  view.axes = axes;
  view.axis_stride = tokens;
  return view;
}

/// Several streams of coordinates for one row: contiguous [axes, tokens].
static inline rw_coordinates_view rw_coordinates_streams(const double* coordinates, int32_t axes, int64_t tokens) {
  rw_coordinates_view view = RW_COORDINATES_VIEW_INIT;
  view.data = coordinates;
  view.axes = axes;
  view.tokens = tokens;
  view.axis_stride = tokens;
  return view;
}

// Builders. Each writes to the caller's `positions`, which has positions_count entries: exactly as many as the comment
// says, or the call is refused and nothing is written.

/// [tokens]: first, first + 1, ...
/// Errors: tokens < 0, or the last position leaves int64.
rw_status rw_positions_from_range(int64_t first, int64_t tokens, int64_t* positions, size_t positions_count,
                                  char* error, size_t error_size);

/// [batch, tokens]: row b counts from seqlen_offsets[b]; one offset serves every row.
/// Errors: seqlen_offsets_count neither 1 nor batch, or a position leaves int64.
rw_status rw_positions_from_offsets(const int64_t* seqlen_offsets, size_t seqlen_offsets_count, int64_t batch,
                                    int64_t tokens, int64_t* positions, size_t positions_count, char* error,
                                    size_t error_size);

/// [cu_seqlens's last entry]: packed sequences, each counting from 0 or from its offset.
///
/// cu_seqlens      [sequences + 1], starts with 0, never falls: {0, 3, 8} gives 0 1 2 0 1 2 3 4
/// seqlen_offsets  null, or [sequences]
rw_status rw_positions_from_cu_seqlens(const int64_t* cu_seqlens, size_t cu_seqlens_count,
                                       const int64_t* seqlen_offsets, size_t seqlen_offsets_count, int64_t* positions,
                                       size_t positions_count, char* error, size_t error_size);

/// [batch, tokens]: the real tokens of each row count 0, 1, 2, ... wherever they stand; a padded one gets `padding`.
///
/// mask  contiguous [batch, tokens], mask_count entries, 0 for padding: {0, 0, 1, 1, 1} gives x x 0 1 2
rw_status rw_positions_from_mask(const uint8_t* mask, size_t mask_count, int64_t batch, int64_t padding,
                                 int64_t* positions, size_t positions_count, char* error, size_t error_size);

typedef int32_t rw_shard_scheme;
enum {
  RW_SHARD_CONTIGUOUS = 0,  ///< rank r holds [r * n, (r + 1) * n), n = tokens / ranks
  RW_SHARD_ZIGZAG = 1       ///< 2 * ranks chunks; rank r holds chunk r and chunk 2 * ranks - 1 - r
};
/// [tokens / ranks]: the positions that one rank holds of a sequence of `tokens`, counted from `first`.
/// 16 tokens, 2 ranks, zigzag: rank 0 has 0-3 and 12-15, rank 1 has 4-11.
/// Errors: rank outside of [0, ranks), tokens that do not divide by ranks (contiguous) or 2 * ranks (zigzag).
rw_status rw_positions_for_rank(int64_t tokens, int32_t ranks, int32_t rank, rw_shard_scheme scheme, int64_t first,
                                int64_t* positions, size_t positions_count, char* error, size_t error_size);

// ---- 5. Turning queries and keys ------------------------------------------------------------------------------------

/// How one scalar is stored. Arithmetic is float32 or better whatever this says.
typedef int32_t rw_dtype;
enum { RW_FLOAT32 = 0, RW_BFLOAT16 = 1, RW_FLOAT16 = 2 };

/// Queries or keys in memory, seen as [batch, tokens, heads, head_dim] whatever order they are stored in. The channels
/// of a head lie side by side; every other axis has a stride of its own, which may be 0, negative or odd.
typedef struct rw_heads_view {
  size_t struct_size;
  void* data;  ///< element [0, 0, 0, 0], aligned to an element
  rw_dtype dtype;
  int32_t reserved;
  int64_t batch;
  int64_t tokens;  ///< in a row; 0 is legal and does nothing
  int64_t heads;
  int64_t head_dim;      ///< channels in a head, those that do not turn included
  int64_t batch_stride;  ///< elements from a row to the next
  int64_t token_stride;  ///< elements from a token to the next
  int64_t head_stride;   ///< elements from a head to the next
} rw_heads_view;
#define RW_HEADS_VIEW_INIT \
  { sizeof(rw_heads_view), 0, RW_FLOAT32, 0, 1, 0, 0, 0, 0, 0, 0 }

/// Contiguous [batch, tokens, heads, head_dim].
static inline rw_heads_view rw_heads_bshd(void* data, rw_dtype dtype, int64_t batch, int64_t tokens, int64_t heads,
                                          int64_t head_dim) {
  rw_heads_view view = RW_HEADS_VIEW_INIT;
  view.data = data;
  view.dtype = dtype;
  view.batch = batch;
  view.tokens = tokens;
  view.heads = heads;
  view.head_dim = head_dim;
  view.batch_stride = tokens * heads * head_dim;
  view.token_stride = heads * head_dim;
  view.head_stride = head_dim;
  return view;
}

/// Contiguous [batch, heads, tokens, head_dim].
static inline rw_heads_view rw_heads_bhsd(void* data, rw_dtype dtype, int64_t batch, int64_t heads, int64_t tokens,
                                          int64_t head_dim) {
  rw_heads_view view = rw_heads_bshd(data, dtype, batch, tokens, heads, head_dim);
  view.token_stride = head_dim;
  view.head_stride = tokens * head_dim;
  return view;
}

/// Contiguous [tokens, batch, heads, head_dim].
static inline rw_heads_view rw_heads_sbhd(void* data, rw_dtype dtype, int64_t tokens, int64_t batch, int64_t heads,
                                          int64_t head_dim) {
  rw_heads_view view = rw_heads_bshd(data, dtype, batch, tokens, heads, head_dim);
  view.batch_stride = heads * head_dim;
  view.token_stride = batch * heads * head_dim;
  return view;
}

/// Contiguous [tokens, heads, head_dim]: sequences packed one behind the other.
static inline rw_heads_view rw_heads_thd(void* data, rw_dtype dtype, int64_t tokens, int64_t heads, int64_t head_dim) {
  return rw_heads_bshd(data, dtype, 1, tokens, heads, head_dim);
}

/// Which of a score's two vectors an operand is. Only xPos asks.
typedef int32_t rw_role;
enum { RW_ROLE_UNSET = 0, RW_ROLE_QUERY = 1, RW_ROLE_KEY = 2 };

/// What is to be turned and where the result goes. Both have equal dtype, batch, tokens, heads and head_dim; they may
/// be one and the same but must not overlap otherwise. Channels that do not turn are copied bit for bit.
typedef struct rw_operand {
  size_t struct_size;
  const rw_heads_view* in;   ///< read
  const rw_heads_view* out;  ///< written whole; null: in place
  rw_role role;
  int32_t reserved;
} rw_operand;
#define RW_OPERAND_INIT \
  { sizeof(rw_operand), 0, 0, RW_ROLE_UNSET, 0 }

static inline rw_operand rw_in_place(const rw_heads_view* x) {
  rw_operand operand = RW_OPERAND_INIT;
  operand.in = x;
  return operand;
}

/// Which way, and with what gain. m is the attention factor (1 for most encodings).
typedef int32_t rw_direction;
enum {
  RW_FORWARD = 0,    ///< y = m R(p) x
  RW_INVERSE = 1,    ///< y = R(-p) x / m: undoes forward
  RW_TRANSPOSE = 2,  ///< y = m R(-p) x: the gradient of forward
  RW_SHIFT = 3       ///< y = R(p) x: moves keys that are already rotated by p positions
};

/// How a call is carried out. Null where a function takes one: all at its default.
typedef struct rw_call {
  size_t struct_size;
  rw_direction direction;
  /// Most threads to use, the caller's included; 0 for one a core. Small work stays on the caller, and so does all work
  /// of a caller that is in a parallel region of OpenMP itself. The bits do not depend on it.
  int32_t threads;
  /// 1: the views are not looked at, for a *_check with the same arguments has had nothing to say. At few tokens the
  /// look costs more than the rotation. Structs and null arguments are looked at all the same.
  int32_t checked;
  int32_t reserved;
  /// The caller's own threads; null: OpenMP's. Calls part(argument, i) once for every i in [0, parts), on any threads,
  /// and returns when all have returned. Neither may be left by an exception or longjmp.
  void (*run)(void* pool, int parts, void (*part)(void* argument, int i), void* argument);
  void* pool;  ///< handed back to `run`
} rw_call;
#define RW_CALL_INIT \
  { sizeof(rw_call), RW_FORWARD, 1, 0, 0, 0, 0 }

/// A caller's cosines and sines, float32, one for each pair: cos[row * row_stride + pair].
typedef struct rw_cos_sin_table {
  size_t struct_size;
  const float* cos;  ///< [rows, pairs]
  const float* sin;  ///< [rows, pairs]; may lie in the rows of cos
  int64_t rows;
  int64_t row_stride;  ///< floats from a row to the next, in both
} rw_cos_sin_table;
#define RW_COS_SIN_TABLE_INIT \
  { sizeof(rw_cos_sin_table), 0, 0, 0, 0 }

/// The prepared operator: made once from a spec, then applied to any batch. Holds no table.
typedef struct rw_rotary rw_rotary;

/// running_length as in rw_frequencies_create. The spec may be destroyed afterwards.
/// Errors: those of rw_frequencies_create; RW_UNAVAILABLE if the environment variable ROPEWALK_TARGET names a CPU
/// target that is not in this build or does not run on this processor.
rw_status rw_rotary_create(const rw_spec* spec, int64_t running_length, rw_rotary** rotary_out, char* error,
                           size_t error_size);
void rw_rotary_destroy(rw_rotary* rotary);
/// Of the rotary, and living as long. Null for null.
const rw_spec* rw_rotary_spec(const rw_rotary* rotary);
const rw_frequencies* rw_rotary_frequencies(const rw_rotary* rotary);

/// Says what is wrong with a call, or RW_OK: shapes, dtypes, axes, addresses that are null or not aligned, an output
/// that repeats itself. Other overlaps are not found. Paths: "operands[1].out.heads", "positions.tokens".
///
/// operands  [operand_count] of equal batch and tokens; 0 of them is legal and does nothing
rw_status rw_rotary_check(const rw_rotary* rotary, const rw_operand* operands, size_t operand_count,
                          const rw_positions_view* positions, char* error, size_t error_size);
rw_status rw_rotary_check_coordinates(const rw_rotary* rotary, const rw_operand* operands, size_t operand_count,
                                      const rw_coordinates_view* coordinates, char* error, size_t error_size);
/// Positions are rows of the table, and all of them are looked at: "positions[2, 17]". RW_UNSUPPORTED for a spec whose
/// heads do not all turn alike and for inverse and shift, which would have to know the table's gain.
rw_status rw_rotary_check_table(const rw_rotary* rotary, const rw_operand* operands, size_t operand_count,
                                const rw_cos_sin_table* table, const rw_positions_view* positions,
                                rw_direction direction, char* error, size_t error_size);

/// Turns every operand (q and k together: the phases are formed once for both). float32 arithmetic, bf16 and f16
/// rounded to nearest even on the way out. cos and sin (times m) are within 1.2e-7 * max(1, m) of the real-number
/// formula at positions to +-2^36 under RW_NUMERICS_EXACT. The bits are the same on every CPU target. Refused as
/// rw_rotary_check says, and then nothing is written. Allocates nothing for up to 4 operands that are not refused,
/// save what the check allocates and what OpenMP keeps for its threads; needs 48 KiB of stack.
rw_status rw_rotary_apply(const rw_rotary* rotary, const rw_operand* operands, size_t operand_count,
                          const rw_positions_view* positions, const rw_call* call, char* error, size_t error_size);
rw_status rw_rotary_apply_coordinates(const rw_rotary* rotary, const rw_operand* operands, size_t operand_count,
                                      const rw_coordinates_view* coordinates, const rw_call* call, char* error,
                                      size_t error_size);
/// The same with a caller's cosines and sines; the spec then says no more than which channels turn.
rw_status rw_rotary_apply_table(const rw_rotary* rotary, const rw_operand* operands, size_t operand_count,
                                const rw_cos_sin_table* table, const rw_positions_view* positions, const rw_call* call,
                                char* error, size_t error_size);

/// Writes the cosines and sines (times m) that rw_rotary_apply forms at these positions, bit for bit.
///
/// cos, sin  [batch * tokens of positions, pairs] each, cos_count and sin_count floats, written whole
rw_status rw_rotary_fill_table(const rw_rotary* rotary, const rw_positions_view* positions, float* cos,
                               size_t cos_count, float* sin, size_t sin_count, char* error, size_t error_size);

/// Writes how far every pair has turned, modulo a turn, 2^64 to a turn: of position p in pair j exactly
/// p * turns_per_token[j] modulo 2^64, for every int64, or under RW_NUMERICS_FP32 the float32 chain of transformers. Of
/// a spec with several tables of frequencies: the first; with second angles: the first channel's.
///
/// positions  one row: batch has to be 1
/// turns      [tokens of positions, pairs], turns_count entries, written whole
rw_status rw_rotary_fill_turns(const rw_rotary* rotary, const rw_positions_view* positions, uint64_t* turns,
                               size_t turns_count, char* error, size_t error_size);

/// Takes one of each two from a table in which every value stands twice, as transformers passes them around.
///
/// full       [rows, 2 * pairs], contiguous: cos or sin
/// duplicate  how the two lie: RW_LAYOUT_HALF for cat(x, x), RW_LAYOUT_INTERLEAVED for repeat_interleave(x, 2)
/// half   [rows, pairs], written whole, or in part if a place is found where the two differ: "full[3, 5]"
rw_status rw_halve_table(const float* full, size_t full_count, int64_t rows, rw_layout duplicate, float* half,
                         size_t half_count, char* error, size_t error_size);

// ---- 6. Keys and values that are kept -------------------------------------------------------------------------------

/// How a row of a cache is stored; a row is the channels of one head of one token. docs/kv_cache.md has the bits.
typedef int32_t rw_cache_format;
enum {
  RW_CACHE_FLOAT32 = 0,
  RW_CACHE_BFLOAT16 = 1,
  RW_CACHE_FLOAT16 = 2,
  RW_CACHE_FLOAT8_E4M3 = 3,  ///< OCP E4M3; a float scale a row, or none
  RW_CACHE_INT8 = 4,         ///< -127 ... 127 and a float scale a row
  RW_CACHE_INT4 = 5          ///< -7 ... 7 and a float scale a row; two in a byte, the even channel in its lower half
};

/// Bytes of one row, its scale not counted; 0 for a format or a head_dim (in [1, 2^40]) that is none.
int64_t rw_cache_row_bytes(rw_cache_format format, int64_t head_dim);

/// A cache seen as rows [pages, page_tokens, heads] of head_dim channels. A token has a slot: page * page_tokens + its
/// place in the page. A cache without pages is one page.
typedef struct rw_cache_view {
  size_t struct_size;
  void* data;  ///< the row of slot 0, head 0
  rw_cache_format format;
  int32_t reserved;
  int64_t pages;
  int64_t page_tokens;  ///< slots in a page
  int64_t heads;
  int64_t head_dim;            ///< at most 4096
  int64_t page_stride;         ///< bytes from a page to the next
  int64_t token_stride;        ///< bytes from a slot to the next in its page
  int64_t head_stride;         ///< bytes from a head to the next
  float* scales;               ///< of slot 0, head 0; int8 and int4 need them, float8 may have them
  int64_t scale_page_stride;   ///< elements from a page's scales to the next
  int64_t scale_token_stride;  ///< elements from a slot's to the next
  int64_t scale_head_stride;   ///< elements from a head's to the next
} rw_cache_view;
#define RW_CACHE_VIEW_INIT \
  { sizeof(rw_cache_view), 0, RW_CACHE_FLOAT32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/// Contiguous [pages, page_tokens, heads, head_dim] with scales [pages, page_tokens, heads] or null: vLLM's blocks,
/// FlashInfer's NHD. With one page [capacity, heads, head_dim].
static inline rw_cache_view rw_cache_by_token(void* data, rw_cache_format format, int64_t pages, int64_t page_tokens,
                                              int64_t heads, int64_t head_dim, float* scales) {
  rw_cache_view view = RW_CACHE_VIEW_INIT;
  view.data = data;
  view.format = format;
  view.pages = pages;
  view.page_tokens = page_tokens;
  view.heads = heads;
  view.head_dim = head_dim;
  view.head_stride = rw_cache_row_bytes(format, head_dim);
  view.token_stride = heads * view.head_stride;
  view.page_stride = page_tokens * view.token_stride;
  view.scales = scales;
  view.scale_page_stride = page_tokens * heads;
  view.scale_token_stride = heads;
  view.scale_head_stride = 1;
  return view;
}

/// Contiguous [pages, heads, page_tokens, head_dim] with scales [pages, heads, page_tokens] or null: FlashInfer's HND.
static inline rw_cache_view rw_cache_by_head(void* data, rw_cache_format format, int64_t pages, int64_t page_tokens,
                                             int64_t heads, int64_t head_dim, float* scales) {
  rw_cache_view view = rw_cache_by_token(data, format, pages, page_tokens, heads, head_dim, scales);
  view.token_stride = view.head_stride;
  view.head_stride = page_tokens * view.token_stride;
  view.scale_token_stride = 1;
  view.scale_head_stride = page_tokens;
  return view;
}

/// [tokens]: the slots of tokens [first, first + tokens) of one sequence, whose token t lies in page
/// block_table[t / page_tokens].
///
/// slots  [slots_count], exactly `tokens`
rw_status rw_slots_of_pages(const int64_t* block_table, size_t block_count, int64_t page_tokens, int64_t first,
                            int64_t tokens, int64_t* slots, size_t slots_count, char* error, size_t error_size);

typedef int32_t rw_norm_place;
enum {
  RW_NORM_NONE = 0,
  RW_NORM_BEFORE_ROTATION = 1,  ///< Qwen 3, Gemma 3
  RW_NORM_AFTER_ROTATION = 2    ///< Llama 4 (without weight), HunYuan
};
/// RMS norm of every head by itself: y = x / sqrt(mean of x^2 + epsilon) * weight, over all head_dim channels.
typedef struct rw_head_norm {
  size_t struct_size;
  rw_norm_place place;
  float epsilon;            ///< >= 0, finite
  const float* weight;      ///< [head_dim], or [heads, head_dim] with a stride; null: 1
  int64_t weight_stride;    ///< elements from a head's weights to the next; 0: one for all heads
  int32_t weight_plus_one;  ///< 1: the factor is 1 + weight, as Gemma's
  int32_t reserved;
} rw_head_norm;
#define RW_HEAD_NORM_INIT \
  { sizeof(rw_head_norm), RW_NORM_NONE, 1e-6f, 0, 0, 0, 0 }

/// New tokens on their way into a cache: keys are normed, turned and stored, values stored, queries normed and turned.
typedef struct rw_append {
  size_t struct_size;
  const rw_heads_view* keys;         ///< [batch, tokens, heads, head_dim], read; not null; heads may be 0
  const rw_cache_view* key_cache;    ///< written at `slots`; null if keys has no heads
  const rw_heads_view* values;       ///< of as many tokens; null: none
  const rw_cache_view* value_cache;  ///< null if there are no values
  const rw_operand* queries;         ///< of as many tokens; null: none
  /// [batch * tokens], the tokens of row 0 first. Below 0: this token is not stored. The others must differ from each
  /// other.
  const int64_t* slots;
  size_t slots_count;
  const rw_head_norm* query_norm;  ///< null: none
  const rw_head_norm* key_norm;    ///< null: none
} rw_append;
#define RW_APPEND_INIT \
  { sizeof(rw_append), 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/// Says what is wrong with a call, or RW_OK. Paths: "keys.tokens", "key_cache.heads", "slots[3]". RW_UNSUPPORTED for a
/// spec that does more than turn pairs in place, alike in all heads.
rw_status rw_cache_check_append(const rw_rotary* rotary, const rw_append* append, const rw_positions_view* positions,
                                char* error, size_t error_size);
/// Norms, turns and stores in one pass: every element is read once and written once. The bits are those of the norm,
/// then the rotation, then the rounding of the cache, all on float32. Refused as the check says, and then nothing is
/// written. Needs 80 KiB of stack.
rw_status rw_cache_append(const rw_rotary* rotary, const rw_append* append, const rw_positions_view* positions,
                          const rw_call* call, char* error, size_t error_size);

/// Paths: "keys.head_dim", "slots[3]", "deltas.tokens".
rw_status rw_cache_check_shift(const rw_rotary* rotary, const rw_cache_view* keys, const int64_t* slots,
                               size_t slots_count, const rw_positions_view* deltas, char* error, size_t error_size);
/// Moves cached keys: the key in slots[t], which stands at p, stands at p + deltas[t] afterwards. A slot below 0, or
/// one with deltas of 0 on every axis, is neither read nor written. A quantised row is rounded anew.
///
/// slots   [slots_count], no slot twice
/// deltas  [axes, 1, slots_count]
/// call    its direction has to be RW_FORWARD or RW_SHIFT, which mean the same here
rw_status rw_cache_shift(const rw_rotary* rotary, const rw_cache_view* keys, const int64_t* slots, size_t slots_count,
                         const rw_positions_view* deltas, const rw_call* call, char* error, size_t error_size);

/// Carries keys that were turned under one spec over to another: for dynamic NTK as the sequence grows, LongRoPE as it
/// crosses the trained length, a scaling switched on over cached keys.
typedef struct rw_rerotation rw_rerotation;

/// running lengths as in rw_frequencies_create.
/// Errors: those of rw_rotary_create behind "from." or "to."; RW_INVALID where the two differ in their channels, layout
/// or axes ("to.rotary_dim"); RW_UNSUPPORTED as in rw_cache_check_append ("from.xpos").
rw_status rw_rerotation_create(const rw_spec* from, int64_t from_running_length, const rw_spec* to,
                               int64_t to_running_length, rw_rerotation** rerotation_out, char* error,
                               size_t error_size);
void rw_rerotation_destroy(rw_rerotation* rerotation);
/// What keys grow by: the attention factor of `to` over that of `from`. 0 for null.
double rw_rerotation_gain(const rw_rerotation* rerotation);

/// Paths: "keys.head_dim", "slots[3]", "positions.tokens".
rw_status rw_rerotation_check(const rw_rerotation* rerotation, const rw_cache_view* keys, const int64_t* slots,
                              size_t slots_count, const rw_positions_view* positions, char* error, size_t error_size);
/// In place. positions is [axes, 1, slots_count]: where the keys in the slots stand. Otherwise as rw_cache_shift; the
/// direction of the call has to be RW_FORWARD.
rw_status rw_rerotation_apply(const rw_rerotation* rerotation, const rw_cache_view* keys, const int64_t* slots,
                              size_t slots_count, const rw_positions_view* positions, const rw_call* call, char* error,
                              size_t error_size);
/// The same for keys that are no cache's, in place.
rw_status rw_rerotation_check_heads(const rw_rerotation* rerotation, const rw_heads_view* keys,
                                    const rw_positions_view* positions, char* error, size_t error_size);
rw_status rw_rerotation_apply_heads(const rw_rerotation* rerotation, const rw_heads_view* keys,
                                    const rw_positions_view* positions, const rw_call* call, char* error,
                                    size_t error_size);

// ---- 7. What a checkpoint asks for ----------------------------------------------------------------------------------

/// What a checkpoint's positions do, as read from its own words.
typedef struct rw_checkpoint rw_checkpoint;

typedef struct rw_read_options {
  size_t struct_size;
  const char* family;  ///< follow this family's conventions whatever model_type says; null: model_type's own
  const char* part;  ///< "vision", "talker.text": a part of a config of several; null: the language model, or the whole
  rw_numerics numerics;
  int32_t reserved;
} rw_read_options;
#define RW_READ_OPTIONS_INIT \
  { sizeof(rw_read_options), 0, 0, RW_NUMERICS_EXACT, 0 }

/// Reads a config.json, a GGUF file, or a folder that holds config.json.
///
/// options  null: all at their defaults
///
/// A checkpoint is answered rightly or refused by name. Errors: RW_UNAVAILABLE (no such file), RW_FORMAT (not JSON,
/// hostile GGUF), RW_UNSUPPORTED (unknown model_type or rope_type), RW_INVALID (conflicting keys, a value out of its
/// domain, a missing theta). The path names the key: "rope_parameters.rope_type", "gguf:llama.rope.scaling.type".
rw_status rw_checkpoint_from_path(const char* path, const rw_read_options* options, rw_checkpoint** checkpoint_out,
                                  char* error, size_t error_size);

/// The same from the text of a config.json.
///
/// text    [text_size] bytes, no zero at its end needed
/// source  what stands in messages; null: "config.json"
///
/// Where not even small allocations succeed while JSON is read the process may end: nlohmann-json allocates as it
/// frees.
rw_status rw_checkpoint_from_json(const char* text, size_t text_size, const char* source,
                                  const rw_read_options* options, rw_checkpoint** checkpoint_out, char* error,
                                  size_t error_size);
void rw_checkpoint_destroy(rw_checkpoint* checkpoint);

/// Lists of strings are arrays of as many pointers as their count says.
typedef struct rw_checkpoint_fields {
  size_t struct_size;
  const char* source;        ///< the file that was read
  const char* model_type;    ///< config.json's model_type, GGUF's general.architecture
  const char* family;        ///< whose conventions were followed
  const char* part;          ///< which part was read; "": the whole
  const char* const* parts;  ///< those that it has
  size_t parts_count;
  int64_t trained_context;  ///< tokens the weights were trained for; 0 if unknown
  int64_t max_context;      ///< tokens the checkpoint claims; 0 if unknown
  int32_t layer_count;      ///< 0 if unknown
  int32_t reserved;
  size_t kinds_count;            ///< at least 1: rw_checkpoint_kind
  size_t provenance_count;       ///< rw_checkpoint_provenance
  const char* const* keys_used;  ///< dotted paths
  size_t keys_used_count;
  const char* const* keys_ignored;  ///< of those about positions: seen and not used
  size_t keys_ignored_count;
  const char* const* notes;  ///< what a reader should know, a sentence each
  size_t notes_count;
} rw_checkpoint_fields;
#define RW_CHECKPOINT_FIELDS_INIT \
  { sizeof(rw_checkpoint_fields), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

rw_status rw_checkpoint_get(const rw_checkpoint* checkpoint, rw_checkpoint_fields* fields_out, char* error,
                            size_t error_size);

/// One kind of layer: all layers that turn (or do not turn) their queries and keys alike.
typedef struct rw_layer_kind {
  size_t struct_size;
  const char* name;       ///< the layer type of a nested config ("full_attention"), or "default"
  const int32_t* layers;  ///< their indices, rising; none if the config does not say how many there are
  size_t layers_count;
  const rw_spec* spec;         ///< the checkpoint's, not to be destroyed; null: this kind does not rotate
  const char* const* streams;  ///< what each position stream counts ("time", "height", ...); none for one stream
  size_t streams_count;
  const rw_query_temperature* query_temperature;  ///< of this kind, whether it rotates or not; null: none
  int32_t head_dim;
  int32_t reserved;
} rw_layer_kind;
#define RW_LAYER_KIND_INIT \
  { sizeof(rw_layer_kind), 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/// index in [0, kinds_count)
rw_status rw_checkpoint_kind(const rw_checkpoint* checkpoint, size_t index, rw_layer_kind* kind_out, char* error,
                             size_t error_size);

/// Where a number of the answer came from.
typedef struct rw_provenance {
  size_t struct_size;
  const char* what;   ///< "theta", "scaling.factor", "pair_layout"; with "[kind]" behind it if kinds differ
  const char* value;  ///< as printed
  const char* from;  ///< "rope_parameters.rope_theta", "gguf:llama.rope.freq_base", "hidden_size / num_attention_heads"
} rw_provenance;
#define RW_PROVENANCE_INIT \
  { sizeof(rw_provenance), 0, 0, 0 }

/// index in [0, provenance_count)
rw_status rw_checkpoint_provenance(const rw_checkpoint* checkpoint, size_t index, rw_provenance* provenance_out,
                                   char* error, size_t error_size);

/// One hash over all kinds, in order: equal for checkpoints whose positions are the same.
///
/// fingerprint_out  [RW_FINGERPRINT_SIZE]
rw_status rw_checkpoint_fingerprint(const rw_checkpoint* checkpoint, int64_t running_length, char* fingerprint_out,
                                    char* error, size_t error_size);

/// What may go wrong with a checkpoint's positions at a length.
typedef struct rw_hazards rw_hazards;
typedef struct rw_hazard {
  size_t struct_size;
  const char* kind;     ///< the layer kind, or "" for all
  const char* message;  ///< one sentence with its figures
} rw_hazard;
#define RW_HAZARD_INIT \
  { sizeof(rw_hazard), 0, 0 }

/// length  tokens, >= 0; 0: max_context
rw_status rw_checkpoint_hazards(const rw_checkpoint* checkpoint, int64_t length, rw_hazards** hazards_out, char* error,
                                size_t error_size);
void rw_hazards_destroy(rw_hazards* hazards);
/// 0 for null.
size_t rw_hazards_count(const rw_hazards* hazards);
/// index in [0, count)
rw_status rw_hazards_get(const rw_hazards* hazards, size_t index, rw_hazard* hazard_out, char* error,
                         size_t error_size);

// ---- 8. Weights between layouts; the length behind a dynamic base ---------------------------------------------------

/// From which layout to which, and the channels of one head.
typedef struct rw_relayout {
  size_t struct_size;
  rw_layout from;
  rw_layout to;
  int32_t head_dim;       ///< in [1, 2^20]
  int32_t rotary_dim;     ///< channels that turn, even, in [2, head_dim - rotary_offset]
  int32_t rotary_offset;  ///< the first of them
  int32_t reserved;
} rw_relayout;
#define RW_RELAYOUT_INIT \
  { sizeof(rw_relayout), RW_LAYOUT_UNSET, RW_LAYOUT_UNSET, 0, 0, 0, 0 }

/// The order of a head's channels, as a gather: to_head[c] = from_head[order[c]].
///
/// order  [order_count], exactly head_dim
rw_status rw_channel_order(const rw_relayout* relayout, int32_t* order, size_t order_count, char* error,
                           size_t error_size);

/// Reorders what projects to `heads` heads, one row a channel: a weight matrix [heads * head_dim, columns], a bias, the
/// scales of quantised rows. A row is moved whole and never read as numbers. With from and to exchanged it gives the
/// bytes back.
///
/// row_bytes          bytes of one row, >= 1
/// from_rows, to_rows heads * head_dim * row_bytes bytes each, apart from each other; on errors nothing is written
rw_status rw_permute_rows(const rw_relayout* relayout, int64_t heads, int64_t row_bytes, const void* from_rows,
                          size_t from_bytes, void* to_rows, size_t to_bytes, char* error, size_t error_size);

/// The length from which a dynamic base is computed, as it moves from call to call: it grows with a running length
/// larger than the one remembered and goes back at one below trained_context. Not for several threads at once.
typedef struct rw_dynamic_length rw_dynamic_length;

typedef int32_t rw_dynamic_reset;
enum {
  RW_RESET_BELOW_TRAINED = 0,  ///< at the first running length below trained_context (transformers since mid 2026)
  RW_RESET_NEVER = 1           ///< not at all (transformers 5.0 to early 2026)
};

/// trained_context  tokens, > 0
rw_status rw_dynamic_length_create(int64_t trained_context, rw_dynamic_reset reset, rw_dynamic_length** length_out,
                                   char* error, size_t error_size);
void rw_dynamic_length_destroy(rw_dynamic_length* length);
/// Takes note of a call that reaches up to running_length tokens, >= 0, and writes the length to compute the base from.
rw_status rw_dynamic_length_observe(rw_dynamic_length* length, int64_t running_length, int64_t* length_out, char* error,
                                    size_t error_size);
/// The length as it is. 0 for null.
int64_t rw_dynamic_length_current(const rw_dynamic_length* length);
/// Changes whenever the length does: keys cached under another have to be re-rotated. 0 for null.
uint64_t rw_dynamic_length_epoch(const rw_dynamic_length* length);

// ---- 9. What is added instead of turned -----------------------------------------------------------------------------

/// Where the sines and cosines of an axis stand among its channels. Drawn for 8 channels; a digit is a pair:
///
///     RW_SINUSOID_INTERLEAVED            s0 c0 s1 c1 s2 c2 s3 c3    the paper (arXiv 1706.03762), XLM, VideoMAE, DETR
///     RW_SINUSOID_CONCATENATED           s0 s1 s2 s3 c0 c1 c2 c3    tensor2tensor, fairseq, Marian, Whisper, MAE
///     RW_SINUSOID_INTERLEAVED_COS_FIRST  c0 s0 c1 s1 c2 s2 c3 s3
///     RW_SINUSOID_CONCATENATED_COS_FIRST c0 c1 c2 c3 s0 s1 s2 s3    diffusers' flip_sin_to_cos
///
/// There is no default: checkpoints differ.
typedef int32_t rw_sinusoid_order;
enum {
  RW_SINUSOID_UNSET = 0,
  RW_SINUSOID_INTERLEAVED = 1,
  RW_SINUSOID_CONCATENATED = 2,
  RW_SINUSOID_INTERLEAVED_COS_FIRST = 3,
  RW_SINUSOID_CONCATENATED_COS_FIRST = 4
};
/// How fast pair k of an axis with n channels turns, half = floor(n / 2), in radians a position. No default either.
typedef int32_t rw_sinusoid_exponent;
enum {
  RW_SINUSOID_EXPONENT_UNSET = 0,
  RW_SINUSOID_EXPONENT_PAPER = 1,         ///< theta^(-k / half): the paper, Marian, DETR, MAE
  RW_SINUSOID_EXPONENT_TENSOR2TENSOR = 2  ///< theta^(-k / max(half - 1, 1)): tensor2tensor, fairseq, Whisper
};
/// Sines and cosines of positions, added to embeddings. An axis with an odd number of channels leaves its last one
/// zero.
typedef struct rw_sinusoidal_fields {
  size_t struct_size;
  int32_t dim;   ///< channels of an embedding; divided by axes, each part is an axis' own
  int32_t axes;  ///< 1, 2 or 3
  double theta;  ///< > 0
  rw_sinusoid_order order;
  rw_sinusoid_exponent exponent;
  int32_t sines_of_all_axes_first;  ///< 1: [sin a0 | sin a1 | cos a0 | cos a1] (timm); concatenated orders only
  int32_t has_zero_position;
  int64_t position_offset;  ///< added to every position: fairseq starts at padding_idx + 1
  int64_t
      zero_position;  ///< the position (offset included) whose row is zero; 0 where has_zero_position is 0; one axis
  double gain;        ///< on every sine and cosine
} rw_sinusoidal_fields;
#define RW_SINUSOIDAL_FIELDS_INIT \
  { sizeof(rw_sinusoidal_fields), 0, 1, 10000.0, RW_SINUSOID_UNSET, RW_SINUSOID_EXPONENT_UNSET, 0, 0, 0, 0, 1.0 }

typedef struct rw_sinusoidal rw_sinusoidal;

/// Errors: RW_INVALID by the field's name ("order"); RW_UNAVAILABLE as rw_rotary_create.
rw_status rw_sinusoidal_create(const rw_sinusoidal_fields* fields, rw_sinusoidal** sinusoidal_out, char* error,
                               size_t error_size);
void rw_sinusoidal_destroy(rw_sinusoidal* sinusoidal);
/// Radians a position, one for each pair of an axis, and how many; the list is the handle's. Null and 0 for null.
const double* rw_sinusoidal_inv_freq(const rw_sinusoidal* sinusoidal, size_t* count_out);
/// Writes the rows of positions: within 1.2e-7 * max(1, gain) of the real-number formula at positions to +-2^36, the
/// same bits on every CPU target.
///
/// positions  [axes, batch, tokens]
/// rows       [batch, tokens, dim], rows_count floats, written whole
rw_status rw_sinusoidal_fill(const rw_sinusoidal* sinusoidal, const rw_positions_view* positions, float* rows,
                             size_t rows_count, char* error, size_t error_size);

/// ALiBi, arXiv 2108.12409: -slope_h * n is added to the score of a query n tokens behind its key.
typedef struct rw_alibi {
  size_t struct_size;
  int32_t heads;         ///< in [1, 65536]
  int32_t symmetric;     ///< 1: -slope_h * |n| (encoders); 0: causal, keys behind their query get the bias of n = 0
  double bias_max;       ///< the last slope of 2^k heads is 2^-bias_max
  const double* slopes;  ///< [heads], instead of the formula; none: the formula's
  size_t slopes_count;
} rw_alibi;
#define RW_ALIBI_INIT \
  { sizeof(rw_alibi), 0, 0, 8.0, 0, 0 }

/// T5, arXiv 1910.10683: a learned number for each bucket of distances.
typedef struct rw_t5 {
  size_t struct_size;
  int32_t heads;
  int32_t causal;       ///< 1: decoders; 0: half of the buckets is for keys behind their query
  int32_t num_buckets;  ///< 2 to 4096 (causal), 4 to 4096
  int32_t reserved;
  int64_t max_distance;  ///< above half of a side's buckets, up to 2^31
  const float* table;    ///< [num_buckets, heads], as `relative_attention_bias.weight`
  size_t table_count;
} rw_t5;
#define RW_T5_INIT \
  { sizeof(rw_t5), 0, 0, 32, 0, 128, 0, 0 }

/// Writes the slopes of ALiBi's formula, correctly rounded.
///
/// slopes  [slopes_count], exactly `heads`
rw_status rw_alibi_slopes(int32_t heads, double bias_max, double* slopes, size_t slopes_count, char* error,
                          size_t error_size);
/// Writes T5's buckets of distances n = query - key, by the exact bounds: rows of rw_t5's table. The arguments are its
/// fields.
///
/// distances, buckets  [count] each
rw_status rw_t5_buckets(int32_t num_buckets, int64_t max_distance, int32_t causal, const int64_t* distances,
                        size_t count, int32_t* buckets, char* error, size_t error_size);

/// A bias on the scores, prepared. No mask is in it, and it is not multiplied by the softmax scale.
typedef struct rw_bias rw_bias;

/// Errors: RW_INVALID by the field's name ("alibi.heads", "t5.table.size").
rw_status rw_bias_create_alibi(const rw_alibi* alibi, rw_bias** bias_out, char* error, size_t error_size);
rw_status rw_bias_create_t5(const rw_t5* t5, rw_bias** bias_out, char* error, size_t error_size);
void rw_bias_destroy(rw_bias* bias);
/// 0 for null.
int32_t rw_bias_heads(const rw_bias* bias);
/// Writes a block of biases: computed in double, rounded once, the same bits on every machine.
///
/// queries, keys  positions: any int64, in any order
/// out            [heads, queries_count, keys_count], out_count floats, written whole
rw_status rw_bias_fill(const rw_bias* bias, const int64_t* queries, size_t queries_count, const int64_t* keys,
                       size_t keys_count, float* out, size_t out_count, char* error, size_t error_size);

#ifdef __cplusplus
}
#endif
