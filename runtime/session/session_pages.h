// Pages of a session in the files beside its index: one page in memory at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/session/session_file.h"
#include "runtime/session/session_index.h"

namespace longspan {

/// Writes the part of one rank.
class SessionPartWriter {
 public:
  /// `index` says what there will be, but for its parts; it outlives the writer. Throws as
  /// SessionDraft does.
  SessionPartWriter(const std::filesystem::path& session, const SessionIndex& index, int rank,
                    Slice heads);

  /// The next page, as SessionIndex::page_shape() says. Numbers ascend. Throws as SessionDraft.
  void add(std::int64_t number, ConstBytes page);
  /// What was written, once that is on the disk. The last call; without it nothing stays.
  SessionPart keep();

 private:
  const SessionIndex& index_;
  SessionDraft draft_;
  SessionPart part_;
};

/// Reads pages of one part, and believes none that is not as it was written.
class SessionPartReader {
 public:
  /// Throws MissingInput, PermissionError or IoError, or DataError for a file that is not this
  /// part, or has another size than it should. `index` and `part` outlive the reader.
  SessionPartReader(const std::filesystem::path& session, const SessionIndex& index,
                    const SessionPart& part);

  /// The part's page at `i` of its list, in memory that the next call uses again. Throws DataError
  /// that names page and positions where it was damaged.
  Bytes page(std::size_t i);

 private:
  const SessionIndex& index_;
  const SessionPart& part_;
  SessionFile file_;
  std::vector<std::uint64_t> offsets_;  // of each page, and of the end
  std::vector<std::byte> buffer_;
};

}  // namespace longspan
