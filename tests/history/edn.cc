#include "tests/history/edn.h"

#include <cctype>
#include <charconv>

namespace quorate::history::edn {
namespace {

bool IsBlank(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0 || c == ','; }
bool EndsToken(char c) {
  return IsBlank(c) || std::string_view("()[]{}\";").find(c) != std::string_view::npos;
}
bool StartsNumber(std::string_view token) {
  const size_t sign = token[0] == '-' || token[0] == '+' ? 1 : 0;
  return token.size() > sign && std::isdigit(static_cast<unsigned char>(token[sign])) != 0;
}

void PrintTo(const Value& value, std::string* out) {
  const auto items = [&](std::string_view open, char close) {
    *out += open;
    for (size_t i = 0; i < value.items.size(); ++i) {
      if (i > 0) *out += value.type == Value::Type::kMap && i % 2 == 0 ? ", " : " ";
      PrintTo(value.items[i], out);
    }
    *out += close;
  };
  switch (value.type) {
    case Value::Type::kNil:
      *out += "nil";
      break;
    case Value::Type::kBool:
      *out += value.integer != 0 ? "true" : "false";
      break;
    case Value::Type::kInt:
      *out += std::to_string(value.integer);
      break;
    case Value::Type::kKeyword:
      *out += ":" + value.text;
      break;
    case Value::Type::kOther:
    case Value::Type::kSymbol:
      *out += value.text;
      break;
    case Value::Type::kString:
      *out += '"';
      for (const char c : value.text) {
        if (c == '"' || c == '\\') *out += '\\';
        *out += c;
      }
      *out += '"';
      break;
    case Value::Type::kList:
      return items("(", ')');
    case Value::Type::kVector:
      return items("[", ']');
    case Value::Type::kMap:
      return items("{", '}');
    case Value::Type::kSet:
      return items("#{", '}');
  }
}

}  // namespace

const Value* Value::Get(std::string_view keyword) const {
  if (type != Type::kMap) return nullptr;
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    if (items[i].IsKeyword(keyword)) return &items[i + 1];
  }
  return nullptr;
}

std::string Print(const Value& value) {
  std::string out;
  PrintTo(value, &out);
  return out;
}

std::optional<Value> Reader::Next() {
  SkipToValue(0);
  if (error_ || AtEnd()) {
    if (!error_ && enclosing_ != '\0') Fail(position_, "the sequence does not end");
    return std::nullopt;
  }
  if (enclosing_ != '\0' && Peek() == enclosing_) {
    enclosing_ = '\0';
    Advance();
    SkipToValue(0);
    if (!error_ && !AtEnd()) Fail(position_, "something stands behind the sequence");
    return std::nullopt;
  }
  Value value;
  if (!ReadValue(0, &value)) return std::nullopt;
  return value;
}

bool Reader::EnterSequence() {
  SkipToValue(0);
  if (error_ || (Peek() != '[' && Peek() != '(')) return false;
  enclosing_ = Peek() == '[' ? ']' : ')';
  Advance();
  return true;
}

void Reader::Advance() {
  if (text_[at_++] == '\n') {
    ++position_.line;
    position_.column = 1;
  } else {
    ++position_.column;
  }
}

void Reader::Fail(Position at, std::string message) {
  if (!error_) error_ = Error{at, std::move(message)};
}

void Reader::SkipToValue(int depth) {
  while (!AtEnd() && !error_) {
    if (IsBlank(Peek())) {
      Advance();
    } else if (Peek() == ';') {
      while (!AtEnd() && Peek() != '\n') Advance();
    } else if (Peek() == '#' && Peek(1) == '_') {
      Advance();
      Advance();
      Value discarded;
      SkipToValue(depth + 1);
      if (!error_ && !ReadValue(depth + 1, &discarded)) return;
    } else if (Peek() == '#' && std::isalpha(static_cast<unsigned char>(Peek(1))) != 0) {
      while (!AtEnd() && !EndsToken(Peek())) Advance();
    } else {
      return;
    }
    if (depth > kDepthMax) Fail(position_, "nested too deeply");
  }
}

bool Reader::ReadValue(int depth, Value* value) {
  if (AtEnd()) Fail(position_, "a value is missing at the end");
  if (depth > kDepthMax) Fail(position_, "nested too deeply");
  if (error_) return false;
  value->at = position_;
  switch (Peek()) {
    case '(':
      value->type = Value::Type::kList;
      return ReadItems(depth, ')', value);
    case '[':
      value->type = Value::Type::kVector;
      return ReadItems(depth, ']', value);
    case '{':
      value->type = Value::Type::kMap;
      return ReadItems(depth, '}', value);
    case '"':
      return ReadString(value);
    case '#':
      if (Peek(1) != '{') break;
      Advance();
      value->type = Value::Type::kSet;
      return ReadItems(depth, '}', value);
    default:
      break;
  }
  return ReadToken(value);
}

bool Reader::ReadItems(int depth, char close, Value* value) {
  const Position opened = position_;
  Advance();
  for (;;) {
    SkipToValue(depth + 1);
    if (!error_ && AtEnd()) Fail(opened, "what opens here is not closed");
    if (error_) return false;
    if (Peek() == close) break;
    if (!ReadValue(depth + 1, &value->items.emplace_back())) return false;
  }
  Advance();
  if (value->type == Value::Type::kMap && value->items.size() % 2 != 0) {
    Fail(opened, "a map with a key without a value");
  }
  return !error_;
}

bool Reader::ReadString(Value* value) {
  const Position opened = position_;
  value->type = Value::Type::kString;
  Advance();
  while (!AtEnd() && Peek() != '"') {
    if (Peek() != '\\') {
      value->text += Peek();
      Advance();
      continue;
    }
    Advance();
    if (AtEnd()) break;
    const char c = Peek();
    value->text += c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
    Advance();
  }
  if (AtEnd()) {
    Fail(opened, "a string is not closed");
    return false;
  }
  Advance();
  return true;
}

bool Reader::ReadToken(Value* value) {
  const size_t begin = at_;
  const Position position = position_;
  if (Peek() == '\\') Advance();  // a character: whatever follows belongs to it
  if (AtEnd()) {
    Fail(position, "a character is missing");
    return false;
  }
  if (at_ > begin || !EndsToken(Peek())) Advance();
  while (!AtEnd() && !EndsToken(Peek())) Advance();
  const std::string_view token = text_.substr(begin, at_ - begin);
  if (token.empty() || token == ":") {
    Fail(position,
         token.empty() ? std::string("unexpected ") + Peek() : "a keyword without a name");
    return false;
  }
  if (token == "nil") return true;
  if (token == "true" || token == "false") {
    value->type = Value::Type::kBool;
    value->integer = token == "true" ? 1 : 0;
  } else if (token[0] == ':') {
    value->type = Value::Type::kKeyword;
    value->text = token.substr(1);
  } else if (StartsNumber(token)) {
    const std::string_view digits = token[0] == '+' ? token.substr(1) : token;
    const auto [end, failure] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value->integer);
    const bool whole = failure == std::errc() && end == digits.data() + digits.size();
    value->type = whole ? Value::Type::kInt : Value::Type::kOther;
    if (!whole) {
      value->integer = 0;
      value->text = token;
    }
  } else {
    value->type = token[0] == '\\' ? Value::Type::kOther : Value::Type::kSymbol;
    value->text = token;
  }
  return true;
}

}  // namespace quorate::history::edn
