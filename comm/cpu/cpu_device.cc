#include "comm/cpu/cpu_device.h"

#include <omp.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "comm/cpu/brief_spin.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

class CpuEvent final : public EventState {
 public:
  void happen(std::exception_ptr failure) {
    failure_ = std::move(failure);
    happened_.store(1, std::memory_order_release);
    happened_.notify_all();
  }

  bool happened() const { return happened_.load(std::memory_order_acquire) != 0; }

  /// Blocks until it has happened; the failure of the work before it, if any.
  const std::exception_ptr& await() const {
    if (!spin_briefly([this] { return happened(); })) happened_.wait(0, std::memory_order_acquire);
    return failure_;
  }

 private:
  std::atomic<int> happened_ = 0;
  std::exception_ptr failure_;  // published by happened_
};

std::shared_ptr<CpuEvent> cpu_event(const Event& event) {
  auto state = std::dynamic_pointer_cast<CpuEvent>(event.state());
  expects(state != nullptr, "a CPU stream waits for events of CPU streams");
  return state;
}

}  // namespace

CpuStream::CpuStream(int threads) : thread_([this, threads] { run(threads); }) {}

CpuStream::~CpuStream() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    has_news_.store(true, std::memory_order_release);
  }
  wake_.notify_one();
  thread_.join();
}

void CpuStream::enqueue(std::function<void()> work) {
  push([this, work = std::move(work)] {
    if (!failure_) work();
  });
}

// An idle stream has nothing to wait for: its event happens here, which spares its thread a
// wake-up. The lock orders whoever waits for the event after all the work the stream has done.
Event CpuStream::record() {
  auto state = std::make_shared<CpuEvent>();
  {
    const std::lock_guard lock(mutex_);
    if (idle_) {
      state->happen(failure_);
      return Event(std::move(state));
    }
  }
  push([this, state] { state->happen(failure_); });
  return Event(std::move(state));
}

void CpuStream::wait(const Event& event) {
  if (!event.state()) return;
  auto state = cpu_event(event);
  if (state->happened() && !state->await()) return;
  push([this, state = std::move(state)] {
    const std::exception_ptr& failure = state->await();
    if (failure && !failure_) failure_ = failure;
  });
}

void CpuStream::synchronize() {
  const Event event = record();
  if (const std::exception_ptr& failure = cpu_event(event)->await())
    std::rethrow_exception(failure);
}

void CpuStream::push(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
    idle_ = false;
    has_news_.store(true, std::memory_order_release);
  }
  wake_.notify_one();
}

void CpuStream::run(int threads) {
  omp_set_num_threads(threads);
  // Each piece of work dies before the next one starts: what it holds (buffers, leases) is gone
  // when an event recorded behind it happens.
  while (auto work = next()) {
    try {
      (*work)();
    } catch (...) {
      if (!failure_) failure_ = std::current_exception();
    }
  }
}

std::optional<std::function<void()>> CpuStream::next() {
  std::unique_lock lock(mutex_);
  if (queue_.empty() && !closing_) {
    idle_ = true;
    has_news_.store(false, std::memory_order_relaxed);
    lock.unlock();
    spin_briefly([this] { return has_news_.load(std::memory_order_acquire); });
    lock.lock();
    wake_.wait(lock, [this] { return !queue_.empty() || closing_; });
  }
  if (queue_.empty()) return std::nullopt;  // closing, and drained
  auto work = std::move(queue_.front());
  queue_.pop_front();
  return work;
}

CpuStream& as_cpu(Stream& stream) {
  auto* cpu = dynamic_cast<CpuStream*>(&stream);
  expects(cpu != nullptr, "this operation runs on a CPU stream");
  return *cpu;
}

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

CpuDevice::CpuDevice(int threads) : threads_(threads) {
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

std::unique_ptr<Stream> CpuDevice::new_stream() { return std::make_unique<CpuStream>(threads_); }

void CpuDevice::copy(Stream& stream, Bytes dst, ConstBytes src) {
  expects(dst.size() == src.size(), "a copy has as much room as bytes");
  if (src.empty()) return;
  as_cpu(stream).enqueue([dst, src] { std::memcpy(dst.data(), src.data(), src.size()); });
}

std::string CpuDevice::description() const {
  return str("cpu {}, {} {}", cpu_model(), threads_, threads_ == 1 ? "thread" : "threads");
}

}  // namespace longspan
