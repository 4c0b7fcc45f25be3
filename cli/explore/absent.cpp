// For builds without the explorer's page (explorer/CMakeLists.txt).
#include "cli/embedded.hpp"

namespace ropewalk::cli {

const std::string_view kExplorerPage;

}  // namespace ropewalk::cli
