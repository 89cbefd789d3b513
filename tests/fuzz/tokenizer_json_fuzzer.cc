// A tokenizer.json of any content loads or is refused with a DataError, and one that loads encodes.
#include <cstddef>
#include <cstdint>

#include "comm/error.h"
#include "runtime/model/tokenizer_json.h"
#include "tests/fuzz/scratch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto path = longspan::test::scratch_file({data, size});
  try {
    const auto tokenizer = longspan::load_tokenizer_json(path);
    tokenizer.decode(tokenizer.encode(" Hello\u2581 wörld 12<s>"));
  } catch (const longspan::DataError&) {
  }
  return 0;
}
