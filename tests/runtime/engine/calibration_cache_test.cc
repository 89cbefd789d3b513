#include "runtime/engine/calibration_cache.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "comm/log.h"
#include "tests/runtime/model/temporary_directory.h"
#include "tests/support/run_ranks.h"

namespace longspan {
namespace {

using testing::HasSubstr;

const CalibrationKey kKey{.device = "cpu Model 7, 2 threads",
                          .isa = "avx2",
                          .version = "longspan 0.1.0, Open MPI v4.1.4",
                          .ranks = 4,
                          .ranks_per_host = 2,
                          .degree = 4,
                          .heads = {.query_heads = 9, .kv_heads = 3, .head_dim = 64},
                          .link = ""};

// Odd numbers: a file must give back every bit.
const MachineRates kRates{.attention = {{1, 1e9 / 3}, {64, 2.0e10 / 7}},
                          .sliced = {{4, {{1, 1e9 / 11}, {64, 2.0e10 / 13}}}},
                          .masked_share = 1.0 / 3,
                          .merge_bytes_per_second = 4e9 / 11,
                          .copy_bytes_per_second = 5e9 / 7,
                          .launch_seconds = 1e-5 / 3,
                          .inside_host = {1e-5 / 7, 1e9 / 9},
                          .between_hosts = {2e-5 / 7, 3e9 / 7},
                          .grid = {.new_pages = {1, 4}, .cached_pages = {0}},
                          .probed = {{.plan = {Strategy::kUsp, 2},
                                      .chunks = {{1e-3 / 3, 1e-3 / 7}, {1e-2 / 9, 1e-2 / 11}}}}};

void expect_equal(const std::vector<AttentionRate>& a, const std::vector<AttentionRate>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].rows, b[i].rows);
    EXPECT_EQ(a[i].flops_per_second, b[i].flops_per_second);
  }
}

void expect_equal(const ProbedStrategy& a, const ProbedStrategy& b) {
  EXPECT_EQ(a.plan, b.plan);
  ASSERT_EQ(a.chunks.size(), b.chunks.size());
  for (std::size_t i = 0; i < a.chunks.size(); ++i) {
    EXPECT_EQ(a.chunks[i].measured_seconds, b.chunks[i].measured_seconds);
    EXPECT_EQ(a.chunks[i].modelled_seconds, b.chunks[i].modelled_seconds);
  }
}

void expect_equal(const MachineRates& a, const MachineRates& b) {
  expect_equal(a.attention, b.attention);
  ASSERT_EQ(a.sliced.size(), b.sliced.size());
  for (std::size_t i = 0; i < a.sliced.size(); ++i) {
    EXPECT_EQ(a.sliced[i].parts, b.sliced[i].parts);
    expect_equal(a.sliced[i].rates, b.sliced[i].rates);
  }
  EXPECT_EQ(a.masked_share, b.masked_share);
  EXPECT_EQ(a.merge_bytes_per_second, b.merge_bytes_per_second);
  EXPECT_EQ(a.copy_bytes_per_second, b.copy_bytes_per_second);
  EXPECT_EQ(a.launch_seconds, b.launch_seconds);
  EXPECT_EQ(a.inside_host.latency_seconds, b.inside_host.latency_seconds);
  EXPECT_EQ(a.inside_host.bytes_per_second, b.inside_host.bytes_per_second);
  EXPECT_EQ(a.between_hosts.latency_seconds, b.between_hosts.latency_seconds);
  EXPECT_EQ(a.between_hosts.bytes_per_second, b.between_hosts.bytes_per_second);
  EXPECT_EQ(a.grid.new_pages, b.grid.new_pages);
  EXPECT_EQ(a.grid.cached_pages, b.grid.cached_pages);
  ASSERT_EQ(a.probed.size(), b.probed.size());
  for (std::size_t i = 0; i < a.probed.size(); ++i) expect_equal(a.probed[i], b.probed[i]);
}

class CalibrationCacheTest : public testing::Test {
 protected:
  std::filesystem::path file(const CalibrationKey& key = kKey) const {
    return calibration_file(folder_.path() / "not" / "there yet", key);
  }
  void keep(const CalibrationKey& key = kKey, CalibrationEffort effort = CalibrationEffort::kFull) {
    write_calibration(file(key), key, effort, kRates);
  }
  static std::string text_of(const std::filesystem::path& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  void overwrite(const std::string& text) {
    std::filesystem::create_directories(file().parent_path());
    std::ofstream(file()) << text;
  }
  std::optional<MachineRates> read() {
    return read_calibration(file(), kKey, CalibrationEffort::kQuick);
  }

  test::TemporaryDirectory folder_;
};

TEST_F(CalibrationCacheTest, WhatWasKeptComesBackToTheBit) {
  keep();
  const auto rates = read();
  ASSERT_TRUE(rates);
  expect_equal(*rates, kRates);
}

TEST_F(CalibrationCacheTest, NothingButTheFileIsLeftBehind) {
  keep();
  keep();
  std::vector<std::filesystem::path> left;
  for (const auto& entry : std::filesystem::directory_iterator(file().parent_path())) {
    left.push_back(entry.path());
  }
  EXPECT_THAT(left, testing::ElementsAre(file()));
}

TEST_F(CalibrationCacheTest, NoFileIsSilentlyNothing) {
  testing::internal::CaptureStderr();
  EXPECT_FALSE(read());
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(CalibrationCacheTest, AnotherMachineHasAnotherFile) {
  const auto differs = [](auto change) {
    CalibrationKey other = kKey;
    change(other);
    return calibration_file("", other) != calibration_file("", kKey);
  };
  EXPECT_TRUE(differs([](CalibrationKey& key) { key.device = "cpu Model 7, 4 threads"; }));
  EXPECT_TRUE(differs([](CalibrationKey& key) { key.isa = "avx512"; }));
  EXPECT_TRUE(differs([](CalibrationKey& key) { key.ranks = 2; }));
  EXPECT_TRUE(differs([](CalibrationKey& key) { key.ranks_per_host = 4; }));
  EXPECT_TRUE(differs([](CalibrationKey& key) { key.degree = 2; }));
  EXPECT_TRUE(differs([](CalibrationKey& key) { key.heads.head_dim = 128; }));
  EXPECT_TRUE(differs([](CalibrationKey& key) { key.link = "25M"; }));
  EXPECT_FALSE(differs([](CalibrationKey& key) { key.version = "later"; }));
}

TEST_F(CalibrationCacheTest, AFileOfAnotherMachineIsIgnoredWithOneLine) {
  keep();
  CalibrationKey other = kKey;
  other.isa = "avx512";
  start_log(LogLevel::kInfo, 0, 1);
  testing::internal::CaptureStderr();
  EXPECT_FALSE(read_calibration(file(), other, CalibrationEffort::kQuick));
  const std::string said = testing::internal::GetCapturedStderr();
  start_log(LogLevel::kWarning, 0, 1);
  EXPECT_THAT(said, HasSubstr("is ignored: it is of another machine"));
  EXPECT_EQ(std::ranges::count(said, '\n'), 1);
}

// Format 1 had no probes, format 2 rates of a carried state.
TEST_F(CalibrationCacheTest, AFileOfAnEarlierFormatIsIgnoredWithOneLine) {
  keep();
  auto old = nlohmann::json::parse(text_of(file()));
  for (int format : {1, 2}) {
    old["format"] = format;
    overwrite(old.dump());
    start_log(LogLevel::kInfo, 0, 1);
    testing::internal::CaptureStderr();
    EXPECT_FALSE(read());
    const std::string said = testing::internal::GetCapturedStderr();
    start_log(LogLevel::kWarning, 0, 1);
    EXPECT_THAT(said, HasSubstr("is ignored: it is of another format"));
    EXPECT_EQ(std::ranges::count(said, '\n'), 1);
  }
}

TEST_F(CalibrationCacheTest, AFileOfAnotherVersionIsIgnoredAndReplaced) {
  keep();
  CalibrationKey later = kKey;
  later.version = "longspan 0.2.0, Open MPI v4.1.4";
  EXPECT_FALSE(read_calibration(file(), later, CalibrationEffort::kQuick));
  keep(later);
  EXPECT_TRUE(read_calibration(file(), later, CalibrationEffort::kQuick));
}

TEST_F(CalibrationCacheTest, AFullCalibrationServesAQuickOneAndNotTheOtherWayRound) {
  keep(kKey, CalibrationEffort::kQuick);
  EXPECT_TRUE(read_calibration(file(), kKey, CalibrationEffort::kQuick));
  EXPECT_FALSE(read_calibration(file(), kKey, CalibrationEffort::kFull));
  keep(kKey, CalibrationEffort::kFull);
  EXPECT_TRUE(read_calibration(file(), kKey, CalibrationEffort::kQuick));
}

TEST_F(CalibrationCacheTest, ADamagedFileIsIgnored) {
  keep();
  const std::string good = text_of(file());
  for (std::size_t length = 0; length + 2 < good.size(); length += 7) {
    overwrite(good.substr(0, length));
    EXPECT_FALSE(read()) << "cut after " << length;
  }
  for (const char* text : {"[]", "null", "7", "{\"format\": 1}", "\xff\xfe"}) {
    overwrite(text);
    EXPECT_FALSE(read()) << text;
  }
}

TEST_F(CalibrationCacheTest, RatesThatCannotBeAreDamage) {
  keep();
  const auto good = nlohmann::json::parse(text_of(file()));
  const auto refused = [&](const char* pointer, const nlohmann::json& value) {
    auto bad = good;
    bad[nlohmann::json::json_pointer(pointer)] = value;
    overwrite(bad.dump());
    return !read().has_value();
  };
  EXPECT_TRUE(refused("/rates/masked_share", 0));
  EXPECT_TRUE(refused("/rates/launch_seconds", -1e-6));
  EXPECT_TRUE(refused("/rates/inside_host/bytes_per_second", nullptr));
  EXPECT_TRUE(refused("/rates/attention", nlohmann::json::array()));
  EXPECT_TRUE(refused("/rates/attention/1/rows", 1));
  EXPECT_TRUE(refused("/rates/attention/0/flops_per_second", "fast"));
  EXPECT_TRUE(refused("/rates/sliced/0/parts", 1));
  EXPECT_TRUE(refused("/rates/probe_new_pages", {4, 1}));
  EXPECT_TRUE(refused("/rates/probe_new_pages", {1}));
  EXPECT_TRUE(refused("/rates/probed/0/strategy", "rings"));
  EXPECT_TRUE(refused("/rates/probed/0/chunks/1/measured_seconds", 0));
  EXPECT_TRUE(refused("/format", 4));
  EXPECT_TRUE(refused("/effort", "some"));
  EXPECT_FALSE(refused("/rates/masked_share", 0.5));
}

TEST_F(CalibrationCacheTest, AFolderThatCannotBeMadeCostsAWarningOnly) {
  overwrite("");
  const auto below_a_file = file() / "deeper" / "calibration.json";
  EXPECT_NO_THROW(write_calibration(below_a_file, kKey, CalibrationEffort::kQuick, kRates));
  EXPECT_FALSE(std::filesystem::exists(below_a_file));
}

TEST_F(CalibrationCacheTest, TheFolderFollowsTheXdgSpecification) {
  setenv("HOME", "/somewhere", 1);
  setenv("XDG_CACHE_HOME", "/elsewhere", 1);
  EXPECT_EQ(calibration_folder(), "/elsewhere/longspan");
  setenv("XDG_CACHE_HOME", "relative", 1);
  EXPECT_EQ(calibration_folder(), "/somewhere/.cache/longspan");
  unsetenv("XDG_CACHE_HOME");
  unsetenv("HOME");
  EXPECT_EQ(calibration_folder(), std::nullopt);
}

// The file holds what no machine would measure: who gets that got it from the file.
TEST_F(CalibrationCacheTest, AllRanksTakeTheFileThatRankZeroFinds) {
  test::run_machines(3, [&](Machine& machine) {
    const auto kernels = new_cpu_attention_kernels({3, 1, 16}, 0.25f);
    const CalibrationKey key =
        calibration_key(machine, *kernels, whole_group(machine), "1", "", {});
    if (machine.rank() == 0) {
      write_calibration(calibration_file(folder_.path(), key), key, CalibrationEffort::kFull,
                        kRates);
    }
    const std::filesystem::path folder =
        machine.rank() == 0 ? folder_.path() : folder_.path() / "empty";
    expect_equal(
        rates_for(machine, *kernels, CalibrationEffort::kQuick, key, whole_group(machine), folder),
        kRates);
  });
}

TEST_F(CalibrationCacheTest, WhatIsMeasuredIsKeptForTheNextStart) {
  test::run_machines(2, [&](Machine& machine) {
    const auto kernels = new_cpu_attention_kernels({3, 1, 16}, 0.25f);
    const CalibrationKey key =
        calibration_key(machine, *kernels, whole_group(machine), "1", "", {});
    const auto path = calibration_file(folder_.path(), key);
    const MachineRates rates = rates_for(machine, *kernels, CalibrationEffort::kQuick, key,
                                         whole_group(machine), folder_.path());
    if (machine.rank() == 0) {
      const auto kept = read_calibration(path, key, CalibrationEffort::kQuick);
      EXPECT_TRUE(kept);
      if (kept) expect_equal(*kept, rates);
    }
  });
}

TEST_F(CalibrationCacheTest, WithCalibrationOffNoFileIsReadOrWritten) {
  test::run_machines(2, [&](Machine& machine) {
    const auto kernels = new_cpu_attention_kernels({3, 1, 16}, 0.25f);
    const CalibrationKey key =
        calibration_key(machine, *kernels, whole_group(machine), "1", "", {});
    expect_equal(rates_for(machine, *kernels, CalibrationEffort::kOff, key, whole_group(machine),
                           folder_.path()),
                 default_rates(kernels->isa(), machine.threads()));
  });
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
}

}  // namespace
}  // namespace longspan
