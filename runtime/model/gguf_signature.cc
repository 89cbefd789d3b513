#include "runtime/model/gguf_signature.h"

#include <array>
#include <bit>
#include <cctype>
#include <utility>

#include "comm/str.h"
#include "runtime/model/printable.h"

namespace longspan {
namespace {

constexpr std::string_view kMagic = "GGUF";

constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kBeginnings{{
    {"PK\x03\x04", "a zip archive (a wheel or a PyTorch checkpoint)"},
    {"\x1f\x8b", "a gzip archive"},
    {"\x80\x02", "a Python pickle"},
    {"version https://git-lfs", "a Git LFS pointer (fetch the file with `git lfs pull`)"},
    {"lmgg", "an old GGML file (convert it to GGUF)"},
    {"fmgg", "an old GGML file (convert it to GGUF)"},
    {"tjgg", "an old GGJT file (convert it to GGUF)"},
    {"{", "a JSON file"},
    {"FUGG", "a GGUF file in another byte order"},
}};

/// A web page that was saved in place of the model is the commonest failed download.
bool looks_like_html(std::string_view head) {
  const std::size_t start = head.find_first_not_of(" \t\r\n");
  if (start == std::string_view::npos || head[start] != '<') return false;
  std::string word;
  for (const char c : head.substr(start + 1, 8)) {
    word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return word.starts_with("!doctype") || word.starts_with("html") || word.starts_with("?xml");
}

/// An 8-byte length, then JSON.
bool looks_like_safetensors(std::string_view head) {
  return head.size() > 8 && head[8] == '{' && head.substr(6, 2) == std::string_view("\0\0", 2);
}

}  // namespace

std::string_view likely_format(std::string_view head) {
  if (looks_like_html(head)) return "an HTML page (an error page saved by a download?)";
  if (looks_like_safetensors(head)) return "a safetensors file";
  for (const auto& [beginning, format] : kBeginnings) {
    if (head.starts_with(beginning)) return format;
  }
  return "something else";
}

void read_gguf_signature(GgufCursor& cursor) {
  const std::string head = cursor.peek(64);
  if (!head.starts_with(kMagic)) {
    cursor.fail(
        str("not a GGUF file: it looks like {} (begins with '{}'); name a file that ends in .gguf",
            likely_format(head), printable(head.substr(0, 8))));
  }
  cursor.number<std::uint32_t>();
  const auto version = cursor.number<std::uint32_t>();
  if (version == 2 || version == 3) return;
  if (version != 0 && (version & 0xffff) == 0) {
    cursor.fail(
        "GGUF in big-endian byte order, which longspan does not read: convert the model "
        "again with little-endian output");
  }
  cursor.fail(
      str("GGUF version {}; longspan reads versions 2 and 3: convert the model again", version));
}

}  // namespace longspan
