// The key-value part of a GGUF header.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "runtime/model/gguf.h"
#include "runtime/model/gguf_cursor.h"

namespace longspan {

using GgufMetadata = std::map<std::string, GgufFile::Value, std::less<>>;

GgufMetadata read_gguf_metadata(GgufCursor& cursor, std::uint64_t keys);

/// A name of a key or a tensor: printable, 1 to 512 bytes.
std::string read_gguf_name(GgufCursor& cursor, std::string_view of_what);

/// "a string", "an array of integers": for messages.
std::string_view kind_of(const GgufFile::Value& value);

}  // namespace longspan
