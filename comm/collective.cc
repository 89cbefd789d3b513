#include "comm/collective.h"

#include <cstdint>
#include <cstring>
#include <span>

#include "comm/host.h"
#include "comm/str.h"

namespace longspan {
namespace {

template <typename T>
ConstBytes bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

template <typename T>
Bytes writable_bytes_of(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

std::vector<int> all_but(const Communicator& control, int rank) {
  std::vector<int> others;
  for (int peer = 0; peer < control.size(); ++peer) {
    if (peer != rank) others.push_back(peer);
  }
  return others;
}

std::size_t believed(std::uint64_t size, const Communicator& control, int peer) {
  if (size <= kLargestStartMessage) return size;
  throw CommError(str("rank {}: rank {} announced {} bytes, more than the {} allowed",
                      control.rank(), peer, size, kLargestStartMessage));
}

// A failure as bytes: empty for none, else the code and then the message.
std::vector<std::byte> packed(const std::optional<Failure>& failure) {
  if (!failure) return {};
  const auto code = static_cast<std::int32_t>(failure->code);
  std::vector<std::byte> bytes(sizeof(code) + failure->message.size());
  std::memcpy(bytes.data(), &code, sizeof(code));
  std::memcpy(bytes.data() + sizeof(code), failure->message.data(), failure->message.size());
  return bytes;
}

std::optional<Failure> unpacked(ConstBytes bytes) {
  std::int32_t code = 0;
  if (bytes.size() < sizeof(code)) return std::nullopt;
  std::memcpy(&code, bytes.data(), sizeof(code));
  const ConstBytes text = bytes.subspan(sizeof(code));
  return Failure{static_cast<ExitCode>(code),
                 std::string(reinterpret_cast<const char*>(text.data()), text.size())};
}

}  // namespace

void barrier(Communicator& control, Patience patience) {
  std::byte arrived{1};
  const auto one = std::span(&arrived, 1);
  if (control.rank() != 0) {
    control.transfer({{0, one}}, {}, patience);
    control.transfer({}, {{0, one}}, patience);
    return;
  }
  std::vector<std::byte> marks(static_cast<std::size_t>(control.size()));
  std::vector<Receive> arrivals;
  std::vector<Send> releases;
  for (const int peer : all_but(control, 0)) {
    arrivals.push_back({peer, std::span(marks).subspan(static_cast<std::size_t>(peer), 1)});
    releases.push_back({peer, one});
  }
  control.transfer({}, std::move(arrivals), patience);
  control.transfer(std::move(releases), {}, patience);
}

void broadcast(Communicator& control, std::vector<std::byte>& bytes, int root, Patience patience) {
  expects(root >= 0 && root < control.size(), "the root is a rank of the communicator");
  std::uint64_t size = bytes.size();
  if (control.rank() != root) {
    control.transfer({}, {{root, writable_bytes_of(size)}}, patience);
    bytes.resize(believed(size, control, root));
    control.transfer({}, {{root, bytes}}, patience);
    return;
  }
  expects(size <= kLargestStartMessage, "a broadcast is at most kLargestStartMessage bytes");
  std::vector<Send> sizes;
  std::vector<Send> payloads;
  for (const int peer : all_but(control, root)) {
    sizes.push_back({peer, bytes_of(size)});
    payloads.push_back({peer, bytes});
  }
  control.transfer(std::move(sizes), {}, patience);
  control.transfer(std::move(payloads), {}, patience);
}

std::vector<std::vector<std::byte>> gather(Communicator& control, ConstBytes bytes, int root,
                                           Patience patience) {
  expects(root >= 0 && root < control.size(), "the root is a rank of the communicator");
  expects(bytes.size() <= kLargestStartMessage, "a gather takes kLargestStartMessage bytes a rank");
  if (control.rank() != root) {
    const std::uint64_t size = bytes.size();
    control.transfer({{root, bytes_of(size)}}, {}, patience);
    control.transfer({{root, bytes}}, {}, patience);
    return {};
  }
  const auto others = all_but(control, root);
  std::vector<std::uint64_t> sizes(static_cast<std::size_t>(control.size()));
  std::vector<Receive> announcements;
  for (const int peer : others) {
    announcements.push_back({peer, writable_bytes_of(sizes[static_cast<std::size_t>(peer)])});
  }
  control.transfer({}, std::move(announcements), patience);

  std::vector<std::vector<std::byte>> gathered(sizes.size());
  gathered[static_cast<std::size_t>(root)].assign(bytes.begin(), bytes.end());
  std::vector<Receive> payloads;
  for (const int peer : others) {
    auto& landing = gathered[static_cast<std::size_t>(peer)];
    landing.resize(believed(sizes[static_cast<std::size_t>(peer)], control, peer));
    payloads.push_back({peer, landing});
  }
  control.transfer({}, std::move(payloads), patience);
  return gathered;
}

namespace {

template <typename Kind>
[[noreturn]] void throw_everywhere(const std::string& message) {
  Kind error(message);
  error.thrown_everywhere();
  throw error;
}

}  // namespace

void agree(Communicator& control, const std::optional<Failure>& failure, Patience patience) {
  std::optional<Failure> mine = failure;
  if (mine && control.rank() > 0) {  // rank 0 is the one that the user talks to
    mine->message = str("rank {} on {}: {}", control.rank(), host_name(), mine->message);
  }
  std::vector<std::byte> verdict;
  for (auto& report : gather(control, packed(mine), 0, patience)) {
    if (verdict.empty()) verdict = std::move(report);
  }
  broadcast(control, verdict, 0, patience);
  if (const auto lowest = unpacked(verdict)) raise(*lowest);
}

void raise(const Failure& failure) {
  switch (failure.code) {
    case ExitCode::kUsage:
      throw_everywhere<UsageError>(failure.message);
    case ExitCode::kBadData:
      throw_everywhere<DataError>(failure.message);
    case ExitCode::kNoInput:
      throw_everywhere<MissingInput>(failure.message);
    case ExitCode::kUnavailable:
      throw_everywhere<DeviceError>(failure.message);
    case ExitCode::kOutOfMemory:
      throw_everywhere<OutOfMemory>(failure.message);
    case ExitCode::kIo:
      throw_everywhere<IoError>(failure.message);
    case ExitCode::kTemporary:
      throw_everywhere<CommError>(failure.message);
    case ExitCode::kPermission:
      throw_everywhere<PermissionError>(failure.message);
    case ExitCode::kConfig:
      throw_everywhere<ConfigError>(failure.message);
    case ExitCode::kClean:
    case ExitCode::kDiffers:
    case ExitCode::kInternal:
    case ExitCode::kInterrupted:
      break;  // these have no class of their own
  }
  Error error(failure.code, failure.message);
  error.thrown_everywhere();
  throw error;
}

}  // namespace longspan
