#include "runtime/model/model_manifest.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "comm/error.h"
#include "comm/str.h"
#include "runtime/model/json_file.h"
#include "runtime/model/printable.h"
#include "runtime/model/shared_work.h"

namespace longspan {
namespace {

constexpr std::string_view kFormatKey = "longspan_manifest";
constexpr std::int64_t kFormat = 1;
constexpr std::string_view kOfFolder = "longspan-manifest.json";
constexpr std::string_view kOfFile = ".manifest.json";

/// What longspan reads of a folder besides its weights, where it is there.
constexpr std::array<std::string_view, 6> kBesideWeights = {
    "chat_template.jinja",          "config.json",    "generation_config.json",
    "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"};

/// "longspan inspect ... writes the manifest anew ..."
std::string ways_around(const ModelFiles& files) {
  const bool folder = files.manifest.filename() == kOfFolder;
  const auto model = folder ? files.folder : files.folder / files.names.front();
  return str(
      "longspan inspect {} --write-manifest --force writes the manifest anew, and --no-verify "
      "loads without it",
      model.string());
}

std::string fix(const ModelFiles& files) {
  return "download it again; or if it is right, " + ways_around(files);
}

[[noreturn]] void fail(const ModelFiles& files, std::string_view name, std::string_view problem) {
  throw DataError(str("{}: {}: {}", (files.folder / name).string(), problem, fix(files)));
}

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name.find('/') == std::string::npos &&
         is_printable(name) && name != "." && name != "..";
}

}  // namespace

ModelFiles files_of(const TensorFile& model) {
  ModelFiles files;
  for (const std::filesystem::path& file : model.files()) {
    files.folder = file.parent_path();
    files.names.push_back(file.filename().string());
  }
  if (std::filesystem::is_directory(model.path())) {
    files.folder = model.path();
    files.manifest = files.folder / kOfFolder;
    for (const std::string_view name : kBesideWeights) {
      if (std::filesystem::exists(files.folder / name)) files.names.emplace_back(name);
    }
  } else {
    files.manifest = model.path();
    files.manifest += kOfFile;
  }
  std::ranges::sort(files.names);
  return files;
}

ModelManifest ModelManifest::read(const std::filesystem::path& file) {
  const nlohmann::json json = read_json_file(file);
  const JsonView root(json, file);
  const JsonView format = root.at(kFormatKey);
  if (format.integer() != kFormat) {
    format.fail(str("is {}; this longspan reads {}", format.integer(), kFormat));
  }
  const JsonView listed = root.at("files");
  listed.require_object();
  ModelManifest manifest;
  for (const auto& [name, value] : listed.value().items()) {
    if (!is_plain_file_name(name)) {
      listed.fail(str("lists '{}', which is no name of a file beside it", printable(name)));
    }
    const JsonView entry = listed.at(name);
    entry.require_object();
    const std::int64_t bytes = entry.at("bytes").integer();
    if (bytes < 0) entry.at("bytes").fail(str("is {}", bytes));
    const auto digest = parse_sha256(entry.at("sha256").text());
    if (!digest) entry.at("sha256").fail("is not 64 hexadecimal digits in lower case");
    manifest.contents_[name] = {static_cast<std::uint64_t>(bytes), *digest};
  }
  return manifest;
}

std::optional<ModelManifest> ModelManifest::find(const ModelFiles& files) {
  if (!std::filesystem::exists(files.manifest)) return std::nullopt;
  try {
    return read(files.manifest);
  } catch (const DataError& error) {  // which knows the file, but not what it is for
    throw DataError(
        str("{}; or, as only the manifest is damaged, {}", error.what(), ways_around(files)));
  }
}

ModelManifest ModelManifest::made_of(const ModelFiles& files, int threads,
                                     const HashProgress& progress) {
  std::vector<ModelFile> open;
  for (const std::string& name : files.names) open.emplace_back(files.folder / name);
  const std::uint64_t total =
      std::accumulate(open.begin(), open.end(), std::uint64_t{0},
                      [](std::uint64_t sum, const ModelFile& file) { return sum + file.bytes(); });

  std::mutex mutex;  // guards done and calls to progress
  std::uint64_t done = 0;
  const auto advance = [&](std::uint64_t bytes) {
    const std::lock_guard lock(mutex);
    done += bytes;
    if (progress) progress(done, total);
  };
  std::vector<Sha256> digests(open.size());
  share_work(open.size(), std::min<int>(threads, static_cast<int>(open.size())),
             [&](std::size_t i, int) { digests[i] = sha256_of(open[i], advance); });

  ModelManifest manifest;
  for (std::size_t i = 0; i < open.size(); ++i) {
    manifest.contents_[files.names[i]] = {open[i].bytes(), digests[i]};
  }
  return manifest;
}

std::string ModelManifest::text() const {
  nlohmann::ordered_json listed = nlohmann::ordered_json::object();
  for (const auto& [name, content] : contents_) {
    listed[name] = {{"bytes", content.bytes}, {"sha256", hex(content.digest)}};
  }
  const nlohmann::ordered_json all = {{kFormatKey, kFormat}, {"files", listed}};
  return all.dump(2) + "\n";
}

std::uint64_t ModelManifest::bytes() const {
  std::uint64_t sum = 0;
  for (const auto& [name, content] : contents_) sum += content.bytes;
  return sum;
}

void ModelManifest::expect_listed(const ModelFiles& files) const {
  const std::string manifest = files.manifest.filename().string();
  for (const std::string& name : files.names) {
    const auto listed = contents_.find(name);
    if (listed == contents_.end()) fail(files, name, str("is not listed in {}", manifest));
    const std::uint64_t bytes = std::filesystem::file_size(files.folder / name);
    if (bytes == listed->second.bytes) continue;
    fail(files, name, str("has {} bytes, but {} lists {}", bytes, manifest, listed->second.bytes));
  }
  for (const auto& [name, content] : contents_) {
    if (std::ranges::binary_search(files.names, name)) continue;
    if (std::filesystem::exists(files.folder / name)) {
      fail(files, name, str("is listed in {}, but the model does not use it", manifest));
    }
    throw MissingInput(str("{}: is missing, but {} lists it: {}", (files.folder / name).string(),
                           manifest, fix(files)));
  }
}

void ModelManifest::expect_same(const ModelManifest& found, const ModelFiles& files) const {
  for (const auto& [name, content] : contents_) {
    const Content& there = found.contents_.at(name);
    if (there == content) continue;
    fail(files, name,
         str("its SHA-256 is {}, but {} lists {}", shortened(there.digest),
             files.manifest.filename().string(), shortened(content.digest)));
  }
}

}  // namespace longspan
