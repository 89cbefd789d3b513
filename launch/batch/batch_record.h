// What a batch was begun with, in a file beside its output, so that it is gone on with in the same
// way or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace longspan {

struct BatchRecord {
  std::int64_t seed = 0;  // from which those of lines without one follow
  nlohmann::json facts;   // what answers depend on: {"model": {...}, "options": {...}}
};

/// Nothing when there is no such file. Throws DataError when it holds something else, or IoError.
std::optional<BatchRecord> read_record(const std::filesystem::path& path);
/// Whole or not at all. Throws IoError or PermissionError.
void write_record(const std::filesystem::path& path, const BatchRecord& record);

/// The first fact in which two runs differ, for people: "options.temperature was 0, now 0.7".
std::optional<std::string> first_change(const nlohmann::json& before, const nlohmann::json& now);

}  // namespace longspan
