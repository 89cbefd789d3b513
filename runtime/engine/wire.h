// Plain values to bytes and back, for messages between ranks.
//
// All ranks run the same binary on machines of one kind, so integers travel as they lie in memory.
// A reader never trusts a length: it throws CommError before it reads past the end.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "comm/error.h"

namespace longspan {

class WireWriter {
 public:
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void put(const T& value) {
    const auto* at = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), at, at + sizeof(T));
  }
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void put(const std::vector<T>& values) {
    put(values.size());
    const auto* at = reinterpret_cast<const std::byte*>(values.data());
    bytes_.insert(bytes_.end(), at, at + values.size() * sizeof(T));
  }
  void put(const std::string& text) { put(std::vector<char>(text.begin(), text.end())); }

  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

class WireReader {
 public:
  explicit WireReader(std::span<const std::byte> bytes) : left_(bytes) {}

  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void read(T& value) {
    std::memcpy(&value, advance(sizeof(T)), sizeof(T));
  }
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void read(std::vector<T>& values) {
    std::size_t count = 0;
    read(count);
    if (count > left_.size() / sizeof(T)) throw CommError("control message is cut short");
    values.resize(count);
    if (count > 0) std::memcpy(values.data(), advance(count * sizeof(T)), count * sizeof(T));
  }
  void read(std::string& text) {
    std::vector<char> characters;
    read(characters);
    text.assign(characters.begin(), characters.end());
  }
  template <typename T>
  T read() {
    T value{};
    read(value);
    return value;
  }

 private:
  const std::byte* advance(std::size_t count) {
    if (count > left_.size()) throw CommError("control message is cut short");
    const std::byte* at = left_.data();
    left_ = left_.subspan(count);
    return at;
  }

  std::span<const std::byte> left_;
};

}  // namespace longspan
