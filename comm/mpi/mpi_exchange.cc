#include "comm/mpi/mpi_exchange.h"

#include <algorithm>
#include <map>
#include <utility>

#include "comm/error.h"
#include "comm/mpi/back_off.h"
#include "comm/mpi/mpi_check.h"
#include "comm/str.h"

namespace longspan {
namespace {

constexpr int kTag = 0;  // order alone matches messages

}  // namespace

MpiExchange::MpiExchange(int rank, std::vector<Send> sends, std::vector<Receive> receives,
                         Patience patience, Done done)
    : rank_(rank),
      sends_(std::move(sends)),
      receives_(std::move(receives)),
      patience_(patience),
      done_(std::move(done)) {}

void MpiExchange::finish() {
  done_(failure_.empty() ? nullptr : std::make_exception_ptr(CommError(failure_)));
}

void MpiExchange::give_up(const std::string& reason) {
  failure_ = reason;
  finish();
}

template <typename Message, typename Start>
void MpiExchange::post_pieces(const Message& message, bool incoming, std::size_t largest_piece,
                              Start start) {
  for (std::size_t at = 0; at < message.bytes.size(); at += largest_piece) {
    const auto piece =
        message.bytes.subspan(at, std::min(largest_piece, message.bytes.size() - at));
    MPI_Request request = MPI_REQUEST_NULL;
    mpi_check(start(piece.data(), static_cast<int>(piece.size()), message.peer, &request),
              incoming ? "MPI_Irecv" : "MPI_Isend");
    pieces_.push_back({message.peer, piece.size(), incoming});
    requests_.push_back(request);
    ++open_;
  }
}

void MpiExchange::post(MPI_Comm comm, std::size_t largest_piece) {
  for (const Receive& receive : receives_) {
    post_pieces(receive, true, largest_piece,
                [comm](std::byte* bytes, int count, int peer, MPI_Request* request) {
                  return MPI_Irecv(bytes, count, MPI_BYTE, peer, kTag, comm, request);
                });
  }
  for (const Send& send : sends_) {
    post_pieces(send, false, largest_piece,
                [comm](const std::byte* bytes, int count, int peer, MPI_Request* request) {
                  return MPI_Isend(bytes, count, MPI_BYTE, peer, kTag, comm, request);
                });
  }
  completed_.resize(requests_.size());
  statuses_.resize(requests_.size());
}

MpiExchange::Progress MpiExchange::poll(Clock::time_point now) {
  int count = 0;
  const int code = MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count,
                                completed_.data(), statuses_.data());
  if (code != MPI_SUCCESS && code != MPI_ERR_IN_STATUS) {
    failure_ = str("rank {}: exchange failed: {}", rank_, mpi_reason(code));
    return Progress::kDone;
  }
  open_ -= static_cast<std::size_t>(std::max(count, 0));
  for (int i = 0; i < count; ++i) {
    MPI_Status& status = statuses_[static_cast<std::size_t>(i)];
    if (code == MPI_SUCCESS) status.MPI_ERROR = MPI_SUCCESS;  // MPI leaves it unset then
    const int index = completed_[static_cast<std::size_t>(i)];
    failure_ = flaw(pieces_[static_cast<std::size_t>(index)], status);
    if (!failure_.empty()) return Progress::kDone;
  }
  if (open_ == 0) return Progress::kDone;
  if (count > 0) {
    last_progress_ = now;
    return Progress::kSome;
  }
  if (patience_.deadline && now - begun_ >= *patience_.deadline) {
    failure_ = overdue();
    return Progress::kDone;
  }
  return Progress::kNone;
}

// A message longer than its landing area arrives as an error of class MPI_ERR_TRUNCATE whose
// status still tells the length; a shorter one is no error to MPI, but it is one to us.
std::string MpiExchange::flaw(const Piece& piece, MPI_Status& status) const {
  int error_class = MPI_SUCCESS;
  MPI_Error_class(status.MPI_ERROR, &error_class);
  if (error_class != MPI_SUCCESS && error_class != MPI_ERR_TRUNCATE) {
    return str("rank {}: {} rank {} ({} bytes) failed: {}", rank_,
               piece.incoming ? "receiving from" : "sending to", piece.peer, piece.bytes,
               mpi_reason(status.MPI_ERROR));
  }
  if (!piece.incoming) return {};
  int received = 0;
  MPI_Get_count(&status, MPI_BYTE, &received);
  if (error_class == MPI_SUCCESS && static_cast<std::size_t>(received) == piece.bytes) return {};
  return str(
      "rank {}: exchange failed: rank {} sent {} bytes, but rank {} expected {} bytes from it",
      rank_, piece.peer, received, rank_, piece.bytes);
}

std::string MpiExchange::overdue() const {
  std::map<std::pair<int, bool>, std::size_t> missing;  // by peer, outgoing first
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    const Piece& piece = pieces_[i];
    if (requests_[i] != MPI_REQUEST_NULL) missing[{piece.peer, piece.incoming}] += piece.bytes;
  }
  std::string list;
  for (const auto& [who, bytes] : missing) {
    list += who.second ? str("; no word from rank {} ({} bytes)", who.first, bytes)
                       : str("; rank {} did not take {} bytes", who.first, bytes);
  }
  return str("rank {}: exchange not done after {:.3f} s{}", rank_,
             std::chrono::duration<double>(*patience_.deadline).count(), list);
}

std::chrono::nanoseconds MpiExchange::longest_nap(Clock::time_point now) const {
  const auto nap = nap_after(now - last_progress_, patience_.longest_sleep);
  if (!patience_.deadline) return nap;
  return std::clamp<std::chrono::nanoseconds>(begun_ + *patience_.deadline - now, {}, nap);
}

}  // namespace longspan
