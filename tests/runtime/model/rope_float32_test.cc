// Float32 angles against those that transformers computed (tests/oracles/make_rope_angles.py), at
// positions where they are far from exact ones.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/model/folder_ropes.h"
#include "runtime/model/rope.h"
#include "tests/runtime/model/temporary_directory.h"

namespace longspan {
namespace {

using nlohmann::json;

const json& made() {
  static const json made = json::parse(std::ifstream(LONGSPAN_TEST_DATA_DIR "/rope/float32.json"));
  return made;
}

class Float32RopeTest : public testing::TestWithParam<std::size_t> {
 protected:
  const json& keys() const { return made().at("cases").at(GetParam()).at("keys"); }
  double theirs(std::size_t row, int i) const {
    return made().at("cases").at(GetParam()).at("angles").at(row).at(i);
  }
  int head_dim() const { return keys().at("head_dim"); }

  RopeSpec spec() const {
    const test::TemporaryDirectory directory;
    const auto path = directory.path() / "config.json";
    std::ofstream(path) << keys();
    FolderKeys read(path);
    return read_folder_ropes(read, head_dim(), keys().at("max_position_embeddings")).full;
  }

  /// (positions, head_dim), as for a sequence that ends with the last of the positions.
  std::vector<float> angles(const RopeSpec& spec) const {
    std::vector<float> out(positions_.size() * head_dim(), NAN);
    RopeTable(spec, head_dim(), positions_.back() + 1).angles(positions_, out);
    return out;
  }

  /// The largest difference of a position's values from transformers'.
  double worst(const std::vector<float>& ours, std::size_t row) const {
    double worst = 0;
    for (int i = 0; i < head_dim(); ++i) {
      worst = std::fmax(worst, std::fabs(ours[row * head_dim() + i] - theirs(row, i)));
    }
    return worst;
  }

  const std::vector<std::int64_t> positions_ = made().at("positions");
};

TEST_P(Float32RopeTest, TurnsAsTransformersDoes) {
  RopeSpec rounded = spec();
  rounded.float32_angles = true;
  const std::vector<float> ours = angles(rounded);
  for (std::size_t row = 0; row < positions_.size(); ++row) {
    EXPECT_LT(worst(ours, row), 5e-7) << "position " << positions_[row];
  }
}

/// Or the test above would pass without float32 angles.
TEST_P(Float32RopeTest, ExactAnglesAreElsewhereFarOut) {
  const std::vector<float> exact = angles(spec());
  for (std::size_t row = 0; row < positions_.size(); ++row) {
    if (positions_[row] < 100'000) continue;
    EXPECT_GT(worst(exact, row), 1e-3) << "position " << positions_[row];
  }
}

INSTANTIATE_TEST_SUITE_P(All, Float32RopeTest,
                         testing::Range<std::size_t>(0, made().at("cases").size()),
                         [](const auto& index) {
                           std::string name = made().at("cases").at(index.param).at("name");
                           std::erase_if(name, [](char c) { return std::isalnum(c) == 0; });
                           return name;
                         });

}  // namespace
}  // namespace longspan
