// The alphabet in which byte-level tokenizer files write bytes: one printable character per byte,
// so that a vocabulary is plain text. GPT-2's choice: printable Latin-1 characters stand for
// themselves, the other 68 bytes for U+0100, U+0101, ... in order (a space becomes U+0120).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace longspan {

/// The letter that stands for `byte`, as UTF-8.
std::string letter_of(std::uint8_t byte);

/// The bytes that `written` stands for; nothing when a character is no letter of the alphabet.
std::optional<std::string> bytes_of(std::string_view written);

}  // namespace longspan
