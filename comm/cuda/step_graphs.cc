#include "comm/cuda/step_graphs.h"

#include <algorithm>
#include <exception>

#include "comm/cuda/cuda_check.h"
#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"

namespace longspan {
namespace {

/// Descriptions of a step: a page table of a million tokens in pages of 128 takes 32 KB of it, and
/// each layer some hundred bytes a row.
constexpr std::size_t kDescribed = std::size_t{8} << 20;
/// Kept at once; a graph of 32 layers has some 400 kernels.
constexpr std::size_t kMostSteps = 64;

/// `flag` is true while this lives.
class While {
 public:
  explicit While(bool& flag) : flag_(flag) { flag_ = true; }
  ~While() { flag_ = false; }
  While(const While&) = delete;
  While& operator=(const While&) = delete;

 private:
  bool& flag_;
};

}  // namespace

StepGraphs::StepGraphs(Device& device)
    : host_(device.allocate_on_host(kDescribed)),
      device_(device.allocate(kDescribed)),
      record_(std::make_unique<LaunchRecord>(host_.bytes(), device_.bytes())) {}

StepGraphs::~StepGraphs() {
  for (const auto& [digest, step] : steps_) {
    if (step.graph != nullptr) cudaGraphExecDestroy(step.graph);
  }
}

void StepGraphs::run(cudaStream_t stream, const std::function<void()>& enqueue) {
  if (!usable_ || !go_through(enqueue)) return enqueue();
  if (steps_.size() > kMostSteps) forget_oldest(stream);
  const auto [at, is_new] = steps_.try_emplace(record_->digest());
  Step& step = at->second;
  step.last_used = ++runs_;
  if (is_new) return enqueue();
  if (step.graph == nullptr) step.graph = capture(stream, enqueue);
  if (step.graph == nullptr) return enqueue();
  launch(stream, step.graph);
}

/// Notes what the step launches. False where it does what cannot be replayed: nothing of it has
/// been launched then, and whatever is wrong with the step shows when it is launched as ever.
bool StepGraphs::go_through(const std::function<void()>& enqueue) {
  sent_.await();
  record_->begin(false);
  const While recording(recording_);
  try {
    enqueue();
    return true;
  } catch (const std::exception& error) {
    log(LogLevel::kDebug, str("a step is not launched as one: {}", error.what()));
    return false;
  }
}

/// Null where CUDA refuses: then no step is captured any more. Relaxed: what others do meanwhile,
/// and memory that grows, are no part of it.
cudaGraphExec_t StepGraphs::capture(cudaStream_t stream, const std::function<void()>& enqueue) {
  const std::uint64_t digest = record_->digest();
  record_->begin(true);
  cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "capturing a step");
  std::exception_ptr failure;
  {
    const While recording(recording_);
    try {
      enqueue();
    } catch (...) {
      failure = std::current_exception();
    }
  }
  cudaGraph_t captured = nullptr;
  cudaGraphExec_t graph = nullptr;
  cudaError_t code = cudaStreamEndCapture(stream, &captured);
  const bool is_same = !failure && record_->digest() == digest;
  if (code == cudaSuccess && is_same) code = cudaGraphInstantiate(&graph, captured, 0);
  if (captured != nullptr) cudaGraphDestroy(captured);
  if (code == cudaSuccess && is_same) return graph;
  cudaGetLastError();  // not to be found by the next launch
  give_up(code != cudaSuccess ? cudaGetErrorString(code)
          : failure           ? "a launch failed while it was captured"
                              : "the same step came out otherwise when it was captured");
  return nullptr;
}

/// Memory that streams take turns in is held from before the first kernel to behind the last.
void StepGraphs::launch(cudaStream_t stream, cudaGraphExec_t graph) {
  for (const ReusableEvent* turn : record_->turns()) turn->hold_back(stream);
  if (record_->described_bytes() > 0) {
    cuda_check(cudaMemcpyAsync(device_.bytes().data(), host_.bytes().data(),
                               record_->described_bytes(), cudaMemcpyHostToDevice, stream),
               "sending a step's descriptions to the GPU");
  }
  sent_.record(stream);
  cuda_check(cudaGraphLaunch(graph, stream), "launching a step");
  for (ReusableEvent* turn : record_->turns()) turn->record(stream);
  for (const auto& work : record_->work()) work();
  ++replays_;
}

void StepGraphs::forget_oldest(cudaStream_t stream) {
  const auto oldest = std::ranges::min_element(
      steps_, {}, [](const auto& entry) { return entry.second.last_used; });
  if (oldest->second.graph != nullptr) {
    cuda_check(cudaStreamSynchronize(stream), "waiting for a graph to be forgotten");
    cudaGraphExecDestroy(oldest->second.graph);
  }
  steps_.erase(oldest);
}

void StepGraphs::give_up(const char* why) {
  usable_ = false;
  log(LogLevel::kWarning, str("steps are launched kernel by kernel: no graph of one: {}", why));
}

}  // namespace longspan
