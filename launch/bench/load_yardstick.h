// The least that loading has to do: read every tensor's bytes and turn them into float32, with all
// cores, each piece once. Nothing is packed, reordered, checked or shared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/model/gguf.h"
#include "runtime/model/tensor_file.h"

namespace longspan {

class LoadYardstick {
 public:
  /// Borrows `file`. Allocates and touches what the threads work in.
  LoadYardstick(const TensorFile& file, int threads);

  /// Of all tensors.
  std::int64_t values() const { return values_; }
  /// Fills (values()): one tensor behind the other.
  void keep(std::span<float> all);
  /// The same, each piece over the one before, in a core's cache.
  void keep_nothing();

 private:
  struct Piece {
    TensorInfo rows;     // of a tensor
    std::int64_t first;  // value of all
    std::int64_t values;
  };
  struct Room {
    std::vector<std::byte> raw;
    std::vector<float> values;
  };

  void add_pieces(const TensorInfo& tensor);
  void run(std::span<float> all);

  const TensorFile& file_;
  std::int64_t values_ = 0;
  std::vector<Piece> pieces_;
  std::vector<Room> rooms_;  // one a thread
};

}  // namespace longspan
