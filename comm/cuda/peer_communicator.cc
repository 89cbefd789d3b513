#include "comm/cuda/peer_communicator.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "comm/cuda/cuda_check.h"
#include "comm/cuda/peer_parts.h"
#include "comm/cuda/stream_words.h"
#include "comm/error.h"
#include "comm/log.h"
#include "comm/str.h"

namespace longspan {
namespace {

/// More than any count of messages, and as far from all of them as the cyclic comparison allows.
constexpr std::uint64_t kReleased = std::uint64_t{1} << 62;

void add_parts(std::vector<PeerPart>& parts, std::byte* at, std::size_t bytes, std::size_t peer,
               bool sends, std::uint16_t& place) {
  for (std::size_t first = 0; first < bytes; first += PeerLane::kPartBytes) {
    const std::size_t count = std::min(PeerLane::kPartBytes, bytes - first);
    parts.push_back({.at = at + first,
                     .bytes = static_cast<std::uint32_t>(count),
                     .place = place++,
                     .peer = static_cast<std::uint8_t>(peer),
                     .sends = sends});
  }
}

}  // namespace

PeerCommunicator::PeerCommunicator(CudaDevice& gpu, Communicator& control, bool shared,
                                   std::chrono::milliseconds deadline)
    : GpuCommunicator(gpu, control, deadline),
      shared_(shared),
      memory_(gpu, control),
      mailbox_(control),
      reach_(static_cast<std::size_t>(size_ - 1),
             [this](std::size_t peer, const GoOn& go_on) { drain(peer, go_on); }),
      progress_(gpu, memory_.words().done),
      releasing_(gpu.new_stream()) {
  for (int peer = 1; peer < size_; ++peer) ways_.push_back({gpu.new_stream(), gpu.new_stream()});
  watch([] { return std::nullopt; }, [this] { give_up(); });
}

PeerCommunicator::~PeerCommunicator() {
  if (has_failed() || gave_up_) memory_.abandon();
  stop_watching();
}

GpuCommunicator::ProgressOfLaunch PeerCommunicator::enqueue(CudaStream& stream,
                                                            const std::vector<Send>& sends,
                                                            const std::vector<Receive>& receives) {
  const auto small = [this](const auto& message) { return is_small(message.bytes.size()); };
  if (std::ranges::all_of(sends, small) && std::ranges::all_of(receives, small)) {
    return [this, count = move_small(stream, sends, receives)] {
      const std::uint64_t first = kernels_;
      kernels_ += count;
      return ExchangeWatch::Progress{
          [this, first] { return progress_.has_begun(first); },
          [this, last = kernels_ - 1] { return progress_.is_done(last); }};
    };
  }
  if (gave_up_) throw CommError("not begun: an earlier exchange was given up");
  const Event before = stream.record();
  // The small ones do not wait for the large ones, whose order at the peer may be another one.
  const std::vector<Stream*> sides = move_large(before, sends, receives);
  kernels_ += move_small(stream, sends, receives);
  for (Stream* side : sides) stream.wait(side->record());
  return [before, behind = stream.record()] { return ExchangeWatch::between(before, behind); };
}

bool PeerCommunicator::is_small(std::size_t bytes) const {
  return !shared_ && bytes <= PeerLane::kMostOfSmall;
}

std::uint64_t PeerCommunicator::move_small(CudaStream& stream, const std::vector<Send>& sends,
                                           const std::vector<Receive>& receives) {
  std::vector<PeerPart> parts;
  std::vector<std::uint16_t> sent(ways_.size()), received(ways_.size());
  for (const Send& send : sends) {
    if (!is_small(send.bytes.size())) continue;
    const std::size_t peer = memory_.peer_of(send.peer);
    // Sends are only read from: one type of part serves both ways.
    add_parts(parts, const_cast<std::byte*>(send.bytes.data()), send.bytes.size(), peer, true,
              sent[peer]);
  }
  for (const Receive& receive : receives) {
    if (!is_small(receive.bytes.size())) continue;
    const std::size_t peer = memory_.peer_of(receive.peer);
    add_parts(parts, receive.bytes.data(), receive.bytes.size(), peer, false, received[peer]);
  }
  if (parts.empty()) return 0;
  take_turn(stream);
  PeerWords words = memory_.words();
  words.begun = progress_.begun();
  return move_parts(stream, std::move(parts), memory_.lanes(), words);
}

/// On whichever stream, a kernel counts on from where the one before it ended.
void PeerCommunicator::take_turn(CudaStream& stream) {
  if (last_ == &stream && !last_lives_.expired()) return;
  if (!last_lives_.expired()) stream.wait(last_->record());  // else it has drained
  last_ = &stream;
  last_lives_ = stream.life();
}

/// Each way has streams of its own: one that waits for a peer must not keep others from going on.
/// All are told what this rank awaits before it waits for what they say.
std::vector<Stream*> PeerCommunicator::move_large(const Event& begin,
                                                  const std::vector<Send>& sends,
                                                  const std::vector<Receive>& receives) {
  std::vector<Stream*> used;
  const auto use = [&](Stream& side) {
    if (std::ranges::count(used, &side) > 0) return;
    side.wait(begin);
    used.push_back(&side);
  };
  const auto begun = std::chrono::steady_clock::now();
  const auto go_on = [&] {
    if (has_failed()) throw CommError(failure());
    if (std::chrono::steady_clock::now() - begun > deadline_) {
      throw CommError(overdue(sends, receives, deadline_));
    }
  };
  try {
    for (const Receive& receive : receives) {
      if (is_small(receive.bytes.size())) continue;
      const std::size_t peer = memory_.peer_of(receive.peer);
      use(*ways_[peer].in);
      await(peer, receive.bytes, go_on);
    }
    for (const Send& send : sends) {
      if (is_small(send.bytes.size())) continue;
      const std::size_t peer = memory_.peer_of(send.peer);
      use(*ways_[peer].out);
      push(peer, send.bytes, go_on);
    }
    for (const Receive& receive : receives) {
      if (!is_small(receive.bytes.size())) this->receive(memory_.peer_of(receive.peer));
    }
  } catch (const Error&) {
    if (!has_failed()) give_up();  // else the watch does
    throw;
  }
  return used;
}

void PeerCommunicator::push(std::size_t peer, ConstBytes bytes, const GoOn& go_on) {
  Way& way = ways_[peer];
  const PeerLanes& lanes = memory_.lanes()[peer];
  const cudaStream_t out = as_cuda(*way.out).native();
  const std::uint64_t count = ++way.messages_sent;
  std::byte* const there = reach_.at(peer, mailbox_.take(peer, go_on), go_on);
  wait_for_word(out, &lanes.here->message_awaited, count);
  cuda_check(cudaMemcpyAsync(there, bytes.data(), bytes.size(), cudaMemcpyDeviceToDevice, out),
             "sending to a GPU of this host");
  write_word(out, &lanes.there->message_arrived, count);
}

/// Says where the next message lands, and that the memory is free when the stream is there.
void PeerCommunicator::await(std::size_t peer, Bytes bytes, const GoOn& go_on) {
  Way& way = ways_[peer];
  mailbox_.post(peer, own_reach_.landing_at(bytes.data()), go_on);
  write_word(as_cuda(*way.in).native(), &memory_.lanes()[peer].there->message_awaited,
             ++way.messages_awaited);
}

/// The next one that was awaited.
void PeerCommunicator::receive(std::size_t peer) {
  Way& way = ways_[peer];
  wait_for_word(as_cuda(*way.in).native(), &memory_.lanes()[peer].here->message_arrived,
                ++way.messages_received);
}

/// Lets go of all that waits. A peer that is late may still write what holds a stream once more, so
/// this goes on until none is held.
void PeerCommunicator::give_up() {
  constexpr auto kLongest = std::chrono::seconds(10);
  const auto begun = std::chrono::steady_clock::now();
  const cudaStream_t stream = as_cuda(*releasing_).native();
  gave_up_ = true;
  try {
    do {
      write_word(stream, memory_.given_up(), 1);
      for (const PeerLanes& lanes : memory_.lanes()) {
        write_word(stream, &lanes.here->message_arrived, kReleased);
        write_word(stream, &lanes.here->message_awaited, kReleased);
      }
      releasing_->synchronize();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    } while (!idle() && std::chrono::steady_clock::now() - begun < kLongest);
  } catch (const Error& error) {
    log(LogLevel::kWarning, str("rank {}: giving up an exchange: {}", rank_, error.what()));
  }
}

/// Until nothing more is on its way to a peer.
void PeerCommunicator::drain(std::size_t peer, const GoOn& go_on) const {
  const cudaStream_t out = as_cuda(*ways_[peer].out).native();
  wait_until([&] { return cudaStreamQuery(out) != cudaErrorNotReady; }, go_on);
}

bool PeerCommunicator::idle() const {
  return std::ranges::all_of(ways_, [](const Way& way) {
    return cudaStreamQuery(as_cuda(*way.out).native()) != cudaErrorNotReady &&
           cudaStreamQuery(as_cuda(*way.in).native()) != cudaErrorNotReady;
  });
}

}  // namespace longspan
