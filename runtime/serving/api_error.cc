#include "runtime/serving/api_error.h"

#include <nlohmann/json.hpp>

namespace longspan {
namespace {

nlohmann::ordered_json text_or_null(const std::string& text) {
  return text.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(text);
}

}  // namespace

ApiRefusal invalid_value(const std::string& param, const std::string& message) {
  return ApiRefusal({.message = message, .param = param});
}

ApiRefusal unsupported_parameter(const std::string& param, const std::string& message) {
  return ApiRefusal({.code = "unsupported_parameter", .message = message, .param = param});
}

nlohmann::ordered_json error_object(const ApiError& error, const std::string& request_id) {
  return {{"message", error.message},
          {"type", error.type},
          {"param", text_or_null(error.param)},
          {"code", error.code},
          {"request_id", text_or_null(request_id)},
          {"retriable", error.retriable}};
}

}  // namespace longspan
