// The width of a query and key head, and where in it the channels lie that may turn.

#include "config/hf_reader.hpp"

#include <algorithm>
#include <utility>

namespace ropewalk::config {
namespace {

constexpr std::string_view kHidden[] = {"hidden_size", "n_embd", "d_model"};
constexpr std::string_view kProjection[] = {"projection_dim"};
constexpr std::string_view kHeads[] = {"num_attention_heads", "n_head", "n_heads", "decoder_num_attention_heads"};

}  // namespace

std::int64_t ConfigReader::hidden_size() {
  return need(size(kHidden, kMostChannels * 64, row_->assumes.hidden, row_->hidden_key),
              row_->hidden_key.empty() ? kHidden[0] : row_->hidden_key);
}

std::int64_t ConfigReader::head_count() {
  return need(size(kHeads, kMostChannels, row_->assumes.heads, row_->heads_key),
              row_->heads_key.empty() ? kHeads[0] : row_->heads_key);
}

// hidden_size / num_attention_heads in the family's own words.
std::string ConfigReader::quotient_words() const {
  return std::string(row_->hidden_key.empty() ? "hidden_size" : row_->hidden_key) + " / " +
         std::string(row_->heads_key.empty() ? "num_attention_heads" : row_->heads_key);
}

int ConfigReader::quotient(int times) {
  const std::int64_t hidden = hidden_size();
  const std::int64_t heads = head_count();
  const std::int64_t head_dim = times * hidden / heads;
  if (head_dim < 1 || head_dim > kMostChannels)
    refuse(Code::kInvalid, config_.where("hidden_size"),
           "want at least one channel a head and at most 2^20, got " + std::to_string(head_dim));
  return static_cast<int>(head_dim);
}

std::optional<int> ConfigReader::given_head_dim() {
  if (!row_->head_key.empty()) {
    if (config_.is_null("head_dim"))
      refuse(Code::kInvalid, config_.where("head_dim"),
             "want the same as " + std::string(row_->head_key) + " or no such key for this family, got null");
    if (const auto own = config_.integer(row_->head_key, 1, kMostChannels)) {
      if (const auto usual = config_.integer("head_dim", 1, kMostChannels); usual && *usual != *own)
        refuse(Code::kInvalid, config_.where("head_dim"),
               "want the same as " + config_.where(row_->head_key) + " (" + std::to_string(*own) + "), got " +
                   std::to_string(*usual));
      note_head(static_cast<int>(*own), config_.where(row_->head_key));
      return static_cast<int>(*own);
    }
  }
  const auto head_dim = config_.integer("head_dim", 1, kMostChannels);
  if (!head_dim) return std::nullopt;
  note_head(static_cast<int>(*head_dim), config_.where("head_dim"));
  return static_cast<int>(*head_dim);
}

void ConfigReader::note_head(int head_dim, std::string from) {
  note_once("head_dim", std::to_string(head_dim), std::move(from));
}

ConfigReader::Head ConfigReader::head(std::string_view layer_type) {
  switch (row_->head) {
    case HeadRule::kMla: return latent_head();
    case HeadRule::kTwice:
    case HeadRule::kQuotient:
    case HeadRule::kGptJ: {
      const int times = row_->head == HeadRule::kTwice ? 2 : 1;
      const int head_dim = quotient(times);
      for (const std::string_view key : {"head_dim", "attention_head_dim"})
        if (config_.has(key))
          if (const auto given = config_.integer(key, 1, kMostChannels); *given != head_dim)
            refuse(Code::kInvalid, config_.where(key),
                   "want " + std::string(times == 2 ? "2 * " : "") + "hidden_size / num_attention_heads (" +
                       std::to_string(head_dim) + ") for this family, got " + std::to_string(*given));
      note_head(head_dim, std::string(times == 2 ? "2 * " : "") + "hidden_size / num_attention_heads");
      return {head_dim, head_dim, 0};
    }
    case HeadRule::kMemory: {
      const auto part = [&](std::string_view key, std::int64_t assumed) {
        if (const auto given = config_.integer(key, 1, kMostChannels)) return *given;
        assume(config_.where(key), std::to_string(assumed));
        return assumed;
      };
      const std::int64_t hidden = part("memory_attention_hidden_size", row_->assumes.hidden);
      const std::int64_t rate = part("memory_attention_downsample_rate", 1);
      const auto head_dim = static_cast<int>(hidden / (rate * part("memory_attention_num_attention_heads", 1)));
      note_head(head_dim,
                "memory_attention_hidden_size / (memory_attention_downsample_rate * "
                "memory_attention_num_attention_heads)");
      return {head_dim, head_dim, 0};
    }
    case HeadRule::kWhole: {
      const auto whole = static_cast<int>(std::min(hidden_size(), kMostChannels));
      note_head(whole, config_.where("hidden_size") + ", as it turns before it is cut into heads");
      return {whole, whole, 0};
    }
    case HeadRule::kAudio: {
      auto audio = config_.keys("audio_config");
      const std::int64_t hidden = audio ? audio->integer("hidden_size", 1, kMostChannels).value_or(0) : 0;
      const std::int64_t stored = config_.integer("head_dim", 1, kMostChannels).value_or(0);  // a copy of the other
      if (hidden != 0 && stored != 0 && hidden != stored)
        refuse(Code::kInvalid, config_.where("head_dim"),
               "want the same as audio_config.hidden_size (" + std::to_string(hidden) + "), got " +
                   std::to_string(stored));
      const auto width = static_cast<int>(need(std::max(hidden, stored), "audio_config.hidden_size"));
      note_head(width,
                config_.where(hidden != 0 ? "audio_config.hidden_size" : "head_dim") + ", as whole hidden states turn");
      return {width, width, 0};
    }
    case HeadRule::kClvp: {
      const int head_dim = quotient(1);
      const std::int64_t least = 32, projected = size(kProjection, kMostChannels, 768);
      const auto width = static_cast<int>(std::max(need(projected, kProjection[0]) / (2 * head_count()), least));
      note_head(head_dim, quotient_words());
      note_once("rotary_dim", std::to_string(width), "projection_dim / (2 * num_attention_heads), at least 32");
      if (width > head_dim)
        refuse(Code::kInvalid, config_.where(kProjection[0]),
               "want at most " + std::to_string(head_dim) + " channels that turn, got " + std::to_string(width));
      return {head_dim, width, 0};
    }
    case HeadRule::kMlaByType: return latent_head_by_type(layer_type);
    case HeadRule::kKey:
    case HeadRule::kByType: break;
  }
  if (row_->head == HeadRule::kByType && layer_type == "full_attention") return full_head();
  int head_dim = 0;
  if (const auto given = given_head_dim()) {
    head_dim = *given;
  } else if (row_->head_dim > 0) {
    if (config_.is_null("head_dim"))
      refuse(Code::kInvalid, config_.where("head_dim"), "want an integer >= 1 for this family, got null");
    head_dim = row_->head_dim;
    assume(config_.where("head_dim"), std::to_string(head_dim));
    note_head(head_dim, out_.family + " family: " + std::to_string(head_dim) + " if missing");
  } else {
    head_dim = quotient(1);
    note_head(head_dim, quotient_words());
  }
  return {head_dim, head_dim, 0};
}

ConfigReader::Head ConfigReader::latent_head() {
  const auto part = [&](std::string_view key, int assumed) {
    if (const auto given = config_.integer(key, 0, kMostChannels)) return static_cast<int>(*given);
    if (!inner_) refuse(Code::kInvalid, config_.where(key), "want an integer, got none");
    assume(config_.where(key), std::to_string(assumed));
    return assumed;
  };
  const int nope = part("qk_nope_head_dim", row_->mla[0]), rope = part("qk_rope_head_dim", row_->mla[1]);
  if (rope < 2)
    refuse(Code::kUnsupported, config_.where("qk_rope_head_dim"),
           "want at least 2 channels that turn, got " + std::to_string(rope));
  note_head(nope + rope, "qk_nope_head_dim + qk_rope_head_dim");
  // Configs of this kind store one of the two widths as head_dim.
  if (const auto stored = config_.integer("head_dim", 0, kMostChannels);
      stored && *stored != rope && *stored != nope + rope)
    out_.notes.push_back(config_.where("head_dim") + " (" + std::to_string(*stored) +
                         ") is neither the turning part nor the whole head, and is not used");
  // LongCat is the one that takes the width of its frequencies from there.
  if (row_->name == "longcat_flash" && config_.has("head_dim") && *config_.peek("head_dim") != rope)
    refuse(Code::kInvalid, config_.where("head_dim"),
           "want the same as qk_rope_head_dim (" + std::to_string(rope) + "), got " + shown(*config_.peek("head_dim")));
  return {nope + rope, rope, nope};
}

// dots3.note: sliding layers have latent heads of their own, in per_layer_config or under keys that begin with swa_.
ConfigReader::Head ConfigReader::latent_head_by_type(std::string_view layer_type) {
  int nope = 0, rope = 0;
  const bool sliding = layer_type == "sliding_attention";
  const auto take = [&](Keys& keys, std::string_view key, int assumed) {
    const auto given = keys.integer(key, 0, kMostChannels);
    if (!given) assume(keys.where(key), std::to_string(assumed));
    return given ? static_cast<int>(*given) : assumed;
  };
  if (!sliding) {
    nope = take(config_, "qk_nope_head_dim", row_->mla[0]);
    rope = take(config_, "qk_rope_head_dim", row_->mla[1]);
  } else if (auto per_layer = config_.keys("per_layer_config")) {
    for (const auto& [layer, entry] : per_layer->object().items()) {
      auto one = per_layer->keys(layer);
      if (!one || layer_type_at(layer) != layer_type) continue;
      const auto width = [&](std::string_view key, int otherwise) {  // what it leaves out is the other layers'
        return static_cast<int>(one->integer(key, 0, kMostChannels).value_or(otherwise));
      };
      const int all_nope = take(config_, "qk_nope_head_dim", row_->mla[0]);
      const int all_rope = take(config_, "qk_rope_head_dim", row_->mla[1]);
      const int one_nope = width("qk_nope_head_dim", all_nope), one_rope = width("qk_rope_head_dim", all_rope);
      if (rope != 0 && (nope != one_nope || rope != one_rope))
        refuse(Code::kUnsupported, per_layer->where(layer),
               "want one width for all layers of type " + std::string(layer_type) + ", got " + shown(entry));
      nope = one_nope, rope = one_rope;
    }
    if (rope == 0)
      refuse(Code::kInvalid, config_.where("per_layer_config"),
             "want the heads of the layers of type " + std::string(layer_type) + ", got none");
  } else {
    constexpr int kSlidingHead = 256, kSlidingNope = 192;
    nope = take(config_, "swa_qk_nope_head_dim", kSlidingNope);
    const auto whole = config_.integer("swa_head_dim", 1, kMostChannels).value_or(kSlidingHead);
    rope = take(config_, "swa_qk_rope_head_dim", static_cast<int>(whole) - nope);
  }
  if (rope < 2)
    refuse(Code::kUnsupported, config_.where("qk_rope_head_dim"),
           "want at least 2 channels that turn, got " + std::to_string(rope));
  out_.provenance.push_back({"head_dim[" + std::string(layer_type) + "]", std::to_string(nope + rope),
                             "qk_nope_head_dim + qk_rope_head_dim of its layers"});
  return {nope + rope, rope, nope};
}

// Gemma 4: full-attention layers have heads of their own width.
ConfigReader::Head ConfigReader::full_head() {
  std::int64_t head_dim = config_.integer("global_head_dim", 1, kMostChannels).value_or(0);  // 0: not said
  std::string from = config_.where("global_head_dim");
  if (config_.is_null("per_layer_config"))
    refuse(Code::kInvalid, config_.where("per_layer_config"),
           "want an object, or no such key: to transformers null is not the family's default, got null");
  if (auto per_layer = config_.keys("per_layer_config")) {
    head_dim = 0;
    for (const auto& [layer, entry] : per_layer->object().items()) {
      auto one = per_layer->keys(layer);
      const std::int64_t width = one ? one->integer("head_dim", 1, kMostChannels).value_or(0) : 0;
      const bool is_full = layer_type_at(layer) == "full_attention";
      if (width == 0 && !is_full) continue;
      if (!is_full || width == 0 || (head_dim != 0 && head_dim != width))
        refuse(Code::kUnsupported, per_layer->where(layer),
               "want one head_dim for all full_attention layers and none for others, got " + shown(entry));
      head_dim = width;
      from = config_.where("per_layer_config") + ".*.head_dim";
    }
    if (head_dim == 0) {  // listed, and nobody differs
      head_dim = given_head_dim().value_or(row_->head_dim);
      from = config_.where("head_dim");
    }
  }
  constexpr std::int64_t kGlobal = 512;
  if (head_dim == 0) {
    head_dim = kGlobal;
    assume(config_.where("global_head_dim"), std::to_string(kGlobal));
    from = out_.family + " family: 512 if missing";
  }
  out_.provenance.push_back({"head_dim[full_attention]", std::to_string(head_dim), from});
  return {static_cast<int>(head_dim), static_cast<int>(head_dim), 0};
}

std::string ConfigReader::layer_type_at(const std::string& index) {
  const bool digits = !index.empty() && index.size() <= 6 && index.find_first_not_of("0123456789") == std::string::npos;
  const std::size_t i = digits ? std::stoul(index) : types().size();
  return i < types().size() ? types()[i] : std::string();
}

}  // namespace ropewalk::config
