// A chat template of any content is parsed and rendered, or refused with a DataError; what it
// writes is UTF-8, and its budget bounds the time.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "comm/error.h"
#include "runtime/chat/chat_template.h"
#include "runtime/chat/template_budget.h"
#include "runtime/model/tokenizer.h"
#include "tests/fuzz/processor_time.h"
#include "tests/fuzz/require.h"

namespace longspan {
namespace {

// A step of the budget takes a few microseconds with sanitizers; what it does not see takes longer.
constexpr double kMostSeconds = 10;

const TemplateDict& variables() {
  static const TemplateDict all = [] {
    TemplateDict made = chat_variables({{"system", "Be brief.\n"},
                                        {"user", "What's the \u2028 wörld?"},
                                        {"assistant", "<think>\nhm\n</think>\n\nFine."},
                                        {"user", " 12 <|im_end|> "}});
    made.set("bos_token", "<s>");
    made.set("eos_token", "</s>");
    return made;
  }();
  return all;
}

void render(std::string_view source) {
  const double start = test::processor_seconds();
  try {
    const std::string text = ChatTemplate(source, "t").render(variables(), 0);
    test::require(find_invalid_utf8(text) == std::string::npos, "half a character");
    test::require(text.size() <= kMostTemplateBytes, "more text than the budget allows");
  } catch (const DataError&) {
  }
  test::require(test::processor_seconds() - start < kMostSeconds, "a template took too long");
}

}  // namespace
}  // namespace longspan

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  longspan::render({reinterpret_cast<const char*>(data), size});
  return 0;
}
