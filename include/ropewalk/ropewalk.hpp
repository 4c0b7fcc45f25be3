// The whole library, read from top to bottom in the order the numbers flow.
#pragma once
// The order is the point.
// clang-format off
#include <ropewalk/spec.hpp>         // 1. an encoding as plain data
#include <ropewalk/scaling.hpp>      // 2. how its speeds are stretched for length
#include <ropewalk/frequencies.hpp>  // 3. how fast each pair turns            inv_freq[pairs], attention_factor
#include <ropewalk/positions.hpp>    // 4. where each token stands             positions[tokens], or [axes, tokens]
#include <ropewalk/grids.hpp>        //    ... a patch, a picture among text   positions[axes, tokens]
#include <ropewalk/phase.hpp>        // 5. how far each pair has turned        turns[tokens, pairs], 2^64 to a turn
#include <ropewalk/table.hpp>        //    its cosine and sine, rounded once   cos[tokens, pairs], sin[tokens, pairs]
#include <ropewalk/rotary.hpp>       // 6. turn the pairs of q and k           x[batch, tokens, heads, head_dim]
#include <ropewalk/cuda.hpp>         //    ... in the memory of a device
#include <ropewalk/kv_cache.hpp>     // 7. keep k and v, move k later          rows[slots, heads, head_dim] in a format
#include <ropewalk/attention.hpp>    // 8. let q look at k and v, in blocks    out[batch, tokens, heads, value_dim]
#include <ropewalk/position_maps.hpp>  //    ... near and far keys by other positions

#include <ropewalk/absolute.hpp>     // instead of it: added to embeddings     x[batch, tokens, dim]
#include <ropewalk/bias.hpp>         //    ... or to the scores                bias[heads, queries, keys]
#include <ropewalk/relative.hpp>     //    ... where it takes q or k too       term[heads, queries, keys]
#include <ropewalk/score_fill.hpp>   //    ... while attention forms them

#include <ropewalk/config.hpp>       // beside it: what a checkpoint asks for (config.json, GGUF)
#include <ropewalk/engines.hpp>      //    ... and what engines make of it
#include <ropewalk/gguf.hpp>         //    ... the file that carries it
#include <ropewalk/safetensors.hpp>  //    ... the other file that carries it
#include <ropewalk/target.hpp>       // which processor's kernels are at work
#include <ropewalk/version.hpp>
// clang-format on
