#include "launch/batch/batch_engine.h"

#include <optional>
#include <utility>

#include "comm/error.h"

namespace longspan {

void BatchEngine::open(Machine& machine, LoadedModel& model, const JobOptions& options, Room room,
                       const Events* events, const std::function<void(BatchEngine&)>& serve) {
  if (!events) {
    run_session(machine, model, options, nullptr);
    return;
  }
  std::optional<BatchEngine> engine;
  SessionInput session{
      .shapes = std::vector<RequestShape>(static_cast<std::size_t>(options.max_running),
                                          RequestShape{.room = room.tokens}),
      .room_gives_way = room.gives_way,
      .listener = {.prefill =
                       [&](const Progress& chunk) {
                         engine->started(chunk.request);
                         events->prefill(chunk);
                       },
                   .layer = nullptr,
                   .token = events->token,
                   .nll = [](RequestId, double) {}}};
  session.drive = [&](Coordinator& coordinator) {
    engine.emplace(BatchEngine(coordinator, session, options.page_tokens));
    serve(*engine);
  };
  run_session(machine, model, options, &session);
}

BatchEngine::BatchEngine(Coordinator& coordinator, const SessionInput& session,
                         std::int64_t page_tokens)
    : coordinator_(coordinator),
      room_(session.shapes.front().room),
      page_tokens_(page_tokens),
      pages_(session.planned_pages) {}

void BatchEngine::submit(RequestId id, const RecordedRequest& request, int top) {
  const RequestShape shape{.prompt_tokens = std::ssize(request.prompt), .max_new = request.max_new};
  promises_[id] = {.pages = worst_pages(shape, page_tokens_)};
  const bool fits = coordinator_.submit(
      {.request = id, .prompt = request.prompt, .top = top, .sampling = request.sampling},
      request.max_new, false);
  expects(fits, "what is longer than the room was refused");
}

void BatchEngine::started(RequestId id) {
  Promise& promise = promises_.at(id);
  if (!std::exchange(promise.started, true)) promised_ += promise.pages;
}

void BatchEngine::end(RequestId id) {
  coordinator_.end(id);
  const auto promise = promises_.find(id);
  if (promise->second.started) promised_ -= promise->second.pages;
  promises_.erase(promise);
}

double BatchEngine::kv_share() const {
  return pages_ > 0 ? static_cast<double>(promised_) / static_cast<double>(pages_) : 0;
}

}  // namespace longspan
