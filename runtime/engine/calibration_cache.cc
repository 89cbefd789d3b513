#include "runtime/engine/calibration_cache.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "comm/agreement.h"
#include "comm/collective.h"
#include "comm/log.h"
#include "comm/str.h"
#include "runtime/engine/rates_json.h"

namespace longspan {
namespace {

using json = nlohmann::ordered_json;

/// Raised when the file's form or what it says about rates changes.
constexpr int kFormat = 3;

/// FNV-1a: names a file, and is the same in every build.
std::uint64_t hash(const std::string& text) {
  std::uint64_t value = 14695981039346656037U;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 1099511628211U;
  return value;
}

/// Throws with what is wrong; nothing if it is right but for another key or effort.
MachineRates rates_in(std::istream& in, const CalibrationKey& key, CalibrationEffort effort) {
  const json all = json::parse(in);
  if (all.at("format").get<int>() != kFormat) throw DataError("it is of another format");
  if (all.at("machine").get<std::string>() != key.machine_text()) {
    throw DataError("it is of another machine");
  }
  if (all.at("version").get<std::string>() != key.version) {
    throw DataError("it is of another version");
  }
  const auto measured = parse_calibration_effort(all.at("effort").get<std::string>());
  if (!measured || *measured < effort) throw DataError("it was measured with less effort");
  return rates_of(all.at("rates"));
}

void warn(const std::filesystem::path& file, const std::string& why) {
  log(LogLevel::kWarning, str("cannot keep the calibration in {}: {}", file.string(), why));
}

}  // namespace

std::string CalibrationKey::machine_text() const {
  return str("{}; {}; {} ranks, {} on a host, groups of {}; {}/{} heads of {}{}{}", device, isa,
             ranks, ranks_per_host, degree, heads.query_heads, heads.kv_heads, heads.head_dim,
             link.empty() ? "" : "; links at ", link);
}

std::filesystem::path calibration_file(const std::filesystem::path& folder,
                                       const CalibrationKey& key) {
  return folder / str("calibration-{:016x}.json", hash(key.machine_text()));
}

std::optional<std::filesystem::path> calibration_folder() {
  const auto variable = [](const char* name) -> std::filesystem::path {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  // The XDG specification has relative paths ignored.
  const std::filesystem::path cache = variable("XDG_CACHE_HOME"), home = variable("HOME");
  if (cache.is_absolute()) return cache / "longspan";
  if (home.is_absolute()) return home / ".cache" / "longspan";
  return std::nullopt;
}

std::optional<MachineRates> read_calibration(const std::filesystem::path& file,
                                             const CalibrationKey& key, CalibrationEffort effort) {
  std::ifstream in(file);
  if (!in) return std::nullopt;
  try {
    return rates_in(in, key, effort);
  } catch (const json::exception&) {  // its words are for programmers
    log(LogLevel::kInfo, str("calibration in {} is ignored: it is damaged", file.string()));
  } catch (const DataError& error) {
    log(LogLevel::kInfo, str("calibration in {} is ignored: {}", file.string(), error.what()));
  }
  return std::nullopt;
}

void write_calibration(const std::filesystem::path& file, const CalibrationKey& key,
                       CalibrationEffort effort, const MachineRates& rates) {
  const json all = {{"format", kFormat},
                    {"machine", key.machine_text()},
                    {"version", key.version},
                    {"effort", name(effort)},
                    {"rates", json_of(rates)}};
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);
  if (error) return warn(file, error.message());
  // Beside the file, for a rename to be atomic; of this process, for two jobs may start at once.
  std::filesystem::path draft = file;
  draft += str(".{}", getpid());
  std::ofstream out(draft);
  out << all.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
  out.close();
  if (out) std::filesystem::rename(draft, file, error);
  if (!out || error) {
    warn(file, error ? error.message() : "the disk is full or the folder may not be written");
    std::filesystem::remove(draft, error);
  }
}

MachineRates rates_for(Machine& machine, AttentionKernels& kernels, CalibrationEffort effort,
                       const CalibrationKey& key, const ProbedGroup& group,
                       const std::optional<std::filesystem::path>& folder) {
  const bool first = machine.rank() == 0;
  const bool cached = effort != CalibrationEffort::kOff && folder.has_value();
  std::optional<MachineRates> known;
  if (first && cached) known = read_calibration(calibration_file(*folder, key), key, effort);
  if (any_rank(machine.control(), known.has_value())) {
    return agreed_rates(machine.control(), known);
  }
  if (first && effort != CalibrationEffort::kOff) {
    log(LogLevel::kInfo, str("measuring kernels and links once, to choose strategies: {} at most; "
                             "--calibrate off skips it",
                             effort == CalibrationEffort::kQuick ? "5 s" : "2 minutes"));
  }
  const MachineRates rates =
      calibrate(machine, kernels, effort, group, parse_link_throttle(key.link));
  if (first && cached) write_calibration(calibration_file(*folder, key), key, effort, rates);
  return rates;
}

CalibrationKey calibration_key(Machine& machine, const AttentionKernels& kernels,
                               const ProbedGroup& group, std::string version,
                               const std::string& throttle, std::optional<GpuLink> gpu_link) {
  const bool on_gpus = machine.backend() == Backend::kCuda;
  const std::string link = on_gpus ? str("{} ", gpu_link ? name(*gpu_link) : "auto") : "";
  return {.device = machine.device().description(),
          .isa = std::string(kernels.isa()),
          .version = std::move(version),
          .ranks = machine.size(),
          .ranks_per_host = static_cast<int>(machine.host_ranks().size()),
          .degree = group.degree(),
          .heads = kernels.shape(),
          .link = link + throttle};
}

}  // namespace longspan
