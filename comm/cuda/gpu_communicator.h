// What communicators between GPUs have in common, whatever carries their messages: which of them
// need no carrying, what is counted, and a watch over those that are under way.
//
// After a failure the communicator is unusable: exchanges that are under way fail, and none begins.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/cuda/cuda_device.h"
#include "comm/cuda/exchange_watch.h"
#include "comm/traffic_counter.h"

namespace longspan {

class GpuCommunicator : public Communicator {
 public:
  int rank() const final { return rank_; }
  int size() const final { return size_; }
  void exchange(Stream& stream, std::vector<Send> sends, std::vector<Receive> receives) final;
  void transfer(std::vector<Send> sends, std::vector<Receive> receives, Patience patience) final;
  Traffic traffic() const final { return traffic_.read(); }

 protected:
  /// A rank of `control`, with its own GPU, which is borrowed.
  GpuCommunicator(CudaDevice& gpu, const Communicator& control, std::chrono::milliseconds deadline);

  /// To be called before the first exchange. As ExchangeWatch has them.
  void watch(ExchangeWatch::FindError find_error, ExchangeWatch::GiveUp give_up);
  /// The first thing that a destructor does: what the watch calls goes with the rest.
  void stop_watching() { watch_.reset(); }
  /// Whether exchanges were given up. While it watches.
  bool has_failed() const { return watch_->failure().has_value(); }
  std::string failure() const { return watch_->failure().value_or(""); }
  /// What to say of an exchange that is not done by its deadline.
  std::string overdue(const std::vector<Send>& sends, const std::vector<Receive>& receives,
                      std::chrono::milliseconds deadline) const;

  /// Puts messages to and from other ranks, some at least, onto the stream of the current GPU.
  /// Returns what says how far they are, once they are launched: of a step that is launched as one
  /// that is later than now.
  using ProgressOfLaunch = std::function<ExchangeWatch::Progress()>;
  virtual ProgressOfLaunch enqueue(CudaStream& stream, const std::vector<Send>& sends,
                                   const std::vector<Receive>& receives) = 0;
  /// The same of any messages, and blocks. Nothing is counted.
  void exchange_now(std::vector<Send> sends, std::vector<Receive> receives,
                    std::optional<std::chrono::milliseconds> deadline);

  CudaDevice& gpu_;
  const int rank_;
  const int size_;
  const std::chrono::milliseconds deadline_;

 private:
  void begin(CudaStream& stream, std::vector<Send> sends, std::vector<Receive> receives,
             std::optional<std::chrono::milliseconds> deadline, const Traffic& moved);

  TrafficCounter traffic_;
  std::unique_ptr<Stream> own_stream_;  // of transfer()
  std::unique_ptr<ExchangeWatch> watch_;
};

}  // namespace longspan
