#include "comm/cuda/peer_trial.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>
#include <vector>

#include "comm/cuda/cuda_stream.h"
#include "comm/cuda/full_gpu.h"
#include "comm/cuda/peer_lane.h"
#include "comm/cuda/stream_words.h"
#include "comm/error.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr std::size_t kLarge = std::size_t{32} << 20;

/// Around the borders of parts and of small messages.
constexpr std::size_t kSizes[] = {1,
                                  48,
                                  PeerLane::kPartBytes,
                                  PeerLane::kPartBytes + 1,
                                  PeerLane::kMostOfSmall,
                                  PeerLane::kMostOfSmall + 1,
                                  kLarge / 4 + 5};
constexpr Patience kPatience{std::chrono::seconds(30)};

/// Tells sender, receiver, message and place apart.
std::vector<std::byte> pattern(int from, int to, std::size_t bytes) {
  std::vector<std::byte> made(bytes);
  std::uint64_t state =
      (static_cast<std::uint64_t>(from) << 40) + (static_cast<std::uint64_t>(to) << 32) + bytes;
  for (std::byte& byte : made) {
    state = state * 6364136223846793005U + 1442695040888963407U;  // Knuth, TAOCP 3.3.4
    byte = static_cast<std::byte>(state >> 56);
  }
  return made;
}

struct Message {
  int peer;
  Buffer out, in;
};

double seconds_of(const auto& work) {
  const auto begun = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

void expect_arrival(Communicator& peers, CudaDevice& gpu, Stream& stream) {
  const int rank = peers.rank();
  for (const std::size_t size : kSizes) {
    std::vector<Message> messages;
    std::vector<Send> sends;
    std::vector<Receive> receives;
    for (int peer = 0; peer < peers.size(); ++peer) {
      if (peer == rank) continue;
      messages.push_back({peer, gpu.allocate(size), gpu.allocate(size)});
      const auto sent = pattern(rank, peer, size);
      gpu.copy(stream, messages.back().out.bytes(), sent);
      stream.synchronize();
      sends.push_back({peer, messages.back().out.bytes()});
      receives.push_back({peer, messages.back().in.bytes()});
    }
    peers.transfer(std::move(sends), std::move(receives), kPatience);
    for (const Message& message : messages) {
      std::vector<std::byte> got(size);
      gpu.copy(stream, got, message.in.bytes());
      stream.synchronize();
      if (got != pattern(message.peer, rank, size)) {
        throw CommError(str("{} bytes from rank {} arrived as something else", size, message.peer));
      }
    }
  }
}

/// On to the next rank of a ring, and in from the one before.
struct RingMessage {
  RingMessage(CudaDevice& gpu, std::size_t bytes)
      : out(gpu.allocate(bytes)), in(gpu.allocate(bytes)) {}

  void exchange(Communicator& peers, Stream& stream) const {
    const int rank = peers.rank(), size = peers.size();
    peers.exchange(stream, {{(rank + 1) % size, out.bytes()}},
                   {{(rank + size - 1) % size, in.bytes()}});
  }

  Buffer out, in;
};

/// Of exchanges, one after the other.
double seconds_each(Communicator& peers, CudaDevice& gpu, Stream& stream, std::size_t bytes,
                    int rounds) {
  const RingMessage message(gpu, bytes);
  const auto go = [&](int times) {
    for (int i = 0; i < times; ++i) message.exchange(peers, stream);
    stream.synchronize();
  };
  go(2);
  return seconds_of([&] { go(rounds); }) / rounds;
}

}  // namespace

std::string try_out(Communicator& peers, CudaDevice& gpu) {
  const auto stream = gpu.new_stream();
  expect_arrival(peers, gpu, *stream);
  const double large = seconds_each(peers, gpu, *stream, kLarge, 4);
  const double small = seconds_each(peers, gpu, *stream, 8192, 64);
  return str("GPUs of this host exchange by CUDA IPC: {:.0f} GB/s each way, 8 KiB in {:.1f} us",
             kLarge / large / 1e9, small * 1e6);
}

bool arrives_beside_kernels(Communicator& peers, CudaDevice& gpu) {
  const RingMessage message(gpu, kLarge);
  const Buffer words = gpu.allocate(2 * sizeof(std::uint64_t));
  std::uint64_t* const arrived = words.as<std::uint64_t>().data();
  std::uint64_t* const missed = arrived + 1;
  const auto compute = gpu.new_stream(), transfer = gpu.new_stream();
  std::uint64_t found = 0;
  gpu.copy(*compute, words.bytes(), std::vector<std::byte>(words.bytes().size()));
  compute->synchronize();
  launch_full_gpu(arrived, missed, as_cuda(*compute).native());
  message.exchange(peers, *transfer);
  write_word(as_cuda(*transfer).native(), arrived, 1);
  compute->synchronize();
  transfer->synchronize();
  gpu.copy(*compute, std::as_writable_bytes(std::span(&found, 1)),
           words.bytes().subspan(sizeof(std::uint64_t)));
  compute->synchronize();
  return found == 0;
}

}  // namespace longspan
