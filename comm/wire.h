// Plain values to bytes and back, for messages between ranks and for files.
//
// All ranks run the same binary on machines of one kind, and files are little-endian as those are,
// so values travel as they lie in memory. A reader never trusts a length: it fails before it reads
// past the end.
//
// A writer and a reader are called alike, so that what travels, in which order, stands once:
//
//   void fields(auto& wire, MaybeConst<PageOwners> auto& pages) {
//     wire(pages.request, pages.first, pages.owners);
//   }
#pragma once

#include <concepts>
#include <cstddef>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "comm/error.h"

namespace longspan {

/// A `Value` that is written, or read into.
template <typename T, typename Value>
concept MaybeConst = std::same_as<std::remove_const_t<T>, Value>;

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

  /// One after the other.
  template <typename... T>
  void operator()(const T&... values) {
    (put(values), ...);
  }
  /// Their number, and what `each` writes of each.
  template <typename T, typename Each>
  void list(const std::vector<T>& values, Each&& each) {
    put(values.size());
    for (const T& value : values) each(value);
  }

  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

class WireReader {
 public:
  /// Where `bytes` end too early `cut_short` throws, or else a CommError is thrown.
  explicit WireReader(std::span<const std::byte> bytes, std::function<void()> cut_short = {})
      : left_(bytes), cut_short_(std::move(cut_short)) {}

  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void read(T& value) {
    std::memcpy(&value, advance(sizeof(T)), sizeof(T));
  }
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void read(std::vector<T>& values) {
    const auto count = read<std::size_t>();
    if (count > left_.size() / sizeof(T)) fail();
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

  template <typename... T>
  void operator()(T&... values) {
    (read(values), ...);
  }
  /// `each` reads something: so a list never gets longer than the bytes.
  template <typename T, typename Each>
  void list(std::vector<T>& values, Each&& each) {
    for (auto left = read<std::size_t>(); left > 0; --left) each(values.emplace_back());
  }

  bool at_end() const { return left_.empty(); }

 private:
  [[noreturn]] void fail() const {
    if (cut_short_) cut_short_();
    throw CommError("control message is cut short");
  }
  const std::byte* advance(std::size_t count) {
    if (count > left_.size()) fail();
    const std::byte* at = left_.data();
    left_ = left_.subspan(count);
    return at;
  }

  std::span<const std::byte> left_;
  std::function<void()> cut_short_;
};

}  // namespace longspan
