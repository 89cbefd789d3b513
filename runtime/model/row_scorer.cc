#include "runtime/model/row_scorer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "comm/error.h"
#include "runtime/model/draw.h"
#include "runtime/model/philox.h"

namespace longspan {
namespace {

bool draws(const RowQuestion& question) { return !question.forced && question.sampling->draws(); }

/// Whether no summary can answer.
bool needs_row(const RowQuestion& question) {
  if (question.top > kListedLogits) return true;
  if (question.forced) return false;
  return question.sampling->adjusts() || (draws(question) && !may_draw_listed(*question.sampling));
}

LogitWish wish_of(const RowQuestion& question) {
  return {.row = static_cast<std::int32_t>(question.row),
          .named = question.forced.value_or(-1),
          .temperature = draws(question) ? question.sampling->temperature : 0,
          .wants_list = question.top > 1 || draws(question)};
}

Scored answer(const RowQuestion& question, std::span<const float> logits) {
  if (question.forced && question.top == 0) {
    return {{*question.forced, log_probability(logits, *question.forced)}, {}, 1};
  }
  if (question.forced) return score(logits, question.top, question.forced);
  return sample(logits, question.top, *question.sampling, *question.history, question.written,
                question.position);
}

/// A token and its logit, and the margin if it was drawn.
struct Choice {
  ListedLogit token;
  double margin = 1;
};

std::optional<Choice> choice_of(const RowQuestion& question, const LogitSummary& summary,
                                std::span<const ListedLogit> list) {
  if (question.forced) return Choice{{summary.named_logit, *question.forced}};
  if (!draws(question)) return Choice{{summary.best, summary.best_id}};
  const Sampling& sampling = *question.sampling;
  const auto drawn = draw_listed(summary, list, sampling,
                                 uniform_number(sampling.seed, sampling.choice, question.position));
  if (!drawn) return std::nullopt;
  return Choice{*std::ranges::find(list, drawn->id, &ListedLogit::id), drawn->margin};
}

/// The same from a summary; nothing where it takes the whole row.
std::optional<Scored> answer(const RowQuestion& question, const LogitSummary& summary,
                             std::span<const ListedLogit> list) {
  if (summary.is_usable == 0) return std::nullopt;
  const std::optional<Choice> choice = choice_of(question, summary, list);
  if (!choice) return std::nullopt;
  const double log_sum = std::log(summary.exp_sum);
  const auto scored = [&](const ListedLogit& token) {
    return TokenScore{token.id, token.logit - static_cast<double>(summary.best) - log_sum};
  };
  Scored result{scored(choice->token), {}, choice->margin};
  if (question.top == 1) {
    result.top.push_back(scored({summary.best, summary.best_id}));
  } else {
    const std::size_t count = std::min<std::size_t>(question.top, list.size());
    for (const ListedLogit& token : list.first(count)) result.top.push_back(scored(token));
  }
  return result;
}

}  // namespace

RowScorer::RowScorer(Device& device, std::unique_ptr<LogitSummaries> summaries, const Shape& shape)
    : device_(device), shape_(shape), summaries_(std::move(summaries)) {
  if (shape.host_reads) return;
  host_ = device.allocate_on_host(sizeof(float) * shape.rows * shape.vocabulary);
}

std::vector<Scored> RowScorer::score(Stream& stream, const float* logits,
                                     std::span<const RowQuestion> questions,
                                     const std::function<void()>& await) {
  expects(std::ssize(questions) <= shape_.rows, "no more questions than rows at once");
  std::vector<Scored> answers(questions.size());
  std::vector<std::size_t> whole, summarised;
  for (std::size_t i = 0; i < questions.size(); ++i) {
    (summaries_ && !needs_row(questions[i]) ? summarised : whole).push_back(i);
  }
  if (!summarised.empty()) {
    std::vector<LogitWish> wishes;
    for (const std::size_t i : summarised) wishes.push_back(wish_of(questions[i]));
    summaries_->summarise(stream, logits, std::move(wishes));
  }
  for (const std::size_t i : whole) copy(stream, logits, questions[i].row);
  if (!questions.empty()) await();

  const std::size_t known_before = whole.size();
  for (std::size_t wish = 0; wish < summarised.size(); ++wish) {
    const std::size_t i = summarised[wish];
    auto found = answer(questions[i], summaries_->summary(wish), summaries_->list(wish));
    if (found) {
      answers[i] = *std::move(found);
    } else {
      copy(stream, logits, questions[i].row);
      whole.push_back(i);
    }
  }
  if (whole.size() > known_before) await();
  for (const std::size_t i : whole) {
    answers[i] = answer(questions[i], row_of(logits, questions[i].row));
  }
  return answers;
}

void RowScorer::copy(Stream& stream, const float* logits, std::int64_t row) {
  if (shape_.host_reads) return;
  ++copied_rows_;
  const std::span<const float> there(logits + row * shape_.vocabulary, shape_.vocabulary);
  const std::size_t bytes = there.size_bytes();
  device_.copy(stream, host_.bytes().subspan(row * bytes, bytes), std::as_bytes(there));
}

std::span<const float> RowScorer::row_of(const float* logits, std::int64_t row) const {
  const float* from = shape_.host_reads ? logits : host_.as<float>().data();
  return {from + row * shape_.vocabulary, static_cast<std::size_t>(shape_.vocabulary)};
}

}  // namespace longspan
