// What the processor does in a matrix product as large as it likes: the yardstick of attention
// kernels on one rank.
#pragma once

#include <memory>

#include "comm/device.h"
#include "runtime/model/ops.h"

namespace longspan {

class MatrixYardstick {
 public:
  /// A square product by the operations a model runs with. Allocates.
  MatrixYardstick(Device& device, Precision precision);

  void enqueue(Stream& stream);
  /// Of one enqueue().
  static double flop();

 private:
  std::unique_ptr<ModelOps> ops_;
  std::unique_ptr<MatrixLayout> layout_;
  Buffer x_, w_, out_;
};

}  // namespace longspan
