#include "launch/batch/batch_line.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "comm/str.h"
#include "runtime/model/json_file.h"
#include "runtime/serving/request_fields.h"

namespace longspan {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::string_view kIdPrefix = "batch_req_";
constexpr int kOk = 200;

json parsed(const InputLine& line) {
  if (line.too_long) {
    throw ApiRefusal({.status = 413,
                      .code = "body_too_large",
                      .message = str("has more than {} bytes; split the request", kMostLineBytes)});
  }
  std::string problem;
  if (auto value = parse_json(line.text, problem)) return *std::move(value);
  throw ApiRefusal({.code = "invalid_json", .message = problem + "; write one JSON object a line"});
}

/// A field of the envelope that must be there.
std::string required_text(RequestFields& fields, std::string_view name, std::string_view example) {
  const auto text = fields.text(name);
  if (text && !text->empty()) return *text;
  throw invalid_value(std::string(name), str("{} is missing; give a string, as {}", name, example));
}

void read_into(BatchLine& line, const json& value, std::int64_t vocabulary) {
  RequestFields fields(value, "");
  line.custom_id = required_text(fields, "custom_id", "\"request-1\"");
  const std::string method = required_text(fields, "method", "\"POST\"");
  if (method != "POST") {
    throw ApiRefusal({.status = 405,
                      .code = "method_not_allowed",
                      .message = "method must be \"POST\"",
                      .param = "method"});
  }
  const Endpoint endpoint = endpoint_of(required_text(fields, "url", "\"/v1/chat/completions\""));
  const json* body = fields.find("body");
  if (!body) throw invalid_value("body", "body is missing; give the request as an object");
  CompletionRequest request = read_completion_request(endpoint, *body, vocabulary);
  if (request.stream) {
    throw unsupported_parameter("stream",
                                "a batch is answered in a file, not in a stream; leave stream out");
  }
  line.request = std::move(request);
}

std::string line_of(const ordered_json& object) {
  return object.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

ordered_json response_of(const LineName& name, int status, ordered_json body) {
  return {{"status_code", status}, {"request_id", "req_" + name.text()}, {"body", std::move(body)}};
}

ordered_json line_for(const LineName& name, const std::string& custom_id, ordered_json response,
                      ordered_json error) {
  return {{"id", str("{}{}", kIdPrefix, name.text())},
          {"custom_id", custom_id.empty() ? ordered_json(nullptr) : ordered_json(custom_id)},
          {"response", std::move(response)},
          {"error", std::move(error)}};
}

std::optional<LineName> name_of(std::string_view id) {
  if (!id.starts_with(kIdPrefix)) return std::nullopt;
  id.remove_prefix(kIdPrefix.size());
  LineName name;
  const char* end = id.data() + id.size();
  const auto number = std::from_chars(id.data(), end, name.number);
  if (number.ec != std::errc() || number.ptr == end || *number.ptr != '_') return std::nullopt;
  const auto digest = std::from_chars(number.ptr + 1, end, name.digest, 16);
  if (digest.ec != std::errc() || digest.ptr != end || name.number < 1) return std::nullopt;
  return name;
}

}  // namespace

BatchLine read_batch_line(const InputLine& line, std::int64_t vocabulary) {
  BatchLine read;
  try {
    read_into(read, parsed(line), vocabulary);
  } catch (const ApiRefusal& refused) {
    read.error = refused.error();
  }
  return read;
}

std::string LineName::text() const { return str("{}_{:016x}", number, digest); }

std::string answer_line(const LineName& name, const std::string& custom_id,
                        const ordered_json& body) {
  return line_of(line_for(name, custom_id, response_of(name, kOk, body), nullptr));
}

/// Who looks at the status finds the error in the body, as from a server; who looks at `error`
/// finds it there.
std::string error_line(const LineName& name, const std::string& custom_id, ApiError error) {
  error.message = str("line {}: {}", name.number, error.message);
  const ordered_json object = error_object(error, "req_" + name.text());
  return line_of(
      line_for(name, custom_id, response_of(name, error.status, {{"error", object}}), object));
}

bool begins_as_answer(std::string_view line) {
  return line.starts_with(str(R"({{"id":"{})", kIdPrefix));
}

std::optional<AnsweredLine> read_answered_line(std::string_view line) {
  std::string problem;
  const auto value = parse_json(line, problem);
  if (!value || !value->is_object()) return std::nullopt;
  const auto id = value->find("id"), response = value->find("response");
  if (id == value->end() || !id->is_string()) return std::nullopt;
  if (response == value->end() || !response->is_object()) return std::nullopt;
  const auto status = response->find("status_code");
  if (status == response->end() || !status->is_number_integer()) return std::nullopt;
  const auto name = name_of(id->get_ref<const std::string&>());
  if (!name) return std::nullopt;
  return AnsweredLine{.name = *name, .failed = *status != kOk};
}

}  // namespace longspan
