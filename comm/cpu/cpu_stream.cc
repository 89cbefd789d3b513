#include "comm/cpu/cpu_stream.h"

#include <omp.h>

#include <memory>
#include <optional>
#include <utility>

#include "comm/cpu/brief_spin.h"
#include "comm/cpu/core_share.h"
#include "comm/cpu/cpu_event.h"
#include "comm/error.h"

namespace longspan {
namespace {

std::shared_ptr<CpuEvent> cpu_event(const Event& event) {
  auto state = std::dynamic_pointer_cast<CpuEvent>(event.state());
  expects(state != nullptr, "a CPU stream waits for events of CPU streams");
  return state;
}

// How deep streams that wake one another nest on this thread's stack. Beyond a limit a stream goes
// on in its own thread, so that a long chain of bare events cannot overflow the stack.
class Nesting {
 public:
  Nesting() { ++depth(); }
  ~Nesting() { --depth(); }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;
  static bool too_deep() { return depth() > 16; }

 private:
  static int& depth() {
    thread_local int the_depth = 0;
    return the_depth;
  }
};

}  // namespace

CpuStream::CpuStream(int threads, TraceLease lane, std::optional<cpu_set_t> cores)
    : lane_(std::move(lane)), thread_([this, threads, cores] { run(threads, cores); }) {}

CpuStream::~CpuStream() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    has_news_.store(true, std::memory_order_release);
    wake_.notify_one();
  }
  thread_.join();
}

void CpuStream::enqueue(std::function<void()> work) { push({std::move(work), {}}); }

void CpuStream::enqueue_async(std::function<void(Done)> start) {
  push({{}, [this, start = std::move(start)] {
          if (failure_) return true;
          start([this](const std::exception_ptr& failure) { go_on(failure); });
          return false;
        }});
}

Event CpuStream::record() {
  auto state = std::make_shared<CpuEvent>();
  push({{}, [this, state] {
          state->happen(failure_);
          return true;
        }});
  return Event(std::move(state));
}

void CpuStream::wait(const Event& event) {
  if (!event.state()) return;
  auto state = cpu_event(event);
  if (state->happened() && !state->failure()) return;
  push({{}, [this, state = std::move(state)] {
          const auto begin = lane_ ? TraceLane::now() : TraceLane::Time();
          // The word holds the event: this step may be gone when it is called.
          if (state->try_leave_word([this, state, begin] {
                if (lane_) lane_->add({"wait", TraceCategory::kWait}, begin, TraceLane::now());
                go_on(state->failure());
              })) {
            return false;
          }
          if (!failure_) failure_ = state->failure();
          return true;
        }});
}

void CpuStream::synchronize() {
  const auto state = cpu_event(record());
  state->await();
  if (state->failure()) std::rethrow_exception(state->failure());
}

void CpuStream::begin_span(const TraceLabel& label) {
  if (!lane_) return;
  push({{}, [this, label] {
          lane_->open(label);
          return true;
        }});
}

void CpuStream::end_span() {
  if (!lane_) return;
  push({{}, [this] {
          lane_->close();
          return true;
        }});
}

std::function<void()> CpuStream::traced(const TraceLabel& label, std::function<void()> work) const {
  return [lane = lane(), label, work = std::move(work)] {
    const TraceSpan span(lane, label);
    work();
  };
}

void CpuStream::push(Item item) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(item));
    if (driven_) return;
    driven_ = true;
  }
  drive();
}

void CpuStream::go_on(const std::exception_ptr& failure) {
  if (failure && !failure_) failure_ = failure;
  if (Nesting::too_deep()) {
    const std::lock_guard lock(mutex_);
    hand_to_thread();
    return;
  }
  const Nesting deeper;
  drive();
}

// Each item dies before the next one runs: what it holds (buffers, leases) is gone when an event
// recorded behind it happens. Whenever this returns somebody else may drive, or destroy, the
// stream.
void CpuStream::drive() {
  const bool own_thread = std::this_thread::get_id() == thread_.get_id();
  for (;;) {
    Item item;
    {
      const std::lock_guard lock(mutex_);
      if (queue_.empty()) {
        driven_ = false;
        if (closing_) wake_.notify_one();
        return;
      }
      if (queue_.front().work && !own_thread) return hand_to_thread();
      item = std::move(queue_.front());
      queue_.pop_front();
    }
    if (item.step) {
      if (!item.step()) return;
    } else if (!failure_) {
      try {
        item.work();
      } catch (...) {
        failure_ = std::current_exception();
      }
    }
  }
}

void CpuStream::hand_to_thread() {
  thread_drives_ = true;
  has_news_.store(true, std::memory_order_release);
  wake_.notify_one();
}

void CpuStream::run(int threads, const std::optional<cpu_set_t>& cores) {
  if (cores) keep_this_thread_to(*cores);  // before OpenMP starts others from here
  omp_set_num_threads(threads);
  for (;;) {
    spin_briefly([this] { return has_news_.load(std::memory_order_acquire); });
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return thread_drives_ || (closing_ && !driven_); });
      if (!thread_drives_) return;
      thread_drives_ = false;
      has_news_.store(closing_, std::memory_order_relaxed);
    }
    drive();
  }
}

CpuStream& as_cpu(Stream& stream) {
  auto* cpu = dynamic_cast<CpuStream*>(&stream);
  expects(cpu != nullptr, "this operation runs on a CPU stream");
  return *cpu;
}

}  // namespace longspan
