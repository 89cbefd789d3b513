// A GGUF file of any content opens or is refused with a DataError; one that opens has a shape and a
// tokenizer, or is refused for them.
#include <cstddef>
#include <cstdint>

#include "comm/error.h"
#include "runtime/model/gguf.h"
#include "runtime/model/model_config.h"
#include "runtime/model/tokenizer.h"
#include "tests/fuzz/scratch_file.h"

namespace {

template <typename Read>
void may_be_refused(Read read) {
  try {
    read();
  } catch (const longspan::DataError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto path = longspan::test::scratch_file({data, size});
  may_be_refused([&] {
    const longspan::GgufFile file(path);
    may_be_refused([&] { longspan::read_model_config(file); });
    may_be_refused([&] { longspan::Tokenizer(file).encode("Hello wörld"); });
  });
  return 0;
}
