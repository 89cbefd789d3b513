#include "tests/comm/device_conformance.h"

#include <cstdint>
#include <numeric>

#include "comm/error.h"

namespace longspan::test {
namespace {

std::vector<int> ramp(int first, std::size_t count) {
  std::vector<int> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

TEST_P(DeviceConformance, MemoryIsAlignedAndAsLargeAsAskedFor) {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{63}, std::size_t{65},
                                  std::size_t{4097}, (std::size_t{5} << 20) + 3}) {
    const Buffer buffer = device_->allocate(bytes);
    EXPECT_EQ(buffer.bytes().size(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.bytes().data()) % 64, 0U);
  }
}

TEST_P(DeviceConformance, NoBytesAreABufferToo) {
  const Buffer none = device_->allocate(0);
  EXPECT_TRUE(none.bytes().empty());
  const auto stream = device_->new_stream();
  device_->copy(*stream, none.bytes(), none.bytes());
  EXPECT_NO_THROW(stream->synchronize());
}

TEST_P(DeviceConformance, AMovedBufferTakesItsMemoryAlong) {
  Buffer from = buffer_of({1, 2, 3});
  Buffer to = std::move(from);
  EXPECT_EQ(read(to), (std::vector{1, 2, 3}));
  to = buffer_of({4});
  EXPECT_EQ(read(to), std::vector{4});
}

TEST_P(DeviceConformance, CopiesOnOneStreamRunInOrder) {
  const auto values = ramp(7, 100'003);
  std::vector<Buffer> chain;
  chain.push_back(buffer_of(values));
  const auto stream = device_->new_stream();
  for (int i = 0; i < 20; ++i) {
    chain.push_back(buffer_of(std::vector<int>(values.size(), -1)));
    device_->copy(*stream, chain[chain.size() - 1].bytes(), chain[chain.size() - 2].bytes());
  }
  stream->synchronize();
  EXPECT_EQ(read(chain.back()), values);
}

// Two streams pass one array back and forth; each pass is ordered by one event only.
TEST_P(DeviceConformance, AWaitOrdersOneStreamBehindAnother) {
  const auto values = ramp(11, 50'000);
  std::vector<Buffer> chain;
  for (int i = 0; i <= 40; ++i) chain.push_back(buffer_of(i == 0 ? values : ramp(-1, 50'000)));
  const auto even = device_->new_stream();
  const auto odd = device_->new_stream();
  Event arrived;
  for (std::size_t i = 1; i < chain.size(); ++i) {
    Stream& stream = i % 2 == 0 ? *even : *odd;
    stream.wait(arrived);
    device_->copy(stream, chain[i].bytes(), chain[i - 1].bytes());
    arrived = stream.record();
  }
  even->synchronize();
  odd->synchronize();
  EXPECT_EQ(read(chain.back()), values);
}

TEST_P(DeviceConformance, ManyStreamsMayWaitForOneEvent) {
  const auto values = ramp(3, 10'000);
  const Buffer source = buffer_of(values);
  const Buffer middle = buffer_of(std::vector<int>(values.size(), -1));
  std::vector<Buffer> ends;
  const auto producer = device_->new_stream();
  device_->copy(*producer, middle.bytes(), source.bytes());
  const Event arrived = producer->record();
  std::vector<std::unique_ptr<Stream>> consumers;
  for (int i = 0; i < 5; ++i) {
    ends.push_back(buffer_of(std::vector<int>(values.size(), -1)));
    consumers.push_back(device_->new_stream());
    consumers.back()->wait(arrived);
    device_->copy(*consumers.back(), ends.back().bytes(), middle.bytes());
  }
  for (const auto& consumer : consumers) consumer->synchronize();
  for (const Buffer& end : ends) EXPECT_EQ(read(end), values);
}

TEST_P(DeviceConformance, ADefaultEventHasHappenedAndAStreamMayWaitForItself) {
  const auto stream = device_->new_stream();
  stream->wait(Event());
  stream->wait(stream->record());
  EXPECT_NO_THROW(stream->synchronize());
}

TEST_P(DeviceConformance, ADestroyedStreamHasDrained) {
  const auto values = ramp(5, 200'000);
  const Buffer source = buffer_of(values);
  const Buffer target = buffer_of(std::vector<int>(values.size(), -1));
  {
    const auto stream = device_->new_stream();
    device_->copy(*stream, target.bytes(), source.bytes());
  }
  EXPECT_EQ(read(target), values);
}

TEST_P(DeviceConformance, ACopyBetweenUnequalSizesIsTheCallersMistake) {
  const Buffer small = buffer_of({1});
  const Buffer large = buffer_of({1, 2});
  const auto stream = device_->new_stream();
  EXPECT_THROW(device_->copy(*stream, small.bytes(), large.bytes()), std::logic_error);
}

TEST_P(DeviceConformance, MoreMemoryThanThereIsIsRefused) {
  EXPECT_THROW(device_->allocate(std::size_t{1} << 60), OutOfMemory);
}

TEST_P(DeviceConformance, TheDescriptionIsForPeople) {
  EXPECT_FALSE(device_->description().empty());
}

}  // namespace
}  // namespace longspan::test
