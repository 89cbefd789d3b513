// What a device does in a matrix product as large as it likes: the yardstick of attention kernels
// on one rank, and of a model that reads a prompt.
#pragma once

#include <memory>

#include "comm/backend.h"
#include "comm/device.h"
#include "runtime/model/ops.h"

namespace longspan {

class MatrixYardstick {
 public:
  /// A square product by the operations a model runs with, of that device; both are borrowed.
  /// Allocates.
  MatrixYardstick(Device& device, ModelOps& ops, int size = usual_size(Backend::kCpu));

  /// Larger ones are no faster there.
  static constexpr int usual_size(Backend backend) {
    return backend == Backend::kCuda ? 8192 : 1024;
  }
  void enqueue(Stream& stream);
  /// Of one enqueue().
  static double flop(int size = usual_size(Backend::kCpu)) { return 2.0 * size * size * size; }

 private:
  ModelOps& ops_;
  int size_;
  std::unique_ptr<MatrixLayout> layout_;
  Buffer x_, w_, out_;
};

}  // namespace longspan
