// The CUDA backend of the machine seam: one GPU.
//
// Needs no driver to start a program: the CUDA runtime is linked statically and looks for the
// driver when it is first asked.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "comm/device.h"

namespace longspan {

/// Visible GPUs (CUDA_VISIBLE_DEVICES is CUDA's to honour). 0 when there is none or no driver.
/// Throws DeviceError when the driver is too old for this build, naming the one it needs.
int cuda_device_count();
/// Of this build, not the driver: "CUDA 13.0".
std::string cuda_version();
/// Why there are none, and what to do about it: a line for a person.
std::string reason_for_no_gpu();

class CudaDevice final : public Device {
 public:
  /// `ordinal`: of the visible GPUs. Throws DeviceError if there is no such GPU or it is unusable.
  /// `graphs`: whether its streams replay as one what was enqueued as one.
  explicit CudaDevice(int ordinal, bool graphs = false);

  int ordinal() const { return ordinal_; }
  /// The same in every process that sees this GPU: "GPU-5f1c...".
  std::string uuid() const;
  /// Of its memory, what nobody has taken.
  std::int64_t free_bytes() const;

  Buffer allocate(std::size_t bytes) override;
  Buffer allocate_on_host(std::size_t bytes) override;
  std::unique_ptr<Stream> new_stream() override;
  /// Between any two of: this GPU, a peer GPU, the host. Host memory that is not pinned is copied
  /// in pieces by the calling thread.
  void copy(Stream& stream, Bytes dst, ConstBytes src) override;
  void copy_rows(Stream& stream, std::byte* dst, std::size_t dst_stride, const std::byte* src,
                 std::size_t src_stride, std::size_t width, std::size_t rows) override;
  std::string description() const override;

 private:
  int ordinal_;
  bool graphs_;
  std::string name_;
};

}  // namespace longspan
