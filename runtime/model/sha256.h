// SHA-256 of a file or a text, as sha256sum prints it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/model/model_file.h"

namespace longspan {

using Sha256 = std::array<std::uint8_t, 32>;

/// 64 hexadecimal digits, lower case.
std::string hex(const Sha256& digest);
/// The first 12 of them, for messages.
std::string shortened(const Sha256& digest);
/// Of 64 such digits; nothing for any other text.
std::optional<Sha256> parse_sha256(std::string_view digits);

/// Of all of `file`, read front to back in large pieces; `read(bytes)` is called after each. Throws
/// IoError or, when the file has shrunk, DataError.
Sha256 sha256_of(const ModelFile& file, const std::function<void(std::uint64_t bytes)>& read);

Sha256 sha256_of(std::string_view text);

}  // namespace longspan
