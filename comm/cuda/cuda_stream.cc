#include "comm/cuda/cuda_stream.h"

#include <algorithm>
#include <utility>

#include "comm/cuda/cuda_check.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

using Failures = std::vector<std::shared_ptr<CudaFailure>>;

std::exception_ptr first_of(const Failures& failures) {
  for (const auto& failure : failures) {
    if (auto found = failure->get()) return found;
  }
  return nullptr;
}

/// What cudaLaunchHostFunc is given: it takes a plain function.
struct HostWork {
  std::function<void()> work;
  Failures failures;  // the stream's own first

  static void run(void* self) {
    const std::unique_ptr<HostWork> host(static_cast<HostWork*>(self));
    if (first_of(host->failures)) return;
    try {
      host->work();
    } catch (...) {
      host->failures.front()->set(std::current_exception());
    }
  }
};

}  // namespace

void CudaFailure::set(std::exception_ptr failure) {
  const std::lock_guard lock(mutex_);
  if (!first_) first_ = std::move(failure);
}

std::exception_ptr CudaFailure::get() const {
  const std::lock_guard lock(mutex_);
  return first_;
}

CudaEvent::CudaEvent(cudaStream_t stream, Failures failures) : failures_(std::move(failures)) {
  cuda_check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "creating an event");
  cuda_check(cudaEventRecord(event_, stream), "recording an event");
}

CudaEvent::~CudaEvent() { cudaEventDestroy(event_); }

CudaStream::CudaStream(int ordinal, Device* graphs)
    : ordinal_(ordinal), graphs_from_(graphs), failures_{std::make_shared<CudaFailure>()} {
  make_current();
  // Non-blocking: the legacy default stream would wait for it, and it for that.
  cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
}

CudaStream::~CudaStream() {
  cudaStreamSynchronize(stream_);  // drained, as promised; a failure has no reader any more
  cudaStreamDestroy(stream_);
}

void CudaStream::make_current() const {
  cuda_check(cudaSetDevice(ordinal_), str("GPU {}", ordinal_));
}

Event CudaStream::record() {
  expect_no_recording(*this, "an event");
  make_current();
  return Event(std::make_shared<CudaEvent>(stream_, failures_));
}

void CudaStream::wait(const Event& event) {
  if (!event.state()) return;
  expect_no_recording(*this, "a wait");
  const auto cuda = std::dynamic_pointer_cast<CudaEvent>(event.state());
  expects(cuda != nullptr, "a CUDA stream waits for events of CUDA streams");
  cuda_check(cudaStreamWaitEvent(stream_, cuda->native()), "waiting for an event");
  for (const auto& failure : cuda->failures()) {
    if (std::ranges::count(failures_, failure) == 0) failures_.push_back(failure);
  }
}

void CudaStream::call(std::function<void()> work) {
  expect_no_recording(*this, "the host's work");
  auto host = std::make_unique<HostWork>(HostWork{std::move(work), failures_});
  cuda_check(cudaLaunchHostFunc(stream_, HostWork::run, host.get()), "enqueueing host work");
  static_cast<void>(host.release());  // run() frees it
}

void CudaStream::as_one(const std::function<void()>& enqueue) {
  if (graphs_from_ == nullptr || recording() != nullptr) return enqueue();
  make_current();
  if (!graphs_) graphs_ = std::make_unique<StepGraphs>(*graphs_from_);
  graphs_->run(stream_, enqueue);
}

void CudaStream::synchronize() {
  cuda_check(cudaStreamSynchronize(stream_), str("GPU {}: work failed", ordinal_));
  if (const auto failure = first_of(failures_)) std::rethrow_exception(failure);
}

void expect_no_recording(const CudaStream& stream, const char* what) {
  if (stream.recording() != nullptr) throw DeviceError(str("{} is no part of a step", what));
}

CudaStream& as_cuda(Stream& stream) {
  auto* cuda = dynamic_cast<CudaStream*>(&stream);
  expects(cuda != nullptr, "this operation runs on a CUDA stream");
  return *cuda;
}

}  // namespace longspan
