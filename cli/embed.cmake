# cmake -D NAME=... -D INPUT=... -D OUTPUT=... -P embed.cmake
# Writes a source file that holds the bytes of a file as ropewalk::cli::NAME, for pages that load nothing.
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" bytes "${bytes}")
# 32 bytes a line: compilers read a megabyte of one literal in a second, of an array of characters in many.
string(REPEAT "...." 32 line)
string(REGEX REPLACE "(${line})" "\\1\"\n\"" bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"cli/embedded.hpp\"
namespace ropewalk::cli {
static const char kBytes[] =
\"${bytes}\";
const std::string_view ${NAME}(kBytes, sizeof kBytes - 1);
}  // namespace ropewalk::cli
")
