#include "comm/cuda/cuda_device.h"

#include <algorithm>
#include <cstdlib>

#include "comm/cuda/cuda_check.h"
#include "comm/cuda/cuda_stream.h"
#include "comm/cuda/peer_lane.h"
#include "comm/cuda/pinned_memory.h"
#include "comm/error.h"
#include "comm/host_memory.h"
#include "comm/str.h"

namespace longspan {
namespace {

/// A copy that is part of a step: within the device, since a step is replayed with what lies there.
struct RowCopy {
  std::byte* to;
  std::size_t to_stride;
  const std::byte* from;
  std::size_t from_stride;
  std::size_t width, rows;
};

void launch_copy(const RowCopy& copy, cudaStream_t stream) {
  cuda_check(copy.rows == 1
                 ? cudaMemcpyAsync(copy.to, copy.from, copy.width, cudaMemcpyDeviceToDevice, stream)
                 : cudaMemcpy2DAsync(copy.to, copy.to_stride, copy.from, copy.from_stride,
                                     copy.width, copy.rows, cudaMemcpyDeviceToDevice, stream),
             str("copying {} rows of {} bytes in a step", copy.rows, copy.width));
}

/// Rows that lie farther apart are refused (cudaDeviceProp::memPitch of all GPUs there are).
constexpr std::size_t kMostPitch = (std::size_t{1} << 31) - 1;

/// What large messages may land in shares no piece of memory with other allocations: peers map
/// whole pieces, each once.
std::size_t with_pieces_of_its_own(std::size_t bytes) {
  constexpr std::size_t kPiece = std::size_t{2} << 20;
  return bytes <= PeerLane::kMostOfSmall ? bytes : (bytes + kPiece - 1) / kPiece * kPiece;
}

constexpr int kMajor = CUDART_VERSION / 1000, kMinor = CUDART_VERSION % 1000 / 10;

}  // namespace

std::string cuda_version() { return str("CUDA {}.{}", kMajor, kMinor); }

int cuda_device_count() {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaSuccess) return count;
  cudaGetLastError();  // not to be found by whoever asks next
  int driver = 0;
  const bool has_driver = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
  if (code == cudaErrorInsufficientDriver && has_driver) {
    throw DeviceError(
        str("the NVIDIA driver supports CUDA {}.{}, but this build needs {}.{}: "
            "install a newer driver (R580 for CUDA 13.0)",
            driver / 1000, driver % 1000 / 10, kMajor, kMinor));
  }
  return 0;
}

std::string reason_for_no_gpu() {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    cudaGetLastError();
    return "there is no NVIDIA driver on this host: install one (R580 or newer for CUDA 13.0)";
  }
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  cudaGetLastError();
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return str("CUDA finds no GPU: {}{}; see what nvidia-smi says", cudaGetErrorString(code),
             visible ? str(", CUDA_VISIBLE_DEVICES is '{}'", visible) : "");
}

CudaDevice::CudaDevice(int ordinal, bool graphs) : ordinal_(ordinal), graphs_(graphs) {
  const int count = cuda_device_count();
  if (ordinal < 0 || ordinal >= count) {
    throw DeviceError(
        str("there is no GPU {}: {} visible to this process (CUDA_VISIBLE_DEVICES "
            "and the driver decide)",
            ordinal, count == 1 ? "1 is" : str("{} are", count)));
  }
  cuda_check(cudaSetDevice(ordinal), str("GPU {}: cannot be used", ordinal));
  cudaDeviceProp properties{};
  cuda_check(cudaGetDeviceProperties(&properties, ordinal), str("GPU {}", ordinal));
  name_ = str("{}, {}", properties.name,
              human_bytes(static_cast<std::int64_t>(properties.totalGlobalMem)));
}

std::string CudaDevice::uuid() const {
  cudaDeviceProp properties{};
  cuda_check(cudaGetDeviceProperties(&properties, ordinal_), str("GPU {}", ordinal_));
  std::string text = "GPU-";
  for (const char byte : properties.uuid.bytes) {
    text += str("{:02x}", static_cast<unsigned char>(byte));
  }
  return text;
}

std::int64_t CudaDevice::free_bytes() const {
  cuda_check(cudaSetDevice(ordinal_), str("GPU {}", ordinal_));
  std::size_t free = 0, total = 0;
  cuda_check(cudaMemGetInfo(&free, &total), str("GPU {}: asking for free memory", ordinal_));
  return static_cast<std::int64_t>(free);
}

Buffer CudaDevice::allocate_on_host(std::size_t bytes) {
  if (bytes == 0) return {};
  cuda_check(cudaSetDevice(ordinal_), str("GPU {}", ordinal_));
  return allocate_pinned(bytes);
}

Buffer CudaDevice::allocate(std::size_t bytes) {
  if (bytes == 0) return {};
  cuda_check(cudaSetDevice(ordinal_), str("GPU {}", ordinal_));
  void* memory = nullptr;
  const cudaError_t code = cudaMalloc(&memory, with_pieces_of_its_own(bytes));
  if (code == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    throw OutOfMemory(str("cannot allocate {} on GPU {}: {} of its {} are free",
                          human_bytes(static_cast<std::int64_t>(bytes)), ordinal_,
                          human_bytes(static_cast<std::int64_t>(free)),
                          human_bytes(static_cast<std::int64_t>(total))));
  }
  cuda_check(code, str("GPU {}: allocating {} bytes", ordinal_, bytes));
  return Buffer({static_cast<std::byte*>(memory), bytes}, [memory] { cudaFree(memory); });
}

std::unique_ptr<Stream> CudaDevice::new_stream() {
  return std::make_unique<CudaStream>(ordinal_, graphs_ ? this : nullptr);
}

void CudaDevice::copy(Stream& stream, Bytes dst, ConstBytes src) {
  expects(dst.size() == src.size(), "a copy has as much room as bytes");
  if (src.empty()) return;
  CudaStream& cuda = as_cuda(stream);
  if (cuda.recording() != nullptr) {
    return cuda.launch<launch_copy>(RowCopy{dst.data(), 0, src.data(), 0, src.size(), 1});
  }
  cuda_check(cudaMemcpyAsync(dst.data(), src.data(), src.size(), cudaMemcpyDefault, cuda.native()),
             str("GPU {}: copying {} bytes", ordinal_, src.size()));
}

void CudaDevice::copy_rows(Stream& stream, std::byte* dst, std::size_t dst_stride,
                           const std::byte* src, std::size_t src_stride, std::size_t width,
                           std::size_t rows) {
  if (width == 0 || rows == 0) return;
  if (std::max(dst_stride, src_stride) > kMostPitch) {
    for (std::size_t row = 0; row < rows; ++row) {
      copy(stream, {dst + row * dst_stride, width}, {src + row * src_stride, width});
    }
    return;
  }
  CudaStream& cuda = as_cuda(stream);
  if (cuda.recording() != nullptr) {
    return cuda.launch<launch_copy>(RowCopy{dst, dst_stride, src, src_stride, width, rows});
  }
  cuda_check(cudaMemcpy2DAsync(dst, dst_stride, src, src_stride, width, rows, cudaMemcpyDefault,
                               cuda.native()),
             str("GPU {}: copying {} rows of {} bytes", ordinal_, rows, width));
}

std::string CudaDevice::description() const { return str("cuda {}: {}", ordinal_, name_); }

}  // namespace longspan
