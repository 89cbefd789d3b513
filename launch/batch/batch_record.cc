#include "launch/batch/batch_record.h"

#include <fcntl.h>

#include <algorithm>

#include "comm/error.h"
#include "comm/str.h"
#include "launch/batch/open_file.h"

namespace longspan {
namespace {

using nlohmann::json;

constexpr const char* kMark = "longspan_run_batch";
constexpr int kVersion = 1;
constexpr std::size_t kMostBytes = std::size_t{1} << 20;
constexpr std::size_t kMostShown = 60;  // of a value, in a message

std::string shown(const json& value) {
  const std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() > kMostShown ? text.substr(0, kMostShown) + "..." : text;
}

}  // namespace

std::optional<BatchRecord> read_record(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  const OpenFile file(path, O_RDONLY);
  std::string text(kMostBytes, '\0');
  text.resize(file.read(0, text));
  const json value = json::parse(text, nullptr, false);
  const bool known = value.is_object() && value.contains(kMark) && value[kMark] == kVersion &&
                     value.contains("seed") && value["seed"].is_number_integer() &&
                     value.contains("facts") && value["facts"].is_object();
  if (!known) {
    throw DataError(
        str("{}: does not say how a batch was begun; move it and its output away, or --restart",
            path.string()));
  }
  return BatchRecord{.seed = value["seed"], .facts = value["facts"]};
}

void write_record(const std::filesystem::path& path, const BatchRecord& record) {
  const json value{{kMark, kVersion}, {"seed", record.seed}, {"facts", record.facts}};
  replace_file(path, value.dump(1, ' ', false, json::error_handler_t::replace) + "\n");
}

std::optional<std::string> first_change(const json& before, const json& now) {
  const json old_leaves = before.flatten(), new_leaves = now.flatten();
  const auto named = [](std::string path) {
    std::ranges::replace(path, '/', '.');
    return path.substr(1);
  };
  for (const auto& [path, value] : new_leaves.items()) {
    const auto old = old_leaves.find(path);
    if (old == old_leaves.end()) return str("{} was not there, now {}", named(path), shown(value));
    if (*old != value) return str("{} was {}, now {}", named(path), shown(*old), shown(value));
  }
  for (const auto& [path, value] : old_leaves.items()) {
    if (!new_leaves.contains(path)) return str("{} was {}, now gone", named(path), shown(value));
  }
  return std::nullopt;
}

}  // namespace longspan
