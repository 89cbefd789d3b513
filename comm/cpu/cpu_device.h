// The CPU as a device: host memory, and streams that are threads with a queue (cpu_stream.h).
#pragma once

#include <sched.h>

#include <memory>
#include <optional>
#include <string>

#include "comm/cpu/cpu_stream.h"
#include "comm/device.h"

namespace longspan {

class CpuDevice final : public Device {
 public:
  /// `threads` per stream, 1 at least; they keep to `cores`, if that is said.
  explicit CpuDevice(int threads, std::optional<cpu_set_t> cores = std::nullopt);

  Buffer allocate(std::size_t bytes) override;
  std::unique_ptr<Stream> new_stream() override;
  void copy(Stream& stream, Bytes dst, ConstBytes src) override;
  void copy_rows(Stream& stream, std::byte* dst, std::size_t dst_stride, const std::byte* src,
                 std::size_t src_stride, std::size_t width, std::size_t rows) override;
  std::string description() const override;
  int threads() const { return threads_; }

 private:
  int threads_;
  std::optional<cpu_set_t> cores_;
};

}  // namespace longspan
