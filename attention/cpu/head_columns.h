// The columns of one tile of one KV head, as decode reads them: keys and values of bfloat16 where
// they lie, others as floats.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "attention/cpu/key_columns.h"

namespace longspan {

class HeadColumns {
 public:
  HeadColumns(const CompiledKernels& kernels, int head_dim);

  /// `tile` is not empty, of kTileColumns columns at most.
  void read(const std::vector<KeyPiece>& tile, int kv_head);
  /// Folds what was read last into the block. `next` is what comes after it.
  void attend(const HeadBlock& block, HeadColumns& next);

 private:
  bool in_place() const { return columns_ > 0; }
  BFloat16Tile bfloat16_tile() const { return {k_.data(), v_.data(), columns_}; }
  void point(const KeyPiece& piece, int kv_head);

  const CompiledKernels* kernels_;
  int head_dim_;
  KeyColumns floats_;
  // In place; none otherwise.
  int columns_ = 0;
  std::array<const std::uint16_t*, kTileColumns> k_;
  std::array<const std::uint16_t*, kTileColumns> v_;
};

}  // namespace longspan
