#include "comm/cuda/cuda_device.h"

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <future>

#include "comm/cuda/cuda_stream.h"
#include "comm/error.h"
#include "tests/comm/cuda/cuda_backend.h"

namespace longspan {
namespace {

using testing::HasSubstr;

class CudaDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device_count() == 0) GTEST_SKIP() << "no Cuda device";
    device_ = std::make_unique<CudaDevice>(0);
  }

  std::unique_ptr<CudaDevice> device_;
};

// Runs everywhere: without a GPU this is all there is to see.
TEST(CudaAbsenceTest, AGpuThatIsNotThereIsNamed) {
  try {
    CudaDevice device(cuda_device_count());
    ADD_FAILURE() << "a device that does not exist was opened";
  } catch (const DeviceError& error) {
    EXPECT_THAT(error.what(), HasSubstr("there is no GPU"));
    EXPECT_THAT(error.what(), HasSubstr("visible to this process"));
  }
}

TEST_F(CudaDeviceTest, HostWorkRunsInOrderAndDoesNotBlockTheCaller) {
  const auto stream = device_->new_stream();
  std::promise<void> open;
  std::vector<int> order;
  stream->call([&] { open.get_future().wait(); });
  for (int i = 0; i < 20; ++i) stream->call([&, i] { order.push_back(i); });
  open.set_value();
  stream->synchronize();
  EXPECT_THAT(order, testing::SizeIs(20));
  EXPECT_TRUE(std::ranges::is_sorted(order));
}

TEST_F(CudaDeviceTest, AFailureOfHostWorkSkipsWhatFollowsAndIsThrownBySynchronize) {
  const auto stream = device_->new_stream();
  bool ran = false;
  stream->call([] { throw CommError("lost"); });
  stream->call([&] { ran = true; });
  EXPECT_THROW(stream->synchronize(), CommError);
  EXPECT_FALSE(ran);
  EXPECT_THROW(stream->synchronize(), CommError);
}

TEST_F(CudaDeviceTest, AFailureTravelsWithEvents) {
  const auto first = device_->new_stream();
  const auto second = device_->new_stream();
  const auto third = device_->new_stream();
  bool ran = false;
  first->call([] { throw CommError("lost"); });
  second->wait(first->record());
  third->wait(second->record());
  third->call([&] { ran = true; });
  EXPECT_THROW(third->synchronize(), CommError);
  EXPECT_FALSE(ran);
  const auto other = device_->new_stream();
  EXPECT_NO_THROW(other->synchronize());
}

TEST_F(CudaDeviceTest, ATooLargeRequestSaysWhatIsFree) {
  try {
    device_->allocate(std::size_t{1} << 50);
    ADD_FAILURE() << "a petabyte was given";
  } catch (const OutOfMemory& error) {
    EXPECT_THAT(error.what(), HasSubstr("are free"));
  }
  EXPECT_NO_THROW(device_->allocate(1 << 20));
}

// Layers of a large pool do. One call copies rows that lie no more than 2 GiB apart.
TEST_F(CudaDeviceTest, RowsMayLieFartherApartThanOneCopyTakes) {
  constexpr std::size_t kApart = (std::size_t{1} << 31) + 512, kWidth = 400;
  const Buffer apart = device_->allocate(kApart + kWidth);
  const Buffer close = device_->allocate_on_host(2 * kWidth),
               back = device_->allocate_on_host(2 * kWidth);
  for (std::size_t i = 0; i < 2 * kWidth; ++i) close.bytes()[i] = static_cast<std::byte>(i * 7);
  CudaStream stream(0);
  device_->copy_rows(stream, apart.bytes().data(), kApart, close.bytes().data(), kWidth, kWidth, 2);
  device_->copy_rows(stream, back.bytes().data(), kWidth, apart.bytes().data(), kApart, kWidth, 2);
  stream.synchronize();
  EXPECT_TRUE(std::ranges::equal(back.bytes(), close.bytes()));
}

}  // namespace

namespace test {
INSTANTIATE_TEST_SUITE_P(Cuda, DeviceConformance, testing::Values(cuda_backend()));
}  // namespace test
}  // namespace longspan
