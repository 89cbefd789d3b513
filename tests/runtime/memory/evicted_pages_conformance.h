// What EvictedPages promises on any device, as one suite: a backend instantiates it as it does
// DeviceConformance.
#pragma once

#include <memory>
#include <vector>

#include "runtime/memory/evicted_pages.h"
#include "tests/comm/device_conformance.h"
#include "tests/runtime/model/temporary_directory.h"

namespace longspan::test {

using Words = std::vector<int>;

class EvictedPagesConformance : public testing::TestWithParam<Backend> {
 protected:
  static constexpr int kSlots = 12;

  void SetUp() override {
    if (!device_) GTEST_SKIP() << "no " << GetParam().name << " device";
    compute_ = device_->new_stream();
  }

  /// A pool of kSlots pages, and so many different contents on the device to write to them.
  void open_pool(const KvPageShape& shape, int contents);
  /// `kept` pages stay on the host, and `on_disk` go to a disk, through so many buffers.
  std::unique_ptr<EvictedPages> tier(int kept, int on_disk, int to_write = 3);
  /// Keeps one page in host memory: what slot 0 had, content 0, at place 0.
  std::unique_ptr<EvictedPages> tier_with_page_0();
  /// Enqueues what a step would: the slot holds that content.
  void compute(PageSlot slot, int content);
  /// What the slot holds now.
  Words page(PageSlot slot);
  const Words& content(int which) const { return contents_.at(which); }
  /// A new generation of the slot, which nobody refers to afterwards.
  PageContents claim(PageSlot slot);
  /// What became of `count` pages at least.
  std::vector<EvictedPages::Outcome> await_outcomes(EvictedPages& pages, std::size_t count);

  std::unique_ptr<Device> device_ = GetParam().open();
  TemporaryDirectory folder_;
  std::unique_ptr<KvPagePool> pool_;
  std::vector<std::uint32_t> generations_;  // of slots
  std::vector<Words> contents_;
  std::vector<Buffer> on_device_;
  std::unique_ptr<Stream> compute_;  // last: drains first
};

}  // namespace longspan::test
