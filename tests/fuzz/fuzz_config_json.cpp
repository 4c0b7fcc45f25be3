// libFuzzer: any bytes as a config.json. It must be answered or refused; nothing else may happen.

#include <ropewalk/config.hpp>

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)ropewalk::read_config_json(text, "fuzz");
  (void)ropewalk::read_config_json(text, "fuzz", {.family = "llama"});
  (void)ropewalk::read_config_json(text, "fuzz", {.part = "vision"});
  return 0;
}
