#include "comm/cpu/cpu_device.h"

#include <sys/mman.h>
#include <sys/sysinfo.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "comm/error.h"
#include "comm/str.h"
#include "comm/trace_file.h"

namespace longspan {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::size_t host_memory() {
  struct sysinfo info{};
  sysinfo(&info);
  return (std::size_t{info.totalram} + info.totalswap) * info.mem_unit;
}

std::string cpu_model() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "of unknown model";
}

}  // namespace

CpuDevice::CpuDevice(int threads, std::optional<cpu_set_t> cores)
    : threads_(threads), cores_(cores) {
  expects(threads >= 1, "a CPU device has at least one thread");
}

// Nothing here touches the memory, so that a page lies on the NUMA node of the thread that first
// writes it, and a cache that is never filled costs nothing.
Buffer CpuDevice::allocate(std::size_t bytes) {
  if (bytes == 0) return {};
  const std::size_t total = host_memory();
  const bool big = bytes >= 2 * kHugePage;
  const std::size_t alignment = big ? kHugePage : kCacheLine;
  void* memory = nullptr;
  // More than the host has is refused here; the kernel would promise it and kill us later.
  if (bytes <= total) {
    memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  }
  if (memory == nullptr) {
    throw OutOfMemory(str("cannot allocate {} bytes ({:.1f} GiB): the host has {:.1f} GiB in all",
                          bytes, static_cast<double>(bytes) / (1 << 30),
                          static_cast<double>(total) / (1 << 30)));
  }
  if (big) madvise(memory, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);  // a hint: may fail
  return Buffer({static_cast<std::byte*>(memory), bytes}, [memory] { std::free(memory); });
}

std::unique_ptr<Stream> CpuDevice::new_stream() {
  return std::make_unique<CpuStream>(threads_, trace() ? trace()->lease() : TraceLease(), cores_);
}

void CpuDevice::copy(Stream& stream, Bytes dst, ConstBytes src) {
  expects(dst.size() == src.size(), "a copy has as much room as bytes");
  if (src.empty()) return;
  const TraceLabel label{.name = "copy", .args = {{"bytes", std::ssize(src)}}};
  as_cpu(stream).enqueue(label, [dst, src] { std::memcpy(dst.data(), src.data(), src.size()); });
}

void CpuDevice::copy_rows(Stream& stream, std::byte* dst, std::size_t dst_stride,
                          const std::byte* src, std::size_t src_stride, std::size_t width,
                          std::size_t rows) {
  if (width == 0 || rows == 0) return;
  as_cpu(stream).enqueue([=] {
    for (std::size_t row = 0; row < rows; ++row) {
      std::memcpy(dst + row * dst_stride, src + row * src_stride, width);
    }
  });
}

std::string CpuDevice::description() const {
  return str("cpu {}, {} {}", cpu_model(), threads_, threads_ == 1 ? "thread" : "threads");
}

}  // namespace longspan
