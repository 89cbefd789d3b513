// A Communicator between the GPUs of one host, without NCCL: over memory that they share by CUDA
// IPC. Large messages are pushed by copy engines, which take no multiprocessor from attention;
// small ones are stored by one short kernel, so that a step of decode waits microseconds for its
// peers. Two ranks may share a GPU, which NCCL refuses; then all goes by copies, since kernels of
// two processes take turns and one that waits would keep the other from running.
//
// What enqueues a large message waits until its peer has said where it lands, that is until the
// peer's host is at the same exchange.
//
// As everywhere, both sides know the sizes. A message that has another one at the peer arrives as
// something else, and a rank that does not take part is noticed by the deadline; the communicator
// is unusable afterwards.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "comm/cuda/gpu_communicator.h"
#include "comm/cuda/peer_mailbox.h"
#include "comm/cuda/peer_memory.h"
#include "comm/cuda/peer_progress.h"
#include "comm/cuda/peer_reach.h"

namespace longspan {

class PeerCommunicator final : public GpuCommunicator {
 public:
  /// Every rank of `control` calls this with its own GPU; all are ranks of one host. `shared`:
  /// whether two of them have the same GPU, on any rank. Borrows the GPU and `control`. Throws
  /// Error, on all ranks alike, where peers cannot reach one another's memory or what was sent to
  /// try it out did not arrive.
  PeerCommunicator(CudaDevice& gpu, Communicator& control, bool shared,
                   std::chrono::milliseconds deadline);
  ~PeerCommunicator() override;

  bool is_prompt() const override { return !shared_; }
  /// False until somebody has seen it, on all ranks.
  bool moves_beside_kernels() const override { return beside_kernels_; }
  void declare_beside_kernels() { beside_kernels_ = true; }

 private:
  /// What the host knows of the way to a peer and back.
  struct Way {
    std::unique_ptr<Stream> out, in;  // of copies
    std::uint64_t messages_sent = 0;
    std::uint64_t messages_awaited = 0;
    std::uint64_t messages_received = 0;
  };

  ProgressOfLaunch enqueue(CudaStream& stream, const std::vector<Send>& sends,
                           const std::vector<Receive>& receives) override;
  bool is_small(std::size_t bytes) const;
  /// Returns how many kernels do it.
  std::uint64_t move_small(CudaStream& stream, const std::vector<Send>& sends,
                           const std::vector<Receive>& receives);
  /// Begins with `begin`. Returns the streams that do it.
  std::vector<Stream*> move_large(const Event& begin, const std::vector<Send>& sends,
                                  const std::vector<Receive>& receives);
  void take_turn(CudaStream& stream);
  void push(std::size_t peer, ConstBytes bytes, const GoOn& go_on);
  void await(std::size_t peer, Bytes bytes, const GoOn& go_on);
  void drain(std::size_t peer, const GoOn& go_on) const;
  void receive(std::size_t peer);
  void give_up();
  bool idle() const;

  const bool shared_;
  std::atomic<bool> gave_up_ = false;
  bool beside_kernels_ = false;
  PeerMemory memory_;
  PeerMailbox mailbox_;
  OwnReach own_reach_;
  PeerReach reach_;
  std::vector<Way> ways_;  // by peer
  PeerProgress progress_;
  std::uint64_t kernels_ = 0;  // for small messages, launched so far
  // Where the last of them went, for as long as that lives.
  CudaStream* last_ = nullptr;
  std::weak_ptr<const void> last_lives_;
  std::unique_ptr<Stream> releasing_;  // by which give_up() reaches words that others wait for
};

}  // namespace longspan
