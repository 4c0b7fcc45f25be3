# cmake -D NAME=... -D INPUT=... -D OUTPUT=... -P embed.cmake
# Writes a source file that holds the bytes of a file as ropewalk::cli::NAME, for pages that load nothing.
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"cli/embedded.hpp\"
namespace ropewalk::cli {
static const char kBytes[] = {
${bytes}
};
const std::string_view ${NAME}(kBytes, sizeof kBytes);
}  // namespace ropewalk::cli
")
