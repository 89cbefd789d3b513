// The first bytes of a file: is it a GGUF file we read, and if not, what is it?
#pragma once

#include <string>
#include <string_view>

#include "runtime/model/gguf_cursor.h"

namespace longspan {

/// Reads magic and version. Anything but GGUF 2 and 3, little-endian, is refused by name.
void read_gguf_signature(GgufCursor& cursor);

/// What a file that begins with `head` looks like, for people: "a safetensors file".
std::string_view likely_format(std::string_view head);

}  // namespace longspan
