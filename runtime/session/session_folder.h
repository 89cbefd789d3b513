// The files of a session and how one state of them becomes the next: at any time, however a save
// ends, the index names parts that are whole.
//
//   parts of the new generation are written, each by its rank       old index, old parts
//   the new index is renamed over the old one                       new index, new parts
//   the old parts are removed, and what broken saves left           new index, new parts
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "runtime/session/session_index.h"

namespace longspan {

/// Where rank `rank` writes its pages.
std::filesystem::path part_path(const std::filesystem::path& session, std::uint64_t generation,
                                int rank);

/// A number that no save has had, as far as chance allows.
std::uint64_t new_generation();

/// Makes `index`, whose parts are there, what `session` holds. Throws IoError, and the session is
/// as it was, where a part cannot be seen from here, as on another host's disk, or the index cannot
/// be written.
void commit_session(const std::filesystem::path& session, const SessionIndex& index);

/// Removes what was written of a generation that no index names.
void drop_generation(const std::filesystem::path& session, std::uint64_t generation);

/// Parts that are not there: without one of them keys and values are of no use, but the tokens are.
std::vector<std::filesystem::path> missing_parts(const std::filesystem::path& session,
                                                 const SessionIndex& index);

/// Compares every page with its checksum. Throws DataError that names the first one that differs.
void verify_session(const std::filesystem::path& session, const SessionIndex& index);

/// Files in `folder` that are sessions, sound or not, by name. Throws as opening a folder does.
std::vector<std::filesystem::path> sessions_in(const std::filesystem::path& folder);

}  // namespace longspan
