#pragma once

#include <ropewalk/config.hpp>
#include <ropewalk/gguf.hpp>

namespace ropewalk::config {

/// What a GGUF file says of its positions: the {arch}.rope.* keys, the rope_* tensors, and what the architecture itself
/// decides (gguf_architectures.hpp). The pair layout is that of the file's weights. With options.family the conventions
/// of that architecture are followed, while the keys keep the prefix of the file's own.
///
/// Errors: kUnsupported (an architecture that is unknown or refused, a scaling of which the meaning is not
/// established), kInvalid (a key missing, of another type, out of its domain, or in conflict with another). The path is
/// "gguf:KEY".
Result<CheckpointPositions> positions_from_gguf(const GgufFile& file, const ReadOptions& options = {});

}  // namespace ropewalk::config
