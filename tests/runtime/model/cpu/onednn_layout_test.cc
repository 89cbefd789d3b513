#include "runtime/model/cpu/onednn_layout.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tests/runtime/model/random_values.h"

namespace longspan {
namespace {

using dnnl::memory;

struct Aligned {
  explicit Aligned(std::size_t size) : bytes(size + 64) {
    std::memset(bytes.data(), 0xff, bytes.size());
  }
  Bytes span(std::size_t size) {
    const auto at = reinterpret_cast<std::uintptr_t>(bytes.data());
    return {bytes.data() + (64 - at % 64) % 64, size};
  }
  std::vector<std::byte> bytes;
};

/// The bytes that oneDNN's own reorder of the whole matrix gives, padding included.
TEST(OnednnLayoutTest, PanelsArePackedAsOnednnReordersTheWhole) {
  using Tag = memory::format_tag;
  for (Tag tag : {Tag::ab, Tag::BA16a64b, Tag::BA16a48b, Tag::BA16a32b, Tag::BA16a16b}) {
    for (auto [outputs, inputs] :
         {std::pair{1, 1}, {64, 16}, {65, 17}, {200, 90}, {191, 64}, {320, 33}}) {
      const OnednnLayout layout(outputs, inputs, onednn_matrix(inputs, outputs, tag));
      const auto w = test::random_values(1ULL * outputs * inputs, 7);
      Aligned ours(layout.bytes()), theirs(layout.bytes());
      for (int first = 0; first < outputs; first += layout.panel_rows()) {
        layout.pack(w.data() + 1LL * first * inputs, first,
                    std::min(layout.panel_rows(), outputs - first), ours.span(layout.bytes()));
      }
      dnnl::stream stream(onednn_engine());
      memory from(onednn_matrix(inputs, outputs, Tag::ba), onednn_engine(),
                  const_cast<float*>(w.data()));
      memory to(layout.whole().desc, onednn_engine(), theirs.span(layout.bytes()).data());
      dnnl::reorder(from, to).execute(stream, from, to);
      stream.wait();
      EXPECT_EQ(std::memcmp(ours.span(layout.bytes()).data(), theirs.span(layout.bytes()).data(),
                            layout.bytes()),
                0)
          << static_cast<int>(tag) << ", " << outputs << " x " << inputs;
    }
  }
}

}  // namespace
}  // namespace longspan
