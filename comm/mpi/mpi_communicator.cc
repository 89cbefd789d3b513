#include "comm/mpi/mpi_communicator.h"

#include <memory>
#include <utility>

#include "comm/cpu/cpu_event.h"
#include "comm/cpu/cpu_stream.h"
#include "comm/exchange_lists.h"
#include "comm/trace_exchange.h"

namespace longspan {

MpiCommunicator::MpiCommunicator(MpiSession& session, Channel channel,
                                 std::chrono::milliseconds deadline)
    : session_(session), channel_(channel), deadline_(deadline) {}

void MpiCommunicator::exchange(Stream& stream, std::vector<Send> sends,
                               std::vector<Receive> receives) {
  expect_known_peers(sends, receives, size());
  drop_empty_messages(sends, receives);
  if (sends.empty() && receives.empty()) return;
  CpuStream& cpu = as_cpu(stream);
  cpu.enqueue_async([this, lane = cpu.lane(), sends = std::move(sends),
                     receives = std::move(receives)](CpuStream::Done done) {
    if (lane) done = with_exchange_span(*lane, sends, receives, std::move(done));
    begin(sends, receives, {deadline_}, std::move(done));
  });
}

void MpiCommunicator::transfer(std::vector<Send> sends, std::vector<Receive> receives,
                               Patience patience) {
  expect_known_peers(sends, receives, size());
  drop_empty_messages(sends, receives);
  if (sends.empty() && receives.empty()) return;
  // Shared: the progress thread may still be leaving happen() when this thread goes on.
  const auto finished = std::make_shared<CpuEvent>();
  begin(sends, receives, patience,
        [finished](std::exception_ptr failure) { finished->happen(std::move(failure)); });
  finished->await();
  if (finished->failure()) std::rethrow_exception(finished->failure());
}

void MpiCommunicator::begin(const std::vector<Send>& sends, const std::vector<Receive>& receives,
                            const Patience& patience,
                            std::function<void(std::exception_ptr)> done) {
  session_.begin(channel_, sends, receives, patience,
                 [this, moved = traffic_of(sends, receives),
                  done = std::move(done)](std::exception_ptr failure) {
                   if (!failure) traffic_.add(moved);
                   done(std::move(failure));
                 });
}

}  // namespace longspan
