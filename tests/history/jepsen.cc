#include "tests/history/jepsen.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>

namespace quorate::history {
namespace {

using edn::Value;
using Kind = MicroOp::Kind;

// Whether it is printed and read again as one value, and the same.
bool ReadsBackAs(std::string_view text) {
  edn::Reader reader(text);
  const auto value = reader.Next();
  return value && !reader.Next() && !reader.error() && edn::Print(*value) == text;
}

class Parser {
 public:
  Parser(Workload workload, std::string_view text) : workload_(workload), reader_(text) {}

  std::variant<std::vector<Transaction>, edn::Error> Run() {
    reader_.EnterSequence();
    while (const auto event = reader_.Next()) {
      if (!Event(*event)) return *error_;
    }
    if (reader_.error()) return *reader_.error();
    return std::move(transactions_);
  }

 private:
  bool Fail(const Value& at, std::string message) {
    error_ = edn::Error{at.at, std::move(message)};
    return false;
  }

  bool Event(const Value& event) {
    ++time_;
    if (event.type != Value::Type::kMap) return Fail(event, "an operation is a map");
    const Value* process = event.Get("process");
    const Value* type = event.Get("type");
    if (process == nullptr || type == nullptr) {
      return Fail(event, "an operation has a :process and a :type");
    }
    if (process->type != Value::Type::kInt) return true;
    if (process->integer < 0 || process->integer > 1'000'000'000) {
      return Fail(*process, "a process is a number from 0 to 1,000,000,000");
    }
    const int number = static_cast<int>(process->integer);
    if (type->IsKeyword("invoke")) return Invoke(event, number);
    const auto pending = pending_.find(number);
    if (pending == pending_.end()) {
      return Fail(event, fmt::format("process {} completes what it has not invoked", number));
    }
    Transaction& transaction = transactions_[pending->second];
    pending_.erase(pending);
    if (type->IsKeyword("info")) return true;
    transaction.completed = time_;
    if (type->IsKeyword("fail")) {
      transaction.outcome = Outcome::kFail;
      return true;
    }
    if (!type->IsKeyword("ok")) return Fail(*type, "a :type is :invoke, :ok, :fail or :info");
    transaction.outcome = Outcome::kOk;
    transaction.ops.clear();
    return Ops(event, &transaction.ops);
  }

  bool Invoke(const Value& event, int process) {
    const auto [pending, free] = pending_.try_emplace(process, transactions_.size());
    if (!free) {
      return Fail(event, fmt::format("process {} invokes while its last operation runs", process));
    }
    Transaction& transaction = transactions_.emplace_back();
    transaction.process = process;
    transaction.invoked = time_;
    return Ops(event, &transaction.ops);
  }

  bool Ops(const Value& event, std::vector<MicroOp>* ops) {
    static const Value kNil;
    const Value* value = event.Get("value");
    if (value == nullptr) value = &kNil;
    const Value* f = event.Get("f");
    if (f != nullptr && f->type != Value::Type::kKeyword) return Fail(*f, "an :f is a keyword");
    // elle-cli's files have no :f; what steps are is plain from the steps.
    const bool micro =
        workload_ == Workload::kListAppend || workload_ == Workload::kRwRegister ||
        workload_ == Workload::kLongFork ||
        (f != nullptr ? f->IsKeyword("txn")
                      : value->type == Value::Type::kVector || value->type == Value::Type::kList);
    if (micro) return MicroOps(event, *value, ops);
    if (f == nullptr) return Fail(event, "an operation has an :f, or steps for its :value");
    if (workload_ == Workload::kBank && f->IsKeyword("transfer"))
      return Transfer(event, *value, ops);
    if (workload_ == Workload::kBank && f->IsKeyword("read")) return Balances(*value, ops);
    if (workload_ != Workload::kBank && f->IsKeyword("add")) {
      const Kind kind = workload_ == Workload::kSet ? Kind::kAppend : Kind::kAdd;
      ops->push_back({kind, std::string(kOnlyKey), 0, {}, {}});
      return Written(*value, &ops->back());
    }
    if (workload_ != Workload::kBank && f->IsKeyword("read")) {
      ops->push_back({Kind::kRead, std::string(kOnlyKey), 0, {}, {}});
      return Seen(*value, &ops->back());
    }
    return Fail(*f, fmt::format("the workload {} has no :{}", Name(workload_), f->text));
  }

  // A string's text, unless another value is printed like that: "7" is not 7.
  static std::string KeyOf(const Value& value) {
    const bool text = value.type == Value::Type::kString && !ReadsBackAs(value.text);
    return text ? value.text : edn::Print(value);
  }

  // Whether the workload adds numbers up, or only compares values.
  bool Sums() const { return workload_ == Workload::kBank || workload_ == Workload::kCounter; }

  static int64_t NumberOf(const Value& value) {
    const bool integer = value.type == Value::Type::kInt && IsInteger(value.integer);
    return integer ? value.integer : SymbolOf(edn::Print(value));
  }

  bool Written(const Value& value, MicroOp* op) {
    op->element = NumberOf(value);
    if (Sums() && !IsInteger(op->element)) return Fail(value, "what is added is an integer");
    const bool nil = value.type == Value::Type::kNil && op->kind == Kind::kWrite;
    return !nil || Fail(value, "nil is what a read sees before any write");
  }

  bool MicroOps(const Value& event, const Value& value, std::vector<MicroOp>* ops) {
    if (value.type != Value::Type::kVector && value.type != Value::Type::kList) {
      return Fail(event, "the :value of a transaction is a vector of steps");
    }
    for (const Value& step : value.items) {
      if (step.items.size() != 3) return Fail(step, "a step is [what key value]");
      const Value &what = step.items[0], &operand = step.items[2];
      MicroOp& op = ops->emplace_back();
      op.key = KeyOf(step.items[1]);
      if (what.IsKeyword("r")) {
        if (!Seen(operand, &op)) return false;
        continue;
      }
      if (what.IsKeyword("append")) {
        op.kind = Kind::kAppend;
      } else if (what.IsKeyword("w")) {
        op.kind = Kind::kWrite;
      } else if (what.IsKeyword("add")) {
        op.kind = Kind::kAdd;
      } else {
        return Fail(step, "a step is one of :r, :w, :append and :add");
      }
      const bool lists = workload_ == Workload::kListAppend || workload_ == Workload::kSet;
      if ((op.kind == Kind::kAppend) != lists) {
        return Fail(step, fmt::format("the workload {} has no such step", Name(workload_)));
      }
      if (!Written(operand, &op)) return false;
    }
    return true;
  }

  // What a read saw; nil: nothing.
  bool Seen(const Value& value, MicroOp* op) {
    const bool lists = workload_ == Workload::kListAppend || workload_ == Workload::kSet;
    if (value.type == Value::Type::kNil) return true;
    if (!lists) {
      op->value = NumberOf(value);
      return !Sums() || IsInteger(*op->value) || Fail(value, "a read saw an integer or nil");
    }
    if (value.type != Value::Type::kVector && value.type != Value::Type::kSet &&
        value.type != Value::Type::kList) {
      return Fail(value, "a read saw a collection or nil");
    }
    op->list.reserve(value.items.size());
    for (const Value& item : value.items) op->list.push_back(NumberOf(item));
    return true;
  }

  bool Transfer(const Value& event, const Value& value, std::vector<MicroOp>* ops) {
    const Value *from = value.Get("from"), *to = value.Get("to"), *amount = value.Get("amount");
    if (from == nullptr || to == nullptr || amount == nullptr ||
        amount->type != Value::Type::kInt || !IsInteger(amount->integer) ||
        !IsInteger(-amount->integer)) {
      return Fail(event, "a transfer is {:from account, :to account, :amount n}");
    }
    ops->push_back({Kind::kAdd, KeyOf(*from), -amount->integer, {}, {}});
    ops->push_back({Kind::kAdd, KeyOf(*to), amount->integer, {}, {}});
    return true;
  }

  bool Balances(const Value& value, std::vector<MicroOp>* ops) {
    if (value.type == Value::Type::kNil) return true;
    if (value.type != Value::Type::kMap) return Fail(value, "balances are a map");
    for (size_t i = 0; i < value.items.size(); i += 2) {
      ops->push_back({Kind::kRead, KeyOf(value.items[i]), 0, {}, {}});
      if (!Seen(value.items[i + 1], &ops->back())) return false;
    }
    return true;
  }

  const Workload workload_;
  edn::Reader reader_;
  std::vector<Transaction> transactions_;
  std::map<int, size_t> pending_;  // by process
  int64_t time_ = 0;
  std::optional<edn::Error> error_;
};

// The inverse of Parser::KeyOf.
std::string PrintKey(const std::string& key) {
  if (ReadsBackAs(key)) return key;
  Value text;
  text.type = Value::Type::kString;
  text.text = key;
  return edn::Print(text);
}

std::string PrintValue(const std::optional<int64_t>& value) { return value ? Text(*value) : "nil"; }

std::string PrintList(const std::vector<int64_t>& list, std::string_view open, char close,
                      size_t list_max) {
  std::string out(open);
  size_t at = 0;
  if (list_max > 0 && list.size() > list_max) {
    at = list.size() - list_max;
    out += "... ";
  }
  for (bool first = true; at < list.size(); ++at, first = false) {
    if (!first) out += ' ';
    out += Text(list[at]);
  }
  return out + close;
}

// What reads saw is history only once the transaction is acknowledged: else it is nil.
enum class Reads : uint8_t { kSaw, kNil };

std::string PrintMicroOp(Workload workload, const MicroOp& op, Reads reads, size_t list_max) {
  const bool lists = workload == Workload::kListAppend || workload == Workload::kSet;
  const std::string key = PrintKey(op.key);
  switch (op.kind) {
    case Kind::kAppend:
      return fmt::format("[:append {} {}]", key, Text(op.element));
    case Kind::kWrite:
      return fmt::format("[:w {} {}]", key, Text(op.element));
    case Kind::kAdd:
      return fmt::format("[:add {} {}]", key, op.element);
    case Kind::kRead:
      break;
  }
  if (reads == Reads::kNil) return fmt::format("[:r {} nil]", key);
  return fmt::format("[:r {} {}]", key,
                     lists ? PrintList(op.list, "[", ']', list_max) : PrintValue(op.value));
}

struct Function {
  std::string f;
  std::string value;
};

// The forms of single operations, where the steps fit them.
Function PrintFunction(Workload workload, const std::vector<MicroOp>& ops, Reads reads,
                       size_t list_max) {
  const auto all = [&](Kind kind) {
    return std::ranges::all_of(ops, [kind](const MicroOp& op) { return op.kind == kind; });
  };
  const bool one = ops.size() == 1 && ops[0].key == kOnlyKey;
  if (workload == Workload::kSet && one) {
    if (ops[0].kind == Kind::kAppend) return {"add", Text(ops[0].element)};
    if (reads == Reads::kNil) return {"read", "nil"};
    return {"read", PrintList(ops[0].list, "#{", '}', list_max)};
  }
  if (workload == Workload::kCounter && one) {
    if (ops[0].kind == Kind::kAdd) return {"add", std::to_string(ops[0].element)};
    return {"read", reads == Reads::kNil ? "nil" : PrintValue(ops[0].value)};
  }
  if (workload == Workload::kBank && ops.size() == 2 && all(Kind::kAdd) &&
      ops[0].element == -ops[1].element) {
    return {"transfer", fmt::format("{{:from {}, :to {}, :amount {}}}", PrintKey(ops[0].key),
                                    PrintKey(ops[1].key), ops[1].element)};
  }
  if (workload == Workload::kBank && all(Kind::kRead)) {
    if (reads == Reads::kNil) return {"read", "nil"};
    std::string map;
    for (const MicroOp& op : ops) {
      map +=
          fmt::format("{}{} {}", map.empty() ? "" : ", ", PrintKey(op.key), PrintValue(op.value));
    }
    return {"read", "{" + map + "}"};
  }
  std::string steps;
  for (const MicroOp& op : ops) {
    steps += (steps.empty() ? "" : " ") + PrintMicroOp(workload, op, reads, list_max);
  }
  const bool fork = workload == Workload::kLongFork;
  return {!fork ? "txn" : all(Kind::kRead) ? "read" : "write", "[" + steps + "]"};
}

}  // namespace

std::variant<std::vector<Transaction>, edn::Error> ParseJepsen(Workload workload,
                                                               std::string_view text) {
  return Parser(workload, text).Run();
}

std::string PrintOps(Workload workload, const Transaction& transaction, size_t list_max) {
  const Reads reads = transaction.outcome == Outcome::kOk ? Reads::kSaw : Reads::kNil;
  const Function function = PrintFunction(workload, transaction.ops, reads, list_max);
  return function.f == "txn" ? function.value : ":" + function.f + " " + function.value;
}

std::string PrintJepsen(Workload workload, const std::vector<Transaction>& transactions) {
  // Of equal times, invocations first: then they overlap.
  enum class Step { kInvoke, kComplete, kLeaveOpen };
  struct Event {
    int64_t time;
    Step step;
    uint32_t transaction;
    auto operator<=>(const Event&) const = default;
  };
  std::vector<Event> events;
  int next_process = 0;
  for (uint32_t t = 0; t < transactions.size(); ++t) {
    const Transaction& transaction = transactions[t];
    events.push_back({transaction.invoked, Step::kInvoke, t});
    if (transaction.outcome == Outcome::kUnknown) {
      events.push_back({INT64_MAX, Step::kLeaveOpen, t});
    } else {
      events.push_back({std::max(transaction.invoked, transaction.completed), Step::kComplete, t});
    }
    next_process = std::max(next_process, transaction.process + 1);
  }
  std::sort(events.begin(), events.end());
  std::map<int, int> alias;  // of each process, the number it goes by now
  std::map<int, bool> busy;  // by alias
  std::vector<int> runs_as(transactions.size());
  std::string out;
  int64_t index = 0;
  for (const Event& event : events) {
    const Transaction& transaction = transactions[event.transaction];
    int& process = runs_as[event.transaction];
    std::string_view type = "invoke";
    if (event.step == Step::kInvoke) {
      int& now = alias.try_emplace(transaction.process, transaction.process).first->second;
      if (now < 0 || busy[now]) now = next_process++;
      process = now;
    } else {
      type = transaction.outcome == Outcome::kOk     ? "ok"
             : transaction.outcome == Outcome::kFail ? "fail"
                                                     : "info";
    }
    busy[process] = event.step == Step::kInvoke;
    const bool acknowledged = type == "ok";
    const Function function =
        PrintFunction(workload, transaction.ops, acknowledged ? Reads::kSaw : Reads::kNil, 0);
    out += fmt::format("{{:index {}, :type :{}, :process {}, :f :{}, :value {}}}\n", index++, type,
                       process, function.f, function.value);
  }
  return out;
}

}  // namespace quorate::history
