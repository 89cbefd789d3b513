#include "runtime/model/gguf.h"

#include <algorithm>
#include <bit>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/gguf_cursor.h"
#include "runtime/model/gguf_metadata.h"
#include "runtime/model/gguf_signature.h"
#include "runtime/model/gguf_tensor_table.h"

namespace longspan {
namespace {

// Far above any model's, and what an entry takes at least: length, one character, type, one byte;
// length, one character, rank, one dimension, type, offset.
constexpr std::uint64_t kMostKeys = 1 << 16;
constexpr std::uint64_t kSmallestKey = 8 + 1 + 4 + 1;
constexpr std::uint64_t kMostTensors = 1 << 16;
constexpr std::uint64_t kSmallestTensor = 8 + 1 + 4 + 8 + 4 + 8;

constexpr std::int64_t kDefaultAlignment = 32;

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path) : file_(path) { read_header(); }

void GgufFile::read_header() {
  GgufCursor cursor(file_.descriptor(), path(), file_bytes());
  read_gguf_signature(cursor);
  const std::uint64_t tensors = cursor.count(kMostTensors, kSmallestTensor, "tensors");
  const std::uint64_t keys = cursor.count(kMostKeys, kSmallestKey, "keys");
  metadata_ = read_gguf_metadata(cursor, keys);
  refuse_split();
  tensors_ = read_gguf_tensor_table(cursor, tensors, alignment());
}

void GgufFile::refuse_split() const {
  const std::int64_t parts = find_int("split.count").value_or(1);
  if (parts <= 1) return;
  throw DataError(
      str("{}: one of {} parts of a split model; merge them into one file first "
          "(llama-gguf-split --merge)",
          path().string(), parts));
}

std::uint64_t GgufFile::alignment() const {
  const std::int64_t bytes = find_int("general.alignment").value_or(kDefaultAlignment);
  if (bytes < 8 || bytes > 65536 || !std::has_single_bit(static_cast<std::uint64_t>(bytes))) {
    throw DataError(
        str("{}: general.alignment is {}; it must be a power of two from 8 to 65536: "
            "the file is damaged, download it again",
            path().string(), bytes));
  }
  return static_cast<std::uint64_t>(bytes);
}

const TensorInfo* GgufFile::find(std::string_view tensor_name) const {
  const auto found = std::ranges::find(tensors_, tensor_name, &TensorInfo::name);
  return found == tensors_.end() ? nullptr : &*found;
}

void GgufFile::read(const TensorInfo& tensor, std::span<std::byte> into) const {
  expects(into.size() == tensor.bytes, "room for exactly the tensor's bytes");
  file_.read(tensor.offset, into);
}

}  // namespace longspan
