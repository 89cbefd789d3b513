#include "comm/cuda/nccl_communicator.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <thread>
#include <utility>

#include "comm/agreement.h"
#include "comm/cuda/cuda_check.h"
#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"

namespace longspan {
namespace {

/// Start-up of NCCL over many hosts takes seconds.
constexpr std::chrono::milliseconds kStartDeadline = std::chrono::minutes(2);
constexpr std::chrono::milliseconds kLeaveDeadline = std::chrono::seconds(10);

const Nccl& agreed_library(Communicator& control) {
  return *agree_on(control, [] { return &Nccl::get(); });
}

}  // namespace

NcclCommunicator::NcclCommunicator(CudaDevice& gpu, Communicator& control,
                                   std::chrono::milliseconds deadline)
    : GpuCommunicator(gpu, control, deadline), nccl_(agreed_library(control)) {
  connect(control);
  watch([this] { return find_error(); }, [this] { give_up(); });
  try {
    agree_on(control, [&] {
      connect_pairs();
      return true;
    });
  } catch (const Error&) {
    stop_watching();  // as a destructor would, which does not run
    throw;
  }
}

// Streams that used the communicator have drained by now. The peers may still read what this rank
// has sent, so it leaves together with them, if they come.
NcclCommunicator::~NcclCommunicator() {
  stop_watching();
  if (communicator_ == nullptr) return;
  cudaSetDevice(gpu_.ordinal());
  try {
    nccl_.check(nccl_.finalize(communicator_), "leaving NCCL");
    settle(kLeaveDeadline, "leaving NCCL");
    nccl_.destroy(communicator_);
  } catch (const Error& error) {
    log(LogLevel::kWarning, error.what());
    nccl_.abort(communicator_);
  }
}

void NcclCommunicator::connect(Communicator& control) {
  std::vector<std::byte> id(sizeof(Nccl::UniqueId));
  agree_on(control, [&] {
    Nccl::UniqueId made{};
    if (rank_ == 0) nccl_.check(nccl_.get_unique_id(&made), "starting NCCL");
    std::memcpy(id.data(), &made, sizeof(made));
    return true;
  });
  broadcast(control, id, 0);
  agree_on(control, [&] {
    Nccl::UniqueId shared{};
    std::memcpy(&shared, id.data(), sizeof(shared));
    Nccl::Config config;
    cuda_check(cudaSetDevice(gpu_.ordinal()), str("GPU {}", gpu_.ordinal()));
    const std::string attempt = str("connecting {} GPUs by {}", size_, nccl_.version());
    const std::lock_guard lock(mutex_);
    nccl_.check(nccl_.new_communicator(&communicator_, size_, shared, rank_, &config), attempt);
    settle(kStartDeadline, attempt);
    return true;
  });
}

/// A pair is connected when it first exchanges, by the hosts: not in the middle of a step.
void NcclCommunicator::connect_pairs() {
  const Buffer out = gpu_.allocate(64), in = gpu_.allocate(static_cast<std::size_t>(size_));
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    sends.push_back({peer, out.bytes().first(1)});
    receives.push_back({peer, in.bytes().subspan(peer, 1)});
  }
  exchange_now(std::move(sends), std::move(receives), kStartDeadline);
}

GpuCommunicator::ProgressOfLaunch NcclCommunicator::enqueue(CudaStream& stream,
                                                            const std::vector<Send>& sends,
                                                            const std::vector<Receive>& receives) {
  constexpr std::string_view kAttempt = "exchanging between GPUs";
  const Event before = stream.record();
  const std::lock_guard lock(mutex_);
  if (communicator_ == nullptr) throw CommError("not begun: NCCL was given up");
  nccl_.check(nccl_.begin_group(), kAttempt);
  Nccl::Result first = Nccl::kSuccess;
  const auto note = [&](Nccl::Result result) {
    if (first == Nccl::kSuccess && result != Nccl::kInProgress) first = result;
  };
  for (const Send& send : sends) {
    note(nccl_.send(send.bytes.data(), send.bytes.size(), Nccl::kBytes, send.peer, communicator_,
                    stream.native()));
  }
  for (const Receive& receive : receives) {
    note(nccl_.receive(receive.bytes.data(), receive.bytes.size(), Nccl::kBytes, receive.peer,
                       communicator_, stream.native()));
  }
  note(nccl_.end_group());
  nccl_.check(first, kAttempt);
  settle(std::max(deadline_, kStartDeadline), kAttempt);
  return [before, behind = stream.record()] { return ExchangeWatch::between(before, behind); };
}

void NcclCommunicator::settle(std::chrono::milliseconds deadline, std::string_view attempt) {
  const auto begun = Clock::now();
  Nccl::Result state = Nccl::kInProgress;
  while (true) {
    nccl_.check(nccl_.get_async_error(communicator_, &state), attempt);
    if (state == Nccl::kSuccess) return;
    if (state != Nccl::kInProgress) {
      throw CommError(str("rank {}: {}: {}", rank_, attempt, nccl_.reason(state, communicator_)));
    }
    if (Clock::now() - begun >= deadline) {
      throw CommError(str("rank {}: {}: the peers did not take part for {} s", rank_, attempt,
                          deadline.count() / 1000));
    }
    std::this_thread::yield();
  }
}

std::optional<std::string> NcclCommunicator::find_error() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock || communicator_ == nullptr) return std::nullopt;  // whoever holds it looks by itself
  Nccl::Result state = Nccl::kSuccess;
  if (nccl_.get_async_error(communicator_, &state) != Nccl::kSuccess) return std::nullopt;
  if (state == Nccl::kSuccess || state == Nccl::kInProgress) return std::nullopt;
  return str("rank {}: an exchange between GPUs failed: {}", rank_,
             nccl_.reason(state, communicator_));
}

void NcclCommunicator::give_up() {
  const std::lock_guard lock(mutex_);
  if (communicator_ != nullptr) nccl_.abort(std::exchange(communicator_, nullptr));
}

}  // namespace longspan
