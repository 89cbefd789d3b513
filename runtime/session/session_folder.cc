#include "runtime/session/session_folder.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/session/session_file.h"
#include "runtime/session/session_pages.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDraft = "index";

fs::path folder_of(const fs::path& session) {
  return session.has_parent_path() ? session.parent_path() : fs::path(".");
}

std::string generation_name(const fs::path& session, std::uint64_t generation) {
  return str("{}.{:016x}.", session.string(), generation);
}

/// The generation whose file it is; nothing for any other file.
std::optional<std::uint64_t> generation_of(const fs::path& session, const std::string& name) {
  const std::string before = session.filename().string() + ".";
  constexpr std::size_t kDigits = 16;
  if (!name.starts_with(before)) return std::nullopt;
  const std::string_view rest = std::string_view(name).substr(before.size());
  if (rest.size() < kDigits + 2 || rest[kDigits] != '.') return std::nullopt;
  const std::string_view last = rest.substr(kDigits + 1);
  if (last != kDraft && !last.ends_with(".kv")) return std::nullopt;
  std::uint64_t generation = 0;
  const auto end = rest.data() + kDigits;
  const auto result = std::from_chars(rest.data(), end, generation, 16);
  return result.ec == std::errc() && result.ptr == end ? std::optional(generation) : std::nullopt;
}

/// Removes the files of generations that `is_over`. What cannot be removed stays: it is in nobody's
/// way.
template <typename IsOver>
void remove_generations(const fs::path& session, IsOver&& is_over) {
  std::error_code error;
  std::vector<fs::path> over;
  for (fs::directory_iterator at(folder_of(session), error), end; !error && at != end;
       at.increment(error)) {
    const auto generation = generation_of(session, at->path().filename().string());
    if (generation && is_over(*generation)) over.push_back(at->path());
  }
  for (const fs::path& file : over) fs::remove(file, error);
}

/// A part that only its own host can see would be lost.
void expect_parts_here(const fs::path& session, const SessionIndex& index) {
  for (const SessionPart& part : index.parts) {
    try {
      const SessionPartReader reader(session, index, part);
    } catch (const MissingInput&) {
      throw IoError(
          str("{}: rank {} wrote it, but rank 0 does not see it; sessions of several "
              "hosts need a folder that all of them share",
              part_path(session, index.generation, part.rank).string(), part.rank));
    }
  }
}

}  // namespace

fs::path part_path(const fs::path& session, std::uint64_t generation, int rank) {
  return str("{}{}.kv", generation_name(session, generation), rank);
}

std::uint64_t new_generation() {
  std::random_device random;
  return std::uint64_t{random()} << 32 | random();
}

void commit_session(const fs::path& session, const SessionIndex& index) {
  expect_parts_here(session, index);
  SessionDraft draft(generation_name(session, index.generation) + std::string(kDraft));
  draft.append(encoded(index));
  draft.keep_as(session);
  remove_generations(session, [&](std::uint64_t other) { return other != index.generation; });
}

void drop_generation(const fs::path& session, std::uint64_t generation) {
  remove_generations(session, [&](std::uint64_t other) { return other == generation; });
}

std::vector<fs::path> missing_parts(const fs::path& session, const SessionIndex& index) {
  std::vector<fs::path> missing;
  for (const SessionPart& part : index.parts) {
    std::error_code unknown;  // what cannot be looked at may be there
    const fs::path path = part_path(session, index.generation, part.rank);
    if (!fs::exists(path, unknown) && !unknown) missing.push_back(path);
  }
  return missing;
}

void verify_session(const fs::path& session, const SessionIndex& index) {
  std::optional<std::pair<std::int64_t, std::string>> first;  // page, and what is wrong
  for (const SessionPart& part : index.parts) {
    std::int64_t page = part.pages.empty() ? 0 : part.pages.front().number;
    try {
      SessionPartReader reader(session, index, part);
      for (std::size_t i = 0; i < part.pages.size(); ++i) {
        page = part.pages[i].number;
        if (first && page >= first->first) break;
        (void)reader.page(i);
      }
    } catch (const Error& error) {
      if (!first || page < first->first) first = {page, error.what()};
    }
  }
  if (first) throw DataError(first->second);
}

std::vector<fs::path> sessions_in(const fs::path& folder) {
  std::vector<fs::path> found;
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      if (looks_like_index(entry.path())) found.push_back(entry.path());
    }
  } catch (const fs::filesystem_error& error) {
    throw MissingInput(str("{}: {}", folder.string(), error.code().message()));
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace longspan
