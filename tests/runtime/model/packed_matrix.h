// A weight matrix for tests of what multiplies by it.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <vector>

#include "runtime/model/ops.h"

namespace longspan::test {

/// Values (outputs, inputs) in the layout of `ops`, and their memory.
class Packed {
 public:
  Packed(ModelOps& ops, int outputs, int inputs, const std::vector<float>& values)
      : layout_(ops.new_matrix_layout(outputs, inputs)),
        bytes_(static_cast<std::byte*>(std::aligned_alloc(64, (layout_->bytes() + 63) / 64 * 64)),
               std::free) {
    for (int first = 0; first < outputs; first += layout_->panel_rows()) {
      layout_->pack(values.data() + 1LL * first * inputs, first,
                    std::min(layout_->panel_rows(), outputs - first),
                    {bytes_.get(), layout_->bytes()});
    }
  }
  PackedMatrix matrix() const { return {layout_.get(), bytes_.get()}; }

 private:
  std::unique_ptr<MatrixLayout> layout_;
  std::unique_ptr<std::byte, void (*)(void*)> bytes_;
};

}  // namespace longspan::test
