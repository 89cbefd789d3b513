#include "runtime/session/session_pages.h"

#include <algorithm>

#include "comm/crc32c.h"
#include "comm/error.h"
#include "comm/str.h"
#include "runtime/session/session_folder.h"

namespace longspan {
namespace {

std::uint64_t page_bytes(const SessionIndex& index, const SessionPart& part, std::int64_t number) {
  return index.page_shape(number, part.heads.count).page_bytes();
}

}  // namespace

SessionPartWriter::SessionPartWriter(const std::filesystem::path& session,
                                     const SessionIndex& index, int rank, Slice heads)
    : index_(index), draft_(part_path(session, index.generation, rank)), part_{rank, heads, {}} {
  draft_.append(part_header(index, rank));
}

void SessionPartWriter::add(std::int64_t number, ConstBytes page) {
  expects(part_.pages.empty() || part_.pages.back().number < number, "pages in order");
  expects(page.size() == page_bytes(index_, part_, number), "a whole page");
  draft_.append(page);
  part_.pages.push_back({number, crc32c(page)});
}

SessionPart SessionPartWriter::keep() {
  draft_.keep();
  return std::move(part_);
}

SessionPartReader::SessionPartReader(const std::filesystem::path& session,
                                     const SessionIndex& index, const SessionPart& part)
    : index_(index), part_(part), file_(part_path(session, index.generation, part.rank)) {
  std::uint64_t at = kPartHeaderBytes, longest = 0;
  for (const SessionPage& page : part.pages) {
    offsets_.push_back(at);
    const std::uint64_t bytes = page_bytes(index, part, page.number);
    longest = std::max(longest, bytes);
    at += bytes;
  }
  offsets_.push_back(at);
  if (file_.bytes() != at) {
    throw DataError(str("{}: has {} bytes, but the session says {}: it is damaged, or of another",
                        file_.path().string(), file_.bytes(), at));
  }
  std::vector<std::byte> header(kPartHeaderBytes);
  file_.read(0, header);
  if (header != part_header(index, part.rank)) {
    throw DataError(str("{}: is not the part that rank {} wrote of the session",
                        file_.path().string(), part.rank));
  }
  buffer_.resize(longest);
}

Bytes SessionPartReader::page(std::size_t i) {
  const SessionPage& page = part_.pages.at(i);
  const Bytes bytes = Bytes(buffer_).first(offsets_[i + 1] - offsets_[i]);
  file_.read(offsets_[i], bytes);
  if (crc32c(bytes) == page.crc) return bytes;
  const std::int64_t first = page.number * index_.page_tokens;
  throw DataError(
      str("{}: page {} of the session (tokens {} to {}) is damaged: its checksum is "
          "another; --recompute reads the session's tokens again",
          file_.path().string(), page.number, first, first + index_.columns(page.number) - 1));
}

}  // namespace longspan
