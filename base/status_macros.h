// Early returns with the error of a Status or Result, in plain functions and (CO_) coroutines.
#pragma once

#include "base/status.h"

#define RETURN_IF_ERROR(expr)                                  \
  do {                                                         \
    ::quorate::Status status_macro_value = (expr);             \
    if (!status_macro_value.ok()) return status_macro_value;   \
  } while (false)
#define CO_RETURN_IF_ERROR(expr)                               \
  do {                                                         \
    ::quorate::Status status_macro_value = (expr);             \
    if (!status_macro_value.ok()) co_return status_macro_value; \
  } while (false)
#define STATUS_CONCAT_INNER(a, b) a##b
#define STATUS_CONCAT(a, b) STATUS_CONCAT_INNER(a, b)
#define ASSIGN_OR_RETURN_IMPL(ret, result, lhs, expr)   \
  auto result = (expr);                                 \
  if (!result.ok()) ret result.status();                \
  lhs = std::move(result).value()
#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL(return, STATUS_CONCAT(result_, __LINE__), lhs, expr)
#define CO_ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL(co_return, STATUS_CONCAT(result_, __LINE__), lhs, expr)
